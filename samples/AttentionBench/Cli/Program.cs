using System.CommandLine;

return new RootCommand("Measurements of TorchFlash: ratios, taken side by side in one run.")
{
    KernelCommand.Command(),
    VersusCommand.Command(),
    AttentionCommand.Command(),
    MemoryCommand.Command(),
    MixedCommand.Command(),
    CallsCommand.Command(),
    ScoresCommand.Command(),
    SparseCommand.Command(),
    AttentionBench.IoModel.IoCommand.Command(),
    Probe.Command(),
}.Parse(args).Invoke();
