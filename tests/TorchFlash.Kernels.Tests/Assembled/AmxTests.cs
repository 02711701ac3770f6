using System.Runtime.Intrinsics.X86;
using Iced.Intel;
using TorchFlash.Kernels.Cpu.Assembled;
using static Iced.Intel.AssemblerRegisters;

namespace TorchFlash.Kernels.Tests.Assembled;

/// <summary>The AMX tile without a processor that has it: its bytes, its results on a processor in software, and what else calls it, with a stand-in of vectors.</summary>
public sealed unsafe class AmxTests
{
    [Fact]
    public void CodeIsWhatItSays()
    {
        string[] expected =
        [
            "Ldtilecfg",
            "Mov", "Mov", "Lea", "Lea", "Mov", "Mov", "Mov", "Tilezero", "Tilezero", "Tilezero", "Tilezero",
            "Tileloadd", "Tileloadd", "Tdpbf16ps", "Tileloadd", "Tdpbf16ps", "Tileloadd", "Tdpbf16ps", "Tdpbf16ps", "Add", "Add", "Add", "Dec", "Jne",
            "Mov", "Mov", "Lea", "Lea", "Tilestored", "Tilestored", "Tilestored", "Tilestored", "Sub", "Add", "Add",
            "Mov", "Mov", "Lea", "Lea", "Sub", "Add", "Add", "Dec", "Jne",
            "Tilerelease", "Ret",
        ];
        Instruction[] all = Processor.Decode(AmxCode.Assemble());
        Assert.Equal(expected, all.Select(i => i.Mnemonic.ToString()));
        CpuidFeature[] allowed = [CpuidFeature.X64, CpuidFeature.INTEL8086, CpuidFeature.INTEL386, CpuidFeature.AMX_TILE, CpuidFeature.AMX_BF16];
        Assert.Empty(all.SelectMany(i => i.CpuidFeatures).Except(allowed));
        var information = new InstructionInfoFactory();
        Assert.All(all[..^1], i => Assert.DoesNotContain(information.GetInfo(i).GetUsedRegisters(), r => r.Register.GetFullRegister() == Register.RSP));
    }

    [Fact]
    public void ComputesTheDefinitionWithinItsOperands()
    {
        var random = new Random(1);
        byte[] code = AmxCode.Assemble();
        for (int steps = 1; steps <= 4; steps++)
        {
            for (int groups = 1; groups <= 3; groups++)
            {
                foreach (bool atStart in new[] { false, true })
                {
                    using var product = new PairProduct(2, steps * AmxCode.Step, groups * 4, false, false, atStart, () => random.NextSingle() - 0.5f);
                    TileCall call = product.Call;
                    call.Depth /= AmxCode.Step;
                    call.DepthStride = call.BStride * AmxCode.Step;
                    call.Blocks /= AmxCode.Rows / PairTileCode.Rows;
                    nint argument = (nint)(&call);
                    new Processor([.. product.Memory, (argument, sizeof(TileCall), true)]).Call(code, argument, windows: false);
                    product.Check(product.Rows, product.Columns);
                }
            }
        }
    }

    [FactWithTiles]
    public void TakesWhatItCanAndLeavesTheRestToVectors()
    {
        if (OperatingSystem.IsWindows())
            return;
        var tile = new PairTile(null, amx: StandIn(Mnemonic.Vaddps));
        Assert.Contains("AMX-BF16 where rows are contiguous", tile.Describe());
        var random = new Random(2);
        foreach (int depth in new[] { 0, 1, 15, 16, 17, 32, 64, 512 })
        {
            for (int registers = 1; registers <= PairTileCode.MostRegisters; registers++)
            {
                for (int blocks = 1; blocks <= 13; blocks += 2)
                {
                    for (int kind = 0; kind < 4; kind++)
                    {
                        (bool transposed, bool add) = ((kind & 1) != 0, (kind & 2) != 0);
                        using var product = new PairProduct(registers, depth, blocks, transposed, add, false, () => random.NextSingle() - 0.5f);
                        product.RunBy(tile);
                        bool can = !transposed && !add && depth > 0 && depth % AmxCode.Step == 0;
                        product.Check(can ? blocks / 4 * AmxCode.Rows : 0, registers / 2 * AmxCode.Columns);
                    }
                }
            }
        }
    }

