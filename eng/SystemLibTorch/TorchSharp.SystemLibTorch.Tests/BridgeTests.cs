using System.Diagnostics;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Text.RegularExpressions;
using TorchSharp;

namespace TorchSharpTests;

/// <summary>No export of the bridge stands outside its guard, and no import of it drops an error.</summary>
public partial class BridgeTests
{
    [GeneratedRegex(@"^BRIDGE_EXPORT(?:_ADDRESS)?\(\s*(\w+)", RegexOptions.Multiline)]
    private static partial Regex GuardedExport();

    [GeneratedRegex(@"extern\s+""C""|visibility\s*\(|#pragma\s+GCC\s+visibility")]
    private static partial Regex AnyExport();

    internal static IEnumerable<MethodInfo> Imports => typeof(Bridge)
        .GetMethods(BindingFlags.Static | BindingFlags.NonPublic)
        .Where(method => method.GetCustomAttribute<LibraryImportAttribute>() is not null);

    [Fact]
    public void EveryExportIsOneOfTheGuardedOnes()
    {
        Dictionary<string, string> sources = Sources();
        string[] guarded = [.. sources.Values.SelectMany(source => GuardedExport().Matches(source)).Select(match => match.Groups[1].Value)];
        Assert.Equal(guarded.Order(), Exports().Order());
        Assert.True(guarded.Length > 40, "too few to mean anything");
        // The two macros themselves are all that says how to export.
        Assert.All(sources, source => Assert.Equal(source.Key == "native/bridge.h" ? 4 : 0, AnyExport().Count(source.Value)));
    }

    [Fact]
    public void EveryImportIsOfAnExportAndThrowsItsError()
    {
        MethodInfo[] imports = [.. Imports];
        Assert.Equal(Exports().Order(), imports.Select(method => method.GetCustomAttribute<LibraryImportAttribute>()!.EntryPoint!).Order());
        Assert.All(
            imports.Where(method => method.Name != nameof(Bridge.Data)),
            method => Assert.Equal(typeof(Bridge.Outcome), method.ReturnType));
    }

    private static Dictionary<string, string> Sources()
    {
        Assembly assembly = typeof(BridgeTests).Assembly;
        return assembly.GetManifestResourceNames().Where(name => name.StartsWith("native/", StringComparison.Ordinal)).ToDictionary(name => name, name =>
        {
            using var reader = new StreamReader(assembly.GetManifestResourceStream(name)!);
            return reader.ReadToEnd();
        });
    }

    // Without the reserved names: the linker's own, and templates of the standard library and of libtorch.
    private static string[] Exports()
    {
        string library = Path.Combine(AppContext.BaseDirectory, "libLibTorchSharp.so");
        using Process nm = Process.Start(new ProcessStartInfo("nm", ["--dynamic", "--defined-only", library]) { RedirectStandardOutput = true })!;
        string[] names = [.. nm.StandardOutput.ReadToEnd().Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(line => line.Split(' ')[^1])
            .Where(name => !name.StartsWith('_'))];
        nm.WaitForExit();
        return names;
    }
}
