using System.Diagnostics;

namespace TorchFlash.Benchmarks;

internal static class Measure
{
    /// <summary>Seconds that <paramref name="action"/> takes.</summary>
    public static double Seconds(Action action)
    {
        long start = Stopwatch.GetTimestamp();
        action();
        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }

    public static double Median(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        int middle = sorted.Length / 2;
        return sorted.Length % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
    }

    /// <summary>
    /// Median seconds of every action, taken in turn: what disturbs the machine for a while disturbs all of them.
    /// The first round is not counted.
    /// </summary>
    public static double[] Interleaved(int rounds, params Action[] actions)
    {
        double[][] seconds = [.. actions.Select(_ => new double[rounds])];
        for (int round = -1; round < rounds; round++)
            for (int a = 0; a < actions.Length; a++)
            {
                double taken = Seconds(actions[a]);
                if (round >= 0)
                    seconds[a][round] = taken;
            }
        return [.. seconds.Select(Median)];
    }
}
