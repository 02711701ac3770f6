using System.Numerics;
using TorchFlash.Kernels.Tests.Support;

namespace TorchFlash.Kernels.Tests;

public class DeterminismTestsFloat32 : DeterminismTests<float>;

public class DeterminismTestsFloat64 : DeterminismTests<double>;

/// <summary>A result depends on the problem alone: not on the number of threads, the run, or what else is running.</summary>
public abstract class DeterminismTests<T> where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    /// <summary>Heads, heads of key and value, Nq, Nk, mask.</summary>
    public static TheoryData<int, int, int, int, CausalMask> Problems => new()
    {
        { 1, 1, 1030, 1030, CausalMask.TopLeft },
        { 1, 1, 700, 900, CausalMask.None },
        { 3, 3, 450, 333, CausalMask.BottomRight },
        { 7, 7, 200, 260, CausalMask.None },
        { 5, 5, 33, 65, CausalMask.TopLeft },
        { 4, 1, 300, 500, CausalMask.TopLeft },
        { 6, 2, 250, 400, CausalMask.None },
    };

    [Theory]
    [MemberData(nameof(Problems))]
    public void AnyNumberOfThreads(int heads, int keyHeads, int nq, int nk, CausalMask mask)
    {
        using AttentionCase<T> attention = Case(heads, keyHeads, nq, nk, mask);
        Dictionary<string, T[]> expected = attention.Run(threads: 1).Results();
        T[] weights = attention.RunWeights(threads: 1).Weights.ToArray();
        foreach (int threads in new[] { 2, 3, 8, 0, 2, 8 })
        {
            attention.PoisonOutputs();
            AssertEqual(expected, attention.Run(threads), $"{threads} threads");
            Accuracy.AssertBitwiseEqual($"weights, {threads} threads", weights, attention.RunWeights(threads).Weights.ToArray());
        }
    }

    /// <summary>Several callers at once, each with operands, sizes and a number of threads of its own.</summary>
    [Fact]
    public void ConcurrentCallers()
    {
        AttentionCase<T>[] cases = [.. Problems.Select(p => Case((int)p[0], (int)p[1], (int)p[2] / 2, (int)p[3] / 2, (CausalMask)p[4]))];
        Dictionary<string, T[]>[] expected = [.. cases.Select(c => c.Run(threads: 1).Results())];
        var failures = new List<Exception>();
        Thread[] callers = [.. cases.Select((attention, index) => new Thread(() =>
        {
            try
            {
                for (int repeat = 0; repeat < 4; repeat++)
                {
                    attention.PoisonOutputs();
                    AssertEqual(expected[index], attention.Run(threads: 1 + (index + repeat) % 3), $"caller {index}, repeat {repeat}");
                }
            }
            catch (Exception e)
            {
                lock (failures)
                    failures.Add(e);
            }
        }))];
        Array.ForEach(callers, t => t.Start());
        Array.ForEach(callers, t => t.Join());
        Array.ForEach(cases, c => c.Dispose());
        Assert.Empty(failures);
    }

    private static AttentionCase<T> Case(int heads, int keyHeads, int nq, int nk, CausalMask mask) => new(new AttentionProblem
    {
        Batch = 1,
        Heads = heads,
        KeyHeads = keyHeads,
        QueryLength = nq,
        KeyLength = nk,
        HeadDim = 24,
        ValueDim = 16,
        Scale = AttentionProblem.DefaultScale(24),
        Causal = mask,
    });

    private static void AssertEqual(Dictionary<string, T[]> expected, AttentionCase<T> actual, string when)
    {
        foreach ((string name, T[] result) in actual.Results())
            Accuracy.AssertBitwiseEqual($"{name} of {actual}, {when}", expected[name], result);
    }
}
