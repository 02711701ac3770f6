using System.Numerics;
using System.Runtime.CompilerServices;
using TorchFlash.Kernels.Cpu;
using TorchFlash.Kernels.Tests.Support;

namespace TorchFlash.Kernels.Tests;

public class NonFiniteTestsFloat32 : NonFiniteTests<float>;

public class NonFiniteTestsFloat64 : NonFiniteTests<double>;

/// <summary>
/// A NaN or an infinity in one element of an input: it reaches the rows that are connected with it through the mask, and of those that
/// are not at most the ones that share a tile with one that is. Everything else is, bit for bit, what it is without.
/// </summary>
public abstract class NonFiniteTests<T> : IDisposable where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private const int Nq = 300, Nk = 320, D = 10;

    private AttentionCase<T> _clean = null!, _dirty = null!;

    public static TheoryData<CausalMask, int, double> KeyPositions => Positions([0, 5, 95, 96, 201, 319]);

    public static TheoryData<CausalMask, int, double> QueryPositions => Positions([0, 5, 95, 96, 201, 299]);

    private static TheoryData<CausalMask, int, double> Positions(int[] positions)
    {
        var data = new TheoryData<CausalMask, int, double>();
        foreach (CausalMask mask in Enum.GetValues<CausalMask>())
            foreach (int position in positions)
                foreach (double value in new[] { double.NaN, double.PositiveInfinity, double.NegativeInfinity })
                    data.Add(mask, position, value);
        return data;
    }

    /// <summary>K_j: the rows that see key j, and the gradients of everything those rows see.</summary>
    [Theory]
    [MemberData(nameof(KeyPositions))]
    public void Key(CausalMask mask, int j, double value)
    {
        Run(mask, a => a.Key.Set(0, 0, j, 3, value));
        bool[] rows = RowsThatSee(j), keys = KeysSeenBy(rows);
        if (double.IsNaN(value))
            AssertNaN(("O", _dirty.Output, rows), ("dQ", _dirty.QueryGradient, rows), ("dK", _dirty.KeyGradient, keys), ("dV", _dirty.ValueGradient, keys));
        else
            AssertOutputAsDefined();
        AssertEqualOutside("O", _clean.Output, _dirty.Output, rows); // what a mask hides takes no part in the softmax
        AssertUnchangedOutside(InTilesOf(rows, QueryTile), KeysSeenBy(InTilesOf(rows, QueryTile)));
    }

    /// <summary>V_j: one column of O in the rows that see key j, and their gradients; P and so dV do not know V.</summary>
    [Theory]
    [MemberData(nameof(KeyPositions))]
    public void Value(CausalMask mask, int j, double value)
    {
        Run(mask, a => a.Value.Set(0, 0, j, 3, value));
        bool[] rows = RowsThatSee(j), keys = KeysSeenBy(rows);
        bool[] tile = InTilesOf(rows, QueryTile);
        for (int i = 0; i < Nq; i++)
            for (int x = 0; x < D; x++)
            {
                T clean = _clean.Output[0, 0, i, x], dirty = _dirty.Output[0, 0, i, x];
                Assert.True(rows[i] && x == 3 ? !T.IsFinite(dirty) : tile[i] && x == 3 || clean.Equals(dirty), $"O[{i}, {x}] became {dirty}, was {clean}");
            }
        if (double.IsNaN(value))
            AssertNaN(("dQ", _dirty.QueryGradient, rows), ("dK", _dirty.KeyGradient, keys));
        AssertUnchangedOutside(tile, KeysSeenBy(tile));
        Accuracy.AssertBitwiseEqual("m", _clean.Max, _dirty.Max);
        Accuracy.AssertBitwiseEqual("l", _clean.Sum, _dirty.Sum);
        Accuracy.AssertBitwiseEqual("dV", _clean.ValueGradient.ToArray(), _dirty.ValueGradient.ToArray());
    }

    /// <summary>Q_i: row i and the keys it sees.</summary>
    [Theory]
    [MemberData(nameof(QueryPositions))]
    public void Query(CausalMask mask, int i, double value)
    {
        Run(mask, a => a.Query.Set(0, 0, i, 3, value));
        bool[] rows = OnlyRow(i), keys = KeysSeenBy(rows);
        if (double.IsNaN(value))
            AssertNaN(("O", _dirty.Output, rows), ("dQ", _dirty.QueryGradient, rows), ("dK", _dirty.KeyGradient, keys), ("dV", _dirty.ValueGradient, keys));
        else
            AssertOutputAsDefined();
        AssertUnchangedOutside(rows, keys);
    }

    /// <summary>dO_i: the gradients of row i and of the keys it sees.</summary>
    [Theory]
    [MemberData(nameof(QueryPositions))]
    public void OutputGradient(CausalMask mask, int i, double value)
    {
        Run(mask, a => a.OutputGradient.Set(0, 0, i, 3, value));
        bool[] rows = OnlyRow(i), keys = KeysSeenBy(rows);
        if (double.IsNaN(value))
            AssertNaN(("dQ", _dirty.QueryGradient, rows), ("dK", _dirty.KeyGradient, keys));
        AssertUnchangedOutside(rows, keys);
        Accuracy.AssertBitwiseEqual("O", _clean.Output.ToArray(), _dirty.Output.ToArray());
    }

    public void Dispose()
    {
        _clean.Dispose();
        _dirty.Dispose();
    }

    private void Run(CausalMask mask, Action<AttentionCase<T>> spoil)
    {
        var problem = new AttentionProblem
        {
            Batch = 1,
            Heads = 2,
            QueryLength = Nq,
            KeyLength = Nk,
            HeadDim = D,
            ValueDim = D,
            Scale = AttentionProblem.DefaultScale(D),
            Causal = mask,
        };
        _clean = new AttentionCase<T>(problem);
        _dirty = new AttentionCase<T>(problem);
        spoil(_dirty);
        _clean.Run();
        _dirty.Run();
        _dirty.AssertMemoryIntact();
    }

    private static bool[] OnlyRow(int i) => [.. Enumerable.Range(0, Nq).Select(row => row == i)];

    private bool[] RowsThatSee(int j) => [.. Enumerable.Range(0, Nq).Select(i => j < Reference<T>.VisibleKeys(_clean.Problem, i))];

    private bool[] KeysSeenBy(bool[] rows)
    {
        int seen = Enumerable.Range(0, Nq).Where(i => rows[i]).Select(i => Reference<T>.VisibleKeys(_clean.Problem, i)).DefaultIfEmpty().Max();
        return [.. Enumerable.Range(0, Nk).Select(j => j < seen)];
    }

    /// <summary>Rows or keys that share a tile with one of these.</summary>
    private static bool[] InTilesOf(bool[] touched, int tile) =>
        [.. Enumerable.Range(0, touched.Length).Select(n => touched.Skip(n / tile * tile).Take(tile).Any(t => t))];

    private int QueryTile => CpuEngine.Instance.Plan.Backward(_clean.Problem).Queries;

    private int KeyTile => CpuEngine.Instance.Plan.Backward(_clean.Problem).Keys;

    /// <summary>
    /// An infinite score takes its key out of the softmax (-inf; a row of nothing else is 0) or makes the row NaN (+inf).
    /// </summary>
    private void AssertOutputAsDefined()
    {
        T[] expected = _dirty.Reference<T>().Output;
        for (int i = 0; i < Nq; i++)
            for (int x = 0; x < D; x++)
                Assert.True(T.IsFinite(expected[i * D + x]) == T.IsFinite(_dirty.Output[0, 0, i, x]),
                    $"O[{i}, {x}] is {_dirty.Output[0, 0, i, x]} instead of {expected[i * D + x]}");
    }

    /// <summary>The other rows, the keys in tiles that they alone see, and the whole second head are as in the clean run.</summary>
    private void AssertUnchangedOutside(bool[] rows, bool[] keys)
    {
        keys = InTilesOf(keys, KeyTile);
        AssertEqualOutside("O", _clean.Output, _dirty.Output, rows);
        AssertEqualOutside("dQ", _clean.QueryGradient, _dirty.QueryGradient, rows);
        AssertEqualOutside("dK", _clean.KeyGradient, _dirty.KeyGradient, keys);
        AssertEqualOutside("dV", _clean.ValueGradient, _dirty.ValueGradient, keys);
    }

    private static void AssertEqualOutside(string name, Operand<T> clean, Operand<T> dirty, bool[] touched)
    {
        for (int h = 0; h < 2; h++)
            for (int n = 0; n < touched.Length; n++)
                for (int x = 0; x < D; x++)
                    if (h == 1 || !touched[n])
                        Assert.True(clean[0, h, n, x].Equals(dirty[0, h, n, x]), $"{name}[{h}, {n}, {x}] became {dirty[0, h, n, x]}, was {clean[0, h, n, x]}");
    }

    private static void AssertNaN(params (string Name, Operand<T> Operand, bool[] Touched)[] results)
    {
        foreach ((string name, Operand<T> operand, bool[] touched) in results)
            for (int n = 0; n < touched.Length; n++)
                for (int x = 0; touched[n] && x < D; x++)
                    Assert.True(T.IsNaN(operand[0, 0, n, x]), $"{name}[{n}, {x}] is {operand[0, 0, n, x]} instead of NaN");
    }
}
