using System.Diagnostics;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using System.Text.RegularExpressions;
using TorchFlash.Kernels.Cpu;
using TorchFlash.Kernels.Cpu.Scores;

namespace TorchFlash.Kernels.Tests;

/// <summary>
/// What the JIT makes of every inner loop of the engine, read from its own listing: no call, nothing on the stack, and no move between
/// registers but for a coefficient that the first multiply-add of an exponential writes over. In the register tiles nothing but loads of B,
/// broadcasts of A and multiply-adds into accumulators that stay where they are.
/// </summary>
public sealed partial class RegisterTileTests
{
    private static readonly Lazy<IReadOnlyList<Listing>> s_listings = new(() => Read(Widths, preferred: null));

    private static int[] Widths => RuntimeInformation.ProcessArchitecture != Architecture.X64 ? [] // another instruction set, another listing
        : [.. new[] { 512, 256, 128, 0 }.Where(bits => bits <= VectorWidth.Supported.First() || bits == 512 && Has512)];

    /// <summary>Whether the processor has registers of 512 bits, preferred by .NET or not.</summary>
    private static bool Has512 => Avx512F.IsSupported && Avx512DQ.IsSupported;

    private static IEnumerable<Listing> Tiles => s_listings.Value.Where(l => l.Name.Contains("RegisterTile`", StringComparison.Ordinal));

    /// <summary>Loops that are no register tile's, over registers of 256 and of 512 bits, in both types: their method, and how many of them it has at least.</summary>
    public static TheoryData<string, int> Methods => new()
    {
        { "Strip`3[*:Softmax(", 0 }, // in 256 bits the next one does all
        { "Strip`3[*:Weights(", 1 },
        { "Strip`3[*:Probabilities(", 1 },
        { "Strip`3[*:ScoreGradients(", 1 },
        { "Strip`3[*:Multiply(", 1 },
        { "Packing`3[*:Copy(", 2 },
        { "DropoutStrip`3[*:DropTransposed(", 1 },
        { "DropoutStrip`3[*:Drop(", 1 },
        { "BackwardPass`3[*:SetRowTerms(", 1 },
        { "BackwardPass`3[*:SetDelta(", 1 },
    };

    [Fact]
    public void EveryTileOfEveryWidthIsListed()
    {
        // One tile for each number of registers across, in float and in double.
        Assert.Equal(Widths.Sum(bits => 2 * (bits == 512 ? 4 : 2)), Tiles.Count());
    }

    [Fact]
    public void InnermostLoopsOfTilesCallNothingAndKeepEverythingInRegisters()
    {
        foreach (Listing tile in Tiles)
        {
            string[] loop = Products(tile);
            AssertClean(tile, loop);
            Assert.DoesNotContain(loop, line => tile.IsVector && Move().IsMatch(line));
        }
    }

    [Fact]
    public void InnermostLoopsOfTilesHoldOneMultiplyAddForEachAccumulator()
    {
        foreach (Listing tile in Tiles.Where(tile => tile.IsVector))
        {
            int across = tile.Name.Contains("One]") ? 1 : tile.Name.Contains("Two]") ? 2 : tile.Name.Contains("Three]") ? 3 : 4;
            string[] loop = Products(tile);
            Assert.True(6 * across == loop.Count(line => line.StartsWith("vfmadd231p", StringComparison.Ordinal)), $"{tile.Name}:\n{string.Join('\n', loop)}");
            // 6 broadcasts, the loads of B (which may be operands), two pointers of A and one of B, a counter and a branch.
            Assert.True(loop.Length <= 6 * across + 6 + across + 7, $"{tile.Name} has {loop.Length} instructions in its innermost loop:\n{string.Join('\n', loop)}");
        }
    }

    /// <summary>At a hot call the JIT would inline them, and then call what they inline themselves. (What programs call element by element may be inlined into programs.)</summary>
    [Fact]
    public void WhatIsOptimisedAtOnceIsNeverInlined()
    {
        const BindingFlags all = BindingFlags.DeclaredOnly | BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Static | BindingFlags.Instance;
        MethodInfo[] methods = [.. typeof(CpuEngine).Assembly.GetTypes().Where(type => type != typeof(TileMemory)).SelectMany(type => type.GetMethods(all)).Where(m => m.MethodImplementationFlags.HasFlag(MethodImplAttributes.AggressiveOptimization))];
        Assert.True(methods.Length > 30);
        Assert.All(methods, method => Assert.True(method.MethodImplementationFlags.HasFlag(MethodImplAttributes.NoInlining), $"{method.DeclaringType}.{method.Name}"));
    }

