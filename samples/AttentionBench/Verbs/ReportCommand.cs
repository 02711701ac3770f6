using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using AttentionBench.Cli;
using AttentionBench.Contestants;
using AttentionBench.Measuring;
using AttentionBench.Output;
using Gpt2;
using TorchFlash.Kernels;
using TorchFlash.Kernels.Cpu;
using static TorchSharp.torch;

namespace AttentionBench.Verbs;

/// <summary>Everything that the README and docs/performance.md show, measured in one go and written into one folder.</summary>
internal static class ReportCommand
{
    /// <summary>How much of everything.</summary>
    private sealed record Extent(
        int[] Lengths, int[] MemoryLengths, int[] ModuleLengths, (int Heads, int Length, int Dim)[] Kernels, int[] ShortLengths, int CallRounds, int CallWarmUp, int KernelRounds,
        double Seconds, string Preset, int[] Contexts, int Steps);

    private static readonly Extent s_whole = new(
        [128, 256, 512, 1024, 2048, 4096], [1024, 2048, 4096, 8192, 16384], [512, 1024, 2048], [(12, 1024, 64), (12, 4096, 64), (8, 2048, 128), (12, 2048, 32), (1, 4096, 64)], [1, 32, 128], 101, 400, 7,
        1, "gpt2", [1024, 4096], 2);

    private static readonly Extent s_quick = new(
        [32, 64], [32, 64], [32], [(1, 64, 32)], [1], 3, 3, 2,
        0.01, "nano", [32], 1);

    public static Command Command()
    {
        var folder = new Option<DirectoryInfo>("--output") { Description = "Where the files go.", HelpName = "FOLDER", DefaultValueFactory = _ => new DirectoryInfo(Path.Combine("docs", "measured")) };
        var quick = new Option<bool>("--quick") { Description = "Tiny sizes: shows that everything works, and measures nothing." };
        Option<string[]> sections = Options.Choices("--sections", "Only these.", Sections, Sections);
        var command = new Command("report", "Measures everything that the README shows, about ten minutes, into tables (Markdown, CSV, JSON) and pictures.") { folder, quick, sections };
        return Session.On(command, true, [], parsed =>
        {
            string path = parsed.GetValue(folder)!.FullName;
            if (File.Exists(path))
                throw new UserException($"{folder.Name}: {path} is a file; name a folder.");
            string[] wanted = parsed.GetValue(sections)!;
            Extent extent = parsed.GetValue(quick) ? s_quick : s_whole;
            return session =>
            {
                long start = Stopwatch.GetTimestamp();
                Measure(session, extent, wanted);
                session.Note(wanted.Length < Sections.Length ? $"Left out: {string.Join(", ", Sections.Except(wanted))}." : $"Not measured here: times beyond N = {extent.Lengths.Max()} (modules: {extent.ModuleLengths.Max()}), other head dimensions and types against libtorch, masks and biases; bench attention and bench scores have them.");
                if (parsed.GetValue(quick))
                    session.Note($"Made with {quick.Name}: sizes too small to mean anything.");
                session.Note(FormattableString.Invariant($"Took {Stopwatch.GetElapsedTime(start).TotalMinutes:F1} minutes."));
                Write(session, folder.Name, path);
                if (wanted.Contains(Model))
                    Io(folder.Name, path, parsed.GetValue(quick));
                session.Line($"Written: {path}");
                return 0;
            };
        });
    }

    private const string Kernel = "kernel", Attention = "attention", Memory = "memory", First = "first-call", Modules = "modules", Calls = "calls", Mixed = "mixed", Step = "gpt2", Model = "io";

    private static string[] Sections => [Kernel, Attention, Memory, First, Modules, Calls, Mixed, Step, Model];

    private static void Measure(Session session, Extent extent, string[] wanted)
    {
        int threads = get_num_threads();
        bool[] masks = [false, true];
        Contestant[] functions = [.. Contestant.All.Where(c => !c.IsModule)];
        if (wanted.Contains(Kernel))
            foreach (ElementType type in new[] { ElementType.Float32, ElementType.Float64, ElementType.BFloat16, ElementType.Float16 })
            {
                // The other types at the first two shapes only.
                if (KernelCommand.Refusal(type) is { } refusal)
                    session.Note($"{Options.Name(type)}: {refusal}");
                else
                    KernelCommand.Run(
                        session, $"kernel-{Options.Name(type)}",
                        [.. from s in type == ElementType.Float32 ? extent.Kernels : extent.Kernels.Take(2) from causal in masks select new KernelCommand.Case(type, s.Heads, s.Length, s.Dim, causal, threads)], extent.KernelRounds);
            }
        if (wanted.Contains(Kernel) && CpuEngine.Instance.VectorBits > 256)
            NarrowKernels(session, extent, threads);
        if (wanted.Contains(Attention))
            AttentionCommand.Run(session, new() { Cases = Cases(extent.Lengths), Contestants = functions, Seconds = extent.Seconds, Memory = false });
        if (wanted.Contains(Memory))
            AttentionCommand.Run(session, new() { Cases = [.. Cases(extent.MemoryLengths).Where(c => !c.Causal)], Contestants = functions, Passes = [] });
        if (wanted.Contains(First))
            AttentionCommand.Run(session, new() { Cases = Cases([extent.ModuleLengths[0]]), Passes = [], Memory = false, FirstCall = true });
        if (wanted.Contains(Modules))
            AttentionCommand.Run(session, new()
            {
                Cases = Cases(extent.ModuleLengths),
                Contestants = [.. Contestant.All.Where(c => c.IsModule)],
                Passes = [Pass.Both],
                Seconds = extent.Seconds,
                Memory = false,
                Key = "modules-",
            });
        if (wanted.Contains(Calls))
            CallsCommand.Run(session, CallsCommand.Short([1, 12], extent.ShortLengths, 64), extent.CallRounds, extent.CallWarmUp);
        if (wanted.Contains(Mixed))
            MixedCommand.Run(session, [.. extent.ModuleLengths], 12, 64, extent.KernelRounds);
        if (wanted.Contains(Step))
            Gpt2Command.Run(session, extent.Preset, extent.Contexts, [AttentionKind.Flash, AttentionKind.Sdpa, AttentionKind.Naive], 1, extent.Steps);

        AttentionCase[] Cases(int[] lengths) => [.. from causal in masks from n in lengths select new AttentionCase { Queries = n, Keys = n, Causal = causal }];
    }

