using System.Runtime.Intrinsics;
using TorchFlash.Kernels.Cpu;
using TorchFlash.Kernels.Scores;

namespace TorchFlash.Kernels.Tests.Scores;

/// <summary>The random words of dropout, and what is kept by them.</summary>
public unsafe class DropoutTests
{
    private const ulong Seed = 0x0123456789ABCDEF;

    /// <summary>The known answers that Random123, the authors' library, is tested with.</summary>
    [Fact]
    public void PhiloxGivesTheKnownAnswers()
    {
        Assert.Equal((0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u), Dropout.Philox(0, 0, 0, 0, 0));
        Assert.Equal((0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu), Dropout.Philox(ulong.MaxValue, uint.MaxValue, uint.MaxValue, uint.MaxValue, uint.MaxValue));
        Assert.Equal((0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u), Dropout.Philox(0x299f31d0a4093822, 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344));
    }

    [Fact]
    public void EveryWidthGivesTheSameWords()
    {
        Check<PhiloxLanes512, Vector512<ulong>>();
        Check<PhiloxLanes256, Vector256<ulong>>();
        Check<PhiloxLanes128, Vector128<ulong>>();

        static void Check<W, V>()
            where W : struct, IPhiloxLanes<V>
            where V : struct
        {
            const int stride = 64;
            uint* words = stackalloc uint[4 * stride];
            Philox<W, V>.OfKeys(Seed, 3, 7, 11, 1000, 37, words, stride);
            for (int i = 0; i < 37; i++)
                Assert.Equal(Dropout.Philox(Seed, 11, (uint)(1000 + i), 7, 3), (words[i], words[i + stride], words[i + 2 * stride], words[i + 3 * stride]));
            Philox<W, V>.OfQuery(Seed, 3, 7, 50, 13, 1000, words);
            for (int c = 0; c < 13; c++)
                Assert.Equal(Dropout.Philox(Seed, (uint)(50 + c), 1000, 7, 3), (words[4 * c], words[4 * c + 1], words[4 * c + 2], words[4 * c + 3]));
        }
    }

    /// <summary>The share that is kept, and that neighbours in every direction know nothing of each other, within five standard deviations.</summary>
    [Theory]
    [InlineData(0.1)]
    [InlineData(0.5)]
    [InlineData(0.9)]
    public void KeepsWhatItShould(double p)
    {
        const int n = 96;
        int count = 0, kept = 0;
        int[] both = new int[5];
        for (int b = 0; b < 2; b++)
            for (int h = 0; h < 3; h++)
                for (int i = 0; i < n; i++)
                    for (int j = 0; j < n; j++, count++)
                    {
                        if (!Keeps(b, h, i, j))
                            continue;
                        kept++;
                        both[0] += Keeps(b + 1, h, i, j) ? 1 : 0;
                        both[1] += Keeps(b, h + 1, i, j) ? 1 : 0;
                        both[2] += Keeps(b, h, i + 1, j) ? 1 : 0;
                        both[3] += Keeps(b, h, i, j + 1) ? 1 : 0;
                        both[4] += Dropout.Keeps(Seed + 1, p, b, h, i, j) ? 1 : 0;
                    }
        double q = 1 - p;
        Assert.InRange(kept, count * q - 5 * Math.Sqrt(count * q * p), count * q + 5 * Math.Sqrt(count * q * p));
        foreach (int pairs in both)
            Assert.InRange(pairs, kept * q - 5 * Math.Sqrt(kept * q * p), kept * q + 5 * Math.Sqrt(kept * q * p));

        bool Keeps(int b, int h, int i, int j) => Dropout.Keeps(Seed, p, b, h, i, j);
    }

    [Fact]
    public void TheEndsAreAllAndNothing()
    {
        for (int j = 0; j < 1000; j++)
        {
            Assert.True(Dropout.Keeps(Seed, 0, 0, 0, 0, j));
            Assert.False(Dropout.Keeps(Seed, 1, 0, 0, 0, j));
        }
    }
}
