using System.Runtime.InteropServices;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace TorchFlash.Kernels.Cpu.Assembled;

/// <summary>
/// Machine code of the register tile over pairs of bfloat16: C (+)= A B for six rows by 1 to 4 registers of 16 columns, with VDPBF16PS, for
/// which .NET has no intrinsic. What <see cref="Tiles.RegisterTile{L, V, T, N}"/> is in C#; one argument, a pointer to a <see cref="TileCall"/>.
/// </summary>
internal static class PairTileCode
{
    /// <summary>Rows of the tile.</summary>
    public const int Rows = 6;

    /// <summary>Registers of columns of the widest tile.</summary>
    public const int MostRegisters = 4;

    /// <summary>Registers of the caller that the widest tile needs beside the volatile ones of Windows.</summary>
    public const int MostSaved = Rows * MostRegisters + MostRegisters + 1 - VolatileOnWindows;

    private const int RegisterBytes = 64, VolatileOnWindows = 22;

    /// <summary>Volatile in both conventions, but for the register of the argument.</summary>
    private static readonly AssemblerRegister64 s_low = rax, s_high = rdx, s_stride = r8, s_b = r9, s_count = r10, s_depthStride = r11;

    /// <summary>The code for so many registers of columns; it may lie at any address.</summary>
    public static byte[] Assemble(int registers, bool windows)
    {
        var code = new Assembler(64);
        AssemblerRegister64 call = windows ? rcx : rdi;
        AssemblerRegisterZMM[,] sums = new AssemblerRegisterZMM[Rows, registers];
        AssemblerRegisterZMM[] b = new AssemblerRegisterZMM[registers];
        int used = 0;
        for (int r = 0; r < Rows; r++)
        {
            for (int n = 0; n < registers; n++)
                sums[r, n] = Vector(used++);
        }
        for (int n = 0; n < registers; n++)
            b[n] = Vector(used++);
        AssemblerRegisterZMM a = Vector(used++);
        int saved = windows ? Math.Max(0, used - VolatileOnWindows) : 0;
        Label block = code.CreateLabel(), depth = code.CreateLabel(), done = code.CreateLabel(), store = code.CreateLabel();

        for (int i = 0; i < saved; i++)
            code.vmovups(__xmmword_ptr[call + Offset(nameof(TileCall.Saved)) + 16 * i], new AssemblerRegisterXMM(Register.XMM6 + i));

        code.Label(ref block);
        code.mov(s_count, Field(nameof(TileCall.Depth)));
        RowsOf(nameof(TileCall.A), nameof(TileCall.RowStride));
        code.mov(s_b, Field(nameof(TileCall.B)));
        code.mov(s_depthStride, Field(nameof(TileCall.DepthStride)));
        foreach (AssemblerRegisterZMM sum in sums)
            code.vpxord(sum, sum, sum);
        code.test(s_count, s_count);
        code.je(done);

        code.Label(ref depth);
        for (int n = 0; n < registers; n++)
            code.vmovups(b[n], __zmmword_ptr[s_b + RegisterBytes * n]);
        code.add(s_b, Field(nameof(TileCall.BStride)));
        for (int r = 0; r < Rows; r++)
        {
            // A broadcast of its own for several products: as operands of each they would be more loads than a core has ports for.
            if (registers > 1)
                code.vpbroadcastd(a, __dword_ptr[Row(r)]);
            for (int n = 0; n < registers; n++)
            {
                if (registers > 1)
                    code.vdpbf16ps(sums[r, n], b[n], a);
                else
                    code.vdpbf16ps(sums[r, n], b[n], __dword_bcst[Row(r)]);
            }
        }
        code.add(s_low, s_depthStride);
        code.add(s_high, s_depthStride);
        code.dec(s_count);
        code.jne(depth);

        code.Label(ref done);
        RowsOf(nameof(TileCall.C), nameof(TileCall.CStride));
        code.cmp(Field(nameof(TileCall.Add)), 0);
        code.je(store);
        EachRegister((sum, c) => code.vaddps(sum, sum, c));
        code.Label(ref store);
        EachRegister((sum, c) => code.vmovups(c, sum));
        MoveOn(nameof(TileCall.C));
        code.mov(s_stride, Field(nameof(TileCall.RowStride)));
        MoveOn(nameof(TileCall.A));
        code.dec(Field(nameof(TileCall.Blocks)));
        code.jne(block);

        for (int i = 0; i < saved; i++)
            code.vmovups(new AssemblerRegisterXMM(Register.XMM6 + i), __xmmword_ptr[call + Offset(nameof(TileCall.Saved)) + 16 * i]);
        code.vzeroupper();
        code.ret();

        using var bytes = new MemoryStream();
        code.Assemble(new StreamCodeWriter(bytes), 0);
        return bytes.ToArray();

        AssemblerMemoryOperand Field(string name) => __qword_ptr[call + Offset(name)];

        // Rows 0, 1, 2 from one pointer, 3, 4, 5 from another: scaled by 0, 1, 2.
        void RowsOf(string matrix, string stride)
        {
            code.mov(s_low, Field(matrix));
            code.mov(s_stride, Field(stride));
            code.lea(s_high, __[s_stride + s_stride * 2]);
            code.add(s_high, s_low);
        }

        AssemblerMemoryOperand Row(int r)
        {
            AssemblerRegister64 from = r < 3 ? s_low : s_high;
            return (r % 3) switch { 0 => from + 0, 1 => from + s_stride, _ => from + s_stride * 2 };
        }

        void EachRegister(Action<AssemblerRegisterZMM, AssemblerMemoryOperand> emit)
        {
            for (int r = 0; r < Rows; r++)
            {
                for (int n = 0; n < registers; n++)
                    emit(sums[r, n], __zmmword_ptr[Row(r) + RegisterBytes * n]);
            }
        }

        // By six times the stride in s_stride.
        void MoveOn(string matrix)
        {
            code.lea(s_high, __[s_stride + s_stride * 2]);
            code.add(s_high, s_high);
            code.add(Field(matrix), s_high);
        }
    }

    /// <summary>The volatile ones of Windows first (0 to 5, 16 to 31), then those of which it wants the low 128 bits back.</summary>
    private static AssemblerRegisterZMM Vector(int index) => new(Register.ZMM0 + (index < 6 ? index : index < VolatileOnWindows ? index + 10 : index - 16));

    private static int Offset(string field) => (int)Marshal.OffsetOf<TileCall>(field);
}
