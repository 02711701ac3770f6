using System.Diagnostics;

namespace AttentionBench.Measuring;

internal static class Measure
{
    /// <summary>A turn of <see cref="Paired"/> lasts at least so long.</summary>
    private const double SecondsPerTurn = 0.02;

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

    /// <summary>
    /// Every action's median seconds, and the median of its ratios to the baseline: it is timed beside a run of the baseline of its own, first in one round
    /// and second in the next. What is short is repeated, on both sides. A first call of each is not counted.
    /// </summary>
    public static (double Seconds, double Ratio)[] Paired(int rounds, Action baseline, params Action[] actions)
    {
        baseline();
        int[] repeats = [.. actions.Select(action =>
        {
            action();
            return Math.Max(1, (int)(SecondsPerTurn / Seconds(action)));
        })];
        (double Seconds, double Ratio)[][] turns = [.. actions.Select(_ => new (double, double)[rounds])];
        for (int round = 0; round < rounds; round++)
        {
            for (int a = 0; a < actions.Length; a++)
            {
                bool leads = round % 2 == 0;
                double first = Turn(leads ? actions[a] : baseline, repeats[a]), second = Turn(leads ? baseline : actions[a], repeats[a]);
                turns[a][round] = leads ? (first, first / second) : (second, second / first);
            }
        }
        return [.. turns.Select(t => (Median(t.Select(turn => turn.Seconds)), Median(t.Select(turn => turn.Ratio))))];

        static double Turn(Action action, int repeats) => Seconds(() =>
        {
            for (int i = 0; i < repeats; i++)
                action();
        }) / repeats;
    }
}
