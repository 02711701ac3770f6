using System.CommandLine;
using TorchFlash;
using System.Globalization;
using System.Numerics;
using System.Text.Json;
using TorchFlash.Kernels.Cpu;
using static TorchSharp.torch;

namespace AttentionBench.Verbs;

/// <summary>
/// What every feature of the scores costs: its passes beside the plain full pass, per visible pair, and beside libtorch's attention with the same mask.
/// </summary>
internal static class ScoresCommand
{
    /// <summary>Outputs of contestants that differ by more, relative to the largest element, are not the same computation.</summary>
    private const double Agreement = 1e-3;

    /// <summary>So long are the sequences in the program's first call.</summary>
    private const int Short = 64;

    /// <param name="Case">Name.</param>
    /// <param name="Visible">Share of the pairs that exist.</param>
    /// <param name="FirstUseMilliseconds">What the first call of both passes takes on a short problem, over what the second one takes.</param>
    /// <param name="Forward">Median seconds of the forward pass.</param>
    /// <param name="ForwardRatio">To the plain full pass, per visible pair.</param>
    /// <param name="ForwardTarget">Largest ratio that is aimed at.</param>
    /// <param name="Backward">Median seconds of the backward pass.</param>
    /// <param name="BackwardRatio">As of the forward pass.</param>
    /// <param name="BackwardTarget">As of the forward pass.</param>
    private sealed record Cost(string Case, double Visible, double FirstUseMilliseconds, double Forward, double ForwardRatio, double? ForwardTarget, double Backward, double BackwardRatio, double? BackwardTarget);

    /// <param name="Case">Name.</param>
    /// <param name="Path">What libtorch does.</param>
    /// <param name="Forward">Median seconds of the engine's forward pass.</param>
    /// <param name="LibtorchForward">How many times as long libtorch takes.</param>
    /// <param name="Both">Median seconds of both passes of the engine.</param>
    /// <param name="LibtorchBoth">How many times as long libtorch takes for output and gradients.</param>
    private sealed record Comparison(string Case, string Path, double Forward, double LibtorchForward, double Both, double LibtorchBoth);

    public static Command Command()
    {
        var length = new Option<int>("--length") { Description = "Number of queries and of keys.", DefaultValueFactory = _ => 4096 };
        var heads = new Option<int>("--heads") { Description = "Number of heads.", DefaultValueFactory = _ => 12 };
        var dim = new Option<int>("--head-dim") { Description = "Head dimension.", DefaultValueFactory = _ => 64 };
        var window = new Option<int>("--window") { Description = "Keys that a query sees in a window.", DefaultValueFactory = _ => 1024 };
        var documents = new Option<int>("--documents") { Description = "Length of a document.", DefaultValueFactory = _ => 1024 };
        var type = new Option<string>("--type") { Description = "Element type.", DefaultValueFactory = _ => "float32" };
        type.AcceptOnlyFromAmong("float32", "float64");
        var filter = new Option<string>("--filter") { Description = "Only cases whose name contains this text.", DefaultValueFactory = _ => "" };
        var repeat = new Option<int>("--repeat") { Description = "Rounds; medians count.", DefaultValueFactory = _ => 11 };
        var noLibtorch = new Option<bool>("--no-libtorch") { Description = "The engine's own passes only." };
        var json = new Option<FileInfo?>("--json") { Description = "Also write the numbers to this file." };
        var command = new Command("scores", "What masks, biases, dropout and score functions cost, beside the plain pass and libtorch's.")
        {
            length, heads, dim, window, documents, type, filter, repeat, noLibtorch, json, TorchThreads.Option,
        };
        command.SetAction(parsed =>
        {
            TorchThreads.Apply(parsed);
            (int h, int n, int d, int rounds) = (parsed.GetValue(heads), parsed.GetValue(length), parsed.GetValue(dim), parsed.GetValue(repeat));
            string named = parsed.GetValue(filter)!;
            Func<int, ScoreCase>[] cases = [.. Cases(h, parsed.GetValue(window), parsed.GetValue(documents)).Where(make => make(n).Name.Contains(named, StringComparison.OrdinalIgnoreCase))];
            Console.WriteLine(CpuEngine.Instance.Describe());
            Console.WriteLine($"B = 1, H = {h}, N = {n}, d = {d}, {parsed.GetValue(type)}, {get_num_threads()} threads; medians of {rounds} rounds.");
            Cost[] costs = parsed.GetValue(type) == "float32" ? Costs<float>(cases, h, n, d, rounds) : Costs<double>(cases, h, n, d, rounds);
            Comparison[] comparisons = parsed.GetValue(noLibtorch) || parsed.GetValue(type) != "float32" ? [] : Comparisons(cases, h, n, d, rounds);
            if (parsed.GetValue(json) is { } file)
            {
                File.WriteAllText(file.FullName, JsonSerializer.Serialize(
                    new { Engine = CpuEngine.Instance.Describe(), Libtorch = __version__, FusedSdpa = Contestant.HasFusedAttention, Threads = get_num_threads(), Heads = h, Length = n, HeadDim = d, Type = parsed.GetValue(type), Costs = costs, Comparisons = comparisons },
                    new JsonSerializerOptions { WriteIndented = true }));
            }
        });
        return command;
    }

