using System.CommandLine;
using TorchFlash;
using System.Globalization;
using TorchFlash.Kernels.Cpu;
using static TorchSharp.torch;

namespace AttentionBench.Verbs;

/// <summary>
/// What one call costs where there is hardly anything to compute: flash, the engine below it, libtorch's SDPA and the naive composition, turn by turn.
/// </summary>
internal static class CallsCommand
{
    /// <summary>A turn lasts at least so long, so that neither the clock nor what the contestant before left in the caches counts.</summary>
    private const double SecondsPerTurn = 0.001;

    /// <summary>Rounds in the end of which the runtime has compiled everything for good, which it does in the background.</summary>
    private const int WarmUpRounds = 400;

    public static Command Command()
    {
        var lengths = new Option<int[]>("--n") { Description = "Sequence lengths.", AllowMultipleArgumentsPerToken = true, DefaultValueFactory = _ => [1, 32, 128] };
        var heads = new Option<int[]>("--heads") { Description = "Numbers of heads.", AllowMultipleArgumentsPerToken = true, DefaultValueFactory = _ => [1, 12] };
        var dim = new Option<int>("--dim") { Description = "Head dimension.", DefaultValueFactory = _ => 64 };
        var rounds = new Option<int>("--repeat") { Description = "Rounds; medians and quartiles are over them.", DefaultValueFactory = _ => 151 };
        var command = new Command("calls", "Microseconds of one call on short sequences, forward and with gradients.") { lengths, heads, dim, rounds, TorchThreads.Option };
        command.SetAction(parsed =>
        {
            TorchThreads.Apply(parsed);
            Console.WriteLine(CpuEngine.Instance.Describe());
            Console.WriteLine($"B = 1, d = {parsed.GetValue(dim)}, float32, full, {get_num_threads()} threads, libtorch {__version__}; medians of {parsed.GetValue(rounds)} interleaved rounds, quartiles in brackets.");
            Console.WriteLine("\"engine\" is the kernels' passes alone, no tensors; ratios are how many times as long as flash, each of turns in the same round.");
            Console.WriteLine();
            Console.WriteLine("| H | N | pass | flash us | engine us | sdpa us | sdpa / flash | naive us | naive / flash |");
            Console.WriteLine("| ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |");
            Run(1, 32, parsed.GetValue(dim), WarmUpRounds, _ => { });
            foreach (int h in parsed.GetValue(heads)!)
                foreach (int n in parsed.GetValue(lengths)!)
                    Run(h, n, parsed.GetValue(dim), parsed.GetValue(rounds), Console.WriteLine);
        });
        return command;
    }

    private static void Run(int heads, int n, int dim, int rounds, Action<string> print)
    {
        using var scope = NewDisposeScope();
        using var engine = new EnginePasses<float>(heads, n, dim, false, get_num_threads());
        Workload flash = Of("flash"), sdpa = Of("sdpa"), naive = Of("naive");
        Print("forward", Turns(rounds, flash.Forward, engine.Forward, sdpa.Forward, naive.Forward));
        Print("forward + backward", Turns(rounds, flash.ForwardBackward, EngineBoth, sdpa.ForwardBackward, naive.ForwardBackward));

        Workload Of(string name) => new(Contestant.All.Single(c => c.Name == name), heads, n, dim, false);

        void EngineBoth()
        {
            engine.Forward();
            engine.Backward();
        }

        void Print(string pass, double[][] seconds) => print(
            $"| {heads} | {n} | {pass} | {Microseconds(seconds[0])} | {Microseconds(seconds[1])} | {Microseconds(seconds[2])} | {Ratio(seconds[2], seconds[0])} | {Microseconds(seconds[3])} | {Ratio(seconds[3], seconds[0])} |");
    }

    /// <summary>Seconds of one call, of every action in every round. The order turns round by one in every round: nobody always follows the same one.</summary>
    private static double[][] Turns(int rounds, params Action[] actions)
    {
        int[] repeats = [.. actions.Select(action =>
        {
            for (int i = 0; i < 100; i++)
                action();
            return Math.Max(1, (int)(SecondsPerTurn / Measure.Seconds(action)));
        })];
        double[][] seconds = [.. actions.Select(_ => new double[rounds])];
        for (int round = 0; round < rounds; round++)
            for (int turn = 0; turn < actions.Length; turn++)
            {
                int a = (turn + round) % actions.Length;
                seconds[a][round] = Measure.Seconds(() =>
                {
                    for (int i = 0; i < repeats[a]; i++)
                        actions[a]();
                }) / repeats[a];
            }
        return seconds;
    }

    private static string Microseconds(double[] seconds) => Spread([.. seconds.Select(s => 1e6 * s).Order()], "F1", "");

    private static string Ratio(double[] seconds, double[] flash) => Spread([.. seconds.Zip(flash, (a, b) => a / b).Order()], "F2", "x");

    private static string Spread(double[] sorted, string format, string unit) => string.Create(CultureInfo.InvariantCulture,
        $"{Measure.Median(sorted).ToString(format, CultureInfo.InvariantCulture)}{unit} ({sorted[sorted.Length / 4].ToString(format, CultureInfo.InvariantCulture)}-{sorted[3 * sorted.Length / 4].ToString(format, CultureInfo.InvariantCulture)})");
}
