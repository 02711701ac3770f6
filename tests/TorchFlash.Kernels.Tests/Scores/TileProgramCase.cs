using System.Numerics;
using System.Runtime.InteropServices;
using TorchFlash.Kernels.Cpu.Scores;
using TorchFlash.Kernels.Scores;

namespace TorchFlash.Kernels.Tests.Scores;

/// <summary>A program, its tensors between pages that may not be touched, and a tile: what the code does against the meaning of every node.</summary>
internal sealed unsafe class TileProgramCase<T> : IDisposable where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private sealed record Captured(FencedPages Data, FencedPages Gradient, nint Offset, nint[] Strides, nint GradientOffset, nint[] GradientStrides);

    private readonly Dictionary<ScoreTensor, Captured> _captured = [];
    private readonly ScoreProgram _program;
    private readonly Random _random;

    /// <param name="program">The program.</param>
    /// <param name="random">Numbers.</param>
    /// <param name="bound">Integers of a tensor are less than this.</param>
    public TileProgramCase(ScoreProgram program, Random random, Func<ScoreTensor, int> bound)
    {
        (_program, _random) = (program, random);
        foreach (ScoreTensor tensor in program.Tensors)
        {
            // Rows of other rows' distance, the last dimension dense; the tensor ends where its pages end, or begins where they begin.
            (nint[] strides, nint size) = Strides(tensor, random.Next(3));
            (nint[] gradientStrides, nint gradientSize) = Strides(tensor, random.Next(2) * 3);
            int element = tensor.Kind == ScoreKind.Bool ? 1 : sizeof(T);
            var data = new FencedPages(size * element);
            var gradient = new FencedPages(gradientSize * sizeof(T));
            bool atEnd = random.Next(2) == 0;
            var captured = new Captured(data, gradient, atEnd ? data.Bytes / element - size : 0, strides, atEnd ? gradient.Bytes / sizeof(T) - gradientSize : 0, gradientStrides);
            _captured.Add(tensor, captured);
            for (nint k = captured.Offset; k < captured.Offset + size; k++)
            {
                if (tensor.Kind == ScoreKind.Real)
                    ((T*)data.Start)[k] = T.CreateChecked(random.Next(-128, 128) / 64.0 + 1 / 128.0);
                else if (tensor.Kind == ScoreKind.Bool)
                    data.Start[k] = (byte)random.Next(2);
                else if (sizeof(T) == 4)
                    ((int*)data.Start)[k] = random.Next(bound(tensor));
                else
                    ((long*)data.Start)[k] = random.Next(bound(tensor));
            }
        }
    }

    /// <summary>Largest error, relative to the largest value on the way.</summary>
    public double Worst { get; private set; }

    public void Dispose()
    {
        foreach (Captured captured in _captured.Values)
        {
            captured.Data.Dispose();
            captured.Gradient.Dispose();
        }
    }

    /// <param name="shape">0: dense, 1: a gap between rows, 2: the first dimension inside of the second, 3: the first dimension is broadcast.</param>
    private static (nint[] Strides, nint Size) Strides(ScoreTensor tensor, int shape)
    {
        int n = tensor.Shape.Count;
        var strides = new nint[4];
        int[] order = [.. Enumerable.Range(0, n)];
        if (shape == 2 && n > 2)
            (order[0], order[1]) = (1, 0);
        nint size = 1, last = 0;
        foreach (int k in order.Reverse())
        {
            strides[k] = shape == 3 && k == 0 && n > 1 ? 0 : size;
            last += strides[k] * (tensor.Shape[k] - 1);
            size = strides[k] == 0 ? size : size * tensor.Shape[k] + (shape == 1 && k == n - 1 ? 3 : 0);
        }
        return (strides, last + 1);
    }

    private static nint At(nint offset, nint[] strides, int[] indices)
    {
        for (int k = 0; k < indices.Length; k++)
            offset += strides[k] * indices[k];
        return offset;
    }

    private double Load(ScoreTensor tensor, int[] indices)
    {
        Captured captured = _captured[tensor];
        for (int k = 0; k < indices.Length; k++)
            Assert.InRange(indices[k], 0, tensor.Shape[k] - 1);
        nint at = At(captured.Offset, captured.Strides, indices);
        return tensor.Kind switch
        {
            ScoreKind.Real => double.CreateChecked(((T*)captured.Data.Start)[at]),
            ScoreKind.Bool => captured.Data.Start[at],
            _ => sizeof(T) == 4 ? ((int*)captured.Data.Start)[at] : ((long*)captured.Data.Start)[at],
        };
    }

    /// <summary>Runs a tile and compares all that it wrote; the bits that it wrote.</summary>
    public byte[] Check(ScorePass pass, int bits, bool interpret, int rows, int lanes, int firstRow, int firstLane, int b, int h, bool hides = true)
    {
        Node where = hides ? _program.Visible : new Graph().Bool(true);
        var wants = new bool[_program.Tensors.Count];
        for (int k = 0; k < wants.Length; k++)
            wants[k] = pass == ScorePass.Gradient && _program.Tensors[k].Kind == ScoreKind.Real && k % 4 != 3;
        var program = TileProgram.Of(_program.Output, where, pass, _program.Tensors, wants, bits, sizeof(T) == 8, interpret);
        nint count = Math.Max(bits, 128) / 8 / sizeof(T), room = (lanes + count - 1) / count * count;
        nint[] strides = [room, room + count, room + 2 * count, room + count];
        using FencedPages raw = Tile(strides[0]), scores = Tile(strides[1]), gradients = Tile(strides[2]);
        using var staged = new FencedPages(program.StagedTiles * rows * strides[3] * sizeof(T) + 1);
        new Span<byte>(staged.Start, (int)staged.Bytes).Fill(0xff); // what is not written there is no index of anything
        bool aliased = pass is ScorePass.Modify && _random.Next(2) == 0;
        var tensors = stackalloc CapturedTensor[_program.Tensors.Count + 1];
        for (int k = 0; k < wants.Length; k++)
        {
            Captured c = _captured[_program.Tensors[k]];
            new Span<byte>(c.Gradient.Start, (int)c.Gradient.Bytes).Clear();
            bool isBool = _program.Tensors[k].Kind == ScoreKind.Bool;
            tensors[k] = new CapturedTensor
            {
                Data = c.Data.Start + c.Offset * (isBool ? 1 : sizeof(T)),
                Gradient = wants[k] ? c.Gradient.Start + c.GradientOffset * sizeof(T) : null,
                Stride0 = c.Strides[0],
                Stride1 = c.Strides[1],
                Stride2 = c.Strides[2],
                Stride3 = c.Strides[3],
                GradientStride0 = c.GradientStrides[0],
                GradientStride1 = c.GradientStrides[1],
                GradientStride2 = c.GradientStrides[2],
                GradientStride3 = c.GradientStrides[3],
            };
        }
        T[] before = Copy(raw, rows * strides[0]), ds = Copy(gradients, rows * strides[2]);
        var arguments = new TileArguments
        {
            Raw = raw.Start,
            Scores = aliased ? raw.Start : scores.Start,
            Gradients = gradients.Start,
            RawStride = strides[0],
            ScoresStride = aliased ? strides[0] : strides[1],
            GradientsStride = strides[2],
            Rows = rows,
            Lanes = lanes,
            FirstRow = firstRow,
            FirstLane = firstLane,
            Batch = b,
            Head = h,
            Scale = 0.5,
            Tensors = tensors,
            Staged = staged.Start,
            StagedStride = strides[3],
        };
        program.Run(ref arguments);

        var graph = new Graph();
        Node output = graph.Import(_program.Output), score = graph.Leaf(Op.Score), seed = pass == ScorePass.Gradient ? graph.Leaf(Op.Gradient) : graph.Real(1);
        Dictionary<Node, Node> adjoints = Derivative.Adjoints(graph, output, seed);
        Node ofScore = adjoints.GetValueOrDefault(score, graph.Real(0));
        Node[] loads = [.. Graph.Order(output).Where(node => node.Op == Op.Load && node.Kind == ScoreKind.Real && adjoints.ContainsKey(node))];
        var sums = _program.Tensors.ToDictionary(x => x, x => new double[_captured[x].Gradient.Bytes / sizeof(T)]);
        var sizes = _program.Tensors.ToDictionary(x => x, x => new double[_captured[x].Gradient.Bytes / sizeof(T)]);
        double scale = output == score ? 1 : 0.5;
        for (int r = 0; r < rows; r++)
        {
            for (int x = 0; x < lanes; x++)
            {
                (int i, int j) = pass == ScorePass.Modify ? (firstLane + x, firstRow + r) : (firstRow + r, firstLane + x);
                double s = double.CreateChecked(before[r * strides[0] + x]) * scale, gradient = double.CreateChecked(ds[r * strides[2] + x]);
                bool exists = Meaning.Evaluate(where, Load, s, b, h, i, j) != 0;
                if (pass != ScorePass.Gradient)
                {
                    T got = ((T*)arguments.Scores)[r * arguments.ScoresStride + x];
                    Same(got, exists ? Evaluate(output) : double.NegativeInfinity, Magnitude(output), "score", i, j);
                }
                if (pass == ScorePass.ModifyWithDerivative)
                    Same(((T*)raw.Start)[r * strides[0] + x], exists ? Evaluate(ofScore) : 0, Magnitude(ofScore), "derivative", i, j);
                if (pass != ScorePass.Gradient)
                    continue;
                Same(((T*)gradients.Start)[r * strides[2] + x], exists ? Evaluate(ofScore) : 0, Magnitude(ofScore), "gradient", i, j);
                foreach (Node load in exists ? loads : [])
                {
                    Captured c = _captured[load.Tensor];
                    nint at = At(c.GradientOffset, c.GradientStrides, Array.ConvertAll(load.Arguments, index => (int)Meaning.Evaluate(index, Load, s, b, h, i, j)));
                    sums[load.Tensor][at] += Evaluate(adjoints[load]);
                    sizes[load.Tensor][at] += Magnitude(adjoints[load]);
                }

                double Evaluate(Node node) => Meaning.Evaluate(node, Load, s, b, h, i, j, gradient);

                double Magnitude(Node node) => Graph.Order(node).Where(x => x.Kind == ScoreKind.Real).Max(x => Math.Abs(Meaning.Evaluate(x, Load, s, b, h, i, j, gradient)));
            }
        }
        for (int k = 0; k < wants.Length; k++)
        {
            Captured c = _captured[_program.Tensors[k]];
            double[] sum = sums[_program.Tensors[k]], size = sizes[_program.Tensors[k]];
            for (int e = 0; e < sum.Length; e++)
                Same(((T*)c.Gradient.Start)[e], wants[k] ? sum[e] : 0, size[e], $"gradient of tensor {k}", e, 0);
        }
        return MemoryMarshal.AsBytes<T>([.. Copy(raw, rows * strides[0]), .. Copy(scores, rows * strides[1]), .. Copy(gradients, rows * strides[2]),
            .. _captured.Values.SelectMany(c => Copy(c.Gradient, c.Gradient.Bytes / sizeof(T)))]).ToArray();

        FencedPages Tile(nint stride)
        {
            var tile = new FencedPages(rows * stride * sizeof(T));
            for (nint k = 0; k < tile.Bytes / sizeof(T); k++)
                ((T*)tile.Start)[k] = k % stride < lanes ? T.CreateChecked(_random.Next(-256, 256) / 64.0 + 1 / 128.0) : T.NaN;
            return tile;
        }

        void Same(T got, double want, double size, string what, int i, int j)
        {
            double error = double.CreateChecked(got) == want ? 0 : Math.Abs(double.CreateChecked(got) - want) / (1 + size);
            if (!(error <= (sizeof(T) == 4 ? 2e-6 : 4e-15)))
                Assert.Fail($"{what} of ({i}, {j}) is {got} for {want} ({error:G2}): {pass}, {bits} bits, {rows} x {lanes}, interpreted {interpret}: {_program.Output} where {where}");
            Worst = Math.Max(Worst, error);
        }
    }

    private static T[] Copy(FencedPages pages, nint count) => new Span<T>(pages.Start, (int)count).ToArray();
}