    [Theory]
    [MemberData(nameof(Methods))]
    public void OtherLoopsCallNothingAndKeepEverythingInRegisters(string method, int loops)
    {
        foreach (int bits in Widths.Where(bits => bits >= 256))
        {
            foreach (string type in (string[])["float", "double"])
            {
                Listing[] listings = [.. s_listings.Value.Where(l => Matches(l, method, $"Lanes{bits}`1[{type}]"))];
                Assert.True(listings.Length > 0, $"{method} is not listed for {bits} bits of {type}.");
                foreach (Listing listing in listings)
                {
                    string[][] inner = [.. listing.VectorLoops];
                    Assert.True(inner.Length >= loops, $"{listing.Name} has {inner.Length} loops over registers:\n{string.Join('\n', listing.Lines)}");
                    foreach (string[] loop in inner)
                    {
                        AssertClean(listing, loop);
                        int moves = loop.Count(line => VectorMove().IsMatch(line)), exponentials = loop.Count(line => line.StartsWith("vfmadd", StringComparison.Ordinal)) / (type == "float" ? 5 : 11);
                        // In 256 bits the constant that rounds may be copied as well.
                        Assert.True(moves <= exponentials * (bits == 512 ? 1 : 2), $"{listing.Name} moves between registers:\n{string.Join('\n', loop)}");
                    }
                }
            }
        }
    }

    [Theory]
    [InlineData(":Transpose16(", 0, 512)]
    [InlineData(":Transpose8(", 0, 256)]
    [InlineData(":Transpose4(", 0)]
    [InlineData(":Transpose2(", 0)]
    [InlineData("TileMemory:Stage", 0)]
    [InlineData("Philox`2[", 6)] // Of 23 instructions for two rounds: the words find their way back to where they came in, without AVX-512 by two moves more.
    public void LoopsThatMoveDataOrMakeRandomWordsDoToo(string method, int moves, int width = 0)
    {
        if (VectorWidth.Supported.First() == 0)
            return; // Without vector instructions there are no such loops.
        Listing[] listings = [.. s_listings.Value.Where(l => l.Name.Contains(method, StringComparison.Ordinal))];
        Assert.Equal(width == 0 ? Widths.Length > 0 : Widths.Contains(width), listings.Length > 0);
        foreach (Listing listing in listings)
        {
            Assert.NotEmpty(listing.VectorLoops);
            foreach (string[] loop in listing.VectorLoops)
            {
                AssertClean(listing, loop);
                Assert.True(loop.Count(line => VectorMove().IsMatch(line)) <= moves, $"{listing.Name} moves between registers:\n{string.Join('\n', loop)}");
            }
        }
    }

    /// <summary>Of what is compiled at run time: a softcap, and a bias with slopes and a mask, forward and backward.</summary>
    [Fact]
    public void LoopsOfScoreProgramsCallNothing()
    {
        if (VectorWidth.Supported.First() == 0)
            return;
        Listing[] programs = [.. s_listings.Value.Where(l => l.Name.Contains(":ScoreProgram(", StringComparison.Ordinal))];
        Assert.True(programs.Length >= 4 * Widths.Length, $"{programs.Length} programs are listed.");
        Assert.True(programs.Count(p => p.VectorLoops.Any()) >= 3 * Widths.Length, "Programs have no loops.");
        foreach (Listing program in programs)
            foreach (string[] loop in program.VectorLoops)
                Assert.DoesNotContain(loop, line => line.StartsWith("call", StringComparison.Ordinal));
    }

    /// <summary>
    /// Processors of which .NET holds that 512 bits do not pay (it does not "accelerate" Vector512 there) have them all the same: forced to use them, the
    /// engine must not end up in code that puts a register together from halves.
    /// </summary>
    [Fact]
    public void LoopsOver512BitsAreTheSameWhereTheRuntimePrefers256()
    {
        if (!Widths.Contains(512))
            return;
        Listing[] preferred = Hot(Read([512], preferred: 512)), other = Hot(Read([512], preferred: 256));
        Assert.Equal(preferred.Select(l => l.Name), other.Select(l => l.Name));
        foreach ((Listing expected, Listing actual) in preferred.Zip(other))
            Assert.Equal(expected.VectorLoops.Select(Text), actual.VectorLoops.Select(Text));

        static Listing[] Hot(IEnumerable<Listing> all) => [.. all.Where(l => l.VectorLoops.Any()).OrderBy(l => l.Name, StringComparer.Ordinal)];

        static string Text(string[] loop) => Number().Replace(string.Join('\n', loop), "#");
    }

