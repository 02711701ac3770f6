using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using TorchFlash.Kernels.Cuda;
using TorchFlash.Kernels.Scores;
using Xunit.Abstractions;

namespace TorchFlash.Cuda.Tests;

/// <summary>
/// NVIDIA's compiler takes every kernel that is shipped, for every class of its specialisations, within the registers and spills of
/// nvrtc-budget.txt. TORCHFLASH_NVRTC_BUDGET=write writes that file anew.
/// </summary>
public partial class NvrtcBudgetTests(ITestOutputHelper output)
{
    private const string Variable = "TORCHFLASH_NVRTC_BUDGET";

    private static readonly string BudgetFile = Path.Combine(Repository.Root, "tests", "TorchFlash.Cuda.Tests", "nvrtc-budget.txt");

    /// <summary>The kernels of a GPU: those for one class of problem each.</summary>
    private static IEnumerable<KernelVariant> Shipped()
    {
        var ampere = new KernelChoice(new KernelTarget("sm_80", 80, 166912, HasTensorMaps: false), KernelTuning.None);
        var smallAmpere = new KernelChoice(new KernelTarget("sm_86", 86, 101376, HasTensorMaps: false), KernelTuning.None);
        var hopper = new KernelChoice(new KernelTarget("sm_90a", 90, 232448, HasTensorMaps: true), KernelTuning.None);
        var hopperMma = new KernelChoice(new KernelTarget("sm_90a", 90, 232448, HasTensorMaps: true), KernelTuning.None with { AvoidHopper = true });
        PrecompileOptions ordinary = new(), fixedOrder = new() { Deterministic = true }, weights = new() { ForwardOnly = true, Weights = true }, misaligned = new() { Misaligned = true };
        return
        [
            .. Of(ampere, ElementType.BFloat16, [64, 128, 256], [false, true], ordinary, fixedOrder),
            .. Of(ampere, ElementType.Float16, [128], [true], ordinary, fixedOrder),
            .. Of(ampere, ElementType.BFloat16, [59], [true], misaligned),
            .. Of(ampere, ElementType.BFloat16, [64], [true], weights),
            .. Of(ampere, ElementType.Float32, [64, 128, 256], [true], weights, ordinary),
            .. Of(ampere, ElementType.Float64, [64, 128, 256], [true], weights, ordinary),
            .. Of(smallAmpere, ElementType.BFloat16, [64, 128, 256], [true], ordinary),
            .. Of(hopper, ElementType.BFloat16, [64, 128, 256], [false, true], ordinary, fixedOrder),
            .. Of(hopper, ElementType.BFloat16, [32, 96, 192], [true], ordinary),
            .. Of(hopper, ElementType.Float16, [128], [true], ordinary, fixedOrder),
            .. Of(hopper, ElementType.Float32, [128], [true], weights, ordinary),
            .. Of(hopper, ElementType.Float64, [128], [true], ordinary),
            .. Of(hopperMma, ElementType.BFloat16, [64, 128, 256], [true], ordinary),
            .. from choice in new[] { ampere, smallAmpere, hopper }
               from score in Programs.Values
               from variant in Of(choice, ElementType.BFloat16, [64, 128], [false], problem => problem with { Score = score }, ordinary)
               where variant.Score is not null
               select variant,
            .. from variant in Of(ampere, ElementType.BFloat16, [64, 128], [false], problem => problem with { Score = Programs["softcap"] }, fixedOrder, weights)
               where variant.Score is not null
               select variant,
            .. Of(ampere, ElementType.BFloat16, [64, 128], [false], problem => problem with { Dropout = 0.1, HasSinks = true }, ordinary, fixedOrder),
            .. Of(ampere, ElementType.Float32, [64], [false], problem => problem with { Dropout = 0.1, HasSinks = true }, ordinary),
        ];
    }

    /// <summary>Score programs by name.</summary>
    private static Dictionary<string, ScoreProgram> Programs { get; } = MakePrograms();

