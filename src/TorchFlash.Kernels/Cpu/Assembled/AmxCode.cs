using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace TorchFlash.Kernels.Cpu.Assembled;

/// <summary>
/// Machine code of C = A B by TDPBF16PS, for 24 rows by 32 columns at a time: two by two tiles. Rows of A are contiguous pairs, which a tile is
/// loaded from; one that is read down its columns would have to be packed first.
/// </summary>
/// <remarks>
/// Tiles of 12 rows, not 16: they are blocks of <see cref="PairTileCode"/>, which takes what is left. Its argument is the same, with
/// <see cref="TileCall.Depth"/> in steps, <see cref="TileCall.DepthStride"/> from a step to the next in B, and <see cref="TileCall.Blocks"/> of 24 rows.
/// </remarks>
internal static class AmxCode
{
    /// <summary>Rows of C.</summary>
    public const int Rows = 2 * TileRows;

    /// <summary>Columns of C.</summary>
    public const int Columns = 32;

    /// <summary>Pairs of a step.</summary>
    public const int Step = 16;

    private const int TileRows = 2 * PairTileCode.Rows, RowBytes = 64;

    /// <summary>The code, for the calling convention of Linux; it may lie at any address.</summary>
    public static byte[] Assemble()
    {
        var code = new Assembler(64);
        Label configuration = code.CreateLabel(), group = code.CreateLabel(), step = code.CreateLabel();
        AssemblerRegister64 call = rdi, upper = r8, lower = r10, stride = r9, b = rdx, bStride = r11, count = rax;
        (AssemblerRegisterTMM a0, AssemblerRegisterTMM a1, AssemblerRegisterTMM b0, AssemblerRegisterTMM b1) = (tmm4, tmm5, tmm6, tmm7);

        code.ldtilecfg(__[configuration]);
        code.Label(ref group);
        RowsOf(nameof(TileCall.A), nameof(TileCall.RowStride));
        code.mov(b, Field(nameof(TileCall.B)));
        code.mov(bStride, Field(nameof(TileCall.BStride)));
        code.mov(count, Field(nameof(TileCall.Depth)));
        foreach (AssemblerRegisterTMM sum in (ReadOnlySpan<AssemblerRegisterTMM>)[tmm0, tmm1, tmm2, tmm3])
            code.tilezero(sum);

        code.Label(ref step);
        code.tileloadd(b0, __[b + bStride]);
        code.tileloadd(a0, __[upper + stride]);
        code.tdpbf16ps(tmm0, a0, b0);
        code.tileloadd(b1, __[b + bStride + RowBytes]);
        code.tdpbf16ps(tmm1, a0, b1);
        code.tileloadd(a1, __[lower + stride]);
        code.tdpbf16ps(tmm2, a1, b0);
        code.tdpbf16ps(tmm3, a1, b1);
        code.add(upper, RowBytes);
        code.add(lower, RowBytes);
        code.add(b, Field(nameof(TileCall.DepthStride)));
        code.dec(count);
        code.jne(step);

        RowsOf(nameof(TileCall.C), nameof(TileCall.CStride));
        code.tilestored(__[upper + stride], tmm0);
        code.tilestored(__[upper + stride + RowBytes], tmm1);
        code.tilestored(__[lower + stride], tmm2);
        code.tilestored(__[lower + stride + RowBytes], tmm3);
        MoveOn(nameof(TileCall.C));
        RowsOf(nameof(TileCall.A), nameof(TileCall.RowStride));
        MoveOn(nameof(TileCall.A));
        code.dec(Field(nameof(TileCall.Blocks)));
        code.jne(group);
        code.tilerelease(); // or every switch of threads saves eight kilobytes
        code.ret();
        code.Label(ref configuration);
        code.db(Configuration());

        using var bytes = new MemoryStream();
        code.Assemble(new StreamCodeWriter(bytes), 0);
        return bytes.ToArray();

        AssemblerMemoryOperand Field(string name) => __qword_ptr[call + TileCall.Offset(name)];

        void RowsOf(string matrix, string rowStride)
        {
            code.mov(upper, Field(matrix));
            code.mov(stride, Field(rowStride));
            code.lea(lower, __[stride + stride * 2]);
            code.lea(lower, __[upper + lower * 4]);
        }

        void MoveOn(string matrix)
        {
            code.sub(lower, upper);
            code.add(lower, lower);
            code.add(Field(matrix), lower);
        }
    }

    /// <summary>Palette 1: bytes of a row, and rows, of each of the eight registers.</summary>
    private static byte[] Configuration()
    {
        byte[] bytes = new byte[64];
        bytes[0] = 1;
        for (int tile = 0; tile < 8; tile++)
        {
            bytes[16 + 2 * tile] = RowBytes;
            bytes[48 + tile] = (byte)(tile < 6 ? TileRows : Step);
        }
        return bytes;
    }
}
