using System.Runtime.InteropServices;

namespace TorchFlash.Build;

/// <summary>
/// NVIDIA's run-time compiler for machines without CUDA, so that the tests can compile every CUDA kernel there: Debian 13's packages
/// (non-free section, 17 MB, they need only glibc 2.34), verified by apt, unpacked below <c>artifacts</c>; nothing is installed.
/// Only on request: it is proprietary software under NVIDIA's licence.
/// </summary>
internal static class NvrtcDownload
{
    /// <summary>What verifies the packages.</summary>
    public const string Keys = "/usr/share/keyrings/debian-archive-keyring.gpg";

    private static readonly string[] s_packages = ["libnvrtc12", "libnvrtc-builtins12.4"];

    private static string Folder => Repository.PathOf("artifacts", "nvrtc");

    /// <summary>The library, or null when it was not fetched.</summary>
    public static string? Library
    {
        get
        {
            string root = Path.Combine(Folder, "root");
            return Directory.Exists(root)
                ? Directory.EnumerateFiles(root, "libnvrtc.so.12", SearchOption.AllDirectories).FirstOrDefault()
                : null;
        }
    }

    /// <summary>Fetches the library unless it is here.</summary>
    /// <exception cref="BuildException">This machine cannot.</exception>
    public static void Ensure()
    {
        if (Library is { } present)
        {
            Console.WriteLine($"nvrtc: {present}");
            return;
        }

        if (!OperatingSystem.IsLinux() || RuntimeInformation.ProcessArchitecture != Architecture.X64)
        {
            throw new BuildException("the packages are for Linux on x86-64.");
        }

        if (!Executable.Exists("apt-get") || !Executable.Exists("dpkg-deb") || !File.Exists(Keys))
        {
            throw new BuildException($"apt-get, dpkg-deb and Debian's keys ({Keys}) are needed to fetch and verify the packages.");
        }

        string mirror = Mirror();
        string state = Path.Combine(Folder, "apt"), packages = Path.Combine(Folder, "packages"), unpacked = Path.Combine(Folder, "unpacked");
        foreach (string folder in (string[])[state, packages, unpacked])
        {
            if (Directory.Exists(folder))
            {
                Directory.Delete(folder, recursive: true);
            }
        }

        Directory.CreateDirectory(Path.Combine(state, "lists", "partial"));
        Directory.CreateDirectory(packages);
        Directory.CreateDirectory(unpacked);
        string sources = Path.Combine(state, "sources.list");
        File.WriteAllText(sources, $"deb [arch=amd64 signed-by={Keys}] {mirror} trixie non-free\n");

        // apt with lists of its own: the machine's are neither read nor changed.
        string[] ownLists =
        [
            "-qq", "-o", $"Dir::Etc::SourceList={sources}", "-o", "Dir::Etc::SourceParts=-", "-o", $"Dir::State::Lists={state}/lists",
            "-o", $"Dir::Cache={state}", "-o", "Dir::State::Status=/dev/null",
        ];
        Require(packages, "apt-get", [.. ownLists, "update"]);
        Require(packages, "apt-get", [.. ownLists, "download", .. s_packages]);
        foreach (string package in Directory.EnumerateFiles(packages, "*.deb"))
        {
            Require(packages, "dpkg-deb", ["-x", package, unpacked]);
        }

        // Complete or not there at all.
        string root = Path.Combine(Folder, "root");
        if (Directory.Exists(root))
        {
            Directory.Delete(root, recursive: true);
        }

        Directory.Move(unpacked, root);
        Directory.Delete(state, recursive: true);
        Directory.Delete(packages, recursive: true);
        Console.WriteLine($"nvrtc: {Library ?? throw new BuildException("the packages hold no libnvrtc.so.12.")}");
    }

    /// <summary>Where this machine has its own packages from: such a mirror has every release of Debian.</summary>
    private static string Mirror()
    {
        var (_, output, _) = Executable.Capture("apt-get", ["indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)", "Created-By: Packages"]);
        const string debian = "Debian|Debian|";
        return output.Split('\n').FirstOrDefault(line => line.StartsWith(debian, StringComparison.Ordinal))?[debian.Length..]
            ?? throw new BuildException("apt knows no mirror of Debian here ('apt-get update' makes it read its sources).");
    }

    private static void Require(string folder, string program, string[] arguments)
    {
        var (exitCode, output, errors) = Executable.Capture(program, arguments, workingDirectory: folder);
        if (exitCode != 0)
        {
            throw new BuildException($"'{program} {string.Join(' ', arguments)}' failed with exit code {exitCode}:\n{output}{errors}");
        }
    }
}
