using TorchFlash.Kernels;
using TorchFlash.Kernels.Scores;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionBench.Engine;

/// <summary>Elements of a captured tensor by their position in it: the <see cref="ScoreTensor.Source"/> of those that are measured here.</summary>
internal delegate double Elements(long index);

/// <summary>What may be done to the scores of N queries and keys: the problem but for its sizes, and what is expected of it.</summary>
internal sealed record ScoreCase(string Name)
{
    public CausalMask Causal { get; init; }

    public ScoreProgram? Program { get; init; }

    public bool HasSinks { get; init; }

    public double Dropout { get; init; }

    /// <summary>Whether captured real tensors and sinks get their gradients.</summary>
    public bool Gradients { get; init; }

    /// <summary>Share of the N² pairs that exist.</summary>
    public double Visible { get; init; } = 1;

    /// <summary>Largest ratio, per visible pair, to the plain full pass that is aimed at; null where none is.</summary>
    public double? Forward { get; init; }

    /// <summary>The same of the backward pass.</summary>
    public double? Backward { get; init; }

    /// <summary>What libtorch's attention takes to compute the same; null where it has no such thing.</summary>
    public Func<Tensor>? Mask { get; init; }

    public static ScoreCase Plain { get; } = new("full") { Forward = 1, Backward = 1 };

    public static ScoreCase PlainCausal(int n) => new("causal") { Causal = CausalMask.TopLeft, Visible = (n + 1) / (2.0 * n) };

    public static ScoreCase Alibi(int heads, int n)
    {
        Elements slope = h => Math.Pow(2, -8.0 * (h + 1) / heads);
        var slopes = new RealTensor(slope, heads);
        return new("ALiBi")
        {
            Program = ScoreProgram.Identity.Then((s, b, h, i, j) => s + slopes[h] * (j - i)),
            Forward = 1.08,
            Backward = 1.15,
            Mask = () => Real(slope, 1, heads, 1, 1) * (Positions(1, n) - Positions(n, 1)),
        };
    }

    public static ScoreCase RelativeTable(int heads, int n)
    {
        var table = new RealTensor((Elements)Noise, heads, 2 * n - 1);
        int last = n - 1;
        return new("relative table, with gradient")
        {
            Program = ScoreProgram.Identity.Then((s, b, h, i, j) => s + table[h, i - j + last]),
            Gradients = true,
            Forward = 1.08,
            Backward = 1.15,
        };
    }

    /// <summary>Keys j of i - width &lt; j &lt;= i.</summary>
    public static ScoreCase Window(int n, int width) => new($"window of {width}")
    {
        Program = ScoreProgram.Identity.Where((b, h, i, j) => j <= i && i - j < width),
        Visible = PairsOfWindow(n, width) / ((double)n * n),
        Forward = 1.12,
        Backward = 1.15,
        Mask = () => (Positions(1, n) <= Positions(n, 1)) & (Positions(n, 1) - Positions(1, n) < width),
    };

    public static ScoreCase Documents(int n, int length)
    {
        IntTensor document = DocumentsOf(n, length);
        return new($"documents of {length}")
        {
            Program = ScoreProgram.Identity.Where((b, h, i, j) => document[b, i] == document[b, j]),
            Visible = PairsOfDocuments(n, length, long (size) => (long)size * size) / ((double)n * n),
            Forward = 1.12,
            Backward = 1.15,
            Mask = () => Positions(n, 1).div(length, RoundingMode.floor) == Positions(1, n).div(length, RoundingMode.floor),
        };
    }

    public static ScoreCase KeyPadding(int n)
    {
        int kept = Math.Max(1, 3 * n / 4);
        var lengths = new IntTensor((Elements)(_ => kept), 1);
        return new("key padding, 3/4 kept")
        {
            Program = ScoreProgram.Identity.Where((b, h, i, j) => j < lengths[b]),
            Visible = kept / (double)n,
            Mask = () => Positions(1, n) < kept,
        };
    }

    public static ScoreCase Bias(int n, bool gradient)
    {
        var bias = new RealTensor((Elements)Noise, n, n);
        return new(gradient ? "bias [Nq, Nk], with gradient" : "bias [Nq, Nk]")
        {
            Program = ScoreProgram.Identity.Then((s, b, h, i, j) => s + bias[i, j]),
            Gradients = gradient,
            Forward = 1.2,
            Backward = 1.15,
            Mask = () => Real(Noise, n, n),
        };
    }

