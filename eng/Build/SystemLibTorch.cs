namespace TorchFlash.Build;

/// <summary>The operating system's libtorch: whether it is here, and how it gets here.</summary>
internal static class SystemLibTorch
{
    private const string Headers = "libtorch-dev";
    private const string Blas = "libopenblas0-openmp";
    private const string Compiler = "g++";

    private const string FromElsewhere =
        "a folder with libtorch's headers and libraries (the 'torch' folder of a PyTorch wheel is one) named by LIBTORCH_DIR, and g++";

    /// <summary>Whether libtorch's headers and libraries and a compiler are here, so that nothing has to be installed.</summary>
    public static bool IsReady(string? libTorch) => Executable.Exists("g++") && (libTorch is null ? IsInstalled() : IsLibTorch(libTorch));

    /// <summary>Installs what is missing where that is allowed; otherwise says exactly what to install.</summary>
    public static void Provide(string? libTorch)
    {
        if (libTorch is not null)
        {
            if (!IsLibTorch(libTorch))
            {
                throw new BuildException(
                    $"LIBTORCH_DIR is '{libTorch}', which has no include/ATen/ATen.h and lib/libtorch.so: it takes the 'torch' folder of a PyTorch wheel or an unpacked libtorch.");
            }

            if (!Executable.Exists("g++"))
            {
                Install([Compiler]);
            }
        }
        else
        {
            if (!OperatingSystem.IsLinux())
            {
                throw new BuildException("Only Linux has a system libtorch; elsewhere the NuGet packages are needed.");
            }

            List<string> missing = [];
            if (!IsInstalled())
            {
                missing.Add(Headers);
            }

            if (!IsPackageInstalled(Blas) && BlasChoice.Active() is not { IsFast: true })
            {
                missing.Add(Blas);
            }

            if (!Executable.Exists("g++"))
            {
                missing.Add(Compiler);
            }

            Install(missing);
        }
    }

    private static bool IsInstalled() =>
        File.Exists("/usr/include/torch/csrc/api/include/torch/torch.h") || IsPackageInstalled(Headers);

    private static bool IsLibTorch(string folder) =>
        File.Exists(Path.Combine(folder, "include", "ATen", "ATen.h")) && File.Exists(Path.Combine(folder, "lib", "libtorch.so"));

    private static bool IsPackageInstalled(string package) =>
        Executable.Exists("dpkg-query") &&
        Executable.Capture("dpkg-query", ["-W", "-f", "${Status}", package]).Output.Contains("install ok installed", StringComparison.Ordinal);

    private static void Install(List<string> packages)
    {
        if (packages.Count == 0)
        {
            return;
        }

        if (!Executable.Exists("apt-get"))
        {
            throw new BuildException($"This machine has no apt-get to install {string.Join(", ", packages)} with. Needed: {FromElsewhere}.");
        }

        string[] install = ["apt-get", "install", "-y", "--no-install-recommends", .. packages];
        if (!MayInstall(out string[] asRoot))
        {
            throw new BuildException($"To build here, please install the missing packages and run this again:\n\n    sudo {string.Join(' ', install)}\n");
        }

        Console.WriteLine($"set-up: installing {string.Join(", ", packages)} with apt-get");
        string[] quietly = [.. asRoot, "env", "DEBIAN_FRONTEND=noninteractive"];
        Require([.. quietly, "apt-get", "update", "-qq"]);
        Require([.. quietly, .. install, "-qq"]);
    }

    private static bool MayInstall(out string[] prefix)
    {
        bool isRoot = Environment.IsPrivilegedProcess;
        prefix = isRoot ? [] : ["sudo", "-n"];
        return isRoot || (Executable.Exists("sudo") && Executable.Capture("sudo", ["-n", "true"]).ExitCode == 0);
    }

    private static void Require(string[] line)
    {
        // apt finishes what would leave half a package behind.
        var (exitCode, output, errors) = Executable.Capture(line[0], line[1..], onSignal: RunningProgram.PassOn);
        if (exitCode != 0)
        {
            throw new BuildException($"'{string.Join(' ', line)}' failed with exit code {exitCode}:\n{output}{errors}");
        }
    }
}
