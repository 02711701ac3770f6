using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace TorchFlash.Kernels.Cpu.Assembled;

/// <summary>
/// Machine code of the conversions that .NET has no intrinsics for. Every routine takes (first, second, to, n): n elements of <c>to</c>, 16 at a
/// time, at least those. Only registers that are volatile in both calling conventions are used.
/// </summary>
internal sealed class ConversionCode
{
    /// <summary>Elements at a time.</summary>
    public const int Lanes = 16;

    private readonly Assembler _code = new(64);
    private readonly AssemblerRegister64 _first, _second, _to, _n;

    private ConversionCode(bool windows) => (_first, _second, _to, _n) = windows ? (rcx, rdx, r8, r9) : (rdi, rsi, rdx, rcx);

    /// <summary>to = first, of float16: float. By VCVTPH2PS (F16C, or AVX-512 F).</summary>
    public static byte[] WidenFloat16(bool windows, bool isWide)
    {
        var x = new ConversionCode(windows);
        return x.Loop(2, 4, (code, first, _, to) =>
        {
            for (int part = 0; part < (isWide ? 1 : 2); part++)
            {
                if (isWide)
                    code.vcvtph2ps(zmm0, __ymmword_ptr[first]);
                else
                    code.vcvtph2ps(ymm0, __xmmword_ptr[first + 16 * part]);
                Store(code, isWide, to + 32 * part);
            }
        });
    }

    /// <summary>to = first times the number at second, which is rounded to float16. By VCVTPS2PH (F16C, or AVX-512 F), to nearest even.</summary>
    public static byte[] NarrowFloat16(bool windows, bool isWide)
    {
        var x = new ConversionCode(windows);
        if (isWide)
            x._code.vbroadcastss(zmm1, __dword_ptr[x._second]);
        else
            x._code.vbroadcastss(ymm1, __dword_ptr[x._second]);
        return x.Loop(4, 2, (code, first, _, to) =>
        {
            if (isWide)
            {
                code.vmulps(zmm0, zmm1, __zmmword_ptr[first]);
                code.vcvtps2ph(__ymmword_ptr[to], zmm0, 0);
                return;
            }
            for (int part = 0; part < 2; part++)
            {
                code.vmulps(ymm0, ymm1, __ymmword_ptr[first + 32 * part]);
                code.vcvtps2ph(__xmmword_ptr[to + 16 * part], ymm0, 0);
            }
        });
    }

    /// <summary>to = first, rounded to bfloat16. By VCVTNEPS2BF16 (AVX512-BF16): to nearest even, subnormal numbers to 0.</summary>
    public static byte[] Round(bool windows) => new ConversionCode(windows).Loop(4, 2, (code, first, _, to) =>
    {
        code.vcvtneps2bf16(ymm0, __zmmword_ptr[first]);
        code.vmovups(__ymmword_ptr[to], ymm0);
    });

    /// <summary>Words of first, rounded so, in their low halves and second in their high ones. By VCVTNE2PS2BF16 (AVX512-BF16) and VPERMW (AVX-512 BW).</summary>
    public static byte[] RoundPairs(bool windows)
    {
        var x = new ConversionCode(windows);
        Label order = x._code.CreateLabel();
        x._code.vmovups(zmm1, __zmmword_ptr[order]);
        return x.Loop(
            4,
            4,
            (code, first, second, to) =>
            {
                code.vmovups(zmm0, __zmmword_ptr[second]);
                code.vcvtne2ps2bf16(zmm0, zmm0, __zmmword_ptr[first]);
                code.vpermw(zmm0, zmm1, zmm0);
                code.vmovups(__zmmword_ptr[to], zmm0);
            },
            code =>
            {
                code.Label(ref order);
                for (int k = 0; k < Lanes; k++)
                    code.dw((ushort)k, (ushort)(Lanes + k));
            });
    }

    private static void Store(Assembler code, bool isWide, AssemblerMemoryOperand to)
    {
        if (isWide)
            code.vmovups(__zmmword_ptr[to], zmm0);
        else
            code.vmovups(__ymmword_ptr[to], ymm0);
    }

    /// <param name="fromBytes">Bytes of an element of first and second.</param>
    /// <param name="toBytes">Bytes of an element of to.</param>
    /// <param name="body">Of 16 elements, from where first, second and to are.</param>
    /// <param name="data">What lies behind the code.</param>
    private byte[] Loop(int fromBytes, int toBytes, Action<Assembler, AssemblerMemoryOperand, AssemblerMemoryOperand, AssemblerMemoryOperand> body, Action<Assembler>? data = null)
    {
        Label loop = _code.CreateLabel();
        // The pointers to the ends, and an index that rises to 0.
        _code.lea(_first, __[_first + _n * fromBytes]);
        _code.lea(_second, __[_second + _n * fromBytes]);
        _code.lea(_to, __[_to + _n * toBytes]);
        _code.neg(_n);
        _code.Label(ref loop);
        body(_code, _first + _n * fromBytes, _second + _n * fromBytes, _to + _n * toBytes);
        _code.add(_n, Lanes);
        _code.jl(loop);
        _code.vzeroupper();
        _code.ret();
        data?.Invoke(_code);
        using var bytes = new MemoryStream();
        _code.Assemble(new StreamCodeWriter(bytes), 0);
        return bytes.ToArray();
    }
}