    /// <summary>Of the shape (1, H, 1, N): no matrix.</summary>
    public static ScoreCase KeyBias(int heads, int n)
    {
        var bias = new RealTensor((Elements)Noise, heads, n);
        return new("bias (1, H, 1, N), with gradient") { Program = ScoreProgram.Identity.Then((s, b, h, i, j) => s + bias[h, j]), Gradients = true };
    }

    public static ScoreCase BoolMask(int n)
    {
        Elements keep = index => Noise(index) < 0.5 ? 1 : 0;
        var mask = new BoolTensor(keep, n, n);
        return new("Bool mask [Nq, Nk]")
        {
            Program = ScoreProgram.Identity.Where((b, h, i, j) => mask[i, j]),
            Forward = 1.2,
            Backward = 1.15,
            Mask = () => Real(keep, n, n) > 0,
        };
    }

    public static ScoreCase Softcap() => new("softcap")
    {
        Program = ScoreProgram.Identity.Then((s, b, h, i, j) => 30 * Math.Tanh(s / 30)),
        Forward = 1.3,
        Backward = 1.25,
    };

    public static ScoreCase WithDropout() => new("dropout") { Dropout = 0.1, Forward = 1.35, Backward = 1.25 };

    public static ScoreCase Sinks() => new("sinks, with gradient") { HasSinks = true, Gradients = true };

    /// <summary>What a user may write: ALiBi, softcap, a window within documents.</summary>
    public static ScoreCase Composition(int heads, int n, int length)
    {
        var slopes = new RealTensor((Elements)(h => Math.Pow(2, -8.0 * (h + 1) / heads)), heads);
        IntTensor document = DocumentsOf(n, length);
        int width = Math.Max(1, length / 2);
        return new($"ALiBi, softcap, window of {width} within documents of {length}")
        {
            Program = ScoreProgram.Identity
                .Then((s, b, h, i, j) => s + slopes[h] * (j - i))
                .Then((s, b, h, i, j) => 30 * Math.Tanh(s / 30))
                .Where((b, h, i, j) => j <= i && i - j < width && document[b, i] == document[b, j]),
            Visible = PairsOfDocuments(n, length, size => PairsOfWindow(size, width)) / ((double)n * n),
        };
    }

    /// <summary>Pairs of the blocks that are kept; size x size each, fewer at the ends.</summary>
    public static ScoreCase Blocks(string name, bool[,] kept, int size, int n, bool causal)
    {
        int columns = kept.GetLength(1);
        var blocks = new BoolTensor((Elements)(index => kept[index / columns, index % columns] ? 1 : 0), kept.GetLength(0), columns);
        double pairs = 0;
        for (int r = 0; r < kept.GetLength(0); r++)
            for (int c = 0; c < columns; c++)
                if (kept[r, c])
                    pairs += causal && r == c ? Size(r) * (Size(r) + 1) / 2 : causal && r < c ? 0 : Size(r) * Size(c);
        return new(name)
        {
            Causal = causal ? CausalMask.TopLeft : CausalMask.None,
            Program = ScoreProgram.Identity.Where((b, h, i, j) => blocks[i / size, j / size]),
            Visible = pairs / ((double)n * n),
        };

        double Size(int block) => Math.Min(size, n - block * size);
    }

    /// <summary>Evenly spread over -1 .. 1, the same in every process.</summary>
    private static double Noise(long index)
    {
        ulong x = (ulong)(index + 1) * 0x9E3779B97F4A7C15;
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9;
        x = (x ^ x >> 27) * 0x94D049BB133111EB;
        return (x ^ x >> 31) / (double)ulong.MaxValue * 2 - 1;
    }

    private static IntTensor DocumentsOf(int n, int length) => new((Elements)(index => index / length), 1, n);

    private static long PairsOfWindow(long n, long width) => n <= width ? n * (n + 1) / 2 : width * (width + 1) / 2 + (n - width) * width;

    private static long PairsOfDocuments(int n, int length, Func<int, long> pairs) => n / length * pairs(length) + pairs(n % length);

    private static Tensor Real(Elements elements, params long[] shape)
    {
        float[] values = new float[shape.Aggregate(1L, (a, b) => a * b)];
        for (int i = 0; i < values.Length; i++)
            values[i] = (float)elements(i);
        return tensor(values, shape);
    }

    private static Tensor Positions(int rows, int columns) => arange(rows * columns).view(rows, columns);
}
