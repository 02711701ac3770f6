using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;
using AttentionBench.Engine;
using TorchFlash.Kernels;
using TorchFlash.Kernels.Cpu;

namespace AttentionBench.Measuring;

/// <summary>
/// The most floating point operations a second that multiply-adds can give on this machine, from C#: twelve independent
/// accumulators (latency 4, two a cycle needs eight), all operands in registers of one width.
/// </summary>
internal sealed class FmaCeiling
{
    private const int Accumulators = 12;
    private const int Iterations = 3_000_000;
    private readonly int _threads;
    private readonly Action _chains;

    /// <param name="type">Types of 16 bits are computed in binary32.</param>
    /// <param name="bits">One of <see cref="Widths"/>.</param>
    /// <param name="threads">How many compute at the same time.</param>
    public FmaCeiling(ElementType type, int bits, int threads)
    {
        (Bits, _threads) = (bits, threads);
        _chains = type.Computed() == ElementType.Float64 ? Chains<double>(bits) : Chains<float>(bits);
        double lanes = bits == 0 ? 1 : bits / 8.0 / type.Computed().Bytes();
        Flop = 2 * lanes * Accumulators * Iterations * threads;
    }

    /// <summary>Width of the registers; 0: scalar code.</summary>
    public int Bits { get; }

    /// <summary>Floating point operations of one run of all threads.</summary>
    public double Flop { get; }

    /// <summary>Register widths of this processor that multiply-adds can be had for, narrow ones first; also those that the runtime does not prefer.</summary>
    public static IReadOnlyList<int> Widths { get; } =
    [
        .. !Fma.IsSupported && !AdvSimd.IsSupported ? new[] { 0 } : [128],
        .. Fma.IsSupported ? new[] { 256 } : [],
        .. Avx512F.IsSupported ? new[] { 512 } : [],
    ];

    /// <summary>At the width that the engine uses: what its share is counted of.</summary>
    public static FmaCeiling OfEngine(ElementType type, int threads) => new(type, CpuEngine.Instance.VectorBits, threads);

    /// <summary>
    /// One run; its seconds. On the threads that the engine works on: libtorch's OpenMP threads, where those are they, spin for a while after each
    /// pass and would leave others half of the processors.
    /// </summary>
    public double Seconds()
    {
        int joined = 0;
        double seconds = Measure.Seconds(() => WorkerPool.Run(_threads, () =>
        {
            Interlocked.Increment(ref joined);
            _chains();
        }));
        return seconds * _threads / joined; // Where there were fewer, they did so much less.
    }

    /// <summary>FLOP/s: the best of a few runs after a first one.</summary>
    public double Best(int runs = 20)
    {
        Seconds();
        return Flop / Enumerable.Range(0, runs).Min(_ => Seconds());
    }

    private static Action Chains<T>(int bits) where T : unmanaged, IBinaryFloatingPointIeee754<T> => bits switch
    {
        512 => Chains<T, Simd512<T>>,
        256 => Chains<T, Simd256<T>>,
        128 => Chains<T, Simd128<T>>,
        _ => Chains<T, Scalar<T>>,
    };

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Chains<T, TSimd>() where T : unmanaged, IBinaryFloatingPointIeee754<T> where TSimd : struct, ISimd<T, TSimd>
    {
        TSimd x = TSimd.Broadcast(T.CreateChecked(0.999)), y = TSimd.Broadcast(T.CreateChecked(0.001));
        TSimd a = y, b = y, c = y, d = y, e = y, f = y, g = y, h = y, i = y, j = y, k = y, l = y;
        for (int n = 0; n < Iterations; n++)
        {
            a = TSimd.MultiplyAdd(a, x, y);
            b = TSimd.MultiplyAdd(b, x, y);
            c = TSimd.MultiplyAdd(c, x, y);
            d = TSimd.MultiplyAdd(d, x, y);
            e = TSimd.MultiplyAdd(e, x, y);
            f = TSimd.MultiplyAdd(f, x, y);
            g = TSimd.MultiplyAdd(g, x, y);
            h = TSimd.MultiplyAdd(h, x, y);
            i = TSimd.MultiplyAdd(i, x, y);
            j = TSimd.MultiplyAdd(j, x, y);
            k = TSimd.MultiplyAdd(k, x, y);
            l = TSimd.MultiplyAdd(l, x, y);
        }
        a = TSimd.MultiplyAdd(a, b, TSimd.MultiplyAdd(c, d, TSimd.MultiplyAdd(e, f, TSimd.MultiplyAdd(g, h, TSimd.MultiplyAdd(i, j, TSimd.MultiplyAdd(k, l, y))))));
        if (!T.IsFinite(TSimd.First(a))) // also keeps the chains alive
            throw new ArithmeticException("The multiply-add chains have diverged.");
    }

