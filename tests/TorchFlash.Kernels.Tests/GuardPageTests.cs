using TorchFlash.Kernels.Cpu;
using TorchFlash.Kernels.Scores;
using TorchFlash.Kernels.Tests.Support;

namespace TorchFlash.Kernels.Tests;

public class GuardPageTestsFloat32 : GuardPageTests
{
    protected override ElementType Type => ElementType.Float32;
}

public class GuardPageTestsFloat64 : GuardPageTests
{
    protected override ElementType Type => ElementType.Float64;
}

/// <summary>
/// Every operand ends where the page behind may not be touched, and once more begins where the one before may not: whoever reads or writes beside
/// a tensor ends this process. Element types are one class each.
/// </summary>
public abstract class GuardPageTests
{
    protected abstract ElementType Type { get; }

    public static TheoryData<int> SmallSizes => [.. Enumerable.Range(1, 70)];

    public static TheoryData<int, int> OddSizes => new()
    {
        { 97, 113 }, { 113, 97 }, { 203, 257 }, { 257, 1 }, { 1, 257 }, { 1, 1023 }, { 97, 1025 },
    };

    [Theory]
    [MemberData(nameof(SmallSizes))]
    public void EverySmallLength(int n)
    {
        Check(n, n, 1 + n * 7 % 24, 1 + n * 5 % 21, CausalMask.TopLeft, isLearned: true);
        Check(n, 71 - n, 1 + n * 5 % 24, 1 + n * 7 % 29, CausalMask.None, isLearned: false);
        Check(70, n, 8, 16, CausalMask.BottomRight, isLearned: true);
    }

    [Theory]
    [MemberData(nameof(OddSizes))]
    public void OddLengths(int nq, int nk)
    {
        foreach (CausalMask mask in Enum.GetValues<CausalMask>())
            Check(nq, nk, 17, 16, mask, isLearned: true);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(8)]
    [InlineData(32)]
    [InlineData(59)]
    [InlineData(64)]
    [InlineData(111)]
    [InlineData(128)]
    [InlineData(256)]
    public void HeadDims(int d)
    {
        foreach (int valueDim in (int[])[d, 1, 72])
            Check(37, 41, d, valueDim, CausalMask.TopLeft, isLearned: false);
    }

    private void Check(int nq, int nk, int d, int valueDim, CausalMask mask, bool isLearned)
    {
        (ScoreProgram? program, ScoreOptions? options) = isLearned ? Learned(nq, nk) : (null, null);
        var problem = new AttentionProblem
        {
            Batch = 1,
            Heads = 2,
            KeyHeads = 1,
            QueryLength = nq,
            KeyLength = nk,
            HeadDim = d,
            ValueDim = valueDim,
            Scale = AttentionProblem.DefaultScale(d),
            Causal = mask,
            ElementType = Type,
            Score = program,
            HasSinks = isLearned,
            Dropout = isLearned && nq % 2 == 0 ? 0.25 : 0,
        };
        foreach (CpuEngine engine in Engines.Widths)
        {
            foreach (bool atEnd in (bool[])[true, false])
            {
                var memory = new PageEdge(atEnd);
                Layout layout = atEnd ? Layout.PageEnd : Layout.PageStart;
                using var attention = new DeviceCase(memory, problem, layout, layout, scores: options);
                attention.Run(engine, Passes.Forward | Passes.Backward | Passes.Weights);
                // Strided, with the last row of the last head at the edge.
                using var strided = new DeviceCase(memory, problem, Layout.Padded, Layout.Padded, scores: options);
                strided.Run(engine, Passes.Forward | Passes.Backward | Passes.Weights);
                foreach ((string name, double[] expected) in attention.Results())
                    Assert.Equal(expected, strided.Results()[name]);
                attention.AssertMemoryIntact();
                strided.AssertMemoryIntact();
            }
        }
    }

    /// <summary>Captured tensors along rows, along lanes and across them, of every kind, with gradients; sinks; a gradient of the log-sum-exp.</summary>
    private static (ScoreProgram Program, ScoreOptions Options) Learned(int nq, int nk)
    {
        RealTensor slopes = new(null, 2) { Name = "slopes" }, bias = new(null, nq, nk) { Name = "bias" }, keyBias = new(null, nk) { Name = "keyBias" }, distances = new(null, nq + nk) { Name = "distances" };
        IntTensor document = new(null, nk) { Name = "document" };
        BoolTensor mask = new(null, nq, nk) { Name = "mask" };
        ScoreProgram program = ScoreProgram.Build(
            g =>
            {
                Node i = g.Leaf(Op.Query), j = g.Leaf(Op.Key), distance = g.Apply(Op.Subtract, j, i);
                Node s = g.Apply(Op.Add, g.Leaf(Op.Score), g.Apply(Op.Multiply, g.Load(slopes, g.Leaf(Op.Head)), g.Apply(Op.ToReal, distance)));
                s = g.Apply(Op.Add, s, g.Apply(Op.Add, g.Load(bias, i, j), g.Load(keyBias, j)));
                return g.Apply(Op.Add, s, g.Load(distances, g.Apply(Op.Add, distance, g.Int(nq))));
            },
            g => g.Apply(Op.And, g.Load(mask, g.Leaf(Op.Query), g.Leaf(Op.Key)), g.Apply(Op.Equal, g.Load(document, g.Leaf(Op.Key)), g.Int(0))));
        return (program, new ScoreOptions { WithLogSumExpGradient = true });
    }

    /// <summary>
    /// The host's memory without room beside what is asked for, rounded up to elements: the last byte lies before a page that may not be touched, or
    /// the first one behind one.
    /// </summary>
    private sealed unsafe class PageEdge(bool atEnd) : IOperandMemory
    {
        private readonly Dictionary<nint, FencedPages> _pages = [];

        public int GuardBytes => 0;

        public nint Allocate(long bytes)
        {
            var pages = new FencedPages((nint)bytes);
            nint start = (nint)pages.Start + (atEnd ? pages.Bytes - (nint)bytes : 0);
            _pages.Add(start, pages);
            return start;
        }

        public void Free(nint address)
        {
            _pages.Remove(address, out FencedPages? pages);
            pages!.Dispose();
        }

        public void Write(nint address, ReadOnlySpan<byte> bytes) => bytes.CopyTo(new Span<byte>((void*)address, bytes.Length));

        public void Read(nint address, Span<byte> bytes) => new ReadOnlySpan<byte>((void*)address, bytes.Length).CopyTo(bytes);
    }
}
