using System.CommandLine;
using TorchFlash.Benchmarks;

return new RootCommand("Measurements of TorchFlash: ratios, taken side by side in one run.")
{
    KernelBenchmark.Command(),
}.Parse(args).Invoke();
