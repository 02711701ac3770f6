using System.Numerics;
using System.Runtime.InteropServices;
using TorchFlash.Kernels.Cpu.Scores;
using TorchFlash.Kernels.Scores;

namespace TorchFlash.Kernels.Tests.Scores;

/// <summary>The functions of programs over their whole range, in units of the last place; and at the ends.</summary>
public unsafe class TileProgramFunctionTests
{
    public static TheoryData<string, double, double> Ranges => new()
    {
        { "Tanh", -25, 25 }, { "Tanh", -1, 1 }, { "Tanh", -1e-2, 1e-2 }, { "Tanh", -1e-8, 1e-8 }, { "Exp", -85, 88 }, { "Exp", -1e-3, 1e-3 }, { "Sigmoid", -80, 80 }, { "Sigmoid", -2, 2 },
        { "Log", 1e-30, 100 }, { "Log", 0.9, 1.1 }, { "Sqrt", 0, 1e6 },
    };

    [Theory]
    [MemberData(nameof(Ranges))]
    public void AreAccurate(string function, double from, double to)
    {
        foreach (int bits in TileProgramTests.Widths)
        {
            foreach (bool interpret in (bool[])[false, true])
            {
                Assert.InRange(Worst<float>(function, from, to, bits, interpret), 0, 4);
                Assert.InRange(Worst<double>(function, from, to, bits, interpret), 0, 6);
            }
        }
    }

    [Theory]
    [InlineData("Tanh")]
    [InlineData("Exp")]
    [InlineData("Sigmoid")]
    [InlineData("Log")]
    [InlineData("Sqrt")]
    public void AreRightAtTheEnds(string function)
    {
        double[] ends = [double.NaN, double.PositiveInfinity, double.NegativeInfinity, 0, -0.0, 1e4, -1e4, 1e-30, -1e-30, 300, -300, 20, -20];
        foreach (int bits in TileProgramTests.Widths)
        {
            Assert.Equal(Array.ConvertAll(ends, x => (float)Exact(function, (float)x)), Run(function, Array.ConvertAll(ends, x => (float)x), bits, false), new Near<float>());
            Assert.Equal(Array.ConvertAll(ends, x => Exact(function, x)), Run(function, ends, bits, false), new Near<double>());
        }
    }

    /// <summary>A softcap must not leave its bounds, and reach them.</summary>
    [Fact]
    public void TanhEndsAtOne()
    {
        foreach (int bits in TileProgramTests.Widths)
        {
            Assert.Equal([1, 1, 1, -1, -1], Run<float>("Tanh", [9.1f, 30, float.PositiveInfinity, -30, float.NegativeInfinity], bits, false));
            Assert.Equal([1, 1, 1, -1, -1], Run<double>("Tanh", [19.1, 60, double.PositiveInfinity, -60, double.NegativeInfinity], bits, false));
        }
    }

    /// <summary>To four units of the last place, infinities and what is beyond the range exactly.</summary>
    private sealed class Near<T> : IEqualityComparer<T> where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        public bool Equals(T x, T y) => x.Equals(y) || x == y || T.Abs(x - y) <= T.CreateChecked(4) * (T.BitIncrement(T.Abs(x)) - T.Abs(x));

        public int GetHashCode(T x) => 0;
    }

    private static double Exact(string function, double x) => Meaning.Of(Enum.Parse<Op>(function), ScoreKind.Real, x, 0, 0);

    private static double Worst<T>(string function, double from, double to, int bits, bool interpret) where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        var random = new Random(3);
        var x = new T[20011];
        for (int k = 0; k < x.Length; k++)
            x[k] = T.CreateChecked(from + (to - from) * random.NextDouble());
        T[] y = Run(function, x, bits, interpret);
        double worst = 0;
        for (int k = 0; k < x.Length; k++)
        {
            double exact = Exact(function, double.CreateChecked(x[k]));
            T rounded = T.CreateChecked(exact);
            worst = Math.Max(worst, Math.Abs(double.CreateChecked(y[k]) - exact) / double.CreateChecked(T.BitIncrement(T.Abs(rounded)) - T.Abs(rounded)));
        }
        return worst;
    }

    private static T[] Run<T>(string function, T[] x, int bits, bool interpret) where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        ScoreProgram program = ScoreProgram.Build(g => g.Apply(Enum.Parse<Op>(function), g.Leaf(Op.Score)), _ => null);
        T* tile = (T*)NativeMemory.AlignedAlloc((nuint)((x.Length + 16) * sizeof(T)), 64);
        x.CopyTo(new Span<T>(tile, x.Length));
        var arguments = new TileArguments { Raw = tile, Scores = tile, RawStride = x.Length, ScoresStride = x.Length, Rows = 1, Lanes = x.Length, Scale = 1 };
        TileProgram.Of(program.Output, program.Visible, ScorePass.Modify, [], [], bits, sizeof(T) == 8, interpret).Run(ref arguments);
        T[] y = new Span<T>(tile, x.Length).ToArray();
        NativeMemory.AlignedFree(tile);
        return y;
    }
}
