using TorchFlash.Kernels.Cpu.Assembled;

namespace TorchFlash.Kernels.Tests.Assembled;

/// <summary>One product for a tile: operands that end at the end of fenced pages, and what is to come out, element by element from the definition.</summary>
internal sealed unsafe class PairProduct : IDisposable
{
    private readonly FencedPages _a, _b, _c;
    private readonly float[] _before;

    /// <param name="registers">Registers of columns.</param>
    /// <param name="depth">Pairs summed over.</param>
    /// <param name="blocks">Times six rows.</param>
    /// <param name="transposed">Whether A is read down its columns.</param>
    /// <param name="add">Whether C counts.</param>
    /// <param name="atStart">Whether the operands begin at the beginning of the pages instead.</param>
    /// <param name="numbers">Elements of A and B and C.</param>
    public PairProduct(int registers, int depth, int blocks, bool transposed, bool add, bool atStart, Func<float> numbers)
    {
        (Registers, Depth, Blocks, Add) = (registers, depth, blocks, add);
        // Odd gaps between rows; what lies in them is not the tile's.
        RowStride = transposed ? 1 : depth + 3;
        DepthStride = transposed ? Rows + 3 : 1;
        BStride = Columns + 5;
        CStride = Columns + 7;
        nint lengthA = depth == 0 ? 0 : (Rows - 1) * RowStride + (depth - 1) * DepthStride + 1;
        nint lengthB = depth == 0 ? 0 : (depth - 1) * BStride + Columns, lengthC = (Rows - 1) * CStride + Columns;
        (_a, _b, _c) = (new FencedPages(Math.Max(1, lengthA * sizeof(uint))), new FencedPages(Math.Max(1, lengthB * sizeof(uint))), new FencedPages(lengthC * sizeof(float)));
        A = (uint*)From(_a, lengthA);
        B = (uint*)From(_b, lengthB);
        C = (float*)From(_c, lengthC);
        for (nint i = 0; i < lengthA; i++)
            A[i] = PairArithmetic.Pair(numbers(), numbers());
        for (nint i = 0; i < lengthB; i++)
            B[i] = PairArithmetic.Pair(numbers(), numbers());
        for (nint i = 0; i < lengthC; i++)
            C[i] = numbers();
        _before = new Span<float>(C, (int)lengthC).ToArray();

        byte* From(FencedPages pages, nint words) => atStart ? pages.Start : pages.Start + pages.Bytes - words * sizeof(uint);
    }

    public int Registers { get; }

    public int Depth { get; }

    public int Blocks { get; }

    public bool Add { get; }

    public int Rows => Blocks * PairTileCode.Rows;

    public int Columns => Registers * PairTile.Lanes;

    public uint* A { get; }

    public uint* B { get; }

    public float* C { get; }

    public nint RowStride { get; }

    public nint DepthStride { get; }

    public nint BStride { get; }

    public nint CStride { get; }

    /// <summary>The memory that the tile may read, and write where that is so.</summary>
    public IEnumerable<(nint Start, nint Bytes, bool Write)> Memory =>
        [((nint)_a.Start, _a.Bytes, false), ((nint)_b.Start, _b.Bytes, false), ((nint)C, _before.Length * sizeof(float), true)];

    /// <summary>What a tile is called with.</summary>
    public TileCall Call => new()
    {
        A = (byte*)A,
        RowStride = RowStride * sizeof(uint),
        DepthStride = DepthStride * sizeof(uint),
        B = (byte*)B,
        BStride = BStride * sizeof(uint),
        C = (byte*)C,
        CStride = CStride * sizeof(float),
        Depth = Depth,
        Blocks = Blocks,
        Add = Add ? 1 : 0,
    };

    public void RunBy(PairTile tile) => tile.Run(Registers, A, RowStride, DepthStride, B, BStride, C, CStride, Depth, Blocks, Add);

    /// <summary>Checks C, the gaps between its rows included, bit for bit; a NaN is like any other.</summary>
    public void Check()
    {
        for (int i = 0; i < _before.Length; i++)
        {
            (int row, int column) = ((int)(i / CStride), (int)(i % CStride));
            float expected = _before[i];
            if (column < Columns)
            {
                float sum = 0;
                for (int k = 0; k < Depth; k++)
                    sum = PairArithmetic.DotProduct(sum, B[k * BStride + column], A[row * RowStride + k * DepthStride]);
                expected = Add ? sum + _before[i] : sum;
            }
            if (BitConverter.SingleToInt32Bits(C[i]) != BitConverter.SingleToInt32Bits(expected) && !(float.IsNaN(expected) && float.IsNaN(C[i])))
                Assert.Fail($"{Registers} registers, depth {Depth}, {Blocks} blocks, strides {RowStride} and {DepthStride}, add {Add}: {C[i]:R} instead of {expected:R} in row {row}, column {column}");
        }
    }

    public void Dispose()
    {
        _a.Dispose();
        _b.Dispose();
        _c.Dispose();
    }
}
