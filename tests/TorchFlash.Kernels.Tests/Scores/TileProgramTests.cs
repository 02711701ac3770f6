using System.Numerics;
using System.Runtime.Intrinsics.X86;
using TorchFlash.Kernels.Cpu.Scores;
using TorchFlash.Kernels.Scores;

namespace TorchFlash.Kernels.Tests.Scores;

public class TileProgramTests
{
    /// <summary>Those of this machine; 0 is scalar code to an engine, and 128 here.</summary>
    internal static int[] Widths { get; } =
        [.. new[] { 512, 256, 128, 0 }.Where(bits => bits < 256 || bits == 256 && Avx2.IsSupported || bits == 512 && Avx512F.IsSupported && Avx512DQ.IsSupported)];

    [Fact]
    public void RandomProgramsInFloat() => Random<float>(1, 40);

    [Fact]
    public void RandomProgramsInDouble() => Random<double>(2, 40);

    /// <summary>What people ask for most, on tiles of the engine's size.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void WholeTiles(bool interpret)
    {
        var random = new Random(3);
        const int n = 400, heads = 3;
        RealTensor slopes = new(null, heads), table = new(null, heads, 2 * n), bias = new(null, 1, heads, n, n);
        var documents = new IntTensor(null, 2, n);
        var mask = new BoolTensor(null, n, n);
        ScoreProgram[] programs =
        [
            ScoreProgram.Build(
                g =>
                {
                    Node cap = g.Parameter(ScoreKind.Real, 5, "cap"), distance = g.Apply(Op.Subtract, g.Leaf(Op.Query), g.Leaf(Op.Key));
                    Node s = g.Apply(Op.Subtract, g.Leaf(Op.Score), g.Apply(Op.Multiply, g.Load(slopes, g.Leaf(Op.Head)), g.Apply(Op.ToReal, distance)));
                    s = g.Apply(Op.Add, s, g.Load(table, g.Leaf(Op.Head), g.Apply(Op.Add, distance, g.Int(n))));
                    return g.Apply(Op.Multiply, cap, g.Apply(Op.Tanh, g.Apply(Op.Divide, s, cap)));
                },
                g => g.Apply(Op.And, g.Apply(Op.LessOrEqual, g.Leaf(Op.Key), g.Leaf(Op.Query)),
                    g.Apply(Op.Equal, g.Load(documents, g.Leaf(Op.Batch), g.Leaf(Op.Query)), g.Load(documents, g.Leaf(Op.Batch), g.Leaf(Op.Key))))),
            ScoreProgram.Build(
                g => g.Apply(Op.Add, g.Leaf(Op.Score), g.Load(bias, g.Int(0), g.Leaf(Op.Head), g.Leaf(Op.Query), g.Leaf(Op.Key))),
                g => g.Load(mask, g.Leaf(Op.Query), g.Leaf(Op.Key))),
        ];
        foreach (ScoreProgram program in programs)
        {
            using var single = new TileProgramCase<float>(program, random, _ => 3);
            using var twice = new TileProgramCase<double>(program, random, _ => 3);
            foreach (ScorePass pass in Enum.GetValues<ScorePass>())
            {
                foreach (int bits in Widths)
                {
                    single.Check(pass, bits, interpret, 96, 64, 96, 64, 1, 2);
                    twice.Check(pass, bits, interpret, 61, 43, 339, 357, 0, 1);
                }
            }
        }
    }

    /// <summary>Every size of a tile, where only whole blocks can be transposed by registers.</summary>
    [Fact]
    public unsafe void StagesEverySize()
    {
        const int n = 37;
        using FencedPages from = new(n * n * sizeof(double)), to = new(n * n * sizeof(double));
        for (nint k = 0; k < from.Bytes; k++)
            from.Start[k] = (byte)(k * 7 + k / 251);
        for (int rows = 0; rows <= n; rows++)
        {
            for (int lanes = 0; lanes <= n; lanes++)
            {
                Check<double>(rows, lanes, (x, y) => TileMemory.Stage((double*)x, rows, (double*)y, lanes, rows, lanes));
                Check<float>(rows, lanes, (x, y) => TileMemory.Stage((float*)x, rows, (float*)y, lanes, rows, lanes));
                Check<byte>(rows, lanes, (x, y) => TileMemory.StageBytes((byte*)x, rows, (byte*)y, lanes, rows, lanes));
            }
        }

        void Check<E>(int rows, int lanes, Action<nint, nint> stage) where E : unmanaged
        {
            // Both end where their pages end.
            E* x = (E*)(from.Start + from.Bytes) - Math.Max(rows * lanes, 1), y = (E*)(to.Start + to.Bytes) - Math.Max(rows * lanes, 1);
            stage((nint)x, (nint)y);
            for (int r = 0; r < rows; r++)
            {
                for (int k = 0; k < lanes; k++)
                    Assert.Equal(x[k * rows + r], y[r * lanes + k]);
            }
        }
    }

    /// <summary>Equal bits, however often.</summary>
    [Fact]
    public void GivesTheSameBitsAgain()
    {
        for (int seed = 0; seed < 12; seed++)
        {
            ScoreProgram program = new TileProgramRandom(new Random(seed)).Next(2);
            foreach (int bits in Widths)
                Assert.Equal(Bits(bits), Bits(bits));

            byte[] Bits(int bits)
            {
                var random = new Random(seed);
                using var tile = new TileProgramCase<float>(program, random, _ => TileProgramRandom.Buckets);
                return tile.Check(ScorePass.Gradient, bits, bits == 0, 17, 37, 5, 3, 1, 1);
            }
        }
    }

    private static void Random<T>(int seed, int count) where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        var random = new Random(seed);
        for (int k = 0; k < count; k++)
        {
            ScoreProgram program = new TileProgramRandom(random).Next(k % 4);
            using var tile = new TileProgramCase<T>(program, random, tensor => TileProgramRandom.Buckets);
            foreach (ScorePass pass in Enum.GetValues<ScorePass>())
            {
                foreach (int bits in Widths)
                {
                    int rows = random.Next(1, 20), lanes = random.Next(1, 50);
                    (int queries, int keys) = pass == ScorePass.Modify ? (lanes, rows) : (rows, lanes);
                    int i = random.Next(3) switch { 0 => 0, 1 => TileProgramRandom.Queries - queries, _ => random.Next(TileProgramRandom.Queries - queries) };
                    int j = random.Next(3) switch { 0 => 0, 1 => TileProgramRandom.Keys - keys, _ => random.Next(TileProgramRandom.Keys - keys) };
                    (int row, int lane) = pass == ScorePass.Modify ? (j, i) : (i, j);
                    tile.Check(pass, bits, interpret: bits == 0, rows, lanes, row, lane, random.Next(TileProgramRandom.Batch), random.Next(TileProgramRandom.Heads), hides: random.Next(3) > 0);
                }
            }
        }
    }
}
