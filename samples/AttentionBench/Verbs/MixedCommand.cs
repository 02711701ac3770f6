using System.CommandLine;
using TorchFlash;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionBench.Verbs;

/// <summary>
/// Attention alone against attention between two linear layers: whether libtorch's threads, which keep spinning for a while
/// after each of its operators, get in the way of ours.
/// </summary>
internal static class MixedCommand
{
    public static Command Command()
    {
        var lengths = new Option<int[]>("--n") { Description = "Sequence lengths.", AllowMultipleArgumentsPerToken = true, DefaultValueFactory = _ => [128, 512, 2048] };
        var heads = new Option<int>("--heads") { Description = "Number of heads.", DefaultValueFactory = _ => 12 };
        var dim = new Option<int>("--dim") { Description = "Head dimension.", DefaultValueFactory = _ => 64 };
        var repeat = new Option<int>("--repeat") { Description = "Rounds; the median counts.", DefaultValueFactory = _ => 15 };
        var command = new Command("mixed", "Attention alone against attention between linear layers.") { lengths, heads, dim, repeat, TorchThreads.Option };
        command.SetAction(parsed =>
        {
            TorchThreads.Apply(parsed);
            Console.WriteLine($"{get_num_threads()} threads, causal, forward; the time of the attention call alone is counted.");
            Console.WriteLine();
            Console.WriteLine("| N | attention | alone ms | between linear layers ms | ratio |");
            Console.WriteLine("| ---: | --- | ---: | ---: | ---: |");
            foreach (int n in parsed.GetValue(lengths)!)
                foreach (string name in new[] { "flash", "sdpa" })
                {
                    (double alone, double between) = Run(name == "flash", parsed.GetValue(heads), n, parsed.GetValue(dim), parsed.GetValue(repeat));
                    Console.WriteLine(FormattableString.Invariant($"| {n} | {name} | {1e3 * alone:F2} | {1e3 * between:F2} | {between / alone:F2} |"));
                }
        });
        return command;
    }

    /// <summary>Blocks of calls alone and blocks of whole sequences in turn; the first call of a block is not counted.</summary>
    private static (double Alone, double Between) Run(bool useFlash, int heads, int n, int dim, int rounds)
    {
        const int block = 5;
        using var scope = NewDisposeScope();
        using IDisposable inference = no_grad();
        manual_seed(1);
        int width = heads * dim;
        TorchSharp.Modules.Linear input = nn.Linear(width, 3 * width), output = nn.Linear(width, width);
        Tensor x = randn([1, n, width]);
        Tensor[] prepared = Heads(input.call(x));
        List<double> alone = [], between = [];
        for (int round = -1; round < rounds; round++)
        {
            for (int i = 0; i < block; i++)
                Count(alone, round, i, Timed(prepared).Seconds);
            for (int i = 0; i < block; i++)
            {
                using var step = NewDisposeScope();
                (Tensor attended, double seconds) = Timed(Heads(input.call(x)));
                output.call(attended.transpose(1, 2).reshape(1, n, width));
                Count(between, round, i, seconds);
            }
        }
        return (Measure.Median(alone), Measure.Median(between));

        Tensor[] Heads(Tensor packed) => [.. packed.view(1, n, 3, heads, dim).unbind(2).Select(t => t.transpose(1, 2))];

        (Tensor Output, double Seconds) Timed(Tensor[] qkv)
        {
            Tensor? result = null;
            double seconds = Measure.Seconds(() => result = useFlash
                ? flash.nn.functional.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], is_causal: true)
                : nn.functional.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], is_casual: true));
            return (result!, seconds);
        }

        static void Count(List<double> times, int round, int index, double seconds)
        {
            if (round >= 0 && index > 0)
                times.Add(seconds);
        }
    }
}
