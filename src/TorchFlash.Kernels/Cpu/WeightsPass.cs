using System.Numerics;
using System.Runtime.CompilerServices;
using TorchFlash.Kernels.Cpu.Lanes;
using TorchFlash.Kernels.Cpu.Tiles;

namespace TorchFlash.Kernels.Cpu;

/// <summary>
/// 1/H sum over heads of P, recomputed from (m, l) tile by tile: nothing of size Nq x Nk exists but the result.
/// </summary>
internal sealed unsafe class WeightsPass<V, T>
    where V : unmanaged, ILanes<V, T>
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private readonly AttentionProblem _problem;
    private readonly WeightsArguments _arguments;
    private readonly TileSizes _sizes;
    private readonly int _queryTiles;
    private readonly int _keyTiles;
    private readonly int _stride;
    private long _next;

    private WeightsPass(in AttentionProblem problem, in WeightsArguments arguments)
    {
        _problem = problem;
        _arguments = arguments;
        _sizes = TileSizes.Forward(problem, sizeof(T));
        _queryTiles = (problem.QueryLength + _sizes.Queries - 1) / _sizes.Queries;
        _keyTiles = (problem.KeyLength + _sizes.Keys - 1) / _sizes.Keys;
        _stride = Panels<V, T>.OddLines(_sizes.Keys);
    }

    public static void Run(in AttentionProblem problem, in WeightsArguments arguments, int threads)
    {
        var pass = new WeightsPass<V, T>(problem, arguments);
        WorkerPool.Run((int)Math.Min(threads, pass.Items), pass.Work);
    }

    private long Items => (long)_problem.Batch * _keyTiles * _queryTiles;

    private long PackedLength => Panels<V, T>.RoundUp(_sizes.Keys, Panels<V, T>.Width) * (long)_problem.HeadDim;

    private long ScoresLength => Panels<V, T>.PadRows(_sizes.Queries) * (long)_stride;

    private long QueryLength => Panels<V, T>.PadRows(_sizes.Queries) * (long)Panels<V, T>.PadColumns(_problem.HeadDim);

    private void Work()
    {
        using var scratch = Scratch.Rent(Scratch.Bytes<T>(PackedLength) + 2 * Scratch.Bytes<T>(ScoresLength) + Scratch.Bytes<T>(QueryLength)
            + Scratch.Bytes<T>(2 * Epilogue.Stride) + Scratch.Bytes<T>(Exponent.Length<T>()));
        T* packed = scratch.Take<T>(PackedLength), scores = scratch.Take<T>(ScoresLength), sum = scratch.Take<T>(ScoresLength);
        T* padding = scratch.Take<T>(QueryLength), scalars = scratch.Take<T>(2 * Epilogue.Stride);
        T* exponent = Exponent.Write(scratch.Take<T>(Exponent.Length<T>()), _problem.Scale);
        for (long item; (item = Interlocked.Increment(ref _next) - 1) < Items;)
            Tile((int)(item / _keyTiles / _queryTiles), (int)(item / _keyTiles % _queryTiles), (int)(item % _keyTiles), packed, scores, sum, padding, scalars, exponent);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Tile(int batch, int queryTile, int keyTile, T* packed, T* scores, T* sum, T* padding, T* scalars, T* exponent)
    {
        int first = queryTile * _sizes.Queries, rows = Math.Min(_sizes.Queries, _problem.QueryLength - first);
        int start = keyTile * _sizes.Keys, count = Math.Min(_sizes.Keys, _problem.KeyLength - start), columns = Panels<V, T>.PadColumns(count);
        int diagonal = first + _problem.DiagonalOffset - start, d = _problem.HeadDim;
        T perHead = T.One / T.CreateChecked(_problem.Heads);
        for (int h = 0; h < _problem.Heads && rows - 1 + diagonal >= 0; h++)
        {
            int head = batch * _problem.Heads + h;
            Rows<T> key = Rows<T>.OfKeyHead(_arguments.Key, head, _problem).From(start);
            Packing<V, T>.Transpose(key.Data, key.Stride, count, d, Exponent.Sign<T>(_problem.Scale), packed);
            Rows<T> query = Packing<V, T>.Pad(Rows<T>.OfHead(_arguments.Query, head, _problem.Heads).From(first), rows, _problem.QueryLength - first, d, padding);
            nint statistics = (nint)head * _problem.QueryLength + first;
            for (int r = 0; r < Panels<V, T>.PadRows(rows); r++)
            {
                scalars[r] = r < rows ? ((T*)_arguments.Statistics.Max)[statistics + r] : T.Zero;
                scalars[r + Epilogue.Stride] = r < rows ? perHead / ((T*)_arguments.Statistics.Sum)[statistics + r] : T.Zero;
            }
            T* to = h == 0 ? sum : scores;
            for (int x = 0; x < columns; x += Panels<V, T>.Width)
            {
                for (int r = 0; r < rows; r += Panels<V, T>.TileRows)
                    Panels<V, T>.Tile<Probability<V, T>>(Math.Min(Panels<V, T>.Width, columns - x) / V.Count, query.At(r), query.Stride, 1,
                        packed + (nint)x * d, Panels<V, T>.Width, to + (nint)r * _stride + x, _stride, d, scalars + r, exponent);
            }
            if (h > 0)
                Packing<V, T>.Copy(new(scores, _stride), new(sum, _stride), rows, columns, add: true);
        }
        for (int r = 0; r < rows; r++)
        {
            T* weights = (T*)_arguments.Weights.Data + batch * _arguments.Weights.BatchStride + (first + r) * _arguments.Weights.RowStride + start;
            int visible = Math.Clamp(r + diagonal + 1, 0, count);
            new Span<T>(sum + (nint)r * _stride, visible).CopyTo(new Span<T>(weights, visible));
            new Span<T>(weights + visible, count - visible).Clear();
        }
    }
}