    [FactWithTiles]
    public void WrongResultsLeaveVectorsOnly()
    {
        if (OperatingSystem.IsWindows())
            return;
        var tile = new PairTile(null, amx: StandIn(Mnemonic.Vsubps));
        Assert.Null(tile.Refusal);
        Assert.Contains("AMX: ", tile.Describe());
        using var product = new PairProduct(2, AmxCode.Step, 4, false, false, false, () => 0.3f);
        product.RunBy(tile);
        product.Check();
    }

    [FactWithTiles]
    public void SystemsStateHoldsTheRegistersOfAvx512()
    {
        const ulong sse = 1 << 1, avx = 1 << 2, avx512 = 7 << 5;
        var state = (delegate* unmanaged[Cdecl]<ulong>)ExecutablePages.Load(Amx.StateCode());
        Assert.Equal(sse | avx | avx512, state() & (sse | avx | avx512));
    }

    [Fact]
    public void ProcessorWithoutItIsNotAsked()
    {
        if (X86Base.IsSupported && (X86Base.CpuId(7, 0).Edx & 1 << 22) == 0)
            Assert.Equal(OperatingSystem.IsLinux() ? "no AMX-BF16" : "AMX is used on Linux only", Amx.Refusal());
    }

    /// <summary>
    /// The arithmetic of TDPBF16PS, row by row, from vectors, for the calling convention of Linux: elements that are not to count are zeros of A.
    /// Both sums are joined by an instruction of the test's choice.
    /// </summary>
    private static byte[] StandIn(Mnemonic join)
    {
        var code = new Assembler(64);
        Label group = code.CreateLabel(), row = code.CreateLabel(), step = code.CreateLabel();
        (AssemblerRegisterZMM Total, AssemblerRegisterZMM Low, AssemblerRegisterZMM High)[] sums = [(zmm0, zmm2, zmm4), (zmm1, zmm3, zmm5)];
        code.mov(eax, 0xFFFF);
        code.vpbroadcastd(zmm30, eax);
        code.not(eax);
        code.vpbroadcastd(zmm31, eax);
        code.Label(ref group);
        code.mov(r8, Field(nameof(TileCall.A)));
        code.mov(r10, Field(nameof(TileCall.C)));
        code.mov(rcx, AmxCode.Rows);
        code.Label(ref row);
        foreach (var sum in sums)
            code.vpxord(sum.Total, sum.Total, sum.Total);
        code.mov(r9, r8);
        code.mov(rdx, Field(nameof(TileCall.B)));
        code.mov(rax, Field(nameof(TileCall.Depth)));
        code.Label(ref step);
        foreach (var sum in sums)
        {
            code.vpxord(sum.Low, sum.Low, sum.Low);
            code.vpxord(sum.High, sum.High, sum.High);
        }
        for (int k = 0; k < AmxCode.Step; k++)
        {
            code.vpbroadcastd(zmm6, __dword_ptr[r9 + 4 * k]);
            code.vpandd(zmm7, zmm6, zmm30);
            code.vpandd(zmm6, zmm6, zmm31);
            foreach (var sum in sums)
            {
                code.vmovups(zmm8, __zmmword_ptr[rdx + (sum.Total == zmm0 ? 0 : 64)]);
                code.vdpbf16ps(sum.Low, zmm8, zmm7);
                code.vdpbf16ps(sum.High, zmm8, zmm6);
            }
            code.add(rdx, Field(nameof(TileCall.BStride)));
        }
        foreach (var sum in sums)
        {
            if (join == Mnemonic.Vaddps)
                code.vaddps(sum.Low, sum.Low, sum.High);
            else
                code.vsubps(sum.Low, sum.Low, sum.High);
            code.vaddps(sum.Total, sum.Total, sum.Low);
        }
        code.add(r9, 4 * AmxCode.Step);
        code.dec(rax);
        code.jne(step);
        code.vmovups(__zmmword_ptr[r10], zmm0);
        code.vmovups(__zmmword_ptr[r10 + 64], zmm1);
        code.add(r8, Field(nameof(TileCall.RowStride)));
        code.add(r10, Field(nameof(TileCall.CStride)));
        code.dec(rcx);
        code.jne(row);
        code.mov(Field(nameof(TileCall.A)), r8);
        code.mov(Field(nameof(TileCall.C)), r10);
        code.dec(Field(nameof(TileCall.Blocks)));
        code.jne(group);
        code.vzeroupper();
        code.ret();
        using var bytes = new MemoryStream();
        code.Assemble(new StreamCodeWriter(bytes), 0);
        return bytes.ToArray();

        static AssemblerMemoryOperand Field(string name) => __qword_ptr[rdi + TileCall.Offset(name)];
    }
}
