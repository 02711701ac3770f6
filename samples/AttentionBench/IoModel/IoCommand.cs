using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using AttentionBench.Engine;
using AttentionBench.Measuring;
using AttentionBench.Plots;
using TorchFlash.Kernels;
using TorchFlash.Kernels.Cpu;

namespace AttentionBench.IoModel;

/// <summary>The verb <c>io</c>: bytes between memory levels by formula, what binds, and counters beside it.</summary>
internal static class IoCommand
{
    private const int MaximumLength = 1 << 20, MaximumSimulated = 2048;
    private static readonly Axis s_bytes = new("", Unit: AxisUnit.Bytes);
    private static readonly string[] s_levels = ["L1", "L2", "L3", "L4"];

    private static readonly Option<int[]> s_lengths = new("--n")
    {
        Description = "Lengths: queries and keys of a head.",
        DefaultValueFactory = _ => [256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536],
        AllowMultipleArgumentsPerToken = true,
    };
    private static readonly Option<int> s_tileLength = new("--at") { Description = "The length of the tables over tile sizes and of the counters.", DefaultValueFactory = _ => 4096 };
    private static readonly Option<int> s_dim = new("--dim") { Description = "Head dim.", DefaultValueFactory = _ => 64 };
    private static readonly Option<string> s_dtype = Choice("--dtype", "Element type of the CPU engine.", "float32", "float64");
    private static readonly Option<string> s_pass = Choice("--pass", "Which pass.", "forward", "backward", "both");
    private static readonly Option<string> s_tiles = new("--tiles") { Description = "Rows of query and key tiles, such as 384x96, or 'engine': the engine's own.", DefaultValueFactory = _ => "engine" };
    private static readonly Option<string> s_caches = new("--caches") { Description = "Sizes of the data caches, such as 48K,1M,32M, or 'machine': this machine's.", DefaultValueFactory = _ => "machine" };
    private static readonly Option<string> s_bandwidths = new("--bandwidths")
    {
        Description = "GB/s that one thread reads out of every cache and the memory, such as 200,100,40,12, or 'machine': measured.",
        DefaultValueFactory = _ => "machine",
    };
    private static readonly Option<string> s_ceiling = new("--ceiling") { Description = "GFLOP/s of one thread's multiply-adds, or 'machine': measured.", DefaultValueFactory = _ => "machine" };
    private static readonly Option<string> s_gpu = Choice("--gpu", "Says the same of a graphics processor instead.", "none", "a100", "h100", "all");
    private static readonly Option<bool> s_simulate = new("--simulate") { Description = $"Also simulates the loops access by access, at the first length (at most {MaximumSimulated}), over all cache sizes." };
    private static readonly Option<bool> s_counters = new("--counters") { Description = "Also runs the engine and reads the processor's counters, where the machine lets them be read." };
    private static readonly Option<bool> s_advise = new("--advise") { Description = "Also searches the tile sizes of least traffic, for head dims 32 to 256." };
    private static readonly Option<DirectoryInfo?> s_svg = new("--svg") { Description = "Folder for the pictures." };

    static IoCommand()
    {
        s_lengths.Validators.Add(result => Check(result, s_lengths, n => n is >= 1 and <= MaximumLength, $"1 to {MaximumLength}"));
        s_tileLength.Validators.Add(result => Check(result, result.GetValue(s_tileLength) is >= 1 and <= MaximumLength, $"1 to {MaximumLength}"));
        s_dim.Validators.Add(result => Check(result, result.GetValue(s_dim) is >= 1 and <= 1024, "1 to 1024"));
        s_tiles.Validators.Add(result => Check(result, result.GetValue(s_tiles) is "engine" || ParseTiles(result.GetValue(s_tiles)!) is not null, "'engine' or rows such as 384x96, each 1 to 65536"));
        s_caches.Validators.Add(result => Check(result, result.GetValue(s_caches) is "machine" || TryNumbers(result.GetValue(s_caches)!, MachineCaches.Parse) is { Length: >= 2 and <= 4 } sizes && sizes.SequenceEqual(sizes.Order()),
            "'machine' or two to four sizes that rise, such as 48K,1M,32M"));
        s_bandwidths.Validators.Add(result => Check(result, result.GetValue(s_bandwidths) is "machine" || TryNumbers(result.GetValue(s_bandwidths)!, Positive) is { Length: >= 3 and <= 5 }, "'machine' or numbers above 0, one a cache and one of the memory"));
        s_ceiling.Validators.Add(result => Check(result, result.GetValue(s_ceiling) is "machine" || TryNumbers(result.GetValue(s_ceiling)!, Positive) is { Length: 1 }, "'machine' or a number above 0"));
    }

