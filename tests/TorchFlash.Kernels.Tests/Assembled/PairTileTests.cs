using TorchFlash.Kernels.Cpu.Assembled;

namespace TorchFlash.Kernels.Tests.Assembled;

/// <summary>The assembled tiles on the processor, where it has the instructions: their results bit for bit, and what happens where they cannot be had.</summary>
public sealed class PairTileTests
{
    [FactWithTiles]
    public void ProcessorWithTheInstructionsUsesThem() => Assert.Null(PairTile.Instance.Refusal);

    [FactWithTiles]
    public void EverySizeIsTheDefinition()
    {
        var random = new Random(1);
        for (int depth = 0; depth <= 70; depth++)
        {
            for (int registers = 1; registers <= PairTileCode.MostRegisters; registers++)
            {
                for (int kind = 0; kind < 4; kind++)
                {
                    using var product = new PairProduct(registers, depth, 1 + (depth + registers + kind) % 5, (kind & 1) != 0, (kind & 2) != 0, depth % 2 == 0, () => random.NextSingle() * 4 - 2);
                    product.RunBy(PairTile.Instance);
                    product.Check();
                }
            }
        }
    }

    [FactWithTiles]
    public void SmallAndSpecialNumbersAreTheDefinition()
    {
        var random = new Random(2);
        for (int i = 0; i < 200; i++)
        {
            // Products about the least normal number, in half of the cases with infinities and NaN among them.
            float[] special = [0, -0f, float.PositiveInfinity, float.NegativeInfinity, float.NaN, float.MaxValue, BitConverter.UInt32BitsToSingle(0x00400000)];
            bool specials = i % 2 == 0;
            float Number() => specials && random.Next(40) == 0 ? special[random.Next(special.Length)] : MathF.ScaleB(random.NextSingle() - 0.5f, -random.Next(55, 70));
            using var product = new PairProduct(1 + i % 4, 1 + i % 5, 2, i % 3 == 0, i % 5 > 2, false, Number);
            product.RunBy(PairTile.Instance);
            product.Check();
        }
    }

    [FactWithTiles]
    public void AnyNumberOfBlocksIsDone()
    {
        var random = new Random(3);
        using var product = new PairProduct(4, 300, 13, false, true, false, () => random.NextSingle() - 0.5f); // in several calls
        product.RunBy(PairTile.Instance);
        product.Check();
    }

    /// <summary>The code for Windows, called with its argument where it expects it.</summary>
    [FactWithTiles]
    public unsafe void CodeForWindowsIsTheDefinition()
    {
        if (OperatingSystem.IsWindows())
            return;
        var random = new Random(4);
        byte[] moveArgument = [0x48, 0x89, 0xF9]; // mov rcx, rdi
        for (int registers = 1; registers <= PairTileCode.MostRegisters; registers++)
        {
            var code = (delegate* unmanaged[Cdecl]<TileCall*, void>)ExecutablePages.Load([.. moveArgument, .. PairTileCode.Assemble(registers, windows: true)]);
            for (int depth = 0; depth <= 70; depth++)
            {
                using var product = new PairProduct(registers, depth, 1 + depth % 5, depth % 3 == 0, depth % 2 == 0, false, () => random.NextSingle() - 0.5f);
                TileCall call = product.Call;
                code(&call);
                product.Check();
            }
        }
    }

    [FactWithTiles]
    public void MemoryIsNeverWritableAndExecutable()
    {
        if (!OperatingSystem.IsLinux())
            return;
        string before = "", after = "";
        nint at = 0;
        var tile = new PairTile(null, null, (pages, bytes) =>
        {
            (at, before) = (pages, Rights(pages));
            bool done = ExecutablePages.MakeExecutable(pages, bytes);
            after = Rights(pages);
            return done;
        });
        Assert.Null(tile.Refusal);
        Assert.Equal(("rw-p", "r-xp", "r-xp"), (before, after, Rights(at)));

        static string Rights(nint address)
        {
            foreach (string line in File.ReadLines("/proc/self/maps"))
            {
                string[] range = line.Split(' ')[0].Split('-');
                if (Convert.ToInt64(range[0], 16) <= address && address < Convert.ToInt64(range[1], 16))
                    return line.Split(' ')[1];
            }
            return "";
        }
    }

    [FactWithTiles]
    public void SystemWithoutExecutableMemoryHasNoTiles()
    {
        var tile = new PairTile(null, null, (_, _) => false);
        Assert.Contains("allows no executable memory", tile.Refusal);
        Assert.Contains(tile.Refusal!, tile.Describe());
    }

    /// <summary>A result that is not the definition's, whatever the reason, turns them off: here every vaddps is a vsubps.</summary>
    [FactWithTiles]
    public void WrongResultsTurnTilesOff()
    {
        var tile = new PairTile(null, code =>
        {
            for (int i = 0; i + 4 < code.Length; i++)
            {
                if (code[i] == 0x62 && (code[i + 2] & 0x83) == 0 && code[i + 4] == 0x58)
                    code[i + 4] = 0x5C;
            }
            return code;
        });
        Assert.Contains("instead of", tile.Refusal);
    }

    [Fact]
    public void VariableTurnsThemOff()
    {
        var tile = new PairTile("0");
        Assert.Equal("TORCHFLASH_ASSEMBLED is 0", tile.Refusal);
        Assert.Equal("no assembled tiles: TORCHFLASH_ASSEMBLED is 0", tile.Describe());
    }
}
