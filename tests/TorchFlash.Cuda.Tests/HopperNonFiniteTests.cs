using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Cuda.Tests;

/// <summary>
/// A NaN or an infinity in one element of an input of the Hopper kernels: it reaches the rows that are connected with it through the mask, perhaps
/// what shares a tile with them, and nothing else. Rows with nothing to attend to are 0 whatever surrounds them.
/// </summary>
public class HopperNonFiniteTests
{
    /// <summary>Queries and keys of the largest tile, given <see cref="Tuning"/>.</summary>
    private const int Tile = 128;

    private const int Nq = 400, Nk = 420;

    private static readonly KernelTuning Tuning = KernelTuning.None.With(HopperForwardTests.Kernel, "K_BLOCK_M", Tile);

    /// <summary>d, input, its row, value, mask.</summary>
    public static TheoryData<int, string, int, double, CausalMask> Positions
    {
        get
        {
            var data = new TheoryData<int, string, int, double, CausalMask>();
            foreach (string input in new[] { "Q", "K", "V", "dO" })
            {
                data.Add(64, input, 357, double.NaN, CausalMask.TopLeft);
                data.Add(128, input, 64, double.PositiveInfinity, CausalMask.BottomRight);
                data.Add(40, input, 5, double.NaN, CausalMask.BottomRight);
                data.Add(160, input, 256, double.NegativeInfinity, CausalMask.TopLeft);
            }
            data.Add(64, "V", 415, double.NaN, CausalMask.TopLeft);   // a key that no query sees
            return data;
        }
    }

    [EmulatedTheory]
    [MemberData(nameof(Positions))]
    public void ReachesOnlyWhatSharesATileWithIt(int d, string input, int row, double value, CausalMask mask) => Check(d, input, row, value, mask);

    internal static void Check(int d, string input, int row, double value, CausalMask mask, KernelSources? sources = null)
    {
        AttentionProblem problem = HopperBackwardTests.Plain with { QueryLength = Nq, KeyLength = Nk, HeadDim = d, ValueDim = d, Causal = mask };
        using var clean = new GpuCase(EmulatedDevices.Hopper, problem);
        using var dirty = new GpuCase(EmulatedDevices.Hopper, problem);
        Spoil(dirty, input, row, value);
        CudaEngine engine = EmulatedDevices.Engine(EmulatedDevices.Hopper, Tuning, sources);
        clean.Run(engine);
        dirty.Run(engine).AssertMemoryIntact();

        // Rows and keys that are connected with it, and those of the tiles that these are in.
        bool ofQuery = input is "Q" or "dO", isNaN = double.IsNaN(value), inScores = input is "Q" or "K";
        int Sees(int i) => Reference<double>.VisibleKeys(problem, Math.Min(i, Nq - 1));
        bool[] seeing = [.. Enumerable.Range(0, Nq).Select(i => ofQuery ? i == row : row < Sees(i))];
        bool[] rows = [.. Enumerable.Range(0, Nq).Select(i => ofQuery ? i == row : row / Tile * Tile < Sees(i | (Tile - 1)))];
        int last = Array.LastIndexOf(seeing, true), lastOfTiles = Array.LastIndexOf(rows, true);
        bool[] seen = [.. Enumerable.Range(0, Nk).Select(j => last >= 0 && j < Sees(last))];
        bool[] keys = [.. Enumerable.Range(0, Nk).Select(j => lastOfTiles >= 0 && j / Tile * Tile < Sees(lastOfTiles | (Tile - 1)))];
        Dictionary<string, double[]> expected = clean.Results(), actual = dirty.Results();
        Compare("O", seeing, input == "dO" ? new bool[Nq] : rows, x => inScores ? isNaN : x == 3);
        Compare("dQ", seeing, rows, _ => isNaN);
        Compare("dK", seen, keys, _ => isNaN);
        Compare("dV", seen, input == "V" ? new bool[Nk] : keys, x => inScores ? isNaN : x == 3);

        // spoilt(x): column x of the rows concerned cannot be finite. dQ is a sum in any order: its other rows may differ by roundings.
        void Compare(string name, bool[] concerned, bool[] perhaps, Func<int, bool> spoilt)
        {
            for (int i = 0; i < expected[name].Length; i++)
            {
                (int r, int x) = (i / d, i % d);
                double tolerance = name == "dQ" ? 0.01 * (1 + Math.Abs(expected[name][i])) : 0;
                if (!perhaps[r] && !(Math.Abs(actual[name][i] - expected[name][i]) <= tolerance))
                    Assert.Fail($"{name}: element {x} of row {r} became {actual[name][i]}, was {expected[name][i]}");
                if (perhaps[r] && concerned[r] && spoilt(x) && double.IsFinite(actual[name][i]))
                    Assert.Fail($"{name}: element {x} of row {r} is {actual[name][i]} although it depends on {value}");
            }
        }
    }

    /// <summary>Bottom-right with fewer keys than queries, a NaN in a key that rows without any share a tile with.</summary>
    [EmulatedTheory]
    [InlineData("K")]
    [InlineData("V")]
    public void RowsWithoutKeysAreZero(string input) => CheckRowsWithoutKeys(input);

    internal static void CheckRowsWithoutKeys(string input, KernelSources? sources = null)
    {
        const int Empty = 64, Width = 64;
        AttentionProblem problem = HopperBackwardTests.Plain with { QueryLength = 128, KeyLength = 128 - Empty, HeadDim = Width, ValueDim = Width, Causal = CausalMask.BottomRight };
        using var attention = new GpuCase(EmulatedDevices.Hopper, problem);
        Spoil(attention, input, 3, double.NaN);
        attention.Run(EmulatedDevices.Engine(EmulatedDevices.Hopper, Tuning, sources), Passes.Forward);
        AssertEmpty(attention, Empty);
    }

    /// <summary>Rows whose every score overflows to -inf attend to nothing either.</summary>
    [EmulatedFact]
    public void RowsOfMinusInfinityAreZero()
    {
        const int Empty = 20;
        using var attention = new GpuCase(EmulatedDevices.Hopper, HopperBackwardTests.Plain);
        attention.Query.Fill((_, _, i, _) => i < Empty ? 1e30 : 0);
        attention.Key.Fill((_, _, _, _) => -1e30);
        attention.Run(EmulatedDevices.Engine(EmulatedDevices.Hopper));
        AssertEmpty(attention, Empty);
        Assert.All(attention.Output.ToArray().Concat(attention.ValueGradient.ToArray()), x => Assert.True(double.IsFinite(x)));
    }

    private static void Spoil(DeviceCase attention, string input, int row, double value)
    {
        Operand spoiled = input switch { "Q" => attention.Query, "K" => attention.Key, "V" => attention.Value, _ => attention.OutputGradient };
        spoiled.Set(0, 0, row, 3, value);
    }

    private static void AssertEmpty(DeviceCase attention, int rows)
    {
        Assert.All(attention.Max.ToArray()[..rows], m => Assert.Equal(double.NegativeInfinity, m));
        Assert.All(attention.Sum.ToArray()[..rows], l => Assert.Equal(0, l));
        Assert.All(attention.Output.ToArray()[..(rows * attention.Problem.ValueDim)], x => Assert.Equal(0, x));
    }
}
