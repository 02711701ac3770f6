using System.Collections.Concurrent;
using System.Numerics;
using System.Runtime.CompilerServices;
using TorchFlash.Kernels.Cpu.Tiles;
using TorchFlash.Kernels.Scores;

namespace TorchFlash.Kernels.Cpu.Scores;

/// <summary>
/// What happens to the scores of one call: which pairs exist, and the code for tiles with the tensors it reads. Without a score program
/// nothing happens, and every member says so. Safe for many threads.
/// </summary>
internal sealed unsafe class BoundScore<T> : IDisposable
    where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    /// <summary>Of programs that are still in use: finding code by its structure takes as long as a small attention.</summary>
    private static readonly ConditionalWeakTable<ScoreProgram, ConcurrentDictionary<string, TileProgram>> s_code = [];

    private readonly AttentionProblem _problem;
    private readonly ScoreProgram? _program;
    private readonly TileAnalysis? _analysis;
    private readonly int _vectorBits;
    private readonly bool[] _wantsGradient;
    private readonly TileProgram?[] _code = new TileProgram?[2 * ((int)ScorePass.Gradient + 1)];
    private readonly TileProgram?[] _cut = new TileProgram?[(int)ScorePass.Gradient + 1];
    private readonly Scratch? _memory;

    /// <exception cref="ArgumentOutOfRangeException">The program would read outside of a tensor.</exception>
    public BoundScore(in AttentionProblem problem, CapturedView[]? tensors, int vectorBits, int threads, nint[]? gradients = null)
    {
        _problem = problem;
        _program = problem.Score;
        _vectorBits = vectorBits;
        _wantsGradient = new bool[_program?.Tensors.Count ?? 0];
        if (_program is null)
        {
            Visibility = new Visibility(problem, null);
            return;
        }
        for (int k = 0; k < _wantsGradient.Length; k++)
            _wantsGradient[k] = gradients is not null && gradients[k] != 0;
        IsAdditive = !Modifies || _program.IsAdditive;
        StagedTiles = Graph.Order(_program.Output, _program.Visible).Count(node => node is { Op: Op.Load, Arguments.Length: > 1 });
        _analysis = new TileAnalysis(_program, problem, tensors, threads);
        Visibility = new Visibility(problem, _analysis);
        _memory = Scratch.Rent(
            cursor =>
            {
                Tensors = cursor.Take<CapturedTensor>(_wantsGradient.Length);
                for (int k = 0; k < _wantsGradient.Length; k++)
                    Bind(_program.Tensors[k], tensors![k], cursor, Tensors + k);
            });
    }

    /// <summary>Which pairs exist.</summary>
    public Visibility Visibility { get; }

    /// <summary>Whether scores are modified, not only hidden: then they are scaled first, and m, l and the exponent are of the modified ones.</summary>
    public bool Modifies => _program is { OnlyHides: false };

    /// <summary>The scale that is left for the exponent.</summary>
    public double ExponentScale => Modifies ? 1 : _problem.Scale;

    /// <summary>Whether a modified score is s and something that does not depend on it: the gradient of s is that of the modified score.</summary>
    public bool IsAdditive { get; } = true;

    /// <summary>The tensors, as many as the program has; without gradients.</summary>
    public CapturedTensor* Tensors { get; private set; }

    /// <summary>How many there are.</summary>
    public int TensorCount => _wantsGradient.Length;

    /// <summary>Tiles of scratch memory for what lies across the lanes.</summary>
    public int StagedTiles { get; }

    /// <summary>The code for a tile in which so many pairs exist; null where there is nothing to do.</summary>
    public TileProgram? Code(ScorePass pass, TileClass tile)
    {
        if (_program is null || tile != TileClass.Some && !Modifies || pass == ScorePass.Gradient && !WorksOnGradients)
            return null; // The gradient of a hidden pair is 0 as its weight is.
        bool hides = tile == TileClass.Some;
        ref TileProgram? code = ref _code[2 * (int)pass + (hides ? 1 : 0)];
        return code ??= s_code.GetOrCreateValue(_program).GetOrAdd(
            $"{pass} {hides} {_vectorBits} {typeof(T)} {(pass == ScorePass.Gradient ? string.Join(' ', _wantsGradient) : null)}",
            _ => TileProgram.Of(_program.Output, hides ? _analysis!.Where : new Graph().Bool(true), pass, _program.Tensors, _wantsGradient, _vectorBits, sizeof(T) == sizeof(double)));
    }

    /// <summary>
    /// The code for a block that the band cuts, where what it makes of a pair must not count if the pair does not exist: a derivative may be
    /// NaN or infinite there, and 0 times that is NaN. The bounds of the band are numbers of the code as any others.
    /// </summary>
    public TileProgram? CutCode(ScorePass pass, TileClass tile)
    {
        if (Code(pass, tile) is null)
            return null;
        if (_cut[(int)pass] is not { } code)
        {
            var graph = new Graph();
            (Node i, Node j) = (graph.Leaf(Op.Query), graph.Leaf(Op.Key));
            Node after = graph.Apply(Op.LessOrEqual, graph.Apply(Op.Add, i, graph.Parameter(ScoreKind.Int, Visibility.Cover.First, "first")), j);
            Node before = graph.Apply(Op.LessOrEqual, j, graph.Apply(Op.Add, i, graph.Parameter(ScoreKind.Int, Visibility.Cover.Last, "last")));
            Node where = graph.Apply(Op.And, graph.Import(_analysis!.Where), graph.Apply(Op.And, after, before));
            _cut[(int)pass] = code = TileProgram.Of(_program!.Output, where, pass, _program.Tensors, _wantsGradient, _vectorBits, sizeof(T) == sizeof(double));
        }
        return code;
    }

    /// <summary>What the code gets for a block that begins at a row and a lane, of a head of all batch entries: keys x queries forward, queries x keys backward.</summary>
    public TileArguments Arguments(Matrix<T> raw, Matrix<T> scores, int rows, int lanes, int row, int lane, int head, T* staged, int stagedStride) => new()
    {
        Raw = raw.Data,
        Scores = scores.Data,
        Gradients = scores.Data,
        RawStride = raw.Stride,
        ScoresStride = scores.Stride,
        GradientsStride = scores.Stride,
        Rows = rows,
        Lanes = lanes,
        FirstRow = row,
        FirstLane = lane,
        Batch = head / _problem.Heads,
        Head = head % _problem.Heads,
        Scale = _problem.Scale,
        Tensors = Tensors,
        Staged = staged,
        StagedStride = stagedStride,
    };

    private bool WorksOnGradients => !IsAdditive || _wantsGradient.Contains(true);

    /// <summary>A tensor as tile programs read it, copied where it does not lie so.</summary>
    private static void Bind(ScoreTensor tensor, in CapturedView view, Scratch.Cursor cursor, CapturedTensor* bound)
    {
        int rank = tensor.Shape.Count;
        long count = tensor.Shape.Aggregate(1L, (a, b) => a * b);
        Span<long> strides = [view.Stride0, view.Stride1, view.Stride2, view.Stride3], dense = [0, 0, 0, 0];
        long next = 1;
        for (int d = rank - 1; d >= 0; d--)
            (dense[d], next) = (next, next * tensor.Shape[d]);
        bool copies = tensor.Kind == ScoreKind.Int || strides[rank - 1] != 1 && tensor.Shape[rank - 1] > 1;
        void* copy = !copies ? null : tensor.Kind == ScoreKind.Bool ? cursor.Take<byte>(count) : cursor.Take<T>(count);
        if (cursor.IsMeasuring)
            return;
        if (copies)
        {
            int last = tensor.Shape[rank - 1];
            for (long k = 0; k < count; k += last)
            {
                long from = 0;
                for (int d = 0; d < rank - 1; d++)
                    from += k / dense[d] % tensor.Shape[d] * strides[d];
                for (int x = 0; x < last; x++, from += strides[rank - 1])
                {
                    if (tensor.Kind == ScoreKind.Bool)
                        ((byte*)copy)[k + x] = ((byte*)view.Data)[from];
                    else if (tensor.Kind == ScoreKind.Real)
                        ((T*)copy)[k + x] = ((T*)view.Data)[from];
                    else if (sizeof(T) == sizeof(int))
                        ((int*)copy)[k + x] = (int)((long*)view.Data)[from];
                    else
                        ((long*)copy)[k + x] = ((long*)view.Data)[from];
                }
            }
            dense.CopyTo(strides);
        }
        *bound = new CapturedTensor { Data = copies ? copy : (void*)view.Data };
        (bound->Stride0, bound->Stride1, bound->Stride2, bound->Stride3) = ((nint)strides[0], (nint)strides[1], (nint)strides[2], (nint)strides[3]);
        (bound->GradientStride0, bound->GradientStride1, bound->GradientStride2, bound->GradientStride3) = ((nint)dense[0], (nint)dense[1], (nint)dense[2], (nint)dense[3]);
    }

    /// <inheritdoc/>
    public void Dispose() => _memory?.Dispose();
}
