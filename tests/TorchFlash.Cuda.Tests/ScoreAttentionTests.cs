using TorchFlash.Kernels.Cuda;
using TorchFlash.Kernels.Files;
using TorchFlash.Kernels.Scores;

namespace TorchFlash.Cuda.Tests;

/// <summary>Attention with score programs through the exact kernels on the emulated GPU, every pass against plain loops in double.</summary>
public class ScoreAttentionTests
{
    private static readonly ScoreCases Cases = new();

    private static readonly AttentionProblem Plain = new()
    {
        Batch = 2,
        Heads = 4,
        KeyHeads = 2,
        QueryLength = 69,
        KeyLength = 141,
        HeadDim = 16,
        ValueDim = 24,
        Scale = 0.25,
        ElementType = ElementType.Float32,
    };

    public static TheoryData<string, ElementType, CausalMask, double> Programs => new()
    {
        { "alibi", ElementType.Float32, CausalMask.None, 0.25 },
        { "softcap", ElementType.Float32, CausalMask.TopLeft, -0.25 },
        { "window", ElementType.Float32, CausalMask.None, -0.25 },
        { "documents", ElementType.Float64, CausalMask.BottomRight, 0.25 },
        { "boolMask", ElementType.Float32, CausalMask.TopLeft, 0 },
        { "blocks", ElementType.Float32, CausalMask.None, 0.25 },
        { "keyMask", ElementType.Float32, CausalMask.None, 0.25 },
        { "heads", ElementType.Float32, CausalMask.None, 0.25 },
        { "all", ElementType.Float64, CausalMask.BottomRight, 0.25 },
        { "minusInfinity", ElementType.Float64, CausalMask.None, 0.25 },
    };

    [EmulatedTheory]
    [MemberData(nameof(Programs))]
    public void AllPasses(string name, ElementType type, CausalMask causal, double scale) =>
        Check(Plain with { Score = Cases.ReadyMade[name], ElementType = type, Causal = causal, Scale = scale });

    /// <summary>Tiles in which no pair exists are not computed: a NaN in one is a NaN in nothing.</summary>
    [EmulatedFact]
    public void WhatNoTileSeesReachesNothing()
    {
        const int Far = 300;
        AttentionProblem problem = Plain with { Batch = 1, Heads = 1, KeyHeads = 1, QueryLength = 420, KeyLength = 420, Score = Cases.ReadyMade["window"], Scale = -0.25 };
        CudaEngine engine = EmulatedDevices.Engine(EmulatedDevices.Ampere);
        using EmulatedGpu.Current current = EmulatedGpu.Use(EmulatedDevices.Ampere);
        using var memory = new ScoreMemory(problem.Score!, Cases, isDouble: false);
        using var attention = new GpuCase(EmulatedDevices.Ampere, problem);
        attention.Key.Set(0, 0, 5, 0, double.NaN);
        attention.Value.Set(0, 0, 5, 0, double.NaN);
        attention.Query.Set(0, 0, 5, 0, double.NaN);
        attention.OutputGradient.Set(0, 0, 5, 0, double.NaN);
        Run(engine, attention, memory.Views, weights: false);
        foreach ((string name, double[] values, int width) in new[]
        {
            ("O", attention.Output.ToArray(), problem.ValueDim), ("dQ", attention.QueryGradient.ToArray(), problem.HeadDim),
            ("dK", attention.KeyGradient.ToArray(), problem.HeadDim), ("dV", attention.ValueGradient.ToArray(), problem.ValueDim),
        })
        {
            Assert.True(values.AsSpan(5 * width, width).ContainsAnyExcept(values.Where(double.IsFinite).ToArray()), $"{name}: the NaN is nowhere");
            Assert.All(values[(Far * width)..], x => Assert.True(double.IsFinite(x), name));
        }
    }

