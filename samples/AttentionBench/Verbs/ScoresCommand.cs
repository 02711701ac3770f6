using System.CommandLine;
using System.Numerics;
using AttentionBench.Cli;
using AttentionBench.Engine;
using AttentionBench.Measuring;
using AttentionBench.Output;
using Gpt2;
using TorchFlash.Kernels;
using TorchSharp;
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

    public static Command Command()
    {
        Option<int?> length = Options.Whole("--length", "Number of queries and of keys.", 4096), heads = Options.Whole("--heads", "Number of heads.", 12), dim = Options.Whole("--head-dim", "Head dimension.", 64);
        Option<int?> window = Options.Whole("--window", "Keys that a query sees in a window.", 1024), documents = Options.Whole("--documents", "Length of a document.", 1024);
        Option<string> type = Options.Type(ElementType.Float32, ElementType.Float64);
        var filter = new Option<string>("--filter") { Description = "Only cases whose name contains this text.", DefaultValueFactory = _ => "" };
        Option<int?> repeat = Options.Whole("--repeat", "Rounds.", 11, 1, 100_000);
        var noLibtorch = new Option<bool>("--no-libtorch") { Description = "The engine's own passes only." };
        var command = new Command("scores", "What masks, biases, dropout and score functions cost, beside the plain pass and libtorch's.")
        {
            length, heads, dim, window, documents, type, filter, repeat, noLibtorch,
        };
        return Session.On(command, true, [Options.Json, Options.Csv], parsed =>
        {
            (int h, int n, int d, int rounds) = (parsed.GetValue(heads)!.Value, parsed.GetValue(length)!.Value, parsed.GetValue(dim)!.Value, parsed.GetValue(repeat)!.Value);
            string named = parsed.GetValue(filter)!;
            Func<int, ScoreCase>[] cases = [.. Cases(h, parsed.GetValue(window)!.Value, parsed.GetValue(documents)!.Value).Where(make => make(n).Name.Contains(named, StringComparison.OrdinalIgnoreCase))];
            if (cases.Length == 0)
                throw new UserException($"{filter.Name}: no case has '{named}' in its name.");
            return session =>
            {
                session.Line($"B = 1, H = {h}, N = {n}, d = {d}, {parsed.GetValue(type)}, {get_num_threads()} threads; medians of {rounds} rounds, quartiles in brackets.");
                bool isSingle = Options.Type(parsed, type) == ElementType.Float32;
                bool compares = isSingle && !parsed.GetValue(noLibtorch);
                session.Expect(cases.Length * (compares ? 2 : 1));
                if (isSingle)
                    Costs<float>(session, cases, h, n, d, rounds);
                else
                    Costs<double>(session, cases, h, n, d, rounds);
                if (compares)
                    Comparisons(session, cases, h, n, d, rounds);
                return 0;
            };
        });
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

    private static void Costs<T>(Session session, Func<int, ScoreCase>[] makes, int heads, int n, int dim, int rounds) where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        Table table = session.Begin(new Table(
            "costs", "Ratios are to the plain full pass, per visible pair; \"first use\" is what the first call of both passes takes more than the second one.",
            new("case"), new("visible pairs", "P0"), new("forward ms", "F1"), new("forward ratio", "F2"), new("forward target", "F2"),
            new("backward ms", "F1"), new("backward ratio", "F2"), new("backward target", "F2"), new("first use ms", "F0"), new("disturbed")));
        using var plain = new EnginePasses(TypeOf<T>(), heads, n, dim, false, get_num_threads());
        plain.Forward();
        foreach (Func<int, ScoreCase> make in makes)
        {
            double firstUse = FirstUse<T>(make(Short), heads, dim);
            ScoreCase c = make(n);
            session.Step(c.Name);
            using var passes = new ScorePasses<T>(plain, c);
            passes.Forward(); // what the first backward pass reads
            MachineState before = MachineState.Now();
            PairedTimes forward = Measure.Paired(rounds, plain.Forward, passes.Forward)[0], backward = Measure.Paired(rounds, plain.Backward, passes.Backward)[0];
            session.Row(
                table, c.Name, c.Visible, 1e3 * forward.Seconds, 1 / c.Visible * forward.Ratio, c.Forward, 1e3 * backward.Seconds, 1 / c.Visible * backward.Ratio, c.Backward,
                1e3 * firstUse, Disturbance.Between(before, MachineState.Now(), get_num_threads()));
        }
        session.End(table);
    }

    private static ElementType TypeOf<T>() => typeof(T) == typeof(float) ? ElementType.Float32 : ElementType.Float64;

    private static double FirstUse<T>(ScoreCase c, int heads, int dim) where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        using var plain = new EnginePasses(TypeOf<T>(), heads, Short, dim, false, 1);
        plain.Forward();
        plain.Backward();
        using var passes = new ScorePasses<T>(plain, c);
        return Measure.Seconds(passes.Both) - Measure.Seconds(passes.Both);
    }

    private static void Comparisons(Session session, Func<int, ScoreCase>[] makes, int heads, int n, int dim, int rounds)
    {
        using var scope = NewDisposeScope();
        using var plain = new EnginePasses(ElementType.Float32, heads, n, dim, false, get_num_threads());
        Tensor q = Operand(plain.ForwardArguments.Query), k = Operand(plain.ForwardArguments.Key), v = Operand(plain.ForwardArguments.Value);
        Tensor gradient = Operand(plain.BackwardArguments.OutputGradient).requires_grad_(false);
        Table table = session.Begin(new Table(
            "libtorch", $"libtorch {__version__}: its scaled_dot_product_attention on the same tensors ({(Machine.HasFusedAttention ? "fused unless it says so" : "this one has no fused kernel for processors, everything is composed")}); \"x\": how many times as long as flash. \"-\": matrices of scores would take over {AttentionCommand.MemoryShare:P0} of the memory.",
            new("case"), new("path"), new("forward ms", "F1"), new("libtorch forward ms", "F1"), new("forward, libtorch / flash", "F2", "x"),
            new("forward + backward ms", "F1"), new("libtorch forward + backward ms", "F1"), new("forward + backward, libtorch / flash", "F2", "x"), new("disturbed")));
        foreach (Func<int, ScoreCase> make in makes)
        {
            ScoreCase c = make(n);
            if (c.Mask is null && (c.Program is not null || c.HasSinks))
                continue;
            bool differentiated = c.Gradients && c.Mask is not null;
            string path = c.Dropout > 0 || differentiated || !Machine.HasFusedAttention ? "composed" : "fused";
            double matrices = path == "composed" ? 4 : c.Mask is null ? 0 : 1;
            session.Step($"{c.Name}, against libtorch");
            if (matrices * sizeof(float) * heads * n * n > AttentionCommand.MemoryShare * GC.GetGCMemoryInfo().TotalAvailableMemoryBytes)
            {
                session.Row(table, c.Name, path, null, null, null, null, null, null, null);
                continue;
            }
            using var inner = NewDisposeScope();
            using var passes = new ScorePasses<float>(plain, c);
            Tensor? mask = c.Mask?.Invoke();
            Tensor[] leaves = differentiated ? [q, k, v, mask!.requires_grad_(true)] : [q, k, v];
            passes.Forward();
            if (c.Dropout == 0)
                Check(c, passes);
            MachineState before = MachineState.Now();
            double[][] forward = InTurn(passes.Forward, LibtorchForward), both = InTurn(passes.Both, LibtorchBoth);
            session.Row(
                table, c.Name, path, 1e3 * Spread.Of(forward[0]), 1e3 * Spread.Of(forward[1]), Spread.OfRatios(forward[1], forward[0]), 1e3 * Spread.Of(both[0]), 1e3 * Spread.Of(both[1]), Spread.OfRatios(both[1], both[0]),
                Disturbance.Between(before, MachineState.Now(), get_num_threads()));

            double[][] InTurn(Action mine, Action theirs) => Measure.InTurn(_ => rounds, 0.02, Measure.Timed(mine), Measure.Timed(theirs));

            Tensor Attend() => nn.functional.scaled_dot_product_attention(q, k, v, mask, c.Dropout, c.Causal != CausalMask.None);

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
                    throw new UserException($"{c.Name}: libtorch does not compute the same.");
            }
        }
        session.End(table);

        unsafe Tensor Operand(TensorView view) => tensor(new Span<float>((void*)view.Data, heads * n * dim).ToArray(), [1, heads, n, dim], requires_grad: true);
    }
}
