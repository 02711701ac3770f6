using System.Text.RegularExpressions;
using System.Xml;

namespace TorchFlash.Build;

/// <summary>Decides once which TorchSharp this machine builds against, and gets it ready.</summary>
internal static partial class TorchSharpSetup
{
    /// <summary>Makes sure that this machine is set up. Does nothing when it already is.</summary>
    /// <param name="provider">The provider asked for; null leaves it to an earlier decision, or to what this machine can have.</param>
    /// <param name="runtime">The native packages asked for; null keeps the earlier choice, at first the CPU's.</param>
    /// <param name="anew">Decides again even when an earlier decision stands.</param>
    public static void Ensure(TorchSharpProvider? provider, TorchRuntime? runtime, bool anew = false)
    {
        string? libTorch = Environment.GetEnvironmentVariable("LIBTORCH_DIR") is { Length: > 0 } folder ? Path.GetFullPath(folder) : null;
        var earlier = ReadEarlier(anew);
        if (earlier is { Version: null })
        {
            KeepHandWritten(earlier, provider, runtime, libTorch);
            return;
        }

        if (!anew && earlier is not null && Stands(earlier, provider, runtime, libTorch))
        {
            return;
        }

        var decided = Decide(provider, runtime ?? earlier?.Runtime ?? TorchRuntime.Cpu, libTorch);
        decided.Write(LocalSettings.DefaultPath);
        BlasCheck(decided);
    }

    private static LocalSettings? ReadEarlier(bool anew)
    {
        try
        {
            return LocalSettings.Read(LocalSettings.DefaultPath);
        }
        catch (BuildException e) when (anew && e.InnerException is XmlException)
        {
            return null;
        }
    }

    /// <summary>Whether an earlier decision answers what is asked for now.</summary>
    internal static bool Stands(LocalSettings earlier, TorchSharpProvider? provider, TorchRuntime? runtime, string? libTorch) =>
        earlier.Version == Repository.TorchSharpVersion &&
        (provider is null || provider == earlier.Provider) &&
        (runtime is null || runtime == earlier.Runtime) &&
        (libTorch is null || libTorch == earlier.LibTorch) &&
        (earlier.Provider == TorchSharpProvider.NuGet || SystemLibTorch.IsReady(earlier.LibTorch));

    private static void KeepHandWritten(LocalSettings settings, TorchSharpProvider? provider, TorchRuntime? runtime, string? libTorch)
    {
        if ((provider ?? settings.Provider) != settings.Provider || (runtime ?? settings.Runtime) != settings.Runtime)
        {
            throw new BuildException($"{LocalSettings.DefaultPath} was written by hand and asks for {settings.Provider}, {settings.Runtime}; change it or delete it.");
        }

        if (settings.Provider == TorchSharpProvider.SystemLibTorch && !SystemLibTorch.IsReady(libTorch ?? settings.LibTorch))
        {
            SystemLibTorch.Provide(libTorch ?? settings.LibTorch);
        }
    }

    private static LocalSettings Decide(TorchSharpProvider? provider, TorchRuntime runtime, string? libTorch)
    {
        string version = Repository.TorchSharpVersion;
        var chosen = provider ?? TorchSharpProvider.SystemLibTorch;
        string reason = "asked for with --provider";
        if (provider is null && libTorch is not null)
        {
            reason = $"LIBTORCH_DIR names {libTorch}";
        }
        else if (provider is null or TorchSharpProvider.NuGet)
        {
            Console.WriteLine($"set-up: asking the package source for TorchSharp {version} ({runtime.ToString().ToLowerInvariant()})");
            string? refusal = TryRestore(runtime);
            if (refusal is null)
            {
                chosen = TorchSharpProvider.NuGet;
                reason = provider is null ? "the package source has it" : reason;
            }
            else if (provider is TorchSharpProvider.NuGet || OperatingSystem.IsWindows())
            {
                throw new BuildException($"TorchSharp {version} cannot be had from NuGet: {refusal}");
            }
            else
            {
                reason = $"the package source cannot give it: {refusal}";
            }
        }

        Console.WriteLine(chosen == TorchSharpProvider.NuGet
            ? $"set-up: TorchSharp {version} from NuGet ({reason})"
            : $"set-up: TorchSharp from this repository's provider over {libTorch ?? "the system's libtorch"} ({reason})");
        if (chosen == TorchSharpProvider.SystemLibTorch)
        {
            if (runtime == TorchRuntime.Cuda)
            {
                Console.WriteLine("set-up: the runtime packages do not apply to it; CUDA is there if that libtorch has it");
            }

            SystemLibTorch.Provide(libTorch);
        }

        return new LocalSettings(chosen, runtime, libTorch, version);
    }

    /// <summary>Restores a throw-away project with the very packages wanted: null on success, else NuGet's first reason.</summary>
    private static string? TryRestore(TorchRuntime runtime)
    {
        var (exitCode, output, errors) = Executable.Capture(
            "dotnet",
            [
                "restore", Repository.PathOf("eng", "Build", "TorchSharpProbe", "TorchSharpProbe.csproj"), "--force", "-v", "quiet",
                "-p:TorchSharpProvider=NuGet", $"-p:TorchRuntime={runtime.ToString().ToLowerInvariant()}",
            ],
            // One attempt a request: a machine without a network is told apart in seconds.
            new Dictionary<string, string> { ["NUGET_ENHANCED_MAX_NETWORK_TRY_COUNT"] = "1" });
        return exitCode == 0 ? null
            : ErrorLine().Match(output + errors) is { Success: true } error ? error.Value.Trim()
            : $"restore failed with exit code {exitCode}: {(output + errors).Trim()}";
    }

    private static void BlasCheck(LocalSettings settings)
    {
        if (settings is { Provider: TorchSharpProvider.SystemLibTorch, LibTorch: null })
        {
            BlasChoice.WarnIfSlow();
        }
    }

    [GeneratedRegex(@"(?<=error )NU\d{4}: [^\[\r\n]+")]
    private static partial Regex ErrorLine();
}
