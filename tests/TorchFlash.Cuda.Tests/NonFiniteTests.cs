using TorchFlash.Kernels.Cpu;
using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Cuda.Tests;

/// <summary>
/// A NaN or an infinity in one element of an input of the kernels with mma.sync and of the exact ones: it reaches the rows that are connected with
/// it through the mask, perhaps what shares a tile with them, and everything else is, bit for bit, what it is without. (dQ in a fixed order, so that
/// bits can be compared.) Rows with nothing to attend to are 0 whatever surrounds them.
/// </summary>
public class NonFiniteTests
{
    /// <summary>Tiles of no kernel have more rows or keys.</summary>
    private const int Tile = 128;

    private const int Nq = 400, Nk = 420, Width = 8;

    /// <summary>Device, type, input, its row, value, mask.</summary>
    public static TheoryData<int, ElementType, string, int, double, CausalMask> Positions
    {
        get
        {
            var data = new TheoryData<int, ElementType, string, int, double, CausalMask>();
            foreach (string input in new[] { "Q", "K", "V", "dO" })
            {
                data.Add(EmulatedDevices.Ampere, ElementType.BFloat16, input, 357, double.NaN, CausalMask.TopLeft);
                data.Add(EmulatedDevices.SmallAmpere, ElementType.Float16, input, 5, double.NaN, CausalMask.BottomRight);
                data.Add(EmulatedDevices.SmallAmpere, ElementType.Float16, input, 256, double.NegativeInfinity, CausalMask.TopLeft);
                data.Add(EmulatedDevices.Ampere, ElementType.Float32, input, 357, double.NaN, CausalMask.TopLeft);
                data.Add(EmulatedDevices.Ampere, ElementType.Float64, input, 130, double.PositiveInfinity, CausalMask.BottomRight);
            }
            // Keys that no query sees, only the rows that fill up the last tile.
            data.Add(EmulatedDevices.Ampere, ElementType.Float32, "K", 415, double.NaN, CausalMask.TopLeft);
            data.Add(EmulatedDevices.Ampere, ElementType.BFloat16, "V", 415, double.NaN, CausalMask.TopLeft);
            return data;
        }
    }

    [EmulatedTheory]
    [MemberData(nameof(Positions))]
    public void ReachesOnlyWhatSharesATileWithIt(int device, ElementType type, string input, int row, double value, CausalMask mask) => Check(device, type, input, row, value, mask);

    /// <param name="sources">The kernels, where they are not the embedded ones.</param>
    internal static void Check(int device, ElementType type, string input, int row, double value, CausalMask mask, KernelSources? sources = null)
    {
        AttentionProblem problem = MmaForwardTests.Plain with { Heads = 1, QueryLength = Nq, KeyLength = Nk, HeadDim = Width, ValueDim = Width, ElementType = type, Causal = mask };
        using var clean = new GpuCase(device, problem);
        using var dirty = new GpuCase(device, problem);
        Spoil(dirty, input, row, value);
        CudaEngine engine = EmulatedDevices.Engine(device, sources: sources);
        clean.Run(engine, deterministic: true);
        dirty.Run(engine, deterministic: true);
        dirty.AssertMemoryIntact();

        bool ofQuery = input is "Q" or "dO";
        int Sees(int i) => Reference<double>.VisibleKeys(problem, i);
        // Rows that see it, and those that a tile connects with it; then the same of keys.
        bool[] seeing = [.. Enumerable.Range(0, Nq).Select(i => ofQuery ? i == row : row < Sees(i))];
        bool[] rows = [.. Enumerable.Range(0, Nq).Select(i => ofQuery ? i == row : row / Tile * Tile < Sees(Math.Min(i | (Tile - 1), Nq - 1)))];
        int last = Array.LastIndexOf(seeing, true), lastTouched = Array.LastIndexOf(rows, true);
        bool[] keys = [.. Enumerable.Range(0, Nk).Select(j => last >= 0 && j < Sees(last))];
        bool[] touched = [.. Enumerable.Range(0, Nk).Select(j => lastTouched >= 0 && j / Tile * Tile < Sees(Math.Min(lastTouched | (Tile - 1), Nq - 1)))];
        bool[] none = new bool[Nk];
        Dictionary<string, double[]> expected = clean.Results(), actual = dirty.Results();
        bool isNaN = double.IsNaN(value), inScores = input is "Q" or "K";
        Compare("O", seeing, input == "dO" ? none : rows, x => inScores ? isNaN : x == 3);
        Compare("dQ", seeing, rows, _ => isNaN);
        Compare("dK", keys, touched, _ => isNaN);
        Compare("dV", keys, input == "V" ? none : touched, x => input != "V" && (inScores ? isNaN : x == 3));
        if (!ofQuery) // a key that nobody sees stays out of it, too
            foreach (string name in new[] { "dK", "dV" })
                Assert.Equal(expected[name][(Sees(Nq - 1) * Width)..], actual[name][(Sees(Nq - 1) * Width)..]);
        if (input == "V") // what does not reach O of a row does not reach its gradient
            Assert.All(Enumerable.Range(0, Nq * Width), i => Assert.True(!actual["O"].AsSpan(i / Width * Width, Width).SequenceEqual(expected["O"].AsSpan(i / Width * Width, Width))
                || actual["dQ"][i].Equals(expected["dQ"][i]), $"dQ: row {i / Width} is not what it was"));

        // spoilt(x): column x of the rows concerned cannot be finite
        void Compare(string name, bool[] concerned, bool[] perhaps, Func<int, bool> spoilt)
        {
            for (int i = 0; i < expected[name].Length; i++)
            {
                if (!perhaps[i / Width] && !actual[name][i].Equals(expected[name][i]))
                    Assert.Fail($"{name}: element {i % Width} of row {i / Width} became {actual[name][i]}, was {expected[name][i]}");
                if (perhaps[i / Width] && concerned[i / Width] && spoilt(i % Width) && double.IsFinite(actual[name][i]))
                    Assert.Fail($"{name}: element {i % Width} of row {i / Width} is {actual[name][i]} although it depends on {value}");
            }
        }
    }

