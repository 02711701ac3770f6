using TorchFlash.Kernels.Cpu.Scores;
using TorchFlash.Kernels.Scores;

namespace TorchFlash.Kernels.Tests.Scores;

/// <summary>What code is made for, what is kept, and what a program says of itself.</summary>
public unsafe class TileProgramCodeTests
{
    private static TileProgram Of(ScoreProgram program, ScorePass pass, bool wants = true, int bits = 128, bool isDouble = false)
        => TileProgram.Of(program.Output, program.Visible, pass, program.Tensors, program.Tensors.Select(x => wants && x.Kind == ScoreKind.Real).ToArray(), bits, isDouble);

    /// <summary>ALiBi, a softcap and a window, with numbers that a lambda captured.</summary>
    private static ScoreProgram Composed(int window, double cap, int heads) => ScoreProgram.Build(
        g =>
        {
            Node distance = g.Apply(Op.Subtract, g.Leaf(Op.Key), g.Leaf(Op.Query)), c = g.Parameter(ScoreKind.Real, cap, "cap");
            Node s = g.Apply(Op.Add, g.Leaf(Op.Score), g.Apply(Op.Multiply, g.Load(new RealTensor(null, heads), g.Leaf(Op.Head)), g.Apply(Op.ToReal, distance)));
            return g.Apply(Op.Multiply, c, g.Apply(Op.Tanh, g.Apply(Op.Divide, s, c)));
        },
        g => g.Apply(Op.And, g.Apply(Op.LessOrEqual, g.Leaf(Op.Key), g.Leaf(Op.Query)),
            g.Apply(Op.Less, g.Apply(Op.Subtract, g.Leaf(Op.Query), g.Leaf(Op.Key)), g.Parameter(ScoreKind.Int, window, "window"))));

    [Theory]
    [InlineData(ScorePass.Modify)]
    [InlineData(ScorePass.ModifyWithDerivative)]
    [InlineData(ScorePass.Gradient)]
    public void OtherNumbersAndTensorsNeedNoOtherCode(object pass)
    {
        TileProgram program = Of(Composed(5, 2, 3), (ScorePass)pass);
        Assert.Same(program.Code, Of(Composed(9, 50, 7), (ScorePass)pass).Code);
        Assert.NotSame(program.Code, Of(Composed(5, 2, 3), (ScorePass)pass, isDouble: true).Code);
        Assert.NotSame(program.Code, Of(Composed(5, 2, 3), ScorePass.ModifyAgain).Code);
        Assert.Equal((ScorePass)pass == ScorePass.Gradient, program.Code != Of(Composed(5, 2, 3), (ScorePass)pass, wants: false).Code);
    }

    [Fact]
    public void EqualNumbersOfTwoNamesStayTwo()
    {
        float[] scores = Scores(Of(Sum(3, 3), ScorePass.Modify)), others = Scores(Of(Sum(3, 5), ScorePass.Modify));
        Assert.Same(Of(Sum(3, 3), ScorePass.Modify).Code, Of(Sum(3, 5), ScorePass.Modify).Code);
        Assert.Equal(3 + 2 * 3, scores[0]);
        Assert.Equal(3 + 2 * 5, others[0]);

        static ScoreProgram Sum(double x, double y) => ScoreProgram.Build(
            g => g.Apply(Op.Add, g.Parameter(ScoreKind.Real, x, "x"), g.Apply(Op.Multiply, g.Parameter(ScoreKind.Real, y, "y"), g.Real(2))), _ => null);
    }

    [Fact]
    public void ProgramsWithoutEndDoNotFillTheMemory()
    {
        TileProgram first = Of(Constant(0), ScorePass.Modify);
        for (int k = 1; k <= TileProgram.MaxCached + 20; k++)
            Of(Constant(k), ScorePass.Modify);
        Assert.InRange(TileProgram.Cached, 1, TileProgram.MaxCached);
        Assert.NotSame(first.Code, Of(Constant(0), ScorePass.Modify).Code);
        Assert.Equal(1000, Scores(first)[0]);

        static ScoreProgram Constant(int k) => ScoreProgram.Build(g => g.Real(1000 + k / 1024.0), _ => null);
    }

