using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;
using TorchFlash.Kernels.Cpu.Scores;
using TorchFlash.Kernels.Scores;

namespace TorchFlash.Kernels.Tests.Scores;

public class TileProgramTests
{
    private static readonly int[] s_widths = [.. new[] { 512, 256, 128, 0 }.Where(bits => bits < 256 || bits == 256 && Avx2.IsSupported || bits == 512 && Avx512F.IsSupported && Avx512DQ.IsSupported)];

    [Fact]
    public void RandomProgramsInFloat() => Random<float>(1, 60);

    [Fact]
    public void RandomProgramsInDouble() => Random<double>(2, 60);

    private static void Random<T>(int seed, int count) where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        var random = new Random(seed);
        for (int k = 0; k < count; k++)
        {
            ScoreProgram program = new RandomTilePrograms(random).Next(k % 4);
            using var tile = new TileProgramCase<T>(program, random, tensor => RandomTilePrograms.Buckets);
            foreach (ScorePass pass in Enum.GetValues<ScorePass>())
            {
                foreach (int bits in s_widths)
                {
                    int rows = random.Next(1, 20), lanes = random.Next(1, 50);
                    (int queries, int keys) = pass == ScorePass.Modify ? (lanes, rows) : (rows, lanes);
                    int i = random.Next(3) switch { 0 => 0, 1 => RandomTilePrograms.Queries - queries, _ => random.Next(RandomTilePrograms.Queries - queries) };
                    int j = random.Next(3) switch { 0 => 0, 1 => RandomTilePrograms.Keys - keys, _ => random.Next(RandomTilePrograms.Keys - keys) };
                    (int row, int lane) = pass == ScorePass.Modify ? (j, i) : (i, j);
                    tile.Check(pass, bits, interpret: bits == 0, rows, lanes, row, lane, random.Next(RandomTilePrograms.Batch), random.Next(RandomTilePrograms.Heads), hides: random.Next(3) > 0);
                }
            }
        }
    }
}
