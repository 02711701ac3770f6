using System.Runtime.CompilerServices;
using TorchFlash.Kernels.Cpu.Tiles;

namespace TorchFlash.Kernels.Cpu;

// What a row of P and dX needs beside its tile: m, 1/l and delta; dQ of rows without a key, and the gradient of the sinks, which follow from them.
internal sealed unsafe partial class BackwardPass<L, V, T>
{
    /// <summary>
    /// m and 1/l, and delta = rowsum(dO o O) - dLSE, of the queries of a tile. A row that attends to nothing (l = 0, m = -inf) has weights of 0.
    /// </summary>
    [MethodImpl(Jit.Alone)]
    private void SetRowTerms(int head, int first, int queries, in Tile t)
    {
        nint row = (nint)head * _problem.QueryLength + first, rows = (nint)Validation.Rows(_problem);
        T* m = _rowTerms + row, inverse = m + rows, delta = inverse + rows;
        Matrix<T> output = Packing<L, V, T>.Rows(Stored<T>.OfHead(_arguments.Output, head, _problem).From(first), queries, _problem.ValueDim, t.OutputRows);
        Matrix<T> gradient = Packing<L, V, T>.Rows(Stored<T>.OfHead(_arguments.OutputGradient, head, _problem).From(first), queries, _problem.ValueDim, t.OutputGradientRows);
        T* max = (T*)_arguments.Statistics.Max + row, sum = (T*)_arguments.Statistics.Sum + row, logSumExp = (T*)_arguments.LogSumExpGradient;
        for (int i = 0; i < queries; i++)
        {
            (m[i], inverse[i]) = sum[i] == T.Zero ? (T.Zero, T.Zero) : (max[i], T.One / sum[i]);
            T* o = output.Row(i), g = gradient.Row(i);
            V lanes = L.Zero;
            int x = 0;
            for (; x + L.Count <= _problem.ValueDim; x += L.Count)
                lanes = L.MultiplyAdd(L.Load(o + x), L.Load(g + x), lanes);
            delta[i] = L.Sum(lanes);
            for (; x < _problem.ValueDim; x++)
                delta[i] += o[x] * g[x];
            if (logSumExp != null)
                delta[i] -= logSumExp[row + i];
        }
    }

    /// <summary>For queries that see no key: dQ = 0, and what their sink needs.</summary>
    private void BeginUnvisited(int head, in Tile t)
    {
        Stored<T> gradient = Stored<T>.OfHead(_arguments.QueryGradient, head, _problem);
        for (int tile = 0; tile < _queryTiles; tile++)
        {
            if (!MapOf(head).IsUnvisited(tile))
                continue;
            int first = tile * _sizes.Queries, queries = Math.Min(_sizes.Queries, _problem.QueryLength - first);
            SetRowTerms(head, first, queries, t);
            for (int i = first; i < first + queries; i++)
                gradient.Clear(i, _problem.HeadDim);
        }
    }

    /// <summary>The same of all heads, where there is no key that a query could see.</summary>
    private void BeginUnvisited()
    {
        using Scratch scratch = Scratch.Rent(cursor => new Tile(this, cursor), out Tile tile);
        for (int head = 0; head < _problem.Batch * _problem.Heads; head++)
            BeginUnvisited(head, tile);
    }

    /// <summary>d(sink) = - sum over rows of P of the sink times delta: its value is 0, so is dP.</summary>
    private void SetSinkGradient()
    {
        T* sinks = (T*)_arguments.Sinks, gradient = (T*)_arguments.SinkGradient;
        nint rows = (nint)Validation.Rows(_problem);
        for (int h = 0; h < _problem.Heads; h++)
        {
            T sink = Exponential.Unscaled(sinks[h], _factor), sum = T.Zero;
            for (int b = 0; b < _problem.Batch; b++)
            {
                T* m = _rowTerms + ((nint)b * _problem.Heads + h) * _problem.QueryLength, inverse = m + rows, delta = inverse + rows;
                T ofHead = T.Zero;
                for (int i = 0; i < _problem.QueryLength; i++)
                {
                    if (inverse[i] != T.Zero)
                        ofHead += Exponential.Weight(sink, m[i], _factor) * inverse[i] * delta[i];
                }
                sum -= ofHead;
            }
            gradient[h] = sum;
        }
    }

    /// <summary>Whether all keys that the band lets so many queries see are those of a panel: those of the first rows of a causal mask, or of a short problem.</summary>
    private bool SeeOneBlock(int query, int rows, int key, int keys)
        => _score.Visibility.Cover.FirstKeyOf(query) >= key && _score.Visibility.Cover.EndKeyOf(query + rows - 1) <= key + keys;

    /// <summary>
    /// delta = rowsum(Z o P o dP) - dLSE, over a block with all keys of its rows. A row that sees few keys has large weights, and what dP errs
    /// by is in its delta as well then, so that dS is 0 where a weight is 1.
    /// </summary>
    [MethodImpl(Jit.Alone)]
    private void SetDelta(Matrix<T> kept, Matrix<T> gradients, int rows, int keys, T factor, Place place, int row, T* delta)
    {
        T* logSumExp = (T*)_arguments.LogSumExpGradient;
        for (int r = 0; r < rows; r++)
        {
            T* p = kept.Row(r), dp = gradients.Row(r);
            V lanes = L.Zero;
            int x = 0;
            for (; x + L.Count <= keys; x += L.Count)
                lanes = L.MultiplyAdd(L.Load(p + x), L.Load(dp + x), lanes);
            T sum = L.Sum(lanes);
            for (; x < keys; x++) // Behind the last key a weight may be infinite.
                sum += p[x] * dp[x];
            delta[row + r] = sum * factor;
            if (logSumExp != null)
                delta[row + r] -= logSumExp[(nint)place.Head * _problem.QueryLength + place.Query + row + r];
        }
    }
}
