using System.Numerics;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using TorchFlash.Kernels;
using TorchFlash.Kernels.Cpu;
using TorchFlash.Kernels.Cpu.Lanes;
using TorchFlash.Kernels.Cpu.Tiles;

namespace AttentionBench.Engine;

/// <summary>
/// What a forward pass is made of, each part alone, over one query tile and so many key-value tiles, all of it in the second-level cache: what a whole pass
/// takes beyond their sum is memory and the edges of tiles.
/// </summary>
internal abstract class ForwardParts : IDisposable
{
    /// <summary>Parts as the engine has them for a problem of full attention.</summary>
    /// <exception cref="NotSupportedException">The type is one that the engine converts.</exception>
    public static ForwardParts Of(in AttentionProblem problem) => (problem.ElementType, CpuEngine.Instance.VectorBits) switch
    {
        (ElementType.Float32, 512) => new Parts<Lanes512<float>, Vector512<float>, float>(problem),
        (ElementType.Float32, 256) => new Parts<Lanes256<float>, Vector256<float>, float>(problem),
        (ElementType.Float32, 128) => new Parts<Lanes128<float>, Vector128<float>, float>(problem),
        (ElementType.Float64, 512) => new Parts<Lanes512<double>, Vector512<double>, double>(problem),
        (ElementType.Float64, 256) => new Parts<Lanes256<double>, Vector256<double>, double>(problem),
        (ElementType.Float64, 128) => new Parts<Lanes128<double>, Vector128<double>, double>(problem),
        _ => throw new NotSupportedException($"No parts of {problem.ElementType} with registers of {CpuEngine.Instance.VectorBits} bits."),
    };

    /// <summary>Queries of the tile.</summary>
    public abstract int Queries { get; }

    /// <summary>S = K Qᵀ, with the maxima of its columns.</summary>
    public abstract void Scores();

    /// <summary>P = exp(S - m), l.</summary>
    public abstract void Softmax();

    /// <summary>O += P V.</summary>
    public abstract void Values();

    /// <summary>Qᵀ into panels, and O / l to where the caller wants it: once for a query tile.</summary>
    public abstract void Edges();

    public abstract void Dispose();

    private sealed unsafe class Parts<L, V, T> : ForwardParts
        where L : struct, ILanes<V, T>
        where V : struct
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        private static readonly int s_width = Product<L, V, T>.Width;
        private readonly List<nint> _blocks = [];
        private readonly TileSizes _sizes;
        private readonly int _tiles;
        private readonly int _dim;
        private readonly int _columns;
        private readonly T* _packed;
        private readonly Matrix<T> _query, _key, _value, _scores, _sums, _output;
        private readonly SoftmaxState<T> _state;

        public Parts(in AttentionProblem problem)
        {
            _sizes = CpuEngine.Instance.Plan.Forward(problem);
            (_tiles, _dim, _columns) = (_sizes.KeyTiles(problem), problem.HeadDim, Product<L, V, T>.PadColumns(problem.HeadDim));
            int queries = Product<L, V, T>.PadPanels(_sizes.Queries), keys = Product<L, V, T>.PadRows(_sizes.Keys), stride = Product<L, V, T>.OddLines(queries);
            _packed = Take(queries, _dim).Data;
            (_query, _key, _value) = (Take(queries, _dim), Take(keys, _columns), Take(keys, _columns));
            (_scores, _sums, _output) = (Take(keys, stride), Take(Product<L, V, T>.PadRows(queries), _columns), Take(queries, _dim));
            _state = new(Take(1, queries).Data, Take(1, queries).Data, Take(1, queries).Data, Take(1, queries).Data);
            new Span<T>(_state.Max, queries).Fill(T.One);
            new Span<T>(_state.M, queries).Fill(T.One);
        }

        public override int Queries => _sizes.Queries;

        public override void Scores()
        {
            for (int tile = 0; tile < _tiles; tile++)
                for (int x = 0; x < _sizes.Queries; x += s_width)
                    Product<L, V, T>.Panel(Columns(x), _key, _packed + (nint)x * _dim, _scores.From(0, x), _dim, Product<L, V, T>.Tiles(_sizes.Keys), _state.Max + x);
        }

        public override void Softmax()
        {
            for (int tile = 0; tile < _tiles; tile++)
                for (int x = 0; x < _sizes.Queries; x += s_width)
                    Strip<L, V, T>.Softmax(_scores.From(0, x), _sizes.Keys, Columns(x), _state.From(x), T.CreateChecked(1e-3)); // in place, over and over: what is in (0, 1] stays in it
        }

        public override void Values()
        {
            for (int tile = 0; tile < _tiles; tile++)
                Product<L, V, T>.Add(_columns, _scores.Data, 1, _scores.Stride, _value, _sums, _sizes.Keys, Product<L, V, T>.Tiles(_sizes.Queries));
        }

        public override void Edges()
        {
            Packing<L, V, T>.Transpose(_query, _sizes.Queries, _dim, T.One, _packed);
            Packing<L, V, T>.Copy(_sums, _output, _sizes.Queries, _dim, T.CreateChecked(1e-3));
        }

        public override void Dispose() => _blocks.ForEach(block => NativeMemory.AlignedFree((void*)block));

        private int Columns(int x) => Math.Min(s_width, Product<L, V, T>.PadColumns(_sizes.Queries - x));

        /// <summary>Numbers of 0 .. 1.</summary>
        private Matrix<T> Take(int rows, int columns)
        {
            int count = checked(rows * columns);
            T* data = (T*)NativeMemory.AlignedAlloc((nuint)count * (nuint)sizeof(T), 4096);
            _blocks.Add((nint)data);
            var random = new Random(1);
            for (int i = 0; i < count; i++)
                data[i] = T.CreateChecked(random.NextDouble());
            return new(data, columns);
        }
    }
}
