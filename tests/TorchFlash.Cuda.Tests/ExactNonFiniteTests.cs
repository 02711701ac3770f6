using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Cuda.Tests;

/// <summary>
/// A NaN or an infinity in one element of an input of the float32 and float64 kernels: it reaches the rows that are connected with it
/// through the mask, and every other row is, bit for bit, what it is without.
/// </summary>
public class ExactNonFiniteTests
{
    private const int Nq = 150, Nk = 170, Heads = 2;

    /// <summary>Input, its row, value, mask.</summary>
    public static TheoryData<ElementType, string, int, double, CausalMask> Positions
    {
        get
        {
            var data = new TheoryData<ElementType, string, int, double, CausalMask>();
            foreach (string input in new[] { "Q", "K", "V", "dO" })
            {
                data.Add(ElementType.Float32, input, 101, double.NaN, CausalMask.TopLeft);
                data.Add(ElementType.Float32, input, 64, double.PositiveInfinity, CausalMask.BottomRight);
                data.Add(ElementType.Float32, input, 5, double.NaN, CausalMask.BottomRight);
                data.Add(ElementType.Float64, input, 63, double.NaN, CausalMask.TopLeft);
                data.Add(ElementType.Float64, input, 149, double.NegativeInfinity, CausalMask.TopLeft);
            }
            // Keys that no query sees, only the rows that fill up the last tile.
            data.Add(ElementType.Float32, "K", 155, double.NaN, CausalMask.TopLeft);
            data.Add(ElementType.Float32, "V", 155, double.NaN, CausalMask.TopLeft);
            return data;
        }
    }

    [EmulatedTheory]
    [MemberData(nameof(Positions))]
    public void ReachesOnlyWhatSeesIt(ElementType type, string input, int row, double value, CausalMask mask) => Check(type, input, row, value, mask);

    /// <summary>A score that overflows to -inf is a key that is not attended to, also where a whole tile of them comes first.</summary>
    [EmulatedTheory]
    [InlineData(ElementType.Float32)]
    [InlineData(ElementType.Float64)]
    public void ScoresThatOverflow(ElementType type) => CheckOverflow(type);

    internal static void CheckOverflow(ElementType type, KernelSources? sources = null)
    {
        const int Hidden = 130;
        double huge = type == ElementType.Float32 ? 1e30 : 1e200;
        AttentionProblem problem = ExactTests.Plain with { QueryLength = 20, KeyLength = Nk, HeadDim = 8, ValueDim = 8, ElementType = type };
        using var attention = new GpuCase(EmulatedDevices.Ampere, problem);
        attention.Query.Fill((_, _, _, _) => huge);
        attention.Key.Fill((_, _, j, _) => j < Hidden ? -huge : 0);
        attention.Value.Fill((_, _, j, x) => j + x);
        attention.Run(EmulatedDevices.Engine(EmulatedDevices.Ampere, sources: sources), Passes.All);
        double[] output = attention.Output.ToArray(), weights = attention.Weights.ToArray();
        for (int i = 0; i < output.Length; i++)
            Assert.Equal((Hidden + Nk - 1) / 2.0 + i % 8, output[i], 1e-3); // the mean of V over the other keys
        for (int i = 0; i < weights.Length; i++)
            Assert.Equal(i % Nk < Hidden ? 0 : 1.0 / (Nk - Hidden), weights[i], 1e-6);
    }

    internal static void Check(ElementType type, string input, int row, double value, CausalMask mask, KernelSources? sources = null)
    {
        AttentionProblem problem = ExactTests.Plain with { Heads = Heads, QueryLength = Nq, KeyLength = Nk, HeadDim = 8, ValueDim = 8, ElementType = type, Causal = mask };
        using var clean = new GpuCase(EmulatedDevices.Ampere, problem);
        using var dirty = new GpuCase(EmulatedDevices.Ampere, problem);
        Operand spoiled = input switch { "Q" => dirty.Query, "K" => dirty.Key, "V" => dirty.Value, _ => dirty.OutputGradient };
        double[] values = spoiled.ToArray();
        values[row * 8 + 3] = value;
        spoiled.Fill(values);
        clean.Run(EmulatedDevices.Engine(EmulatedDevices.Ampere, sources: sources), Passes.All);
        dirty.Run(EmulatedDevices.Engine(EmulatedDevices.Ampere, sources: sources), Passes.All);
        dirty.AssertMemoryIntact();

        bool ofQuery = input is "Q" or "dO";
        bool[] rows = [.. Enumerable.Range(0, Nq).Select(i => ofQuery ? i == row : row < Reference<double>.VisibleKeys(problem, i))];
        int seen = Enumerable.Range(0, Nq).Where(i => rows[i]).Select(i => Reference<double>.VisibleKeys(problem, i)).DefaultIfEmpty().Max(); // 0: nobody
        bool[] keys = [.. Enumerable.Range(0, Nk).Select(j => j < seen)], none = new bool[Nk];
        Dictionary<string, double[]> expected = clean.Results(), actual = dirty.Results();
        bool isNaN = double.IsNaN(value);
        Compare("O", 8, input == "dO" ? none : rows, isNaN && input is "Q" or "K");
        Compare("dQ", 8, rows, isNaN);
        Compare("dK", 8, keys, isNaN);
        Compare("dV", 8, input == "V" ? none : keys, isNaN && input is "Q" or "K");
        Compare("weights", Nk, input is "Q" or "K" ? rows : none, false);

        void Compare(string name, int width, bool[] touched, bool mustBeNaN)
        {
            mustBeNaN &= isNaN;
            int length = name is "dK" or "dV" ? Nk : Nq;
            for (int i = 0; i < expected[name].Length; i++)
            {
                bool isTouched = i / width / length == 0 && touched[i / width % length];
                if (!isTouched && !actual[name][i].Equals(expected[name][i]))
                    Assert.Fail($"{name}: element {i % width} of row {i / width} became {actual[name][i]}, was {expected[name][i]}");
                if (isTouched && mustBeNaN && !double.IsNaN(actual[name][i]))
                    Assert.Fail($"{name}: element {i % width} of row {i / width} is {actual[name][i]} instead of NaN");
            }
        }
    }
}