    private interface ISimd<T, TSelf>
    {
        static abstract TSelf Broadcast(T value);

        static abstract TSelf MultiplyAdd(TSelf a, TSelf b, TSelf c);

        static abstract T First(TSelf a);
    }

    // The instruction itself: Vector512's own operations may be calls where the runtime does not prefer 512 bits.
    private readonly record struct Simd512<T>(Vector512<T> V) : ISimd<T, Simd512<T>>
    {
        public static Simd512<T> Broadcast(T value) => new(Vector512.Create(value));

        public static Simd512<T> MultiplyAdd(Simd512<T> a, Simd512<T> b, Simd512<T> c) => new(typeof(T) == typeof(float)
            ? Avx512F.FusedMultiplyAdd(a.V.AsSingle(), b.V.AsSingle(), c.V.AsSingle()).As<float, T>()
            : Avx512F.FusedMultiplyAdd(a.V.AsDouble(), b.V.AsDouble(), c.V.AsDouble()).As<double, T>());

        public static T First(Simd512<T> a) => a.V[0];
    }

    private readonly record struct Simd256<T>(Vector256<T> V) : ISimd<T, Simd256<T>>
    {
        public static Simd256<T> Broadcast(T value) => new(Vector256.Create(value));

        public static Simd256<T> MultiplyAdd(Simd256<T> a, Simd256<T> b, Simd256<T> c) => new(typeof(T) == typeof(float)
            ? Vector256.MultiplyAddEstimate(a.V.AsSingle(), b.V.AsSingle(), c.V.AsSingle()).As<float, T>()
            : Vector256.MultiplyAddEstimate(a.V.AsDouble(), b.V.AsDouble(), c.V.AsDouble()).As<double, T>());

        public static T First(Simd256<T> a) => a.V[0];
    }

    private readonly record struct Simd128<T>(Vector128<T> V) : ISimd<T, Simd128<T>>
    {
        public static Simd128<T> Broadcast(T value) => new(Vector128.Create(value));

        public static Simd128<T> MultiplyAdd(Simd128<T> a, Simd128<T> b, Simd128<T> c) => new(typeof(T) == typeof(float)
            ? Vector128.MultiplyAddEstimate(a.V.AsSingle(), b.V.AsSingle(), c.V.AsSingle()).As<float, T>()
            : Vector128.MultiplyAddEstimate(a.V.AsDouble(), b.V.AsDouble(), c.V.AsDouble()).As<double, T>());

        public static T First(Simd128<T> a) => a.V[0];
    }

    private readonly record struct Scalar<T>(T V) : ISimd<T, Scalar<T>> where T : IBinaryFloatingPointIeee754<T>
    {
        public static Scalar<T> Broadcast(T value) => new(value);

        public static Scalar<T> MultiplyAdd(Scalar<T> a, Scalar<T> b, Scalar<T> c) => new(a.V * b.V + c.V);

        public static T First(Scalar<T> a) => a.V;
    }
}
