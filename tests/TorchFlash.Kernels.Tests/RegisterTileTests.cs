using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text.RegularExpressions;
using TorchFlash.Kernels.Cpu;

namespace TorchFlash.Kernels.Tests;

/// <summary>
/// What the JIT makes of the register tiles and strips, read from its own listing: in the innermost loop of a tile nothing but loads of B,
/// broadcasts of A and multiply-adds into accumulators that stay where they are; in a strip no call.
/// </summary>
public sealed partial class RegisterTileTests
{
    private static readonly Lazy<IReadOnlyList<(string Name, string[] Lines)>> s_listings = new(ReadListings);

    private static IEnumerable<(string Name, string[] Lines)> Tiles => s_listings.Value.Where(l => l.Name.Contains("RegisterTile`", StringComparison.Ordinal));

    [Fact]
    public void EveryTileOfEveryWidthIsListed()
    {
        // One tile for each number of registers across, in float and in double.
        int expected = RuntimeInformation.ProcessArchitecture != Architecture.X64 ? 0 : new[] { (512, 4), (256, 2), (128, 2), (0, 2) }.Where(w => w.Item1 <= CpuEngine.WidestVectorBits).Sum(w => 2 * w.Item2);
        Assert.Equal(expected, Tiles.Count());
    }

    [Fact]
    public void InnermostLoopsCallNothingAndKeepEverythingInRegisters()
    {
        foreach ((string name, string[] lines) in Tiles)
        {
            foreach (string line in InnermostLoop(name, lines))
            {
                Assert.False(line.StartsWith("call", StringComparison.Ordinal), $"{name} calls in its innermost loop: {line}");
                Assert.False(StackAccess().IsMatch(line), $"{name} goes to the stack in its innermost loop: {line}");
                Assert.False(IsVector((name, lines)) && Move().IsMatch(line), $"{name} moves between registers in its innermost loop: {line}");
            }
        }
    }

    [Fact]
    public void InnermostLoopsHoldOneMultiplyAddForEachAccumulator()
    {
        foreach ((string name, string[] lines) in Tiles.Where(IsVector))
        {
            int across = name.Contains("One]") ? 1 : name.Contains("Two]") ? 2 : name.Contains("Three]") ? 3 : 4;
            string[] loop = InnermostLoop(name, lines);
            Assert.True(6 * across == loop.Count(line => line.StartsWith("vfmadd231p", StringComparison.Ordinal)), $"{name}:\n{string.Join('\n', loop)}");
            // 6 broadcasts, the loads of B (which may be operands), two pointers of A and one of B, a counter and a branch.
            Assert.True(loop.Length <= 6 * across + 6 + across + 7, $"{name} has {loop.Length} instructions in its innermost loop:\n{string.Join('\n', loop)}");
        }
    }

    /// <summary>Scalar code without AVX has to copy what its two-operand instructions would overwrite, and no fused multiply-add.</summary>
    private static bool IsVector((string Name, string[] Lines) listing) => !listing.Name.Contains("Lanes1`", StringComparison.Ordinal);

    [Fact]
    public void StripsCallNothing()
    {
        (string Name, string[] Lines)[] strips = [.. s_listings.Value.Except(Tiles).Where(IsVector)];
        int widths = new[] { 512, 256, 128 }.Count(bits => bits <= CpuEngine.WidestVectorBits);
        Assert.Equal(RuntimeInformation.ProcessArchitecture == Architecture.X64 ? 5 * 2 * widths : 0, strips.Length);
        foreach ((string name, string[] lines) in strips)
            Assert.DoesNotContain(lines, line => line.TrimStart().StartsWith("call", StringComparison.Ordinal));
    }

    /// <summary>The instructions from the label that a backward branch goes to up to that branch: the shortest such stretch with the products in it.</summary>
    private static string[] InnermostLoop(string name, string[] lines)
    {
        var labels = new Dictionary<string, int>();
        string[]? innermost = null;
        for (int i = 0; i < lines.Length; i++)
        {
            if (Label().Match(lines[i]) is { Success: true } label)
                labels[label.Groups[1].Value] = i;
            else if (Branch().Match(lines[i]) is { Success: true } branch && labels.TryGetValue(branch.Groups[1].Value, out int start))
            {
                string[] loop = [.. lines[(start + 1)..(i + 1)].Select(line => line.Trim()).Where(line => line.Length > 0 && !Label().IsMatch(line) && !line.StartsWith("align", StringComparison.Ordinal))];
                if (loop.Any(line => Product().IsMatch(line)) && (innermost is null || loop.Length < innermost.Length))
                    innermost = loop;
            }
        }
        Assert.True(innermost is not null, $"{name} has no loop of products:\n{string.Join('\n', lines)}");
        return innermost;
    }

    private static IReadOnlyList<(string, string[])> ReadListings()
    {
        if (RuntimeInformation.ProcessArchitecture != Architecture.X64)
            return []; // another instruction set, another listing
        string file = Path.GetTempFileName();
        try
        {
            var start = new ProcessStartInfo("dotnet", [typeof(RegisterTileProgram).Assembly.Location]);
            start.Environment["DOTNET_JitDisasm"] = "*RegisterTile*:Run *Strip*:*";
            start.Environment["DOTNET_JitStdOutFile"] = file;
            using (Process process = Process.Start(start)!)
            {
                process.WaitForExit();
                Assert.Equal(0, process.ExitCode);
            }
            return [.. File.ReadAllText(file).Split("; Assembly listing for method ")
                .Where(text => text.StartsWith("TorchFlash.Kernels.Cpu.Tiles.", StringComparison.Ordinal))
                .Select(text => text.Split('\n'))
                .Select(lines => (lines[0], lines))
                .DistinctBy(listing => listing.Item1)];
        }
        finally
        {
            File.Delete(file);
        }
    }

    [GeneratedRegex(@"^(G_M\d+_IG\d+):")]
    private static partial Regex Label();

    [GeneratedRegex(@"^\s+j\w+\s+(?:SHORT )?(G_M\d+_IG\d+)")]
    private static partial Regex Branch();

    [GeneratedRegex(@"^v?(fmadd|mul)")]
    private static partial Regex Product();

    [GeneratedRegex(@"\[r[bs]p[+\-\]]")]
    private static partial Regex StackAccess();

    [GeneratedRegex(@"^v?mov\w*\s+\w+, \w+$")]
    private static partial Regex Move();
}