    /// <summary>Mistakes in what the kernels do with a program, and the program that must show them.</summary>
    public static TheoryData<string, string, string, string> Bugs => new()
    {
        { "window", "scores.cuh", "visible.always ? Cover::All : visible.possible ? Cover::Some", "visible.possible ? Cover::All" },
        { "window", "scores.cuh", "return score::visible<score::OnePair>(*captures, batch, head, query(i), key(j));", "return true;" },
        { "window", "forward_exact.cu", "(visible(i, j) && scores.exists(i, j))", "visible(i, j)" },
        { "boolMask", "forward_exact.cu", "score::HIDES ? hidden : ", "" },
        { "keyMask", "scores.cuh", "DEVICE int key(int j) const { return smaller(j, keys - 1); }", "DEVICE int key(int j) const { return j; }" },
        { "documents", "backward_exact.cu", "key(r) <= query + visible.diagonal) && scores.exists(query, key(r))", "key(r) <= query + visible.diagonal)" },
        { "documents", "backward_query_exact.cu", "key_of(tile, c)) && scores.exists(query(r), key_of(tile, c))", "key_of(tile, c))" },
        { "heads", "backward_exact.cu", "      next.skip();", "" },
        { "heads", "weights.cu", "if (!source.is_empty(head)) weights.add", "weights.add" },
        { "all", "scores.cuh", "const Real s = product * scale;", "const Real s = product;" },
        { "all", "exact_scores.cuh", "{ if (ds != 0) ds *= x[r][c]; }", "{}" },
        { "all", "exact_scores.cuh", "return Real(1.4426950408889634073599);", "return exponent_factor(p);" },
        { "minusInfinity", "exact_scores.cuh", "  return m = 0;", "  return 0;" },
        { "minusInfinity", "forward_exact.cu", "if (empty) clear_row(o, inverse[r], r);", "" },
        { "all", "weights.cu", "if (scores.exists(query(r), key)) w", "w" },
    };

    [EmulatedTheory]
    [MemberData(nameof(Bugs))]
    public void BugIsCaught(string program, string file, string text, string replacement)
    {
        object[] data = Programs.Single(p => (string)p[0] == program);
        PlantedBug.AssertCaught(file, text, replacement, sources => Check(
            Plain with { Score = Cases.ReadyMade[program], ElementType = (ElementType)data[1], Causal = (CausalMask)data[2], Scale = (double)data[3] }, sources));
    }

    [EmulatedFact]
    public void EqualBitsWithAndWithoutAProgramThatChangesNothing()
    {
        // True for every pair, but not known to be so before the tile is looked at.
        ScoreProgram all = ScoreProgram.Build(_ => null, g => g.Apply(Op.LessOrEqual, g.Parameter(ScoreKind.Int, -1, "zero"), g.Leaf(Op.Key)));
        AttentionProblem problem = Plain with { Causal = CausalMask.TopLeft };
        CudaEngine engine = EmulatedDevices.Engine(EmulatedDevices.Ampere);
        using var plain = new GpuCase(EmulatedDevices.Ampere, problem);
        using var scored = new GpuCase(EmulatedDevices.Ampere, problem with { Score = all });
        plain.Run(engine, Passes.All);
        scored.Run(engine, Passes.All);
        Dictionary<string, double[]> expected = plain.Results();
        foreach ((string name, double[] values) in scored.Results())
            Assert.Equal(expected[name], values);
    }

    [EmulatedFact]
    public void Refusals()
    {
        CudaEngine engine = EmulatedDevices.Engine(EmulatedDevices.Ampere);
        AttentionProblem problem = Plain with { Score = Cases.ReadyMade["alibi"] };
        Assert.Null(engine.Refusal(problem));
        Assert.Null(engine.Refusal(problem with { ElementType = ElementType.BFloat16 }));
        Assert.Contains("sinks", engine.Refusal(problem with { HasSinks = true, Scale = 0 }), StringComparison.Ordinal);
        ScoreProgram large = ScoreProgram.Build(g => Enumerable.Range(0, 100).Aggregate(g.Leaf(Op.Score),
            (sum, _) => g.Apply(Op.Add, sum, g.Load(new RealTensor(null, 4), g.Leaf(Op.Head)))), _ => null);
        Assert.Contains("captures 4000 bytes", engine.Refusal(Plain with { Score = large }), StringComparison.Ordinal);

        using EmulatedGpu.Current current = EmulatedGpu.Use(EmulatedDevices.Ampere);
        using var memory = new ScoreMemory(problem.Score, Cases, isDouble: false);
        using var attention = new GpuCase(EmulatedDevices.Ampere, problem);
        ForwardArguments forward = attention.ForwardArguments with { ScoreTensors = null };
        Assert.Equal("ScoreTensors", Assert.Throws<ArgumentException>(() => engine.Forward(problem, forward)).ParamName);
        Assert.Equal("ScoreTensors", Assert.Throws<ArgumentNullException>(() => engine.Forward(problem, forward with { ScoreTensors = [default] })).ParamName);
        BackwardArguments backward = attention.BackwardArguments(engine) with { ScoreTensors = memory.Views, ScoreTensorGradients = null };
        Assert.Contains("gradients of the tensors",
            Assert.Throws<NotSupportedException>(() => engine.Backward(problem, backward with { ScoreTensorGradients = [8] })).Message, StringComparison.Ordinal);
        Assert.Contains("single heads",
            Assert.Throws<NotSupportedException>(() => engine.Weights(problem, attention.WeightsArguments with { PerHead = true })).Message, StringComparison.Ordinal);
        Assert.Contains("single heads", engine.Refusal(problem with { HasHeadWeights = true }), StringComparison.Ordinal);
        Assert.Contains("captured", engine.Refusal(problem with { HasScoreGradients = true }), StringComparison.Ordinal);
    }

