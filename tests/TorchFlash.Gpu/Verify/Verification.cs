using TorchFlash.Gpu.Device;
using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Gpu.Verify;

/// <summary>A case and what came of it.</summary>
internal sealed record CaseResult(string Case, IReadOnlyList<Comparison> Comparisons, IReadOnlyList<string> Failures)
{
    public bool Passed => Failures.Count == 0 && Comparisons.All(c => c.Passed);
}

/// <summary>
/// Runs a case on the GPU's own memory, forward, backward and averaged weights, once as users get it and twice in a fixed order, and holds it
/// against the definition in double (<see cref="Expectation"/>).
/// </summary>
internal static class Verification
{
    public static CaseResult Run(EngineSet engines, VerifyCase test, int seed)
    {
        List<string> failures = [];
        List<Comparison> comparisons = [];
        try
        {
            engines.Gpu.Enter();
            using var run = new DeviceCase(engines.Gpu, test.Problem, test.Layout, test.Layout, seed) { ScoreRoundings = 2 };
            CudaEngine engine = engines.Of(test.Family);
            Run(deterministic: false);
            byte[][] first = Run(deterministic: true), second = Run(deterministic: true);
            for (int i = 0; i < first.Length; i++)
                if (!first[i].AsSpan().SequenceEqual(second[i]))
                    failures.Add($"{run.Outputs[i].Name} differs between two deterministic runs");

            byte[][] Run(bool deterministic)
            {
                run.PoisonOutputs();
                run.Run(engine, Passes.All, deterministic);
                engines.Gpu.Synchronize();
                comparisons.AddRange(run.Compare(Passes.All).Select(c => c with { Name = c.Name + (deterministic ? " (deterministic)" : "") }));
                failures.AddRange(run.StrayWrites());
                return [.. run.Outputs.Select(o => o.Operand.Bytes())];
            }
        }
        catch (Exception e)
        {
            failures.Add($"{e.GetType().Name}: {e.Message}");
        }
        return new CaseResult(test.ToString(), comparisons, failures);
    }
}
