using System.CommandLine;
using TorchFlash.Benchmarks;

return new RootCommand("Measurements of TorchFlash: ratios, taken side by side in one run.")
{
    KernelBenchmark.Command(),
    VersusBenchmark.Command(),
    AttentionBenchmark.Command(),
    MemoryBenchmark.Command(),
    MixedBenchmark.Command(),
    CallBenchmark.Command(),
    ScoreBenchmark.Command(),
    SparseBenchmark.Command(),
    MemoryProbe.Command(),
}.Parse(args).Invoke();