    /// <summary>All cases, of any length: their code does not depend on it.</summary>
    private static Func<int, ScoreCase>[] Cases(int heads, int window, int documents) =>
    [
        _ => ScoreCase.Plain,
        ScoreCase.PlainCausal,
        n => ScoreCase.Alibi(heads, n),
        n => ScoreCase.RelativeTable(heads, n),
        n => ScoreCase.Window(n, window),
        n => ScoreCase.Documents(n, documents),
        n => ScoreCase.Bias(n, gradient: false),
        n => ScoreCase.Bias(n, gradient: true),
        ScoreCase.BoolMask,
        ScoreCase.KeyPadding,
        _ => ScoreCase.Softcap(),
        _ => ScoreCase.WithDropout(),
        _ => ScoreCase.Sinks(),
        n => ScoreCase.Composition(heads, n, documents),
    ];

    private static Cost[] Costs<T>(Func<int, ScoreCase>[] makes, int heads, int n, int dim, int rounds) where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        double[] firstUses = [.. makes.Select(make => FirstUse<T>(make(Short), heads, dim))];
        ScoreCase[] cases = [.. makes.Select(make => make(n))];
        using var plain = new EnginePasses<T>(heads, n, dim, false, get_num_threads());
        plain.Forward();
        ScorePasses<T>[] passes = [.. cases.Select(c => new ScorePasses<T>(plain, c))];
        (double Seconds, double Ratio)[] forward = Measure.Paired(rounds, plain.Forward, [.. passes.Select<ScorePasses<T>, Action>(p => p.Forward)]);
        (double Seconds, double Ratio)[] backward = Measure.Paired(rounds, plain.Backward, [.. passes.Select<ScorePasses<T>, Action>(p => p.Backward)]);
        Array.ForEach(passes, p => p.Dispose());

        Console.WriteLine();
        Console.WriteLine("Ratios are to the plain full pass, per visible pair; \"first use\" is what the first call of both passes takes more than the second one.");
        Console.WriteLine();
        Console.WriteLine("| case | visible pairs | forward ms | ratio | target | backward ms | ratio | target | first use ms |");
        Console.WriteLine("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
        var costs = new Cost[cases.Length];
        for (int i = 0; i < cases.Length; i++)
        {
            ScoreCase c = cases[i];
            Cost cost = costs[i] = new(c.Name, c.Visible, 1e3 * firstUses[i], forward[i].Seconds, forward[i].Ratio / c.Visible, c.Forward, backward[i].Seconds, backward[i].Ratio / c.Visible, c.Backward);
            Console.WriteLine(Invariant($"| {c.Name} | {c.Visible:P0} | {1e3 * cost.Forward:F1} | {cost.ForwardRatio:F2} | {Target(c.Forward)} | {1e3 * cost.Backward:F1} | {cost.BackwardRatio:F2} | {Target(c.Backward)} | {cost.FirstUseMilliseconds:F0} |"));
        }
        return costs;

        static string Target(double? ratio) => ratio is { } r ? Invariant($"{r:F2}") : "";
    }

