using System.CommandLine;
using TorchFlash.Build;

// build.sh and build.cmd hand their arguments to this program.
const string Sample = "samples/Gpt2";
const string Bench = "samples/AttentionBench";

var provider = new Option<TorchSharpProvider?>("--provider")
{
    Description = "NuGet (the TorchSharp packages) or SystemLibTorch (the operating system's libtorch, or LIBTORCH_DIR's); default: what this machine can have",
    Recursive = true,
};
var runtime = new Option<TorchRuntime?>("--runtime")
{
    Description = "native packages of TorchSharp from NuGet: Cpu (default) or Cuda",
    Recursive = true,
};
var projects = new Argument<string[]>("name") { Description = "run only test projects whose name contains one of these", Arity = ArgumentArity.ZeroOrMore };

// Everything behind such a verb belongs to the program it runs, options and --help included.
string[] passedOn = ["train", "generate", "bench"];
int verbAt = Array.FindIndex(args, passedOn.Contains);
string[] rest = verbAt < 0 ? [] : args[(verbAt + 1)..];
string[] own = verbAt < 0 ? args : args[..(verbAt + 1)];

var root = new RootCommand("TorchFlash: set-up, build, tests and samples.") { provider, runtime };
Add("train", "train the GPT-2 sample: train [options of the sample]", _ => RunProject(Sample, ["train", .. rest]));
Add("generate", "generate text from a checkpoint: generate [options of the sample]", _ => RunProject(Sample, ["generate", .. rest]));
Add("test", "build everything and run all tests; the last line is 'N passed, N failed'", result =>
{
    Build(Repository.Solution);
    return TestRun.RunAll(result.GetValue(projects) ?? []);
}).Arguments.Add(projects);
Add("bench", "measure against libtorch: bench [options of the bench]", _ => RunProject(Bench, rest));
Add("build", "build everything in Release", _ => Build(Repository.Solution));
Add("format", "check the formatting of the source", _ => Executable.Run("dotnet", ["format", Repository.Solution, "--verify-no-changes"]));
Add("pack", "make the NuGet packages in artifacts/packages", _ => Pack());
Add("nvrtc", "fetch NVIDIA's run-time compiler into artifacts, for the tests that compile the CUDA kernels (17 MB, NVIDIA's licence)", _ =>
{
    NvrtcDownload.Ensure();
    return 0;
});
Add("setup", "only set this machine up, deciding anew where TorchSharp comes from", _ => 0, decideAnew: true);

try
{
    return root.Parse(own.Length == 0 ? ["--help"] : own).Invoke(new InvocationConfiguration { EnableDefaultExceptionHandler = false });
}
catch (BuildException e)
{
    Console.Error.WriteLine($"error: {e.Message}");
    return 1;
}

Command Add(string name, string description, Func<ParseResult, int> action, bool decideAnew = false)
{
    var verb = new Command(name, description);
    verb.SetAction(result =>
    {
        TorchSharpSetup.Ensure(result.GetValue(provider), result.GetValue(runtime), decideAnew);
        return action(result);
    });
    root.Subcommands.Add(verb);
    return verb;
}

int Build(string target)
{
    int exitCode = Executable.Run("dotnet", ["msbuild", target, "-restore", "-p:Configuration=Release", "-v:quiet", "-nologo"]);
    return exitCode == 0 ? 0 : throw new BuildException($"building {target} failed.");
}

int RunProject(string project, IEnumerable<string> arguments)
{
    Build(project);
    return Executable.HandOver("dotnet", [Repository.ReleaseAssembly(project), .. arguments]);
}

int Pack()
{
    foreach (string project in (string[])["src/TorchFlash.Kernels", "src/TorchFlash"])
    {
        if (Executable.Run("dotnet", ["msbuild", project, "-restore", "-t:Pack", "-p:Configuration=Release", $"-p:PackageOutputPath={Repository.PathOf("artifacts", "packages")}", "-v:quiet", "-nologo"]) != 0)
        {
            throw new BuildException($"packing {project} failed.");
        }
    }

    return 0;
}
