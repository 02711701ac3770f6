using System.Diagnostics;

namespace AttentionBench.Measuring;

/// <summary>What two measurements in the same rounds say.</summary>
/// <param name="Seconds">Of one run of the action.</param>
/// <param name="Ratio">To the baseline's run in the same round.</param>
internal readonly record struct PairedTimes(Spread Seconds, Spread Ratio);

/// <summary>
/// The one way in which this program takes times: everything that is compared takes turns, so that what disturbs the machine for a while disturbs
/// all of it, and ratios are of turns of the same round.
/// </summary>
internal static class Measure
{
    /// <summary>A turn lasts at least so long unless said otherwise: what is short is repeated in it.</summary>
    private const double SecondsPerTurn = 0.02;

    /// <summary>Seconds that <paramref name="action"/> takes.</summary>
    public static double Seconds(Action action)
    {
        long start = Stopwatch.GetTimestamp();
        action();
        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }

    /// <summary>An action as a contestant that times itself.</summary>
    public static Func<double> Timed(Action action) => () => Seconds(action);

    /// <summary>
    /// Seconds of one run of every contestant in every round. A first run of each is not counted; of a second one follows how often it is
    /// repeated in a turn, and how many rounds there are. The order turns by one from round to round, so that nobody always follows the same one.
    /// </summary>
    /// <param name="rounds">How many rounds, given the seconds of one.</param>
    /// <param name="secondsPerTurn">What is shorter is repeated until a turn lasts so long.</param>
    /// <param name="contestants">Each runs once and says how many seconds that took.</param>
    public static double[][] InTurn(Func<double, int> rounds, double secondsPerTurn, params IReadOnlyList<Func<double>> contestants)
    {
        double[] once = [.. contestants.Select(run =>
        {
            run();
            return run();
        })];
        int[] repeats = [.. once.Select(seconds => (int)Math.Clamp(secondsPerTurn / seconds, 1, 1e6))];
        int count = rounds(once.Zip(repeats, (seconds, times) => seconds * times).Sum());
        double[][] seconds = [.. contestants.Select(_ => new double[count])];
        for (int round = 0; round < count; round++)
            for (int turn = 0; turn < contestants.Count; turn++)
            {
                int c = (turn + round) % contestants.Count;
                seconds[c][round] = Turn(c) / repeats[c];
            }
        return seconds;

        double Turn(int c)
        {
            double sum = 0;
            for (int i = 0; i < repeats[c]; i++)
                sum += contestants[c]();
            return sum;
        }
    }

    /// <summary>Every action beside a baseline, in pairs of turns of its own.</summary>
    public static PairedTimes[] Paired(int rounds, Action baseline, params Action[] actions) => [.. actions.Select(action =>
    {
        double[][] seconds = InTurn(_ => rounds, SecondsPerTurn, Timed(baseline), Timed(action));
        return new PairedTimes(Spread.Of(seconds[1]), Spread.OfRatios(seconds[1], seconds[0]));
    })];

    /// <summary>As many rounds as fit into the seconds, within limits.</summary>
    public static Func<double, int> Within(double seconds, int least, int most) => perRound => Math.Clamp((int)Math.Min(seconds / perRound, most), least, most);
}
