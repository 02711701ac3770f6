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
    /// Median seconds of every action, taken in turn: what disturbs the machine for a while disturbs all of them. A first round
    /// that is not counted warms up, and its seconds decide how many follow.
    /// </summary>
    public static double[] Interleaved(Func<double, int> rounds, params Action[] actions)
    {
        int count = rounds(Seconds(() => Array.ForEach(actions, action => action())));
        double[][] seconds = [.. actions.Select(_ => new double[count])];
        for (int round = 0; round < count; round++)
            for (int a = 0; a < actions.Length; a++)
                seconds[a][round] = Seconds(actions[a]);
        return [.. seconds.Select(Median)];
    }
}