    /// <summary>The verb.</summary>
    public static Command Command()
    {
        var command = new Command("io", "Bytes that attention moves between memory levels: by formula, by simulation, by the processor's counters; and which level binds.")
        {
            s_lengths, s_tileLength, s_dim, s_dtype, s_pass, s_tiles, s_caches, s_bandwidths, s_ceiling, s_gpu, s_simulate, s_counters, s_advise, s_svg,
        };
        command.SetAction(parsed =>
        {
            TextWriter output = parsed.InvocationConfiguration.Output;
            try
            {
                if (parsed.GetValue(s_gpu) != "none")
                    new GpuReport(output, parsed).Run();
                else
                    new CpuReport(output, parsed).Run();
                return 0;
            }
            catch (Exception e) when (e is PlatformNotSupportedException or IOException or UnauthorizedAccessException or ArgumentException)
            {
                parsed.InvocationConfiguration.Error.WriteLine(e.Message);
                return 1;
            }
        });
        return command;
    }

    private static Option<string> Choice(string name, string description, params string[] values)
    {
        var option = new Option<string>(name) { Description = description, DefaultValueFactory = _ => values[0] };
        option.AcceptOnlyFromAmong(values);
        return option;
    }

    private static void Check(OptionResult result, bool isRight, string takes)
    {
        if (!isRight)
            result.AddError($"{result.Option.Name} takes {takes}.");
    }

    private static void Check(OptionResult result, Option<int[]> option, Func<int, bool> isRight, string takes)
        => Check(result, result.GetValue(option) is { Length: > 0 } values && values.All(isRight), takes);

    private static (int Queries, int Keys)? ParseTiles(string text)
        => text.Split('x') is [var a, var b] && Parse(a) is { } queries && Parse(b) is { } keys ? (queries, keys) : null;

