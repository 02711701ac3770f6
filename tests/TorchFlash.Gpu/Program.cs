using System.CommandLine;
using TorchFlash.Gpu.Report;
using TorchFlash.Gpu.Verify;

var root = new RootCommand("What only a GPU can tell: checks and measurements of the CUDA engine, a part for each verb. Exit codes: 0 all well, 1 not so, 3 no GPU.")
{
    TorchFlash.Gpu.CompileCommand.Create(),
    TorchFlash.Gpu.PrecompileCommand.Create(),
    TorchFlash.Gpu.ConformanceCommand.Create(),
    VerifyCommand.Create(),
#if SYSTEM_LIBTORCH
    TorchFlash.Gpu.Torch.BenchCommand.Create(),
    TorchFlash.Gpu.Torch.TuneCommand.Create(),
    TorchFlash.Gpu.Torch.EndToEndCommand.Create(),
#endif
    SummaryCommand.Create(),
};
root.Options.Add(GpuOptions.Out);
root.Options.Add(GpuOptions.Device);
root.Options.Add(GpuOptions.Seconds);
return root.Parse(args).Invoke();