    /// <summary>The engine's passes at 256 bits, in a process that does without AVX-512: the runtime decides at its start.</summary>
    private static void NarrowKernels(Session session, Extent extent, int threads)
    {
        string folder = Directory.CreateTempSubdirectory("attention-bench-").FullName;
        try
        {
            string file = Path.Combine(folder, "kernel.json");
            (int heads, _, int dim) = extent.Kernels[0];
            session.Step("the engine without AVX-512");
            ChildProcess.Run(
                "the engine without AVX-512", "DOTNET_EnableAVX512",
                ["kernel", "--heads", Text(heads), "--dim", Text(dim), "--threads", Text(threads), "--repeat", Text(extent.KernelRounds), Options.Json.Name, file, "--n", .. extent.Kernels.Where(k => k.Heads == heads && k.Dim == dim).Select(k => Text(k.Length))]);
            Table table = session.Begin(new Table("kernel-avx2", "The same without AVX-512, in a process of its own: float32, 256-bit vectors, shares of their own ceiling.", session.Tables.Last(t => t.Key == "kernel-float32").Columns));
            foreach (JsonNode? row in JsonNode.Parse(File.ReadAllText(file))!["tables"]!["kernel"]!.AsArray())
                session.Row(table, table.Cells(row!));
            session.End(table);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }

        static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);
    }

    /// <summary>What the I/O model says, into io.md and pictures.</summary>
    private static void Io(string option, string folder, bool quick)
    {
        string[][] runs = quick
            ? [["--n", "64", "128", "--at", "64", "--caches", "48K,1M,32M", "--bandwidths", "200,100,40,12", "--ceiling", "100"]]
            : [["--pass", "both", "--n", "512", "1024", "2048", "4096", "8192", "16384", "32768", "65536"], ["--pass", "both", "--n", "1024", "--simulate", "--advise"], ["--gpu", "all", "--pass", "both"]];
        using StringWriter output = new() { NewLine = "\n" }, error = new();
        foreach (string[] arguments in runs)
            if (Program.Run([Model, .. arguments, Options.Svg.Name, folder], output, error) != 0)
                throw new UserException($"{Model}: {error}");
        OutputFile.Write(option, Path.Combine(folder, "io.md"), output.ToString());
    }

    /// <summary>A table a file, all of them with the machine in report.md and report.json, and the pictures.</summary>
    private static void Write(Session session, string option, string folder)
    {
        var text = new StringBuilder("# Measured\n\nWritten by `./build.sh bench report`; everything in one run on this machine:\n\n| | |\n| --- | --- |\n");
        foreach ((string name, string value) in session.Machine!.Properties)
            text.Append($"| {name} | {value.Replace("|", "\\|", StringComparison.Ordinal)} |\n");
        text.Append('\n');
        foreach (string note in session.Notes)
            text.Append($"- {note}\n");
        foreach (Table table in session.Tables)
        {
            text.Append($"\n## {table.Key}\n\n{table.Markdown}");
            foreach ((string name, _) in session.Charts.Where(c => c.Name == table.Key || c.Name.Contains(table.Key + "-", StringComparison.Ordinal) || c.Name.StartsWith(table.Key + "-", StringComparison.Ordinal)))
                text.Append($"\n<picture><source media=\"(prefers-color-scheme: dark)\" srcset=\"{name}-dark.svg\"><img src=\"{name}-light.svg\" alt=\"{name}\"></picture>\n");
            OutputFile.Write(option, Path.Combine(folder, table.Key + ".md"), table.Markdown);
            OutputFile.Write(option, Path.Combine(folder, table.Key + ".csv"), Table.Csv(table));
        }
        OutputFile.Write(option, Path.Combine(folder, "report.json"), session.JsonText);
        session.WritePictures(option, folder);
        OutputFile.Write(option, Path.Combine(folder, "report.md"), text.ToString());
    }
}
