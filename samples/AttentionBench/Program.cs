using System.CommandLine;

return new RootCommand("Measurements of TorchFlash: ratios, taken side by side in one run.").Parse(args).Invoke();
