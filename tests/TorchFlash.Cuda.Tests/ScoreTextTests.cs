using System.Globalization;
using System.Text;
using TorchFlash.Kernels.Cuda;
using TorchFlash.Kernels.Scores;
using Xunit.Abstractions;

namespace TorchFlash.Cuda.Tests;

/// <summary>
/// The text of score programs, ready-made and random ones, executed pair by pair and tile by tile: values, gradients and addresses against
/// the meaning of their nodes, classes of tiles against all their pairs. NVIDIA's compiler takes it, too.
/// </summary>
public unsafe class ScoreTextTests(ITestOutputHelper output)
{
    private const int Queries = 37, Keys = 41, Tile = 8;

    private static readonly ScoreCases Cases = new();
    private static readonly (string Name, ScoreProgram Program)[] Programs =
        [.. Cases.ReadyMade.Select(p => (p.Key, p.Value)), .. Enumerable.Range(0, 24).Select(k => ($"random {k}", Cases.Random()))];

    /// <summary>All programs in one file, each in a namespace of its own with a kernel that computes everything.</summary>
    private static string Source { get; } = MakeSource();

    /// <summary>Mistakes in the runtime of the texts, each of which must be noticed.</summary>
    public static TheoryData<string, string> Bugs => new()
    {
        { "{ return {a.low - b.high, a.high - b.low}; }", "{ return {a.low - b.low, a.high - b.high}; }" },
        { "DEVICE Truth operator<(Ints a, Ints b) { return {a.high < b.low,", "DEVICE Truth operator<(Ints a, Ints b) { return {a.high <= b.low," },
        { "DEVICE Truth operator!(Truth a) { return {!a.possible, !a.always}; }", "DEVICE Truth operator!(Truth a) { return {!a.always, !a.possible}; }" },
        { "a.low / m == a.high / m)", "true)" },
        { "? -a.high : 0, size(a)};", "? -a.high : 0, a.high};" },
        { "thread_id() % 32; e < count;", "thread_id() % 32; e < 1;" },
        { "{ return c.always ? a : !c.possible ? b : Ints(", "{ return c.possible ? a : !c.possible ? b : Ints(" },
        { "a * t.stride[0] + b * t.stride[1]", "a * t.stride[1] + b * t.stride[0]" },
        { "DEVICE Real sigmoid(Real a) { return 1 / (1 + ::exp(-a)); }", "DEVICE Real sigmoid(Real a) { return 1 / (1 + ::exp(a)); }" },
    };

    [EmulatedFact]
    public void MeansWhatItsNodesMean() => CheckAll(KernelSources.Embedded);

    [EmulatedTheory]
    [MemberData(nameof(Bugs))]
    public void BugIsCaught(string text, string replacement) => PlantedBug.AssertCaught("score.cuh", text, replacement, CheckAll);

    private static void CheckAll(KernelSources sources)
    {
        using var current = EmulatedGpu.Use(0);
        nint module = Load(sources);
        int tiles = 0, needlesslySome = 0;
        for (int k = 0; k < Programs.Length; k++)
        {
            foreach ((int b, int h) in new[] { (0, 3), (1, 0) })
                Check(EmulatedGpu.Driver.Function(module, $"probe{k}"), Programs[k].Name, Programs[k].Program, b, h, ref tiles, ref needlesslySome);
        }
        Assert.True(needlesslySome < tiles / 3, $"{needlesslySome} of {tiles} tiles are some without need");
    }

    [NvrtcFact]
    public void CompilesForRealGpus()
    {
        foreach ((string target, int type) in new[] { ("sm_80", 2), ("sm_90a", 3) })
        {
            RealNvrtc.Instance!.Compile("programs.cu", Source, KernelSources.Embedded.HeadersOf("forward_exact.cu"),
                ["--std=c++17", $"--gpu-architecture={target}", string.Create(CultureInfo.InvariantCulture, $"-DK_TYPE={type}"), "-DK_SHARED_LIMIT=166912"], toPtx: false, "programs");
        }
    }

