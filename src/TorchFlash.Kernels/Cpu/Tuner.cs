using System.Diagnostics;
using System.Globalization;

namespace TorchFlash.Kernels.Cpu;

/// <summary>Tries sizes of tiles on a problem of middling size, turn by turn, and keeps what the plan has unless another is clearly faster.</summary>
internal static class Tuner
{
    private const int Length = 2048, Rounds = 5;

    /// <summary>What another size must be faster by: more than a measurement is wrong by.</summary>
    private const double Gain = 1.02;

    public static (TuningResults Results, IReadOnlyList<string> Lines) Search(Func<TilePlan, CpuEngine> engineOf, TilePlan plan, ElementType elementType, int headDim, int threads)
    {
        int heads = 2 * Math.Max(1, threads > 0 ? threads : Environment.ProcessorCount);
        AttentionProblem problem = new()
        {
            Batch = 1,
            Heads = heads,
            QueryLength = Length,
            KeyLength = Length,
            HeadDim = headDim,
            ValueDim = headDim,
            Scale = AttentionProblem.DefaultScale(Math.Max(1, headDim)),
            ElementType = elementType,
        };
        problem.Validate();
        using var operands = new TrialOperands(problem);
        ExecutionOptions options = new() { Threads = threads };
        var results = plan.Tuned ?? TuningResults.None;
        List<string> lines = [];
        foreach (bool isBackward in new[] { false, true })
        {
            TileSizes[] candidates = [isBackward ? plan.Backward(problem) : plan.Forward(problem), .. Candidates(isBackward)];
            double[] seconds = [.. Enumerable.Repeat(double.PositiveInfinity, candidates.Length)];
            for (int round = 0; round < Rounds; round++)
            {
                for (int i = 0; i < candidates.Length; i++)
                {
                    CpuEngine engine = engineOf(plan.With(TuningResults.None.With(isBackward, elementType, headDim, candidates[i])));
                    long start = Stopwatch.GetTimestamp();
                    if (isBackward)
                        engine.Backward(problem, operands.Backward, options);
                    else
                        engine.Forward(problem, operands.Forward, options);
                    seconds[i] = Math.Min(seconds[i], Stopwatch.GetElapsedTime(start).TotalSeconds);
                }
            }
            int best = Array.IndexOf(seconds, seconds.Min());
            if (seconds[0] <= Gain * seconds[best])
                best = 0;
            results = results.With(isBackward, elementType, headDim, candidates[best]);
            lines.Add(string.Create(CultureInfo.InvariantCulture,
                $"{(isBackward ? "backward" : "forward")} {elementType} d = {headDim}: {candidates[best].Queries} queries x {candidates[best].Keys} keys, {seconds[0] / seconds[best]:F3} times as fast as {candidates[0].Queries} x {candidates[0].Keys}; slowest {seconds.Max() / seconds[best]:F2} times as long"));
        }
        return (results, lines);
    }

    private static IEnumerable<TileSizes> Candidates(bool isBackward)
    {
        foreach (int stationary in TilePlan.StationarySizes.ToArray())
        {
            foreach (int streamed in TilePlan.StreamedSizes.ToArray())
                yield return isBackward ? new(streamed, stationary) : new(stationary, streamed);
        }
    }
}