    private static int? Parse(string text) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int value) && value is >= 1 and <= 65536 ? value : null;

    private static double Positive(string text) => double.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double value) && value > 0 && double.IsFinite(value)
        ? value : throw new FormatException();

    private static double[]? TryNumbers(string text, Func<string, double> parse)
    {
        try
        {
            return [.. text.Split(',').Select(parse)];
        }
        catch (FormatException)
        {
            return null;
        }
    }

    /// <summary>What both reports have: tables in Markdown, pictures.</summary>
    private abstract class Report(TextWriter output, ParseResult parsed)
    {
        protected ParseResult Parsed { get; } = parsed;

        protected void Line(FormattableString text) => output.WriteLine(FormattableString.Invariant(text));

        protected void Table(string title, string[] head, IEnumerable<string[]> rows)
        {
            string[][] all = [head, .. rows];
            int[] widths = [.. head.Select((_, i) => all.Max(row => row[i].Length))];
            output.WriteLine();
            output.WriteLine(title);
            output.WriteLine();
            for (int r = 0; r < all.Length; r++)
            {
                output.WriteLine("| " + string.Join(" | ", all[r].Select((cell, i) => i == 0 ? cell.PadRight(widths[i]) : cell.PadLeft(widths[i]))) + " |");
                if (r == 0)
                    output.WriteLine("| " + string.Join(" | ", widths.Select((width, i) => i == 0 ? new string('-', width) : new string('-', width - 1) + ":")) + " |");
            }
        }

        protected void Draw(string name, Chart chart)
        {
            if (Parsed.GetValue(s_svg) is not { } folder)
                return;
            foreach (string path in SvgPlot.Write(folder.FullName, name, chart))
                output.WriteLine(path);
        }

        protected static string Number(double value, string format = "0.##") => value.ToString(format, CultureInfo.InvariantCulture);

        protected static string Bytes(double value) => s_bytes.Format(value);
    }

    private sealed class CpuReport(TextWriter output, ParseResult parsed) : Report(output, parsed)
    {
        private readonly int _elementSize = parsed.GetValue(s_dtype) == "float64" ? 8 : 4;
        private readonly int _bits = CpuEngine.Instance.VectorBits;

        public void Run()
        {
            double[] caches = Parsed.GetValue(s_caches) == "machine" ? MachineCaches.Find() : [.. Parsed.GetValue(s_caches)!.Split(',').Select(MachineCaches.Parse)];
            double[] bandwidths = Parsed.GetValue(s_bandwidths) == "machine"
                ? BandwidthProbe.Measure(caches)
                : [.. Parsed.GetValue(s_bandwidths)!.Split(',').Select(text => 1e9 * Positive(text))];
            if (bandwidths.Length != caches.Length + 1)
                throw new ArgumentException($"--bandwidths has {bandwidths.Length} numbers for {caches.Length} caches; it takes one a cache and one of the memory.");
            double ceiling = Parsed.GetValue(s_ceiling) == "machine" ? MeasureCeiling() : 1e9 * Positive(Parsed.GetValue(s_ceiling)!);
            var roof = new Roofline(ceiling, bandwidths[0], [.. caches.Select((cache, i) => new MemoryLevel($"{s_levels[i]} from {(i + 1 < caches.Length ? s_levels[i + 1] : "memory")}", cache, bandwidths[i + 1]))]);

            Line($"{_bits}-bit registers; multiply-adds of one thread: {ceiling / 1e9:f1} GFLOP/s ({(Parsed.GetValue(s_ceiling) == "machine" ? "measured" : "given")})");
            Table($"Levels of memory, one thread (bandwidths {(Parsed.GetValue(s_bandwidths) == "machine" ? "measured" : "given")}).", ["read out of", "size", "GB/s", "balance, FLOP/byte"],
                bandwidths.Select((bandwidth, i) => new[] { i < caches.Length ? s_levels[i] : "memory", i < caches.Length ? Bytes(caches[i]) : "", Number(bandwidth / 1e9, "0.0"), Number(ceiling / bandwidth) }));
            string pass = Parsed.GetValue(s_pass)!;
            foreach (bool isBackward in new[] { false, true })
            {
                if (pass is "both" || pass == "backward" == isBackward)
                    Run(roof, isBackward);
            }
            if (Parsed.GetValue(s_counters))
                Counters();
        }

        private void Run(Roofline roof, bool isBackward)
        {
            int[] lengths = [.. Parsed.GetValue(s_lengths)!.Distinct().Order()];
            var head = new HeadShape(Parsed.GetValue(s_tileLength), Parsed.GetValue(s_dim), _elementSize);
            TileShape Tile(int length) => TileOf(head with { Length = length }, isBackward);
            TileShape own = Tile(head.Length);
            string name = isBackward ? "backward" : "forward";
            var charts = new IoCharts(head, Tile, roof, isBackward);

            double second = roof.Levels[1].Cache;
            Table($"Bytes, {name}, d = {head.HeadDim}, {_elementSize} bytes an element, one head; M = {Bytes(second)}.",
                ["N", "standard", "FlashAttention", "engine", "tile", "each operand once", "standard : engine"],
                lengths.Select(n =>
                {
                    HeadShape h = head with { Length = n };
                    double standard = PaperFormulas.Standard(h, isBackward), engine = IoCharts.Traffic(h, Tile(n), isBackward).Bytes(second);
                    return new[] { $"{n}", Bytes(standard), Bytes(PaperFormulas.Tiled(h, second, isBackward)), Bytes(engine), $"{Tile(n).Queries}x{Tile(n).Keys}", Bytes(PaperFormulas.Compulsory(h, isBackward)), Number(standard / engine, "0.0") };
                }));
            Draw($"io-bytes-{name}", charts.Bytes(lengths, second));

            EngineTraffic traffic = IoCharts.Traffic(head, own, isBackward);
            double loads = traffic.RegisterBytes;
            Table($"Levels, {name}, N = {head.Length}, tiles of {own.Queries} queries and {own.Keys} keys, register tiles of 6 x {own.Panel}.",
                ["level", "bytes in", "bytes out", "FLOP/byte", "balance", "time : multiply-adds"],
                [
                    ["registers from L1", Bytes(loads), "", Number(head.Flops(isBackward) / loads), Number(roof.Ceiling / roof.FirstLevel), Number(roof.RegisterShare(traffic, isBackward))],
                    .. roof.Levels.Select(level => new[]
                    {
                        level.Name, Bytes(traffic.Fills(level.Cache)), Bytes(traffic.WriteBacks(level.Cache)), Number(head.Flops(isBackward) / traffic.Bytes(level.Cache)),
                        Number(roof.Balance(level)), Number(roof.Share(traffic, level, isBackward)),
                    }),
                ]);
            Table($"What is behind the first level's bytes: the largest uses, {name}.", ["operand", "product", "bytes", "after touching"],
                traffic.Uses.OrderByDescending(use => use.Missed(roof.Levels[0].Cache)).Take(8).Where(use => use.Missed(roof.Levels[0].Cache) > 0)
                    .Select(use => new[] { use.Operand, use.Where, Bytes(use.Missed(roof.Levels[0].Cache)), double.IsFinite(use.Low) ? $"{Bytes(use.Low)} .. {Bytes(use.High)}" : "" }));

            int[] rows = [24, 48, 96, 192, 384, 768, 1536];
            foreach (bool overKeys in new[] { isBackward, !isBackward })
            {
                Table($"Which level binds, {name}, over {(overKeys ? "keys" : "queries")} of a tile: time of its traffic : multiply-adds; all of them one after the other.", [overKeys ? "keys" : "queries", "registers from L1", .. roof.Levels.Select(level => level.Name), "all", "binds"],
                    rows.Select(r =>
                    {
                        EngineTraffic t = IoCharts.Traffic(head, overKeys ? own with { Keys = r } : own with { Queries = r }, isBackward);
                        return new[] { $"{r}", Number(roof.RegisterShare(t, isBackward), "0.000") }.Concat(roof.Levels.Select(level => Number(roof.Share(t, level, isBackward), "0.000"))).Append(Number(roof.Share(t, isBackward), "0.000")).Append(roof.Binding(t, isBackward)?.Name ?? "multiply-adds").ToArray();
                    }));
            }
            Draw($"io-intensity-{name}", charts.Intensity());
            Draw($"io-bound-{name}", charts.Bound(overStreamed: false));
            Draw($"io-bound-streamed-{name}", charts.Bound(overStreamed: true));

            if (Parsed.GetValue(s_simulate))
                Simulate(head with { Length = lengths[0] }, charts, isBackward, name);
            if (Parsed.GetValue(s_advise))
                Advise(roof, isBackward, name);
        }

        private void Simulate(HeadShape head, IoCharts charts, bool isBackward, string name)
        {
            if (head.Length > MaximumSimulated)
                throw new ArgumentException($"--simulate goes over every access: the first of --n is {head.Length}, at most {MaximumSimulated} is taken.");
            TileShape tile = TileOf(head, isBackward);
            var simulated = new StackDistances();
            if (isBackward)
                EngineTrace.Backward(head, tile, simulated);
            else
                EngineTrace.Forward(head, tile, simulated);
            EngineTraffic traffic = IoCharts.Traffic(head, tile, isBackward);
            Table($"Formula and simulation, {name}, N = {head.Length}, tiles {tile.Queries}x{tile.Keys}, {simulated.Accesses} accesses.", ["cache", "formula", "simulation", "ratio"],
                Enumerable.Range(0, 12).Select(i => 8192.0 * (1 << i)).Select(cache =>
                {
                    double expected = traffic.Bytes(cache), found = simulated.Fills(cache) + simulated.WriteBacks(cache);
                    return new[] { Bytes(cache), Bytes(expected), Bytes(found), Number(expected / found, "0.000") };
                }));
            Draw($"io-cache-{name}", (charts with { Head = head }).Simulated(simulated));
        }

        /// <summary>Tiles of least traffic for cache sizes of other machines, at this one's bandwidths.</summary>
        private void Advise(Roofline roof, bool isBackward, string name)
        {
            List<string[]> rows = [];
            foreach (int dim in new[] { 32, 64, 128, 256 })
            {
                foreach (double first in new double[] { 32 << 10, 48 << 10 })
                {
                    foreach (double second in new double[] { 512 << 10, 1 << 20, 2 << 20 })
                    {
                        var head = new HeadShape(4096, dim, _elementSize);
                        Roofline other = roof with { Levels = [roof.Levels[0] with { Cache = first }, roof.Levels[1] with { Cache = second }, .. roof.Levels.Skip(2)] };
                        (TileShape best, double least) = other.Best(head, _bits, isBackward);
                        TileShape own = TileOf(head, isBackward);
                        rows.Add([$"{dim}", Bytes(first), Bytes(second), $"{own.Queries}x{own.Keys}", Number(other.Share(IoCharts.Traffic(head, own, isBackward), isBackward), "0.000"),
                            $"{best.Queries}x{best.Keys}", Number(least, "0.000")]);
                    }
                }
            }
            Table($"Tiles of least traffic, {name}, N = 4096: time of all levels' traffic : multiply-adds. The engine's are those that it takes on this machine.", ["d", "L1", "L2", "engine", "its traffic", "least", "its traffic"], rows);
        }

        private TileShape TileOf(HeadShape head, bool isBackward)
        {
            if (Parsed.GetValue(s_tiles) is { } text and not "engine" && ParseTiles(text) is { } given)
                return TileShape.Of(given.Queries, given.Keys, _bits, _elementSize);
            AttentionProblem problem = Problem(head);
            TileSizes sizes = isBackward ? CpuEngine.Instance.Plan.Backward(problem) : CpuEngine.Instance.Plan.Forward(problem);
            return TileShape.Of(sizes.Queries, sizes.Keys, _bits, _elementSize);
        }

        /// <summary>Of 64 heads: small batches get smaller tiles for the sake of threads, which is not what is asked here.</summary>
        private AttentionProblem Problem(HeadShape head) => new()
        {
            Batch = 1,
            Heads = 64,
            QueryLength = head.Length,
            KeyLength = head.Length,
            HeadDim = head.HeadDim,
            ValueDim = head.HeadDim,
            Scale = AttentionProblem.DefaultScale(head.HeadDim),
            ElementType = Type,
            Causal = CausalMask.None,
        };

        private void Counters()
        {
            int n = Parsed.GetValue(s_tileLength), dim = Parsed.GetValue(s_dim);
            using var passes = new EnginePasses(Type, 1, n, dim, causal: false, threads: 1);
            passes.Forward();
            passes.Backward();
            foreach ((string name, Action work) in new (string, Action)[] { ("forward", passes.Forward), ("backward", passes.Backward) })
                Table($"Counters around one pass of the engine, {name}, one head, one thread, N = {n}, d = {dim}.", ["event", "count", "note"],
                    HardwareCounters.Count(work).Select(reading => new[] { reading.Name, reading.Count is { } count ? Number(count, "0") : "not counted", reading.Reason }));
        }

        private ElementType Type => _elementSize == 8 ? ElementType.Float64 : ElementType.Float32;

        private double MeasureCeiling() => FmaCeiling.OfEngine(Type, threads: 1).Best();
    }

    private sealed class GpuReport(TextWriter output, ParseResult parsed) : Report(output, parsed)
    {
        public void Run()
        {
            string wanted = Parsed.GetValue(s_gpu)!;
            Gpu[] gpus = [.. Gpu.All.Where(gpu => wanted == "all" || gpu.Name.StartsWith(wanted, StringComparison.OrdinalIgnoreCase))];
            int length = Parsed.GetValue(s_tileLength), dim = Parsed.GetValue(s_dim);
            Table("Vendor's figures (not measured).", ["GPU", "SMs", "shared memory of one", "memory, TB/s", "bf16 dense, TFLOP/s", "balance memory", "balance shared memory", "source"],
                gpus.Select(gpu => new[] { gpu.Name, $"{gpu.Multiprocessors}", Bytes(gpu.SharedMemory), Number(gpu.MemoryBandwidth / 1e12, "0.000"), Number(gpu.TensorFlops / 1e12, "0"),
                    Number(gpu.MemoryBalance, "0"), Number(gpu.SharedBalance, "0"), gpu.Source }));
            foreach (Gpu gpu in gpus)
            {
                foreach (bool isBackward in new[] { false, true })
                {
                    if (Parsed.GetValue(s_pass) is not "both" && Parsed.GetValue(s_pass) == "backward" != isBackward)
                        continue;
                    Table($"{gpu.Name}, {(isBackward ? "backward" : "forward")}, bfloat16, N = {length}, d = {dim}: tiles of {(isBackward ? "keys" : "queries")} that stay. Memory as if no cache lay before it; the last columns with every operand read once.",
                        ["rows", .. isBackward ? Array.Empty<string>() : ["shared memory, 64 keys x 2", "blocks an SM"], "bytes a head", "FLOP/byte", "time : tensor cores", "binds", "each operand once: FLOP/byte", "binds"],
                        new[] { 16, 32, 64, 128, 192, 256 }.Select(rows =>
                        {
                            double shared = Gpu.SharedBytes(rows, 64, dim), intensity = Gpu.MemoryIntensity(length, dim, rows, isBackward);
                            double once = new HeadShape(length, dim, Gpu.ElementSize).Flops(isBackward) / PaperFormulas.Compulsory(new(length, dim, Gpu.ElementSize), isBackward);
                            string[] fit = isBackward ? [] : [Bytes(shared), $"{Math.Floor(gpu.SharedMemory / (shared + 1024))}"];
                            return new[] { $"{rows}" }.Concat(fit).Concat([Bytes(Gpu.MemoryBytes(length, dim, rows, isBackward)), Number(intensity, "0"), Number(gpu.MemoryBalance / intensity),
                                intensity < gpu.MemoryBalance ? "memory" : "tensor cores", Number(once, "0"), once < gpu.MemoryBalance ? "memory" : "tensor cores"]).ToArray();
                        }));
                }
                Table($"{gpu.Name}, shared memory forward: rows that one read of K or V serves.", ["rows", "FLOP/byte", "balance", "time : tensor cores", ""],
                    new[] { 16, 32, 64, 128 }.Select(rows => new[] { $"{rows}", Number(gpu.SharedIntensity(rows)), Number(gpu.SharedBalance), Number(gpu.SharedBalance / gpu.SharedIntensity(rows)),
                        rows == gpu.RowsPerRead ? "one tile of the architecture's matrix instruction" : "" }));
            }
            Draw("io-gpu", IoCharts.OfGpus(gpus, length, dim));
        }
    }
}
