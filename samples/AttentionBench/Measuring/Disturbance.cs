using System.Diagnostics;
using System.Globalization;

namespace AttentionBench.Measuring;

/// <summary>Seconds of all processors together, as <c>/proc/stat</c> counts them.</summary>
/// <param name="Busy">In which they worked, for whomever in this system.</param>
/// <param name="Stolen">In which the host kept them from working.</param>
/// <param name="Processors">How many there are.</param>
internal readonly record struct ProcessorTimes(double Busy, double Stolen, int Processors)
{
    // USER_HZ, which is 100 wherever Linux shows times to programs.
    private const double TicksPerSecond = 100;

    /// <summary>Reads the text of <c>/proc/stat</c>.</summary>
    /// <exception cref="FormatException">It is not of that form.</exception>
    public static ProcessorTimes Parse(string stat)
    {
        string[] lines = stat.Split('\n');
        string[] fields = lines[0].Split(' ', StringSplitOptions.RemoveEmptyEntries);
        if (fields is not ["cpu", _, _, _, _, _, _, _, ..])
            throw new FormatException("The first line of /proc/stat begins with 'cpu' and at least seven numbers.");
        double[] ticks = [.. fields.Skip(1).Select(f => double.Parse(f, CultureInfo.InvariantCulture))];

        // user, nice, system, idle, iowait, irq, softirq, steal
        return new(
            (ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6]) / TicksPerSecond,
            ticks.Length > 7 ? ticks[7] / TicksPerSecond : 0,
            lines.Count(line => line.StartsWith("cpu", StringComparison.Ordinal)) - 1);
    }
}

/// <summary>What the machine had done up to a moment.</summary>
/// <param name="Clock">Seconds.</param>
/// <param name="Own">Processor seconds of this process.</param>
/// <param name="Times">Those of all; null where the system does not tell.</param>
/// <param name="Megahertz">Clock of the fastest processor; 0 where the system does not tell.</param>
internal readonly record struct MachineState(double Clock, double Own, ProcessorTimes? Times, double Megahertz)
{
    /// <param name="ofChildren">Processor seconds of processes that work for this one.</param>
    public static MachineState Now(double ofChildren = 0)
    {
        using var process = Process.GetCurrentProcess();
        return new(
            Stopwatch.GetTimestamp() / (double)Stopwatch.Frequency, process.TotalProcessorTime.TotalSeconds + ofChildren,
            File.Exists("/proc/stat") ? ProcessorTimes.Parse(File.ReadAllText("/proc/stat")) : null,
            File.Exists("/proc/cpuinfo") ? Fastest(File.ReadLines("/proc/cpuinfo")) : 0);
    }

    private static double Fastest(IEnumerable<string> cpuinfo) => cpuinfo.Where(line => line.StartsWith("cpu MHz", StringComparison.Ordinal))
        .Select(line => double.Parse(line[(line.IndexOf(':') + 1)..], CultureInfo.InvariantCulture)).DefaultIfEmpty(0).Max();
}

/// <summary>Whether a measurement had the machine for itself, and if not, who was there.</summary>
internal static class Disturbance
{
    /// <summary>A ceiling below this share of the one at the start: something else was there, or the clock has fallen.</summary>
    private const double Undisturbed = 0.95;

    /// <summary>Processors' worth of other work that goes unnoticed: the system's own.</summary>
    private const double Background = 0.1;

    /// <summary>A BLAS below this share of the ceiling is the reference implementation, or waits for its own threads; good ones have half of it and more.</summary>
    private const double SlowBlas = 0.25;

    /// <summary>What disturbed the measurement between two moments; empty where nothing did.</summary>
    /// <param name="before">At its start.</param>
    /// <param name="after">At its end.</param>
    /// <param name="threads">With which it ran.</param>
    /// <param name="ceiling">FLOP/s of multiply-adds between its runs, over those at the start of the program; 1 where not measured.</param>
    public static string Between(MachineState before, MachineState after, int threads, double ceiling = 1)
    {
        var signs = new List<string>();
        if (ceiling < Undisturbed)
            signs.Add(Invariant($"ceiling at {ceiling:P0} of that at the start"));
        double seconds = after.Clock - before.Clock;
        if (seconds > 0 && before.Times is { } b && after.Times is { } a)
        {
            double others = (a.Busy - b.Busy - (after.Own - before.Own)) / seconds, stolen = (a.Stolen - b.Stolen) / seconds;
            if (others > Math.Max(0, a.Processors - threads) + Background)
                signs.Add(Invariant($"other processes kept {others:F1} of {a.Processors} processors busy"));
            if (stolen > Background / 2)
                signs.Add(Invariant($"the host withheld {stolen:F2} processors"));
        }
        if (before.Megahertz > 0 && Math.Abs(after.Megahertz / before.Megahertz - 1) > 1 - Undisturbed)
            signs.Add(Invariant($"clock from {before.Megahertz:F0} to {after.Megahertz:F0} MHz"));
        return signs.Count == 0 ? "" : "disturbed: " + string.Join("; ", signs);
    }

    /// <summary>What is wrong with the machine before anything is measured; a sentence each.</summary>
    public static IEnumerable<string> AtStart(Machine machine)
    {
        double engine = machine.CeilingGflops[machine.VectorBits.ToString(CultureInfo.InvariantCulture)], widest = machine.CeilingGflops.Values.Max();
        if (widest > 1.1 * engine)
            yield return Invariant($"The engine's {machine.VectorBits}-bit vectors reach {engine:F0} GFLOP/s at most, {machine.CeilingGflops.MaxBy(c => c.Value).Key}-bit ones {widest:F0} on this processor.");
        if (machine.MatmulGflops < SlowBlas * widest)
            yield return Invariant($"libtorch's BLAS is slow: {machine.MatmulGflops:F0} GFLOP/s in a product of matrices, {machine.MatmulGflops / widest:P0} of the ceiling. Comparisons with libtorch flatter flash.");
        if (File.Exists("/proc/loadavg"))
        {
            double load = double.Parse(File.ReadAllText("/proc/loadavg").Split(' ')[0], CultureInfo.InvariantCulture);
            if (load > Math.Max(0.5, 0.25 * machine.Processors))
                yield return Invariant($"Other programs were running in the minute before the start: load average {load:F1}.");
        }
    }

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