    /// <summary>Inside of the kernels: within the registers of a multiprocessor.</summary>
    [NvrtcTheory]
    [InlineData("sm_80", 166912, "all")]
    [InlineData("sm_90a", 232448, "relative")]
    public void CompilesInsideOfTheKernels(string target, int sharedLimit, string name)
    {
        var choice = new KernelChoice(new KernelTarget(target, int.Parse(target.AsSpan(3, 2), CultureInfo.InvariantCulture), sharedLimit, HasTensorMaps: false), KernelTuning.None);
        var problem = new AttentionProblem { Batch = 1, Heads = 1, QueryLength = 1, KeyLength = 1, HeadDim = 64, ValueDim = 64, Scale = 1, ElementType = ElementType.Float32, Score = Cases.ReadyMade[name] };
        foreach (KernelVariant variant in choice.Variants(problem, new PrecompileOptions { Weights = true }).Where(v => v.Score is not null))
        {
            KernelSources sources = KernelSources.Embedded.With(ScoreText.FileName, variant.Score!);
            string log = RealNvrtc.Instance!.Compile(variant.FileName, sources[variant.FileName], sources.HeadersOf(variant.FileName),
                [.. variant.Options, "--ptxas-options=-v"], toPtx: false, variant.ToString()).Log;
            output.WriteLine($"{variant}, {name}: {string.Join("; ", log.Split('\n').Where(l => l.Contains("registers", StringComparison.Ordinal) || l.Contains("spill", StringComparison.Ordinal)))}");
            Assert.DoesNotContain("warning", log, StringComparison.OrdinalIgnoreCase);
        }
    }

    [Fact]
    public void DependsOnTheStructureAlone()
    {
        var tensor = new RealTensor(null, 7);
        ScoreProgram With(int window, RealTensor slopes) => ScoreProgram.Build(
            g => g.Apply(Op.Add, g.Leaf(Op.Score), g.Load(slopes, g.Leaf(Op.Head))),
            g => g.Apply(Op.Less, g.Leaf(Op.Key), g.Parameter(ScoreKind.Int, window, "window")));
        Assert.Equal(ScoreText.Of(With(3, tensor))!.Text, ScoreText.Of(With(4, new RealTensor(null, 9) { Name = "another" }))!.Text);
        Assert.Null(ScoreText.Of(null));
        Assert.Null(ScoreText.Of(ScoreProgram.Identity));
    }

    /// <summary>Classes of what looks at one tensor at most, or compares sorted elements, are exact.</summary>
    [EmulatedTheory]
    [InlineData("window")]
    [InlineData("prefix")]
    [InlineData("lengths")]
    [InlineData("blocks")]
    [InlineData("keyMask")]
    [InlineData("boolMask")]
    [InlineData("documents")]
    public void NoTileIsSomeWithoutNeed(string name)
    {
        using var current = EmulatedGpu.Use(0);
        nint module = Load(KernelSources.Embedded);
        int tiles = 0, needlesslySome = 0;
        Check(EmulatedGpu.Driver.Function(module, $"probe{Array.FindIndex(Programs, p => p.Name == name)}"), name, Cases.ReadyMade[name], 1, 2, ref tiles, ref needlesslySome);
        Assert.Equal(0, needlesslySome);
    }

    private static nint Load(KernelSources sources) => EmulatedGpu.Driver.LoadModule(EmulatedGpu.Nvrtc.Compile("programs.cu", Source,
        sources.HeadersOf("forward_exact.cu"), ["--std=c++17", "--gpu-architecture=sm_80", "-DK_TYPE=3", "-DK_SHARED_LIMIT=166912"], toPtx: false, "programs").Image);