    private static double FirstUse<T>(ScoreCase c, int heads, int dim) where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        using var plain = new EnginePasses<T>(heads, Short, dim, false, 1);
        plain.Forward();
        plain.Backward();
        using var passes = new ScorePasses<T>(plain, c);
        return Measure.Seconds(passes.Both) - Measure.Seconds(passes.Both);
    }

    private static Comparison[] Comparisons(Func<int, ScoreCase>[] makes, int heads, int n, int dim, int rounds)
    {
        using var scope = NewDisposeScope();
        using var plain = new EnginePasses<float>(heads, n, dim, false, get_num_threads());
        Tensor q = Operand(plain.ForwardArguments.Query), k = Operand(plain.ForwardArguments.Key), v = Operand(plain.ForwardArguments.Value);
        Tensor gradient = Operand(plain.BackwardArguments.OutputGradient).requires_grad_(false);
        Console.WriteLine();
        Console.WriteLine($"libtorch {__version__}: its scaled_dot_product_attention on the same tensors ({(Contestant.HasFusedAttention ? "fused unless it says so" : "this one has no fused kernel for processors, everything is composed")}); in brackets how many times as long as flash. \"-\": matrices of scores would take over {AttentionCommand.MemoryShare:P0} of the memory.");
        Console.WriteLine();
        Console.WriteLine("| case | libtorch | forward ms | libtorch | forward + backward ms | libtorch |");
        Console.WriteLine("| --- | --- | ---: | ---: | ---: | ---: |");
        var comparisons = new List<Comparison>();
        foreach (Func<int, ScoreCase> make in makes)
        {
            ScoreCase c = make(n);
            if (c.Mask is null && (c.Program is not null || c.HasSinks))
                continue;
            bool differentiated = c.Gradients && c.Mask is not null;
            string path = c.Dropout > 0 || differentiated || !Contestant.HasFusedAttention ? "composed" : "fused";
            double matrices = path == "composed" ? 4 : c.Mask is null ? 0 : 1;
            if (matrices * sizeof(float) * heads * n * n > AttentionCommand.MemoryShare * GC.GetGCMemoryInfo().TotalAvailableMemoryBytes)
            {
                Console.WriteLine($"| {c.Name} | {path} | - | - | - | - |");
                continue;
            }
            using var inner = NewDisposeScope();
            using var passes = new ScorePasses<float>(plain, c);
            Tensor? mask = c.Mask?.Invoke();
            Tensor[] leaves = differentiated ? [q, k, v, mask!.requires_grad_(true)] : [q, k, v];
            passes.Forward();
            if (c.Dropout == 0)
                Check(c, passes);
            (double Seconds, double Ratio) forward = Measure.Paired(rounds, passes.Forward, LibtorchForward)[0], both = Measure.Paired(rounds, passes.Both, LibtorchBoth)[0];
            var comparison = new Comparison(c.Name, path, forward.Seconds / forward.Ratio, forward.Ratio, both.Seconds / both.Ratio, both.Ratio);
            comparisons.Add(comparison);
            Console.WriteLine(Invariant($"| {c.Name} | {path} | {1e3 * comparison.Forward:F1} | {1e3 * forward.Seconds:F1} ({forward.Ratio:F2}x) | {1e3 * comparison.Both:F1} | {1e3 * both.Seconds:F1} ({both.Ratio:F2}x) |"));

            Tensor Attend() => nn.functional.scaled_dot_product_attention(q, k, v, mask, c.Dropout, c.Causal != TorchFlash.Kernels.CausalMask.None);

            void LibtorchForward()
            {
                using var step = NewDisposeScope();
                using (no_grad())
                    Attend();
            }

            void LibtorchBoth()
            {
                using var step = NewDisposeScope();
                autograd.grad([Attend()], leaves, [gradient]);
            }

            void Check(ScoreCase c, ScorePasses<float> passes)
            {
                using IDisposable inference = no_grad();
                Tensor expected = Attend(), difference = (Operand(passes.Output) - expected).abs().max() / expected.abs().max();
                if (difference.item<float>() is not < (float)Agreement)
                    throw new InvalidOperationException($"{c.Name}: libtorch does not compute the same.");
            }
        }
        return [.. comparisons];

        unsafe Tensor Operand(TorchFlash.Kernels.TensorView view) => tensor(new Span<float>((void*)view.Data, heads * n * dim).ToArray(), [1, heads, n, dim], requires_grad: true);
    }

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
