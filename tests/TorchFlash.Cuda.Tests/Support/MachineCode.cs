using System.Buffers.Binary;
using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Cuda.Tests;

/// <summary>What an instruction is, as far as the order of products and waits goes.</summary>
internal enum Instruction
{
    Other,

    /// <summary>HGMMA: a product of a warpgroup.</summary>
    Product,

    /// <summary>MUFU: here an exponential, nearly always.</summary>
    Exponential,

    /// <summary>WARPGROUP.DEPBAR: a wait for products.</summary>
    Wait,

    /// <summary>R2UR: from an ordinary register to a uniform one.</summary>
    ToUniform,

    /// <summary>LDL, STL: a spilled register.</summary>
    Spill,
}

/// <summary>
/// A kernel's instructions, decoded from machine code of sm_90 as far as tests need it: 16 bytes each, the operation in the lowest 12 bits. (What the
/// bits mean was read off NVIDIA's disassembler.)
/// </summary>
internal static class MachineCode
{
    private const int Bytes = 16;

    /// <summary>The innermost loop with products, in the order of the code.</summary>
    public static Instruction[] MainLoop(ReadOnlySpan<byte> image, string kernel)
    {
        ReadOnlySpan<byte> code = Cubin.Symbol(image, kernel);
        var all = new Instruction[code.Length / Bytes];
        List<(int First, int Last)> loops = [];
        for (int i = 0; i < all.Length; i++)
        {
            UInt128 word = BinaryPrimitives.ReadUInt128LittleEndian(code[(i * Bytes)..]);
            all[i] = Decode(word);
            if (((int)word & 0xfff) == 0x947 && i + 1 + Distance(word) is var to && to <= i)
                loops.Add((to, i));
        }
        (int first, int last) = loops.Where(l => all.AsSpan(l.First, l.Last - l.First).Contains(Instruction.Product)).MinBy(l => l.Last - l.First);
        return all[first..(last + 1)];
    }

    private static Instruction Decode(UInt128 word) => ((int)word & 0xfff) switch
    {
        0x9f0 or 0xdf0 => Instruction.Product,
        0x308 => Instruction.Exponential,
        0x9c5 when (word >> 47 & 1) != 0 => Instruction.Wait, // else WARPGROUP.ARRIVE
        0x2ca => Instruction.ToUniform,
        0x983 or 0x387 => Instruction.Spill,
        _ => Instruction.Other,
    };

    /// <summary>Instructions from the one behind a branch to its target: a signed number of words of 4 bytes, bits 16 to 23 and from 34 on.</summary>
    private static int Distance(UInt128 word)
    {
        long words = (long)((ulong)(word >> 34) << 16) >> 8 | (long)(word >> 16 & 0xff);
        return (int)(words * 4 / Bytes);
    }
}
