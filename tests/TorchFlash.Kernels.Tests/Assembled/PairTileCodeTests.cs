using Iced.Intel;
using TorchFlash.Kernels.Cpu.Assembled;

namespace TorchFlash.Kernels.Tests.Assembled;

/// <summary>The bytes of the tiles for both calling conventions, on any machine: what they decode to, and what they compute on a processor in software.</summary>
public sealed unsafe class PairTileCodeTests
{
    public static IEnumerable<object[]> Codes => from registers in Enumerable.Range(1, PairTileCode.MostRegisters) from windows in new[] { false, true } select new object[] { registers, windows };

    [Theory]
    [MemberData(nameof(Codes))]
    public void InnermostLoopIsLoadsBroadcastsAndProducts(int registers, bool windows)
    {
        string loop = string.Join(' ', Loop(Processor.Decode(PairTileCode.Assemble(registers, windows))).Select(i => i.Mnemonic.ToString()));
        string row = (registers > 1 ? "Vpbroadcastd " : "") + string.Concat(Enumerable.Repeat("Vdpbf16ps ", registers));
        Assert.Equal($"{string.Concat(Enumerable.Repeat("Vmovups ", registers))}Add {string.Concat(Enumerable.Repeat(row, PairTileCode.Rows))}Add Add Dec Jne", loop);
    }

    [Theory]
    [MemberData(nameof(Codes))]
    public void EveryProductHasRegistersOfItsOwn(int registers, bool windows)
    {
        Instruction[] products = [.. Loop(Processor.Decode(PairTileCode.Assemble(registers, windows))).Where(i => i.Mnemonic == Mnemonic.Vdpbf16ps)];
        Register[] sums = [.. products.Select(i => i.Op0Register).Distinct()];
        Assert.Equal(PairTileCode.Rows * registers, sums.Length);
        Assert.All(products, i => Assert.DoesNotContain(i.Op1Register, sums));
    }

    [Theory]
    [MemberData(nameof(Codes))]
    public void CodeIsALeafThatNeedsNoMoreThanItSays(int registers, bool windows)
    {
        Instruction[] all = Processor.Decode(PairTileCode.Assemble(registers, windows));
        CpuidFeature[] allowed = [CpuidFeature.X64, CpuidFeature.INTEL8086, CpuidFeature.INTEL386, CpuidFeature.AVX, CpuidFeature.AVX512F, CpuidFeature.AVX512_BF16];
        Assert.Empty(all.SelectMany(i => i.CpuidFeatures).Except(allowed));
        Assert.All(all, i => Assert.True(i.FlowControl is FlowControl.Next or FlowControl.ConditionalBranch or FlowControl.Return, i.ToString()));
        var information = new InstructionInfoFactory();
        Assert.All(all[..^1], i => Assert.DoesNotContain(information.GetInfo(i).GetUsedRegisters(), r => r.Register.GetFullRegister() == Register.RSP));
        Assert.Equal([Mnemonic.Vzeroupper, Mnemonic.Ret], all[^2..].Select(i => i.Mnemonic));
    }

    [Theory]
    [MemberData(nameof(Codes))]
    public void ComputesTheDefinitionWithinItsOperands(int registers, bool windows)
    {
        var random = new Random(registers);
        byte[] code = PairTileCode.Assemble(registers, windows);
        for (int depth = 0; depth <= 70; depth += depth < 8 ? 1 : 31)
        {
            for (int blocks = 1; blocks <= 5; blocks += 2)
            {
                for (int kind = 0; kind < 4; kind++)
                {
                    using var product = new PairProduct(registers, depth, blocks, (kind & 1) != 0, (kind & 2) != 0, false, () => random.NextSingle() - 0.5f);
                    TileCall call = product.Call;
                    nint argument = (nint)(&call);
                    new Processor([.. product.Memory, (argument, sizeof(TileCall), true)]).Call(code, argument, windows);
                    product.Check();
                }
            }
        }
    }

    /// <summary>A branch back and what lies between, the shortest of them.</summary>
    private static Instruction[] Loop(Instruction[] all)
    {
        (int last, int first) = all.Index().Where(i => i.Item.FlowControl == FlowControl.ConditionalBranch && i.Item.NearBranchTarget < i.Item.IP)
            .Select(i => (i.Index, Array.FindIndex(all, j => j.IP == i.Item.NearBranchTarget))).MinBy(i => i.Index - i.Item2);
        return all[first..(last + 1)];
    }
}
