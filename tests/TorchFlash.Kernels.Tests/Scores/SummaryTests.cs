using System.Diagnostics;
using TorchFlash.Kernels.Scores;
using Xunit.Abstractions;

namespace TorchFlash.Kernels.Tests.Scores;

/// <summary>Smallest and largest elements of boxes of captured tensors, whatever their strides and types, against every element.</summary>
public class SummaryTests(ITestOutputHelper output)
{
    /// <summary>Kinds, shapes, and strides: dense, transposed, reversed, padded, broadcast.</summary>
    public static TheoryData<ScoreKind, ElementType, int[], long[]?> Tensors()
    {
        var data = new TheoryData<ScoreKind, ElementType, int[], long[]?>();
        (int[] Shape, long[]? Strides)[] layouts =
        [
            ([300], null), ([300], [-1]), ([300], [3]), ([300], [0]), ([1], null), ([65], [1]),
            ([130, 200], null), ([130, 200], [1, 130]), ([130, 200], [-200, 1]), ([130, 200], [-1, -130]), ([130, 200], [0, 1]), ([130, 200], [1, 0]), ([130, 200], [501, 2]), ([5, 200], [0, 0]),
            ([2, 70, 90], [90 * 70, 90, 1]), ([2, 70, 90], [1, 2, 140]), ([70, 3, 90], [90, 0, 1]),
            ([2, 3, 70, 66], null), ([2, 3, 70, 66], [0, 0, 66, 1]), ([2, 3, 70, 66], [1, 2, 6, 420]), ([2, 3, 70, 66], [-1, 2, -6, 420]),
        ];
        foreach ((int[] shape, long[]? strides) in layouts)
        {
            data.Add(ScoreKind.Bool, ElementType.Float32, shape, strides);
            data.Add(ScoreKind.Int, ElementType.Float32, shape, strides);
            foreach (ElementType type in new[] { ElementType.Float32, ElementType.Float64 })
                data.Add(ScoreKind.Real, type, shape, strides);
        }
        return data;
    }

    [Theory]
    [MemberData(nameof(Tensors))]
    public void RangesHoldWhatIsThere(ScoreKind kind, ElementType type, int[] shape, long[]? strides)
    {
        var random = new Random(5);
        ScoreTensor tensor = kind switch
        {
            ScoreKind.Real => new RealTensor(null, shape),
            ScoreKind.Int => new IntTensor(null, shape),
            _ => new BoolTensor(null, shape),
        };
        // Long runs of equal elements, so that blocks differ.
        using var captured = new Captured(new HostMemory(), type, tensor, index => kind == ScoreKind.Bool ? index.Sum() / 40 % 2 : index.Sum() / 7 - 9 + (random.Next(500) == 0 ? 1000 : 0), strides);
        foreach (bool inBlocks in new[] { false, true })
        {
            bool[] blocked = [.. shape.Select(_ => inBlocks)];
            var summary = Summary.Of(tensor, captured.View, type, blocked, 2);
            for (int trial = 0; trial < 40; trial++)
            {
                int[] first = [.. shape.Select(size => random.Next(size))], last = [.. shape.Select((size, k) => random.Next(first[k], Math.Min(size, first[k] + 100)))];
                // The summary knows the blocks that hold the box.
                int[] from = [.. first.Select((x, k) => inBlocks && shape[k] > 64 ? x / 32 * 32 : x)];
                int[] to = [.. last.Select((x, k) => inBlocks && shape[k] > 64 ? Math.Min(shape[k] - 1, x / 32 * 32 + 31) : x)];
                Interval range = summary.Range([.. first.Select((x, k) => new Interval(x, last[k]))]);
                (double lo, double hi) = (double.PositiveInfinity, double.NegativeInfinity);
                ForEach(from, to, index => (lo, hi) = (Math.Min(lo, captured[index]), Math.Max(hi, captured[index])));
                Assert.True(range == new Interval(lo, hi),
                    $"{captured} at {string.Join(", ", first)} .. {string.Join(", ", last)}: {range} instead of {lo} .. {hi}");
            }
        }
    }

    [Theory]
    [InlineData(ElementType.Float32)]
    [InlineData(ElementType.Float64)]
    public void NaNMakesItsBlockAnything(ElementType type)
    {
        for (int place = 0; place < 130; place += 13)
        {
            var tensor = new RealTensor(null, 130, 130);
            using var captured = new Captured(new HostMemory(), type, tensor, index => index[0] == place && index[1] == 129 - place ? double.NaN : 1);
            var summary = Summary.Of(tensor, captured.View, type, [true, true], 2);
            Assert.Equal(Interval.Anything, summary.Range([new(place, place), new(0, 129)]));
            Assert.Equal(Interval.Anything, summary.Range([new(0, 129), new(129 - place, 129 - place)]));
            int other = (place + 64) % 130;
            Assert.Equal(new Interval(1, 1), summary.Range([new(other, other), new(129 - place, 129 - place)]));
        }
    }

    /// <summary>A generous bound: what it takes alone is a millisecond or two.</summary>
    [Fact]
    public unsafe void LargeMaskIsSummarisedInMilliseconds()
    {
        var mask = new BoolTensor(null, 4096, 4096);
        byte[] bytes = new byte[4096 * 4096];
        bytes.AsSpan(0, bytes.Length / 2).Fill(1);
        fixed (byte* data = bytes)
        {
            foreach ((string name, CapturedView view) in new[] { ("rows", new CapturedView((nint)data, 4096, 1)), ("columns", new CapturedView((nint)data, 1, 4096)) })
            {
                double best = double.PositiveInfinity;
                for (int k = 0; k < 20; k++)
                {
                    long start = Stopwatch.GetTimestamp();
                    _ = Summary.Of(mask, view, ElementType.Float32, [true, true], 2);
                    best = Math.Min(best, Stopwatch.GetElapsedTime(start).TotalMilliseconds);
                }
                output.WriteLine($"{name}: {best:F2} ms");
                Assert.True(best < 50);
            }
        }
    }

    private static void ForEach(int[] first, int[] last, Action<int[]> action)
    {
        int[] index = [.. first];
        while (true)
        {
            action(index);
            int k = index.Length - 1;
            while (k >= 0 && ++index[k] > last[k])
                index[k] = first[k--];
            if (k < 0)
                return;
        }
    }
}
