using System.ComponentModel;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;

namespace TorchFlash.Kernels.Cpu.Assembled;

/// <summary>
/// The register tile over pairs of bfloat16, assembled at first use where the processor has AVX512-BF16: twice the multiply-adds of
/// float32, and more where it has AMX. A 32-bit word holds elements 2k (low half) and 2k + 1 (high half) of a row of A or of a column of B.
/// </summary>
/// <remarks>
/// The arithmetic is VDPBF16PS's (Intel SDM): for every pair first c = fma(a(2k + 1), b(2k + 1), c), then c = fma(a(2k), b(2k), c), each rounded
/// to nearest even, subnormal numbers taken and returned as zero, the control register neither read nor written. What goes to AMX
/// (see <see cref="AmxCode"/>) is TDPBF16PS's: for every 16 pairs the low and the high elements are summed apart from zero, in order, then c += low + high.
/// Both are checked against these definitions before first use. The environment variable <see cref="Switch"/> set to 0 turns them off.
/// </remarks>
internal sealed unsafe class PairTile
{
    /// <summary>Environment variable that turns assembled code off when it is 0.</summary>
    public const string Switch = "TORCHFLASH_ASSEMBLED";

    /// <summary>Columns of one register of C.</summary>
    public const int Lanes = 16;

    // A call without a transition to native code saves some 10 ns, and holds a garbage collection up until it returns: for 10 microseconds
    // at most, less than stopping the threads takes anyhow. Instructions of vectors are counted as one a cycle.
    private const nint CyclesOfCall = 16384;

    private static readonly Lazy<PairTile> s_instance = new(() => new(Environment.GetEnvironmentVariable(Switch)));

    private readonly nint _code;
    private readonly int[] _entries = new int[PairTileCode.MostRegisters];
    private nint _amx;
    private readonly string? _amxRefusal;

    /// <param name="setting">Value of the environment variable.</param>
    /// <param name="change">For tests: what is to become of the code before it is loaded.</param>
    /// <param name="makeExecutable">For tests: instead of the system's call.</param>
    /// <param name="amx">For tests: code to use as if it were that of <see cref="AmxCode"/>.</param>
    internal PairTile(string? setting, Func<byte[], byte[]>? change = null, Func<nint, nint, bool>? makeExecutable = null, byte[]? amx = null)
    {
        Refusal = Missing(setting);
        if (Refusal is not null)
            return;
        try
        {
            _code = (nint)ExecutablePages.Load(Assemble(change ?? (code => code)), makeExecutable);
            Refusal = PairTileCheck.Run(this);
        }
        catch (Win32Exception e)
        {
            Refusal = e.Message;
        }
        if (Refusal is null)
            _amxRefusal = StartAmx(amx);
    }

    /// <summary>That of this process.</summary>
    public static PairTile Instance => s_instance.Value;

    /// <summary>Why it cannot be used; null where it can.</summary>
    public string? Refusal { get; }

    /// <summary>What is in use, or why nothing is.</summary>
    public string Describe() => Refusal is null
        ? $"bfloat16 pairs by assembled tiles: AVX512-BF16, {_amxRefusal ?? "AMX-BF16 where rows are contiguous"}"
        : $"no assembled tiles: {Refusal}";

    /// <summary>C (+)= A B for six rows, <paramref name="blocks"/> times, with strides in elements.</summary>
    /// <param name="registers">Registers of 16 columns, 1 to 4.</param>
    /// <param name="a">A(0, 0), a pair.</param>
    /// <param name="rs">From a row of A to the next.</param>
    /// <param name="ks">From a pair of columns of A to the next.</param>
    /// <param name="b">B(0, 0), a pair.</param>
    /// <param name="ldb">From a pair of rows of B to the next.</param>
    /// <param name="c">C(0, 0).</param>
    /// <param name="ldc">From a row of C to the next.</param>
    /// <param name="depth">Pairs of columns of A, of rows of B.</param>
    /// <param name="blocks">How many times six rows: A and C move on, B stays.</param>
    /// <param name="add">Whether the product, which is summed from zero, is added to C.</param>
    public void Run(int registers, uint* a, nint rs, nint ks, uint* b, nint ldb, float* c, nint ldc, nint depth, int blocks, bool add)
    {
        const int across = AmxCode.Columns / Lanes, blocksOfGroup = AmxCode.Rows / PairTileCode.Rows;
        int groups = blocks / blocksOfGroup;
        if (_amx != 0 && ks == 1 && !add && groups > 0 && registers >= across && depth > 0 && depth % AmxCode.Step == 0)
        {
            int x = 0;
            for (; x + across <= registers; x += across)
                RunAmx(a, rs, b + x * Lanes, ldb, c + x * Lanes, ldc, depth, groups);
            if (x < registers)
                RunVectors(registers - x, a, rs, ks, b + x * Lanes, ldb, c + x * Lanes, ldc, depth, groups * blocksOfGroup, add);
            a += groups * AmxCode.Rows * rs;
            c += groups * AmxCode.Rows * ldc;
            blocks -= groups * blocksOfGroup;
        }
        RunVectors(registers, a, rs, ks, b, ldb, c, ldc, depth, blocks, add);
    }