    private static void AssertClean(Listing listing, string[] loop)
    {
        foreach (string line in loop)
        {
            Assert.False(line.StartsWith("call", StringComparison.Ordinal), $"{listing.Name} calls in its innermost loop: {line}");
            Assert.False(StackAccess().IsMatch(line), $"{listing.Name} goes to the stack in its innermost loop:\n{string.Join('\n', loop)}");
        }
    }

    private static bool Matches(Listing listing, string method, string lanes)
    {
        string[] parts = method.Split('*');
        return listing.Name.Contains("." + parts[0], StringComparison.Ordinal) && listing.Name.Contains(parts[1], StringComparison.Ordinal) && listing.Name.Contains(lanes, StringComparison.Ordinal);
    }

    /// <summary>The innermost loop with the products.</summary>
    private static string[] Products(Listing tile)
    {
        string[]? loop = tile.Loops.Where(loop => loop.Any(line => Product().IsMatch(line))).MinBy(loop => loop.Length);
        Assert.True(loop is not null, $"{tile.Name} has no loop of products:\n{string.Join('\n', tile.Lines)}");
        return loop;
    }

    private static IReadOnlyList<Listing> Read(int[] widths, int? preferred)
    {
        string file = Path.GetTempFileName();
        try
        {
            var start = new ProcessStartInfo("dotnet", [typeof(RegisterTileProgram).Assembly.Location, .. widths.Select(bits => $"{bits}")]);
            start.Environment["DOTNET_JitDisasm"] = "*RegisterTile`4*:* *Strip`3*:* *Packing`3*:* *Philox`2*:* *TileMemory*:* *BackwardPass*:SetRowTerms *BackwardPass*:SetDelta *:ScoreProgram";
            start.Environment["DOTNET_JitStdOutFile"] = file;
            if (preferred is { } bits)
                start.Environment["DOTNET_PreferredVectorBitWidth"] = $"{bits}";
            using (Process process = Process.Start(start)!)
            {
                process.WaitForExit();
                Assert.Equal(0, process.ExitCode);
            }
            // Methods are compiled once, but for the programs, which all have one name.
            return [.. File.ReadAllText(file).Split("; Assembly listing for method ").Skip(1)
                .Select(text => text.Split('\n'))
                .Select(lines => new Listing(lines[0], lines))
                .GroupBy(listing => listing.Name)
                .SelectMany(same => same.Select((listing, k) => listing with { Name = $"{listing.Name} {k}" }))];
        }
        finally
        {
            File.Delete(file);
        }
    }

    /// <summary>The listing of a method.</summary>
    private sealed record Listing(string Name, string[] Lines)
    {
        /// <summary>Scalar code without AVX has to copy what its two-operand instructions would overwrite, and no fused multiply-add.</summary>
        public bool IsVector => !Name.Contains("Lanes1`", StringComparison.Ordinal);

        /// <summary>The instructions of every loop that holds no other: from the label that a backward branch goes to up to that branch.</summary>
        public IEnumerable<string[]> Loops
        {
            get
            {
                var labels = new Dictionary<string, int>();
                var loops = new List<(int Start, int End)>();
                for (int i = 0; i < Lines.Length; i++)
                {
                    if (Label().Match(Lines[i]) is { Success: true } label)
                        labels[label.Groups[1].Value] = i;
                    else if (Branch().Match(Lines[i]) is { Success: true } branch && labels.TryGetValue(branch.Groups[1].Value, out int start))
                        loops.Add((start, i));
                }
                return from loop in loops
                       where !loops.Exists(other => other != loop && other.Start >= loop.Start && other.End <= loop.End)
                       select Lines[(loop.Start + 1)..(loop.End + 1)].Select(line => line.Trim())
                           .Where(line => line.Length > 0 && !Label().IsMatch(line) && !line.StartsWith("align", StringComparison.Ordinal) && !line.StartsWith(';')).ToArray();
            }
        }

        /// <summary>Those that do something to whole registers.</summary>
        public IEnumerable<string[]> VectorLoops => Loops.Where(loop => loop.Any(line => VectorWork().IsMatch(line)));
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

    [GeneratedRegex(@"^v?mov\w*\s+[xyz]mm\d+, [xyz]mm\d+$")]
    private static partial Regex VectorMove();

    /// <summary>Arithmetic and rearrangement of whole registers; not the copies of structs.</summary>
    [GeneratedRegex(@"^v?(?:(?:add|sub|mul|max|fmadd\d+|and|scalef|unpck[lh])p[sd]|p(?:unpck|muludq|cmpg)\w*)\s")]
    private static partial Regex VectorWork();

    [GeneratedRegex(@"G_M\w+|0x[0-9A-F]+|reloc[^\]]*")]
    private static partial Regex Number();
}
