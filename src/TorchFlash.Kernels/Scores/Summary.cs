using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace TorchFlash.Kernels.Scores;

/// <summary>The smallest and the largest element of every block of a captured tensor.</summary>
internal abstract class Summary
{
    /// <summary>A block is 2 to this many long where an index follows queries or keys, and 1 elsewhere.</summary>
    protected const int BlockShift = 5;

    /// <summary>Dimensions up to this long are not summarised, as what is gained is not worth what is lost.</summary>
    private const int SmallDimension = 64;

    private protected Summary()
    {
    }

    /// <summary>What an element can be whose indices lie in these intervals; they do not leave the tensor.</summary>
    public abstract Interval Range(ReadOnlySpan<Interval> index);

    /// <param name="tensor">The tensor.</param>
    /// <param name="view">Where it lies.</param>
    /// <param name="type">What its elements are if they are real.</param>
    /// <param name="inBlocks">Which dimensions to summarise.</param>
    /// <param name="threads">Threads to do it on.</param>
    public static Summary Of(ScoreTensor tensor, in CapturedView view, ElementType type, ReadOnlySpan<bool> inBlocks, int threads)
    {
        // The last dimension stays the last of four. What is the same for all indices of a dimension is looked at once.
        const int Dimensions = ScoreTensor.MaxDimensions;
        var shape = new int[Dimensions];
        var shifts = new int[Dimensions];
        var strides = new long[Dimensions];
        ReadOnlySpan<long> given = [view.Stride0, view.Stride1, view.Stride2, view.Stride3];
        Array.Fill(shape, 1);
        for (int k = 0; k < tensor.Shape.Count; k++)
        {
            int at = Dimensions - tensor.Shape.Count + k;
            (shape[at], strides[at]) = (tensor.Shape[k], given[k]);
            if (given[k] == 0)
                (shape[at], shifts[at]) = (Math.Min(1, shape[at]), 31);
            else if (inBlocks[k] && shape[at] > SmallDimension)
                shifts[at] = BlockShift;
        }
        return (tensor.Kind, type) switch
        {
            (ScoreKind.Bool, _) => new Summary<byte>(view.Data, shape, strides, shifts, threads),
            (ScoreKind.Int, _) => new Summary<long>(view.Data, shape, strides, shifts, threads),
            (_, ElementType.Float64) => new Summary<double>(view.Data, shape, strides, shifts, threads),
            _ => new Summary<float>(view.Data, shape, strides, shifts, threads),
        };
    }
}

/// <inheritdoc cref="Summary"/>
internal sealed unsafe class Summary<T> : Summary where T : unmanaged, INumber<T>, IMinMaxValue<T>
{
    /// <summary>Fewer elements are not worth other threads.</summary>
    private const long ParallelElements = 1 << 18;

    private readonly int[] _shape, _shifts, _blocks;
    private readonly T[] _min, _max;

    public Summary(nint data, int[] shape, long[] strides, int[] shifts, int threads)
    {
        (_shape, _shifts) = (shape, shifts);
        _blocks = [.. shape.Zip(shifts, (size, shift) => (int)((size + (1L << shift) - 1) >> shift))];
        _min = new T[_blocks.Aggregate(1L, (a, b) => checked(a * b))];
        _max = _shifts.Contains(BlockShift) ? new T[_min.Length] : _min; // equal where nothing is summarised
        if (_min.Length == 0)
            return;

        // Rows run along the dimension whose elements are neighbours, the smallest and the largest of the rows of a block are kept in a row each.
        int inner = Array.FindLastIndex(strides, stride => stride == 1) is var unit && unit >= 0 ? unit : 3;
        int[] outer = [.. Enumerable.Range(0, 4).Where(k => k != inner)];
        int rowsOfBlocks = outer.Aggregate(1, (count, k) => count * _blocks[k]);
        if (threads == 1 || shape.Aggregate(1L, (a, b) => a * b) < ParallelElements)
            Fill(0, rowsOfBlocks);
        else
        {
            int parts = Math.Min(rowsOfBlocks, 4 * threads);
            Parallel.For(0, parts, new ParallelOptions { MaxDegreeOfParallelism = threads }, part => Fill((int)((long)rowsOfBlocks * part / parts), (int)((long)rowsOfBlocks * (part + 1) / parts)));
        }

        void Fill(int from, int to)
        {
            int length = shape[inner];
            var row = new T[length];
            T[] min = new T[length], max = new T[length];
            int innerStep = At(inner);
            Span<int> first = stackalloc int[3], end = stackalloc int[3];
            for (int number = from; number < to; number++)
            {
                int rest = number, at = 0;
                for (int k = 2; k >= 0; k--)
                {
                    int dimension = outer[k], block = rest % _blocks[dimension];
                    rest /= _blocks[dimension];
                    at += block * At(dimension);
                    first[k] = block << shifts[dimension];
                    end[k] = (int)Math.Min(shape[dimension], first[k] + (1L << shifts[dimension]));
                }
                bool isFirst = true;
                for (int a = first[0]; a < end[0]; a++)
                    for (int b = first[1]; b < end[1]; b++)
                        for (int c = first[2]; c < end[2]; c++)
                        {
                            ReadOnlySpan<T> values = Row(data, a * strides[outer[0]] + b * strides[outer[1]] + c * strides[outer[2]], strides[inner], row);
                            if (isFirst)
                            {
                                values.CopyTo(min);
                                values.CopyTo(max);
                            }
                            else
                                Include(values, min, max);
                            isFirst = false;
                        }
                for (int block = 0; block < _blocks[inner]; block++, at += innerStep)
                {
                    int begin = block << shifts[inner], count = (int)Math.Min(1L << shifts[inner], length - begin);
                    _min[at] = Range(min.AsSpan(begin, count), min.AsSpan(begin, count)).Lo;
                    _max[at] = Range(max.AsSpan(begin, count), max.AsSpan(begin, count)).Hi;
                }
            }
        }

        // From one block of a dimension to the next.
        int At(int dimension)
        {
            int step = 1;
            for (int k = dimension + 1; k < 4; k++)
                step *= _blocks[k];
            return step;
        }
    }