    private static Dictionary<string, ScoreProgram> MakePrograms()
    {
        var cases = new ScoreCases();
        return new()
        {
            ["causal"] = ScoreProgram.Build(_ => null, g => g.Apply(Op.LessOrEqual, g.Leaf(Op.Key), g.Leaf(Op.Query))),
            ["alibi"] = cases.ReadyMade["alibi"],
            ["softcap"] = cases.ReadyMade["softcap"],
            ["documents"] = cases.ReadyMade["documents"],
        };
    }

    private static IEnumerable<KernelVariant> Of(KernelChoice choice, ElementType type, int[] dims, bool[] causal, params PrecompileOptions[] options) =>
        Of(choice, type, dims, causal, problem => problem, options);

    private static IEnumerable<KernelVariant> Of(KernelChoice choice, ElementType type, int[] dims, bool[] causal, Func<AttentionProblem, AttentionProblem> with,
        params PrecompileOptions[] options) =>
        from d in dims
        from mask in causal
        from option in options
        from variant in choice.Variants(with(new AttentionProblem
        {
            Batch = 1,
            Heads = 1,
            QueryLength = 1,
            KeyLength = 1,
            HeadDim = d,
            ValueDim = d,
            Scale = 1,
            ElementType = type,
            Causal = mask ? CausalMask.TopLeft : CausalMask.None,
        }), option)
        select variant;

    [NvrtcFact]
    public void EveryKernelKeepsItsBudget()
    {
        Nvrtc nvrtc = RealNvrtc.Instance!;
        KernelVariant[] variants = [.. Shipped().Distinct()];
        var rows = new Row[variants.Length];
        var clock = Stopwatch.StartNew();
        for (int i = 0; i < variants.Length; i++)
            rows[i] = Compile(nvrtc, variants[i]); // one by one: NVRTC itself compiles no two at a time, and the times are to mean something
        Array.Sort(rows, (a, b) => string.CompareOrdinal(a.Key, b.Key));

        Assert.Equal(KernelSources.Embedded.Kernels, variants.Select(v => v.Kernel).Distinct().Order(StringComparer.Ordinal));
        output.WriteLine($"NVRTC {nvrtc.Version}, {nvrtc.Path}: {rows.Length} kernels in {clock.Elapsed.TotalSeconds:F0} s, at most {rows.Max(r => r.Seconds):F1} s each");
        foreach (Row row in rows)
            output.WriteLine($"{row}  {row.Seconds,5:F1} s");
        if (Environment.GetEnvironmentVariable(Variable) == "write")
            File.WriteAllText(BudgetFile, Table(nvrtc, rows));

        string[] complaints = [.. rows.SelectMany(r => r.Complaints)];
        Assert.True(complaints.Length == 0, string.Join(Environment.NewLine, complaints));
        AssertWithinBudget(nvrtc, rows);
    }

    private static Row Compile(Nvrtc nvrtc, KernelVariant variant)
    {
        KernelSources sources = variant.Score is null ? KernelSources.Embedded : KernelSources.Embedded.With(ScoreText.FileName, variant.Score);
        var clock = Stopwatch.StartNew();
        (byte[] image, string log) = nvrtc.Compile(variant.FileName, sources[variant.FileName], sources.HeadersOf(variant.FileName),
            [.. variant.Options, "--ptxas-options=-v"], toPtx: false, variant.ToString());
        KernelShape shape = KernelShape.Of(image);
        Match used = Registers().Match(log), spilled = Spills().Match(log);
        Assert.True(used.Success && spilled.Success, log);
        return new Row(variant, shape, Number(used, "registers"), Number(spilled, "stores"), Number(spilled, "loads"), clock.Elapsed.TotalSeconds, log);
    }