    /// <summary>Null where there is AMX from here on; else why not.</summary>
    private string? StartAmx(byte[]? code)
    {
        try
        {
            if (code is null && Amx.Refusal() is { } refusal)
                return refusal;
            _amx = (nint)ExecutablePages.Load(code ?? AmxCode.Assemble());
        }
        catch (Win32Exception e)
        {
            return e.Message;
        }
        string? wrong = PairTileCheck.RunAmx(this);
        if (wrong is not null)
            _amx = 0;
        return wrong;
    }

    [SkipLocalsInit]
    private void RunVectors(int registers, uint* a, nint rs, nint ks, uint* b, nint ldb, float* c, nint ldc, nint depth, int blocks, bool add)
    {
        Unsafe.SkipInit(out TileCall call);
        call.A = (byte*)a;
        call.RowStride = rs * sizeof(uint);
        call.DepthStride = ks * sizeof(uint);
        call.B = (byte*)b;
        call.BStride = ldb * sizeof(uint);
        call.C = (byte*)c;
        call.CStride = ldc * sizeof(float);
        call.Depth = depth;
        call.Add = add ? 1 : 0;
        Call(_code + _entries[registers - 1], &call, blocks, PairTileCode.Rows * registers * (depth + 1));
    }

    [SkipLocalsInit]
    private void RunAmx(uint* a, nint rs, uint* b, nint ldb, float* c, nint ldc, nint depth, int groups)
    {
        Unsafe.SkipInit(out TileCall call);
        call.A = (byte*)a;
        call.RowStride = rs * sizeof(uint);
        call.DepthStride = AmxCode.Step * ldb * sizeof(uint);
        call.B = (byte*)b;
        call.BStride = ldb * sizeof(uint);
        call.C = (byte*)c;
        call.CStride = ldc * sizeof(float);
        call.Depth = depth / AmxCode.Step;
        const int cyclesOfStep = 4 * 16;
        Call(_amx, &call, groups, call.Depth * cyclesOfStep);
    }

    private static void Call(nint code, TileCall* call, nint blocks, nint cyclesOfBlock)
    {
        nint most = Math.Max(1, CyclesOfCall / cyclesOfBlock);
        for (; blocks > 0; blocks -= most)
        {
            call->Blocks = Math.Min(blocks, most);
            ((delegate* unmanaged[Cdecl, SuppressGCTransition]<TileCall*, void>)code)(call);
        }
    }

    /// <summary>What of the processor or of the settings stands against them; null where nothing does.</summary>
    internal static string? Missing(string? setting)
    {
        if (MissingForAll(setting) is { } missing)
            return missing;
        if (!Avx512F.IsSupported) // of the processor, of the system that would have to save its registers, and of .NET's settings
            return "no AVX-512";
        return X86Base.CpuId(7, 0).Eax >= 1 && (X86Base.CpuId(7, 1).Eax & 1 << 5) != 0 ? null : "no AVX512-BF16";
    }

    /// <summary>What stands against any assembled code.</summary>
    internal static string? MissingForAll(string? setting) => setting == "0" ? $"{Switch} is 0"
        : RuntimeInformation.ProcessArchitecture != Architecture.X64 ? $"the processor is {RuntimeInformation.ProcessArchitecture}" : null;

    // Out of line, so that nothing of the assembler is loaded where nothing is assembled.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private byte[] Assemble(Func<byte[], byte[]> change)
    {
        var all = new List<byte>();
        for (int i = 0; i < _entries.Length; i++)
        {
            while (all.Count % 64 != 0)
                all.Add(0xCC);
            _entries[i] = all.Count;
            all.AddRange(PairTileCode.Assemble(i + 1, OperatingSystem.IsWindows()));
        }
        return change([.. all]);
    }
}