    /// <summary>A program that only hides leaves raw products as they are, whatever the scale.</summary>
    [Fact]
    public void WhatOnlyHidesDoesNotScale()
    {
        float[] scores = Scores(Of(ScoreProgram.Build(_ => null, g => g.Apply(Op.Less, g.Leaf(Op.Query), g.Int(3))), ScorePass.Modify));
        Assert.Equal([0.1f, 1.1f, 2.1f, float.NegativeInfinity], scores);
    }

    [Fact]
    public void AProgramSaysWhatItTouches()
    {
        var bias = new RealTensor(null, 1, 8, 8);
        ScoreProgram additive = ScoreProgram.Build(g => g.Apply(Op.Add, g.Leaf(Op.Score), g.Load(bias, g.Int(0), g.Leaf(Op.Query), g.Leaf(Op.Key))), _ => null);
        TileProgram gradient = Of(additive, ScorePass.Gradient);
        Assert.Equal((true, false, false, 0), (gradient.HasWork, gradient.ReadsRaw, gradient.WritesGradients, gradient.StagedTiles));
        Assert.False(Of(additive, ScorePass.Gradient, wants: false).HasWork);
        Assert.Equal(1, Of(additive, ScorePass.Modify).StagedTiles);
        Assert.Equal(0, Of(additive, ScorePass.ModifyAgain).StagedTiles);

        TileProgram hidden = Of(new ScoreProgram(additive.Output, new Graph().Apply(Op.Less, new Graph().Leaf(Op.Query), new Graph().Leaf(Op.Key))), ScorePass.Gradient, wants: false);
        Assert.Equal((true, false, true), (hidden.HasWork, hidden.ReadsRaw, hidden.WritesGradients));

        TileProgram capped = Of(Composed(5, 2, 3), ScorePass.Gradient);
        Assert.Equal((true, true, true), (capped.HasWork, capped.ReadsRaw, capped.WritesGradients));
    }

    /// <summary>Registers reach beyond a row: what is not there must not be divided by.</summary>
    [Theory]
    [InlineData(128)]
    [InlineData(256)]
    public void LanesThatDoNotExistDivideNothing(int bits)
    {
        var divisors = new IntTensor(null, 3);
        ScoreProgram program = ScoreProgram.Build(g => g.Apply(Op.ToReal, g.Apply(Op.Divide, g.Int(-12), g.Load(divisors, g.Leaf(Op.Query)))), _ => null);
        int* values = stackalloc int[] { 2, 3, 5 };
        float* scores = stackalloc float[8];
        var tensor = new CapturedTensor { Data = values, Stride0 = 1 };
        var arguments = new TileArguments { Raw = scores, Scores = scores, RawStride = 8, ScoresStride = 8, Rows = 1, Lanes = 3, Scale = 1, Tensors = &tensor };
        Of(program, ScorePass.Modify, bits: bits).Run(ref arguments);
        Assert.Equal([-6, -4, -2], new Span<float>(scores, 3).ToArray());
    }

    [Fact]
    public void ManyThreadsShareAProgram()
    {
        ScoreProgram composed = Composed(3, 2, 1);
        foreach (bool interpret in (bool[])[false, true])
        {
            var program = TileProgram.Of(composed.Output, composed.Visible, ScorePass.Modify, composed.Tensors, [], 0, false, interpret);
            float[] expected = Scores(program);
            Parallel.For(0, 64, _ => Assert.Equal(expected, Scores(program)));
        }
    }

    /// <summary>Of four queries and one key, raw products 0.1, 1.1, ...; the scale is 0.5, every tensor 1.</summary>
    private static float[] Scores(TileProgram program)
    {
        float* scores = stackalloc float[] { 0.1f, 1.1f, 2.1f, 3.1f };
        float one = 1;
        var tensor = new CapturedTensor { Data = &one };
        var arguments = new TileArguments { Raw = scores, Scores = scores, RawStride = 4, ScoresStride = 4, Rows = 1, Lanes = 4, Scale = 0.5, Tensors = &tensor };
        program.Run(ref arguments);
        return new Span<float>(scores, 4).ToArray();
    }
}