    private static void Check(nint kernel, string name, ScoreProgram program, int b, int h, ref int tiles, ref int needlesslySome)
    {
        ScoreText text = ScoreText.Of(program)!;
        int pairs = Queries * Keys, loads = text.Loads.Count;
        var random = new Random(5);
        double[] s = [.. Enumerable.Range(0, 2 * pairs).Select(_ => random.NextDouble() * 4 - 2)];
        using var memory = new ScoreMemory(program, Cases, isDouble: true);
        using var scores = EmulatedGpu.Memory<double>.Input(s);
        using var results = new EmulatedGpu.Memory<double>(pairs * (2 + loads));
        using var places = new EmulatedGpu.Memory<long>(Math.Max(1, pairs * loads));
        using var classes = new EmulatedGpu.Memory<int>(pairs);
        long[] arguments = [scores.Address, results.Address, places.Address, classes.Address, (uint)b | (long)h << 32];
        fixed (byte* captures = text.Captures(ElementType.Float64, memory.Views))
        fixed (long* rest = arguments)
        {
            void** parameters = stackalloc void*[] { captures, rest };
            Assert.Null(EmulatedGpu.Launch(kernel, 1, 64, 0, parameters));
        }
        (double[] got, long[] at, int[] cover) = (results.Read(), places.Read(), classes.Read());

        var graph = new Graph();
        Node output = graph.Import(program.Output);
        Dictionary<Node, Node> adjoints = Derivative.Adjoints(graph, output, graph.Leaf(Op.Gradient));
        Node slope = adjoints.GetValueOrDefault(graph.Leaf(Op.Score), graph.Real(0));
        bool[] visible = new bool[pairs];
        for (int i = 0; i < Queries; i++)
        {
            for (int j = 0; j < Keys; j++)
            {
                int pair = i * Keys + j;
                double Value(Node node) => Meaning.Evaluate(node, Cases.Load, s[pair], b, h, i, j, s[pairs + pair]);
                visible[pair] = Value(program.Visible) != 0;
                Near(visible[pair] ? Value(output) : double.NegativeInfinity, got[pair], "value");
                Near(Value(slope), got[pairs + pair], "gradient");
                for (int k = 0; k < loads; k++)
                {
                    Node load = text.Loads[k], own = graph.Import(load);
                    Near(Value(adjoints[own]), got[(2 + k) * pairs + pair], $"gradient of {load}");
                    int flat = ScoreCases.Flat(load.Tensor, Array.ConvertAll(load.Arguments, x => (int)Value(x)));
                    Assert.Equal(2 * flat, at[k * pairs + pair]);
                }

                void Near(double expected, double actual, string what) => Assert.True(
                    expected.Equals(actual) || Math.Abs(expected - actual) <= 1e-11 * (1 + Math.Abs(expected)),
                    $"{what} of {name} at ({i}, {j}): {actual} instead of {expected}: {program.Output} where {program.Visible}\n{text.Text}");
            }
        }
        for (int i = 0; i < Queries; i += Tile)
        {
            for (int j = 0; j < Keys; j += Tile)
            {
                int seen = 0, all = 0;
                for (int y = i; y < Math.Min(i + Tile, Queries); y++)
                    for (int x = j; x < Math.Min(j + Tile, Keys); x++, all++)
                        seen += visible[y * Keys + x] ? 1 : 0;
                int got2 = cover[i * Keys + j], exact = seen == 0 ? 0 : seen == all ? 2 : 1;
                Assert.True(got2 == exact || got2 == 1, $"{name}: the tile at ({i}, {j}) is of class {got2}, {seen} of {all} exist: {program.Visible}");
                tiles++;
                needlesslySome += got2 == exact ? 0 : 1;
            }
        }
    }

    private static string MakeSource()
    {
        var source = new StringBuilder("#include \"score_program.cuh\"\nKERNEL_SHAPE(64, 0, 1);\n");
        source.Append("struct Arguments { const Real *s; Real *results; i64 *places; int *classes; int b, h; };\n");
        for (int k = 0; k < Programs.Length; k++)
        {
            ScoreText text = ScoreText.Of(Programs[k].Program)!;
            string loads = string.Concat(text.Loads.Select((_, n) => $$"""
                    stg(a.results + {{2 + n}} * pairs + at, g.load{{n}});
                    stg(a.places + {{n}} * pairs + at, load{{n}}_at(c, a.b, a.h, i, j));

                """));
            source.Append(text.Text.Replace("#pragma once\n", "", StringComparison.Ordinal).Replace("namespace score {", $"namespace score::program{k} {{", StringComparison.Ordinal));
            source.Append(CultureInfo.InvariantCulture, $$"""
                namespace score::program{{k}} {
                KERNEL(probe{{k}}, 64, 1, PARAMETER(Captures) c, PARAMETER(Arguments) a) {
                  const int pairs = {{Queries}} * {{Keys}};
                  NO_UNROLL for (int at = thread_id(); at < pairs; at += 64) {
                    const int i = at / {{Keys}}, j = at % {{Keys}};
                    stg(a.results + at, visible<OnePair>(c, a.b, a.h, i, j) ? modify(c, ldg(a.s + at), a.b, a.h, i, j) : -infinity());
                    const Gradient g = gradient(c, ldg(a.s + at), a.b, a.h, i, j, ldg(a.s + pairs + at));
                    stg(a.results + pairs + at, g.s);
                {{loads}}  }
                  NO_UNROLL for (int i = 0; i < {{Queries}}; i += {{Tile}}) NO_UNROLL for (int j = 0; j < {{Keys}}; j += {{Tile}}) {
                    const Truth t = visible<score::Tile>(c, Ints(a.b), Ints(a.h), Ints(i, min(i + {{Tile}}, {{Queries}}) - 1), Ints(j, min(j + {{Tile}}, {{Keys}}) - 1));
                    if (thread_id() == 0) stg(a.classes + i * {{Keys}} + j, t.always ? 2 : t.possible ? 1 : 0);
                  }
                }
                }

                """);
        }
        return source.ToString();
    }
}