    /// <summary>Programs of one structure share their kernels, whatever the numbers in them; programs of another do not.</summary>
    [EmulatedFact]
    public void OneKernelForAStructure()
    {
        var choice = new KernelChoice(new KernelTarget("sm_80", 80, 166912, HasTensorMaps: false), KernelTuning.None);
        KernelVariant Of(ScoreProgram? program) => choice.Forward(Plain with { Score = program }, isAligned: true, isMappable: false);
        ScoreProgram Window(int n) => ScoreProgram.Build(_ => null, g => g.Apply(Op.Less, g.Leaf(Op.Key), g.Parameter(ScoreKind.Int, n, "n")));
        Assert.Equal(Of(Window(1)), Of(Window(2)));
        Assert.NotEqual(Of(Window(1)), Of(Cases.ReadyMade["alibi"]));
        Assert.NotEqual(Of(Window(1)), Of(null));
        var compiler = new KernelCompiler(KernelSources.Embedded, EmulatedGpu.Nvrtc, new DiskCache(null));
        Assert.Equal(3, new[] { Of(Window(1)), Of(Window(2)), Of(Cases.ReadyMade["alibi"]), Of(null) }.Select(compiler.Key).Distinct().Count());
        Assert.Equal(choice.BackwardPrepare(Plain, isAligned: true, deterministic: false),
            choice.BackwardPrepare(Plain with { Score = Window(1) }, isAligned: true, deterministic: false));
    }

    /// <summary>All passes against plain loops.</summary>
    internal static void Check(AttentionProblem problem, KernelSources? sources = null)
    {
        CudaEngine engine = EmulatedDevices.Engine(EmulatedDevices.Ampere, sources: sources);
        bool isDouble = problem.ElementType == ElementType.Float64;
        using EmulatedGpu.Current current = EmulatedGpu.Use(EmulatedDevices.Ampere);
        using var memory = new ScoreMemory(problem.Score!, Cases, isDouble);
        using var attention = new GpuCase(EmulatedDevices.Ampere, problem, Layout.Gaps, Layout.Gaps);
        Run(engine, attention, memory.Views, weights: true);
        var expected = new PlainAttention(problem, attention);
        double tolerance = isDouble ? 1e-12 : 3e-6;
        double factor = problem.Score!.OnlyHides ? Math.Abs(problem.Scale) : 1;
        double[] logSumExp = [.. attention.Max.ToArray().Zip(attention.Sum.ToArray(), (m, l) => l == 0 && double.IsNegativeInfinity(m) ? m : factor * m + Math.Log(l))];
        foreach ((string name, double[] got, double[] want) in new[]
        {
            ("O", attention.Output.ToArray(), expected.Output), ("log-sum-exp", logSumExp, expected.LogSumExp), ("weights", attention.Weights.ToArray(), expected.Weights),
            ("dQ", attention.QueryGradient.ToArray(), expected.QueryGradient), ("dK", attention.KeyGradient.ToArray(), expected.KeyGradient),
            ("dV", attention.ValueGradient.ToArray(), expected.ValueGradient),
        })
        {
            double largest = want.Where(double.IsFinite).Select(Math.Abs).Max();
            for (int k = 0; k < want.Length; k++)
                if (!(got[k].Equals(want[k]) || Math.Abs(got[k] - want[k]) <= tolerance * (1 + largest)))
                    throw new MismatchException($"{name} of {attention}: element {k} is {got[k]:R} instead of {want[k]:R}");
        }
        attention.AssertMemoryIntact();
    }

