using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Cuda.Tests;

/// <summary>
/// A NaN or an infinity in one element of an input of the Hopper backward kernel: it reaches the rows of dK, dV and dQ that are connected with it
/// through the mask, and no others.
/// </summary>
public class HopperBackwardNonFiniteTests
{
    private const int Nq = 150, Nk = 170;

    /// <summary>d, input, its row, value, mask.</summary>
    public static TheoryData<int, string, int, double, CausalMask> Positions
    {
        get
        {
            var data = new TheoryData<int, string, int, double, CausalMask>();
            foreach (string input in new[] { "Q", "K", "V", "dO" })
            {
                data.Add(64, input, 101, double.NaN, CausalMask.TopLeft);
                data.Add(128, input, 64, double.PositiveInfinity, CausalMask.BottomRight);
                data.Add(40, input, 5, double.NaN, CausalMask.BottomRight);
                data.Add(160, input, 149, double.NegativeInfinity, CausalMask.TopLeft);
                data.Add(64, input, 63, double.NaN, CausalMask.None);
            }
            return data;
        }
    }

    [EmulatedTheory]
    [MemberData(nameof(Positions))]
    public void ReachesOnlyWhatSeesIt(int d, string input, int row, double value, CausalMask mask) => Check(d, input, row, value, mask);

    internal static void Check(int d, string input, int row, double value, CausalMask mask, KernelSources? sources = null)
    {
        AttentionProblem problem = HopperBackwardTests.Plain with { QueryLength = Nq, KeyLength = Nk, HeadDim = d, ValueDim = d, Causal = mask };
        using var clean = new GpuCase(EmulatedDevices.Hopper, problem);
        using var dirty = new GpuCase(EmulatedDevices.Hopper, problem);
        Operand spoiled = input switch { "Q" => dirty.Query, "K" => dirty.Key, "V" => dirty.Value, _ => dirty.OutputGradient };
        double[] values = spoiled.ToArray();
        values[row * d + 3] = value;
        spoiled.Fill(values);
        clean.Run(EmulatedDevices.Engine(EmulatedDevices.Hopper, sources: sources));
        dirty.Run(EmulatedDevices.Engine(EmulatedDevices.Hopper, sources: sources));

        bool ofQuery = input is "Q" or "dO", isNaN = double.IsNaN(value), inScores = input is "Q" or "K";
        bool[] rows = [.. Enumerable.Range(0, Nq).Select(i => ofQuery ? i == row : row < Reference<double>.VisibleKeys(problem, i))];
        int seen = Enumerable.Range(0, Nq).Where(i => rows[i]).Select(i => Reference<double>.VisibleKeys(problem, i)).DefaultIfEmpty().Max();
        bool[] keys = [.. Enumerable.Range(0, Nk).Select(j => j < seen)];
        Dictionary<string, double[]> expected = clean.Results(), actual = dirty.Results();
        Compare("dQ", rows, _ => isNaN);
        Compare("dK", keys, _ => isNaN);
        Compare("dV", input == "V" ? new bool[Nk] : keys, x => inScores ? isNaN : x == 3);

        // spoilt(x): column x of the rows concerned cannot be finite. dQ is a sum in any order: its other rows may differ by roundings.
        void Compare(string name, bool[] touched, Func<int, bool> spoilt)
        {
            for (int i = 0; i < expected[name].Length; i++)
            {
                (int r, int x) = (i / d, i % d);
                double tolerance = name == "dQ" ? 0.01 * (1 + Math.Abs(expected[name][i])) : 0;
                if (!touched[r] && !(Math.Abs(actual[name][i] - expected[name][i]) <= tolerance))
                    Assert.Fail($"{name}: element {x} of row {r} became {actual[name][i]}, was {expected[name][i]}");
                if (touched[r] && spoilt(x) && double.IsFinite(actual[name][i]))
                    Assert.Fail($"{name}: element {x} of row {r} is {actual[name][i]} although it depends on {value}");
            }
        }
    }
}
