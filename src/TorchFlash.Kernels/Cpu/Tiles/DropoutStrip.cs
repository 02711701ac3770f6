using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using TorchFlash.Kernels.Cpu.Lanes;
using TorchFlash.Kernels.Scores;

namespace TorchFlash.Kernels.Cpu.Tiles;

/// <summary>Z o P of a block of weights in the first-level cache, where Z is 0 for what <see cref="Dropout"/> drops and 1 for the rest.</summary>
internal static unsafe class DropoutStrip<L, V, T>
    where L : struct, ILanes<V, T>
    where V : struct
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    /// <summary>Words from one row of four to the next: those of a panel, and what <see cref="Philox{W, V}"/> rounds up to.</summary>
    private static int Stride => Product<L, V, T>.Width + 16;

    /// <summary>Words of scratch memory that a strip needs.</summary>
    public static int Words => 4 * Stride;

    /// <summary>Over a block of Pᵀ (keys x queries), in place.</summary>
    /// <param name="weights">Pᵀ.</param>
    /// <param name="keys">Its keys.</param>
    /// <param name="columns">Its queries, in whole registers.</param>
    /// <param name="problem">Seed and probability.</param>
    /// <param name="head">Batch entry head / heads, head head % heads.</param>
    /// <param name="key">The block's first key.</param>
    /// <param name="query">The block's first query.</param>
    /// <param name="words">Scratch memory.</param>
    [MethodImpl(Jit.Alone)]
    public static void DropTransposed(Matrix<T> weights, int keys, int columns, in AttentionProblem problem, int head, int key, int query, uint* words)
    {
        (uint batch, uint h) = ((uint)(head / problem.Heads), (uint)(head % problem.Heads));
        int least = Dropout.Threshold(problem.Dropout);
        for (int j = key & ~3; j < key + keys; j += 4)
        {
            if (typeof(V) == typeof(Vector512<T>))
                Philox<PhiloxLanes512, Vector512<ulong>>.OfKeys(problem.DropoutSeed, batch, h, (uint)j >> 2, query, columns, words, Stride);
            else if (typeof(V) == typeof(Vector256<T>))
                Philox<PhiloxLanes256, Vector256<ulong>>.OfKeys(problem.DropoutSeed, batch, h, (uint)j >> 2, query, columns, words, Stride);
            else
                Philox<PhiloxLanes128, Vector128<ulong>>.OfKeys(problem.DropoutSeed, batch, h, (uint)j >> 2, query, columns, words, Stride);
            for (int r = Math.Max(j, key); r < Math.Min(j + 4, key + keys); r++)
            {
                T* p = weights.Row(r - key);
                int* w = (int*)words + (r - j) * Stride;
                for (int x = 0; x < columns; x += L.Count)
                    L.Store(p + x, L.IfAtLeast(w + x, least, L.Load(p + x)));
            }
        }
    }

    /// <summary>Over a block of P (queries x keys), to another block.</summary>
    /// <param name="weights">P.</param>
    /// <param name="kept">Z o P: written.</param>
    /// <param name="queries">Its queries.</param>
    /// <param name="columns">Its keys, in whole registers.</param>
    /// <param name="problem">Seed and probability.</param>
    /// <param name="head">Batch entry head / heads, head head % heads.</param>
    /// <param name="query">The block's first query.</param>
    /// <param name="key">The block's first key.</param>
    /// <param name="words">Scratch memory.</param>
    [MethodImpl(Jit.Alone)]
    public static void Drop(Matrix<T> weights, Matrix<T> kept, int queries, int columns, in AttentionProblem problem, int head, int query, int key, uint* words)
    {
        (uint batch, uint h) = ((uint)(head / problem.Heads), (uint)(head % problem.Heads));
        int least = Dropout.Threshold(problem.Dropout), counters = (columns + (key & 3) + 3) / 4;
        for (int i = 0; i < queries; i++)
        {
            if (typeof(V) == typeof(Vector512<T>))
                Philox<PhiloxLanes512, Vector512<ulong>>.OfQuery(problem.DropoutSeed, batch, h, (uint)key >> 2, counters, query + i, words);
            else if (typeof(V) == typeof(Vector256<T>))
                Philox<PhiloxLanes256, Vector256<ulong>>.OfQuery(problem.DropoutSeed, batch, h, (uint)key >> 2, counters, query + i, words);
            else
                Philox<PhiloxLanes128, Vector128<ulong>>.OfQuery(problem.DropoutSeed, batch, h, (uint)key >> 2, counters, query + i, words);
            T* p = weights.Row(i), z = kept.Row(i);
            int* w = (int*)words + (key & 3);
            for (int x = 0; x < columns; x += L.Count)
                L.Store(z + x, L.IfAtLeast(w + x, least, L.Load(p + x)));
        }
    }
}