    private static void Run(CudaEngine engine, GpuCase attention, CapturedView[] tensors, bool weights)
    {
        AttentionProblem problem = attention.Problem;
        engine.Forward(problem, attention.ForwardArguments with { ScoreTensors = tensors });
        engine.Backward(problem, attention.BackwardArguments(engine) with { ScoreTensors = tensors, ScoreTensorGradients = null });
        if (weights)
            engine.Weights(problem, attention.WeightsArguments with { ScoreTensors = tensors });
    }

    /// <summary>From the definition, pair by pair.</summary>
    private sealed class PlainAttention
    {
        public PlainAttention(AttentionProblem problem, GpuCase attention)
        {
            (double[] query, double[] key, double[] value, double[] gradient) =
                (attention.Query.ToArray(), attention.Key.ToArray(), attention.Value.ToArray(), attention.OutputGradient.ToArray());
            (int nq, int nk, int d, int dv) = (problem.QueryLength, problem.KeyLength, problem.HeadDim, problem.ValueDim);
            (Output, QueryGradient) = (new double[gradient.Length], new double[query.Length]);
            (KeyGradient, ValueGradient) = (new double[key.Length], new double[value.Length]);
            LogSumExp = new double[problem.Batch * problem.Heads * nq];
            Weights = new double[problem.Batch * nq * nk];
            var graph = new Graph();
            Node output = graph.Import(problem.Score!.Output);
            Node slope = Derivative.Adjoints(graph, output, graph.Real(1)).GetValueOrDefault(graph.Leaf(Op.Score), graph.Real(0));
            for (int head = 0; head < problem.Batch * problem.Heads; head++)
            {
                (int b, int h, int keyHead) = (head / problem.Heads, head % problem.Heads, head / problem.Group);
                for (int i = 0; i < nq; i++)
                {
                    int row = head * nq + i;
                    double[] s = new double[nk], slopes = new double[nk], p = new double[nk], dp = new double[nk];
                    for (int j = 0; j < nk; j++)
                    {
                        double x = problem.Scale * Dot(query, row, key, keyHead * nk + j, d);
                        bool exists = j <= (long)i + problem.DiagonalOffset && Meaning.Evaluate(problem.Score.Visible, Cases.Load, x, b, h, i, j) != 0;
                        s[j] = exists ? Meaning.Evaluate(output, Cases.Load, x, b, h, i, j) : double.NegativeInfinity;
                        slopes[j] = exists ? Meaning.Evaluate(slope, Cases.Load, x, b, h, i, j) : 0;
                    }
                    double max = s.Max(), sum = double.IsNegativeInfinity(max) ? 0 : s.Sum(x => Math.Exp(x - max)), delta = 0;
                    LogSumExp[row] = sum == 0 ? double.NegativeInfinity : max + Math.Log(sum);
                    for (int j = 0; j < nk && sum > 0; j++)
                    {
                        p[j] = Math.Exp(s[j] - max) / sum;
                        dp[j] = Dot(gradient, row, value, keyHead * nk + j, dv);
                        delta += p[j] * dp[j];
                        Weights[(b * nq + i) * nk + j] += p[j] / problem.Heads;
                        Add(Output, row, p[j], value, keyHead * nk + j, dv);
                        Add(ValueGradient, keyHead * nk + j, p[j], gradient, row, dv);
                    }
                    for (int j = 0; j < nk; j++)
                    {
                        double ds = problem.Scale * p[j] * (dp[j] - delta) * slopes[j];
                        Add(QueryGradient, row, ds, key, keyHead * nk + j, d);
                        Add(KeyGradient, keyHead * nk + j, ds, query, row, d);
                    }
                }
            }
        }

        public double[] Output { get; }

        public double[] LogSumExp { get; }

        public double[] Weights { get; }

        public double[] QueryGradient { get; }

        public double[] KeyGradient { get; }

        public double[] ValueGradient { get; }

        private static double Dot(double[] a, int rowA, double[] b, int rowB, int width)
        {
            double sum = 0;
            for (int x = 0; x < width; x++)
                sum += a[rowA * width + x] * b[rowB * width + x];
            return sum;
        }

        private static void Add(double[] to, int rowTo, double factor, double[] from, int rowFrom, int width)
        {
            for (int x = 0; x < width; x++)
                to[rowTo * width + x] += factor * from[rowFrom * width + x];
        }
    }
}
