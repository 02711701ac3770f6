using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using TorchFlash.Kernels.Scores;

namespace TorchFlash.Kernels.Cpu;

/// <summary>
/// The random words of <see cref="Dropout"/>, many at a time: a 64-bit lane for each counter, of which the lower half is the word. What a
/// product leaves in the upper half is never read: the next product takes lower halves, and the high word is shifted down.
/// </summary>
internal static unsafe class Philox<W, V>
    where W : struct, IPhiloxLanes<V>
    where V : struct
{
    /// <summary>The words of four keys, 4 c .. 4 c + 3, for so many queries from one on: four rows, a word for each query, rounded up to twice the lanes.</summary>
    [MethodImpl(Jit.Alone)]
    public static void OfKeys(ulong seed, uint batch, uint head, uint counter, int query, int queries, uint* words, nint stride)
    {
        for (int x = 0; x < queries; x += 2 * W.Count)
        {
            V even = W.Add(W.Broadcast((uint)(query + x)), W.Sequence(2)), odd = W.Add(even, W.Broadcast(1));
            Run(seed, W.Broadcast(counter), even, head, batch, out V e0, out V e1, out V e2, out V e3);
            Run(seed, W.Broadcast(counter), odd, head, batch, out V o0, out V o1, out V o2, out V o3);
            W.Store(W.Join(e0, o0), words + x);
            W.Store(W.Join(e1, o1), words + x + stride);
            W.Store(W.Join(e2, o2), words + x + 2 * stride);
            W.Store(W.Join(e3, o3), words + x + 3 * stride);
        }
    }

    /// <summary>The words of one query for keys 4 c, 4 c + 1, ... of so many counters c, rounded up to the lanes.</summary>
    [MethodImpl(Jit.Alone)]
    public static void OfQuery(ulong seed, uint batch, uint head, uint counter, int counters, int query, uint* words)
    {
        V unzipped = W.Unzipped;
        // In the order in which zipping pairs of words of (0, n), (1, n + 1) ... leaves every counter's four words together and in sequence.
        for (int x = 0; x < counters; x += W.Count)
        {
            Run(seed, W.Add(W.Broadcast(counter + (uint)x), unzipped), W.Broadcast((uint)query), head, batch, out V w0, out V w1, out V w2, out V w3);
            V low = W.Join(w0, w1), high = W.Join(w2, w3);
            W.Store(W.ZipEven(low, high), words + 4 * x);
            W.Store(W.ZipOdd(low, high), words + 4 * x + 2 * W.Count);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Run(ulong seed, V x0, V x1, uint head, uint batch, out V w0, out V w1, out V w2, out V w3)
    {
        V m0 = W.Broadcast(Dropout.Multiplier0), m1 = W.Broadcast(Dropout.Multiplier1), x2 = W.Broadcast(head), x3 = W.Broadcast(batch);
        V k0 = W.Broadcast((uint)seed), k1 = W.Broadcast((uint)(seed >> 32)), weyl0 = W.Broadcast(Dropout.Weyl0), weyl1 = W.Broadcast(Dropout.Weyl1);
        // Two rounds a turn halve the moves at its end, where every word has to be in the register that it came in. Of keys, too, only the lower halves count.
        for (int round = 0; round < Dropout.Rounds; round += 2)
        {
            V a = W.Multiply(m0, x0), b = W.Multiply(m1, x2);
            V y0 = W.Xor(W.Xor(W.High(b), x1), k0), y2 = W.Xor(W.Xor(W.High(a), x3), k1);
            (k0, k1) = (W.Add(k0, weyl0), W.Add(k1, weyl1));
            x3 = W.Multiply(m0, y0);
            x1 = W.Multiply(m1, y2);
            x0 = W.Xor(W.Xor(W.High(x1), b), k0);
            x2 = W.Xor(W.Xor(W.High(x3), a), k1);
            (k0, k1) = (W.Add(k0, weyl0), W.Add(k1, weyl1));
        }
        (w0, w1, w2, w3) = (x0, x1, x2, x3);
    }
}

/// <summary>Operations on registers of 64-bit lanes.</summary>
internal unsafe interface IPhiloxLanes<V>
    where V : struct
{
    static abstract int Count { get; }

    /// <summary>The counters' order for <see cref="Philox{W, V}.OfQuery"/>: 0 and Count / 2 in the first 128 bits, then 1 and Count / 2 + 1, ...</summary>
    static abstract V Unzipped { get; }

    /// <summary>0, step, 2 step, ...</summary>
    static abstract V Sequence(ulong step);

    static abstract V Broadcast(ulong x);

    static abstract V Add(V a, V b);

    static abstract V Xor(V a, V b);

    /// <summary>Products of the lower halves.</summary>
    static abstract V Multiply(V a, V b);

    /// <summary>The upper half.</summary>
    static abstract V High(V x);

    /// <summary>The lower halves of both, the second above the first.</summary>
    static abstract V Join(V low, V high);

    /// <summary>Of every 128 bits the lower lane of a, then that of b.</summary>
    static abstract V ZipEven(V a, V b);

    /// <summary>Of every 128 bits the upper lane of a, then that of b.</summary>
    static abstract V ZipOdd(V a, V b);

    static abstract void Store(V x, uint* p);
}

/// <summary>512 bits.</summary>
internal readonly unsafe struct PhiloxLanes512 : IPhiloxLanes<Vector512<ulong>>
{
    public static int Count => 8;

    public static Vector512<ulong> Unzipped => Vector512.Create(0UL, 4, 1, 5, 2, 6, 3, 7);

    public static Vector512<ulong> Sequence(ulong step) => Vector512<ulong>.Indices * step;

    public static Vector512<ulong> Broadcast(ulong x) => Vector512.Create(x);

    public static Vector512<ulong> Add(Vector512<ulong> a, Vector512<ulong> b) => a + b;

    public static Vector512<ulong> Xor(Vector512<ulong> a, Vector512<ulong> b) => a ^ b;

    public static Vector512<ulong> Multiply(Vector512<ulong> a, Vector512<ulong> b)
        => Avx512F.IsSupported ? Avx512F.Multiply(a.AsUInt32(), b.AsUInt32())
            : Vector512.Create(PhiloxLanes256.Multiply(a.GetLower(), b.GetLower()), PhiloxLanes256.Multiply(a.GetUpper(), b.GetUpper()));

    public static Vector512<ulong> High(Vector512<ulong> x) => x >>> 32;

    public static Vector512<ulong> Join(Vector512<ulong> low, Vector512<ulong> high) => low & Vector512.Create((ulong)uint.MaxValue) | high << 32;

    public static Vector512<ulong> ZipEven(Vector512<ulong> a, Vector512<ulong> b) => Avx512F.IsSupported ? Avx512F.UnpackLow(a, b)
        : Vector512.Create(PhiloxLanes256.ZipEven(a.GetLower(), b.GetLower()), PhiloxLanes256.ZipEven(a.GetUpper(), b.GetUpper()));

    public static Vector512<ulong> ZipOdd(Vector512<ulong> a, Vector512<ulong> b) => Avx512F.IsSupported ? Avx512F.UnpackHigh(a, b)
        : Vector512.Create(PhiloxLanes256.ZipOdd(a.GetLower(), b.GetLower()), PhiloxLanes256.ZipOdd(a.GetUpper(), b.GetUpper()));

    public static void Store(Vector512<ulong> x, uint* p) => x.AsUInt32().Store(p);
}

/// <summary>256 bits.</summary>
internal readonly unsafe struct PhiloxLanes256 : IPhiloxLanes<Vector256<ulong>>
{
    public static int Count => 4;

    public static Vector256<ulong> Unzipped => Vector256.Create(0UL, 2, 1, 3);

    public static Vector256<ulong> Sequence(ulong step) => Vector256<ulong>.Indices * step;

    public static Vector256<ulong> Broadcast(ulong x) => Vector256.Create(x);

    public static Vector256<ulong> Add(Vector256<ulong> a, Vector256<ulong> b) => a + b;

    public static Vector256<ulong> Xor(Vector256<ulong> a, Vector256<ulong> b) => a ^ b;

    public static Vector256<ulong> Multiply(Vector256<ulong> a, Vector256<ulong> b)
        => Avx2.IsSupported ? Avx2.Multiply(a.AsUInt32(), b.AsUInt32())
            : Vector256.Create(PhiloxLanes128.Multiply(a.GetLower(), b.GetLower()), PhiloxLanes128.Multiply(a.GetUpper(), b.GetUpper()));

    public static Vector256<ulong> High(Vector256<ulong> x) => x >>> 32;

    public static Vector256<ulong> Join(Vector256<ulong> low, Vector256<ulong> high) => low & Vector256.Create((ulong)uint.MaxValue) | high << 32;

    public static Vector256<ulong> ZipEven(Vector256<ulong> a, Vector256<ulong> b) => Avx2.IsSupported ? Avx2.UnpackLow(a, b)
        : Vector256.Create(PhiloxLanes128.ZipEven(a.GetLower(), b.GetLower()), PhiloxLanes128.ZipEven(a.GetUpper(), b.GetUpper()));

    public static Vector256<ulong> ZipOdd(Vector256<ulong> a, Vector256<ulong> b) => Avx2.IsSupported ? Avx2.UnpackHigh(a, b)
        : Vector256.Create(PhiloxLanes128.ZipOdd(a.GetLower(), b.GetLower()), PhiloxLanes128.ZipOdd(a.GetUpper(), b.GetUpper()));

    public static void Store(Vector256<ulong> x, uint* p) => x.AsUInt32().Store(p);
}

/// <summary>128 bits.</summary>
internal readonly unsafe struct PhiloxLanes128 : IPhiloxLanes<Vector128<ulong>>
{
    public static int Count => 2;

    public static Vector128<ulong> Unzipped => Vector128.Create(0UL, 1);

    public static Vector128<ulong> Sequence(ulong step) => Vector128.Create(0UL, step);

    public static Vector128<ulong> Broadcast(ulong x) => Vector128.Create(x);

    public static Vector128<ulong> Add(Vector128<ulong> a, Vector128<ulong> b) => a + b;

    public static Vector128<ulong> Xor(Vector128<ulong> a, Vector128<ulong> b) => a ^ b;

    public static Vector128<ulong> Multiply(Vector128<ulong> a, Vector128<ulong> b)
        => Sse2.IsSupported ? Sse2.Multiply(a.AsUInt32(), b.AsUInt32()) : Vector128.Create((ulong)(uint)a[0] * (uint)b[0], (ulong)(uint)a[1] * (uint)b[1]);

    public static Vector128<ulong> High(Vector128<ulong> x) => x >>> 32;

    public static Vector128<ulong> Join(Vector128<ulong> low, Vector128<ulong> high) => low & Vector128.Create((ulong)uint.MaxValue) | high << 32;

    public static Vector128<ulong> ZipEven(Vector128<ulong> a, Vector128<ulong> b) => Vector128.Create(a.GetLower(), b.GetLower());

    public static Vector128<ulong> ZipOdd(Vector128<ulong> a, Vector128<ulong> b) => Vector128.Create(a.GetUpper(), b.GetUpper());

    public static void Store(Vector128<ulong> x, uint* p) => x.AsUInt32().Store(p);
}