    private void AssertWithinBudget(Nvrtc nvrtc, Row[] rows)
    {
        string[] lines = File.ReadAllLines(BudgetFile);
        if (lines[0] != Header(nvrtc))
        {
            // Another compiler allocates registers otherwise: its table is above, to be read by people.
            string note = $"NVRTC {nvrtc.Version}: not compared with the budget, which is of another version ({lines[0]}).";
            output.WriteLine(note);
            Console.Error.WriteLine(note);
            return;
        }
        var budget = lines.Where(l => !l.StartsWith('#')).Select(l => BudgetLine().Match(l)).ToDictionary(m => m.Groups["key"].Value.TrimEnd());
        var over = new StringBuilder();
        foreach (Row row in rows)
        {
            if (!budget.Remove(row.Key.TrimEnd(), out Match? line))
                over.AppendLine(CultureInfo.InvariantCulture, $"not in the table: {row}");
            else if (row.Registers > Number(line!, "registers") || row.SpillStores + row.SpillLoads > Number(line!, "stores") + Number(line!, "loads"))
                over.AppendLine(CultureInfo.InvariantCulture, $"over its budget: {row}\n    the table says: {line!.Value}");
        }
        foreach (string key in budget.Keys)
            over.AppendLine(CultureInfo.InvariantCulture, $"in the table, but not shipped: {key}");
        Assert.True(over.Length == 0, $"{over}Where this is as it should be, {Variable}=write writes {BudgetFile} anew.");
    }

    private static string Header(Nvrtc nvrtc) => $"# NVRTC {nvrtc.Version}";

    private static string Table(Nvrtc nvrtc, Row[] rows) => string.Join('\n',
    [
        Header(nvrtc),
        "# Registers of a thread, bytes that it spills, and shared memory of a block, for every class of specialisation that is shipped.",
        $"# NvrtcBudgetTests compares; {Variable}=write makes it write this file.",
        .. rows.Select(r => r.ToString()),
        "",
    ]);

    private static int Number(Match match, string group) => int.Parse(match.Groups[group].ValueSpan, CultureInfo.InvariantCulture);

    [GeneratedRegex("Used (?<registers>[0-9]+) registers")]
    private static partial Regex Registers();

    [GeneratedRegex("(?<stores>[0-9]+) bytes spill stores, (?<loads>[0-9]+) bytes spill loads")]
    private static partial Regex Spills();

    [GeneratedRegex(@"^(?<key>.*?) +(?<threads>[0-9]+) threads +(?<shared>[0-9]+) B shared +(?<registers>[0-9]+) registers +(?<stores>[0-9]+) \+ (?<loads>[0-9]+) B spilled$")]
    private static partial Regex BudgetLine();

    /// <summary>What became of a kernel.</summary>
    private sealed record Row(KernelVariant Variant, KernelShape Shape, int Registers, int SpillStores, int SpillLoads, double Seconds, string Log)
    {
        /// <summary>The variant without what the architecture decides.</summary>
        public string Key { get; } = $"{Variant.Kernel,-22} {Variant.Target,-6} "
            + string.Join(' ', Variant.Macros.Split(' ').Where(m => !m.StartsWith("K_SHARED", StringComparison.Ordinal) && !m.StartsWith("K_NEGATE", StringComparison.Ordinal))
                .Select(m => m[2..].ToLowerInvariant()))
            + (Variant.Score is null ? "" : $" program={Programs.Single(p => ScoreText.Of(p.Value)!.Text == Variant.Score).Key}");

        /// <summary>What must never be: more than the hardware has, and advice of ptxas that costs all the speed.</summary>
        public IEnumerable<string> Complaints
        {
            get
            {
                if (Registers * Shape.Threads > 65536 && !Log.Contains("setmaxnreg", StringComparison.Ordinal))
                    yield return $"{Key}: {Registers} registers of {Shape.Threads} threads are more than there are";
                foreach (string line in CompilerLog.Complaints(Log))
                    yield return $"{Key}: {line}";
            }
        }

        public override string ToString() => $"{Key,-100} {Shape.Threads,4} threads {Shape.SharedBytes,7} B shared {Registers,4} registers {SpillStores,4} + {SpillLoads} B spilled";
    }
}
