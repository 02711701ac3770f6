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
    /// <param name="amxRows">So many rows, </param>
    /// <param name="amxColumns">and columns, from the first, are to be TDPBF16PS's, all others VDPBF16PS's.</param>
    public void Check(int amxRows = 0, int amxColumns = 0)
    {
        for (int i = 0; i < _before.Length; i++)
        {
            (int row, int column) = ((int)(i / CStride), (int)(i % CStride));
            float expected = _before[i];
            if (column < Columns)
            {
                float sum = row < amxRows && column < amxColumns ? AmxSum(row, column) : Sum(row, column);
                expected = Add ? sum + _before[i] : sum;
            }
            if (BitConverter.SingleToInt32Bits(C[i]) != BitConverter.SingleToInt32Bits(expected) && !(float.IsNaN(expected) && float.IsNaN(C[i])))
                Assert.Fail($"{Registers} registers, depth {Depth}, {Blocks} blocks, strides {RowStride} and {DepthStride}, add {Add}: {C[i]:R} instead of {expected:R} in row {row}, column {column}");
        }
    }

    private float Sum(int row, int column)
    {
        float sum = 0;
        for (int k = 0; k < Depth; k++)
            sum = PairArithmetic.DotProduct(sum, B[k * BStride + column], A[row * RowStride + k * DepthStride]);
        return sum;
    }

    private float AmxSum(int row, int column)
    {
        float sum = 0, low = 0, high = 0;
        for (int k = 0; k < Depth; k++)
        {
            (uint x, uint y) = (A[row * RowStride + k * DepthStride], B[k * BStride + column]);
            low = PairArithmetic.MultiplyAdd(PairArithmetic.Low(x), PairArithmetic.Low(y), low);
            high = PairArithmetic.MultiplyAdd(PairArithmetic.High(x), PairArithmetic.High(y), high);
            if (k % AmxCode.Step == AmxCode.Step - 1)
            {
                sum = PairArithmetic.Add(sum, PairArithmetic.Add(low, high));
                low = high = 0;
            }
        }
        return sum;
    }

    public void Dispose()
    {
        _a.Dispose();
        _b.Dispose();
        _c.Dispose();
    }
}