    [SkipLocalsInit]
    public override Interval Range(ReadOnlySpan<Interval> index)
    {
        Span<int> first = stackalloc int[4], last = stackalloc int[4];
        first.Clear();
        last.Clear();
        for (int k = 0, at = 4 - index.Length; k < index.Length; k++, at++)
            (first[at], last[at]) = ((int)index[k].Lo >> _shifts[at], (int)index[k].Hi >> _shifts[at]);
        T lo = T.MaxValue, hi = T.MinValue;
        bool none = true;
        int count = last[3] - first[3] + 1;
        for (int a = first[0]; a <= last[0]; a++)
            for (int b = first[1]; b <= last[1]; b++)
                for (int c = first[2]; c <= last[2]; c++)
                {
                    int at = ((a * _blocks[1] + b) * _blocks[2] + c) * _blocks[3] + first[3];
                    (T smallest, T largest) = count == 1 ? (_min[at], _max[at]) : Range(_min.AsSpan(at, count), _max.AsSpan(at, count));
                    (lo, hi, none) = none ? (smallest, largest, false) : (T.Min(lo, smallest), T.Max(hi, largest), false);
                    if (typeof(T) == typeof(byte) && lo != hi)
                        return Interval.Either; // there is no more to learn
                }
        return T.IsNaN(lo) || T.IsNaN(hi) ? Interval.Anything : new(double.CreateTruncating(lo), double.CreateTruncating(hi));
    }

    /// <summary>The elements of a row, as they lie or made ready.</summary>
    private static ReadOnlySpan<T> Row(nint data, long offset, long stride, T[] row)
    {
        T* from = (T*)data + offset;
        if (stride == 1)
            return new(from, row.Length);
        for (int x = 0; x < row.Length; x++)
            row[x] = from[x * stride];
        return row;
    }

    /// <summary>min and max, element by element, with one more row. Min and Max hand a NaN on.</summary>
    [MethodImpl(Jit.Alone)]
    private static void Include(ReadOnlySpan<T> values, Span<T> min, Span<T> max)
    {
        ref T value = ref MemoryMarshal.GetReference(values), smallest = ref MemoryMarshal.GetReference(min), largest = ref MemoryMarshal.GetReference(max);
        int x = 0;
        for (; x <= values.Length - Vector<T>.Count; x += Vector<T>.Count)
        {
            var v = Vector.LoadUnsafe(ref value, (nuint)x);
            Vector.Min(v, Vector.LoadUnsafe(ref smallest, (nuint)x)).StoreUnsafe(ref smallest, (nuint)x);
            Vector.Max(v, Vector.LoadUnsafe(ref largest, (nuint)x)).StoreUnsafe(ref largest, (nuint)x);
        }
        for (; x < values.Length; x++)
            (min[x], max[x]) = (T.Min(values[x], min[x]), T.Max(values[x], max[x]));
    }

    /// <summary>The smallest and the largest of some, one at least.</summary>
    [MethodImpl(Jit.Alone)]
    private static (T Lo, T Hi) Range(ReadOnlySpan<T> min, ReadOnlySpan<T> max)
    {
        T lo = min[0], hi = max[0];
        int x = 1;
        if (min.Length >= Vector<T>.Count)
        {
            ref T smallest = ref MemoryMarshal.GetReference(min), largest = ref MemoryMarshal.GetReference(max);
            Vector<T> los = Vector.LoadUnsafe(ref smallest), his = Vector.LoadUnsafe(ref largest);
            for (x = Vector<T>.Count; x <= min.Length - Vector<T>.Count; x += Vector<T>.Count)
                (los, his) = (Vector.Min(los, Vector.LoadUnsafe(ref smallest, (nuint)x)), Vector.Max(his, Vector.LoadUnsafe(ref largest, (nuint)x)));
            (lo, hi) = (los[0], his[0]);
            for (int k = 1; k < Vector<T>.Count; k++)
                (lo, hi) = (T.Min(lo, los[k]), T.Max(hi, his[k]));
        }
        for (; x < min.Length; x++)
            (lo, hi) = (T.Min(lo, min[x]), T.Max(hi, max[x]));
        return (lo, hi);
    }
}
