using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Cuda.Tests;

/// <summary>
/// A NaN or an infinity in one element of an input of the kernels with mma.sync: it reaches the rows that are connected with it through the mask,
/// and every other row is, bit for bit, what it is without. (dQ in a fixed order, so that bits can be compared.)
/// </summary>
public class MmaNonFiniteTests
{
    private const int Nq = 150, Nk = 170, Width = 8;

    /// <summary>Device, type, input, its row, value, mask.</summary>
    public static TheoryData<int, ElementType, string, int, double, CausalMask> Positions
    {
        get
        {
            var data = new TheoryData<int, ElementType, string, int, double, CausalMask>();
            foreach (string input in new[] { "Q", "K", "V", "dO" })
            {
                data.Add(EmulatedDevices.Ampere, ElementType.BFloat16, input, 101, double.NaN, CausalMask.TopLeft);
                data.Add(EmulatedDevices.Ampere, ElementType.BFloat16, input, 64, double.PositiveInfinity, CausalMask.BottomRight);
                data.Add(EmulatedDevices.SmallAmpere, ElementType.Float16, input, 5, double.NaN, CausalMask.BottomRight);
                data.Add(EmulatedDevices.SmallAmpere, ElementType.Float16, input, 149, double.NegativeInfinity, CausalMask.TopLeft);
                data.Add(EmulatedDevices.Ampere, ElementType.Float16, input, 63, double.NaN, CausalMask.None);
            }
            return data;
        }
    }

    [EmulatedTheory]
    [MemberData(nameof(Positions))]
    public void ReachesOnlyWhatSeesIt(int device, ElementType type, string input, int row, double value, CausalMask mask) => Check(device, type, input, row, value, mask);

    /// <param name="sources">The kernels, where they are not the embedded ones.</param>
    internal static void Check(int device, ElementType type, string input, int row, double value, CausalMask mask, KernelSources? sources = null)
    {
        AttentionProblem problem = MmaForwardTests.Plain with { QueryLength = Nq, KeyLength = Nk, HeadDim = Width, ValueDim = Width, ElementType = type, Causal = mask };
        using var clean = new GpuCase(device, problem);
        using var dirty = new GpuCase(device, problem);
        Operand spoiled = input switch { "Q" => dirty.Query, "K" => dirty.Key, "V" => dirty.Value, _ => dirty.OutputGradient };
        double[] values = spoiled.ToArray();
        values[row * Width + 3] = value;
        spoiled.Fill(values);
        CudaEngine engine = EmulatedDevices.Engine(device, sources: sources);
        clean.Run(engine, deterministic: true);
        dirty.Run(engine, deterministic: true);
        dirty.AssertMemoryIntact();

        bool ofQuery = input is "Q" or "dO";
        bool[] rows = [.. Enumerable.Range(0, Nq).Select(i => ofQuery ? i == row : row < Reference<double>.VisibleKeys(problem, i))];
        int seen = Enumerable.Range(0, Nq).Where(i => rows[i]).Select(i => Reference<double>.VisibleKeys(problem, i)).DefaultIfEmpty().Max();
        bool[] keys = [.. Enumerable.Range(0, Nk).Select(j => j < seen)], none = new bool[Nk];
        Dictionary<string, double[]> expected = clean.Results(), actual = dirty.Results();
        bool isNaN = double.IsNaN(value), inScores = input is "Q" or "K";
        Compare("O", input == "dO" ? none : rows, x => inScores ? isNaN : x == 3);
        Compare("dQ", rows, _ => isNaN);
        Compare("dK", keys, _ => isNaN);
        Compare("dV", input == "V" ? none : keys, x => inScores ? isNaN : x == 3);

        // spoilt(x): column x of the rows concerned cannot be finite
        void Compare(string name, bool[] touched, Func<int, bool> spoilt)
        {
            int length = name is "dK" or "dV" ? Nk : Nq;
            for (int i = 0; i < expected[name].Length; i++)
            {
                bool isTouched = i / Width / length == 0 && touched[i / Width % length];
                if (!isTouched && !actual[name][i].Equals(expected[name][i]))
                    Assert.Fail($"{name}: element {i % Width} of row {i / Width} became {actual[name][i]}, was {expected[name][i]}");
                if (isTouched && spoilt(i % Width) && double.IsFinite(actual[name][i]))
                    Assert.Fail($"{name}: element {i % Width} of row {i / Width} is {actual[name][i]} although it depends on {value}");
            }
        }
    }

    /// <summary>Without a fixed order, too: a NaN of a key that the first rows do not see leaves these alone.</summary>
    [EmulatedTheory]
    [InlineData("K")]
    [InlineData("V")]
    [InlineData("Q")]
    [InlineData("dO")]
    public void ReachesOnlyWhatSeesItInSums(string input) => CheckSums(input);

    /// <param name="input">Q, K, V or dO.</param>
    /// <param name="sources">The kernels, where they are not the embedded ones.</param>
    internal static void CheckSums(string input, KernelSources? sources = null)
    {
        AttentionProblem problem = MmaForwardTests.Plain with { QueryLength = 70, KeyLength = 70, HeadDim = 32, ValueDim = 32, Causal = CausalMask.TopLeft };
        using var dirty = new GpuCase(EmulatedDevices.Ampere, problem);
        Operand spoiled = input switch { "Q" => dirty.Query, "K" => dirty.Key, "V" => dirty.Value, _ => dirty.OutputGradient };
        double[] values = spoiled.ToArray();
        values[40 * 32 + 3] = double.NaN;
        spoiled.Fill(values);
        double[] gradient = dirty.Run(EmulatedDevices.Engine(EmulatedDevices.Ampere, sources: sources)).QueryGradient.ToArray();
        for (int i = 0; i < 70; i++)
        {
            bool touched = input is "Q" or "dO" ? i == 40 : i >= 40;
            for (int x = 0; x < 32; x++)
                Assert.True(touched == double.IsNaN(gradient[i * 32 + x]), $"dQ: element {x} of row {i} is {gradient[i * 32 + x]}.");
        }
    }
}