    /// <summary>Bottom-right with fewer keys than queries, a NaN in a key that the first rows share a tile with: they are 0, and so are their gradients.</summary>
    [EmulatedTheory]
    [InlineData(ElementType.BFloat16, false)]
    [InlineData(ElementType.Float16, true)]
    [InlineData(ElementType.Float32, false)]
    [InlineData(ElementType.Float64, false)]
    public void RowsWithoutKeysAreZero(ElementType type, bool deterministic)
    {
        foreach (string input in new[] { "K", "V" })
            CheckRowsWithoutKeys(type, input, deterministic);
    }

    internal static void CheckRowsWithoutKeys(ElementType type, string input, bool deterministic, KernelSources? sources = null)
    {
        AttentionProblem problem = MmaForwardTests.Plain with { Heads = 1, QueryLength = 128, KeyLength = 50, HeadDim = Width, ValueDim = Width, ElementType = type, Causal = CausalMask.BottomRight };
        using var attention = new GpuCase(EmulatedDevices.Ampere, problem);
        Spoil(attention, input, 3, double.NaN);
        attention.Run(EmulatedDevices.Engine(EmulatedDevices.Ampere, sources: sources), deterministic: deterministic);
        AssertEmpty(attention, 78);
    }

    /// <summary>Rows whose every score overflows to -inf have weights, O and gradients of 0, on the CPU as here.</summary>
    [EmulatedTheory]
    [InlineData(ElementType.BFloat16, false)]
    [InlineData(ElementType.BFloat16, true)]
    [InlineData(ElementType.Float32, false)]
    [InlineData(ElementType.Float64, false)]
    public void RowsOfMinusInfinityAreZero(ElementType type, bool deterministic) => CheckMinusInfinity(type, deterministic);

    internal static void CheckMinusInfinity(ElementType type, bool deterministic = false, KernelSources? sources = null)
    {
        double huge = type == ElementType.Float64 ? 1e200 : 1e30;
        AttentionProblem problem = MmaForwardTests.Plain with { Heads = 1, QueryLength = 40, KeyLength = 150, HeadDim = Width, ValueDim = Width, ElementType = type };
        using var attention = new GpuCase(EmulatedDevices.Ampere, problem);
        using var onCpu = new DeviceCase(new HostMemory(), problem);
        foreach (DeviceCase x in new[] { attention, onCpu })
        {
            x.Query.Fill((_, _, i, _) => i < 20 ? huge : 0);
            x.Key.Fill((_, _, _, _) => -huge);
        }
        attention.Run(EmulatedDevices.Engine(EmulatedDevices.Ampere, sources: sources), Passes.All, deterministic);
        AssertEmpty(attention, 20);
        Assert.All(attention.Weights.ToArray()[..(20 * 150)], w => Assert.Equal(0, w));
        onCpu.Run(CpuEngine.Instance, Passes.All);
        AssertEmpty(onCpu, 20);
        Assert.True(attention.Output.ToArray().All(double.IsFinite));
    }

    /// <summary>A score that overflows to -inf is a key that is not attended to, also where a whole tile of them comes first.</summary>
    [EmulatedTheory]
    [InlineData(ElementType.Float32)]
    [InlineData(ElementType.Float64)]
    public void ScoresThatOverflow(ElementType type) => CheckOverflow(type);

    internal static void CheckOverflow(ElementType type, KernelSources? sources = null)
    {
        const int Hidden = 130, Keys = 170;
        double huge = type == ElementType.Float32 ? 1e30 : 1e200;
        AttentionProblem problem = ExactTests.Plain with { QueryLength = 20, KeyLength = Keys, HeadDim = Width, ValueDim = Width, ElementType = type };
        using var attention = new GpuCase(EmulatedDevices.Ampere, problem);
        attention.Query.Fill((_, _, _, _) => huge);
        attention.Key.Fill((_, _, j, _) => j < Hidden ? -huge : 0);
        attention.Value.Fill((_, _, j, x) => j + x);
        attention.Run(EmulatedDevices.Engine(EmulatedDevices.Ampere, sources: sources), Passes.All);
        double[] output = attention.Output.ToArray(), weights = attention.Weights.ToArray();
        for (int i = 0; i < output.Length; i++)
            Assert.Equal((Hidden + Keys - 1) / 2.0 + i % Width, output[i], 1e-3); // the mean of V over the other keys
        for (int i = 0; i < weights.Length; i++)
            Assert.Equal(i % Keys < Hidden ? 0 : 1.0 / (Keys - Hidden), weights[i], 1e-6);
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
        Assert.All(attention.Output.ToArray()[..(rows * Width)].Concat(attention.QueryGradient.ToArray()[..(rows * Width)]), x => Assert.Equal(0, x));
    }
}
