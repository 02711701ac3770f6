using System.Diagnostics;
using System.Linq.Expressions;
using TorchFlash.Kernels.Scores;
using Xunit.Abstractions;

namespace TorchFlash.Kernels.Tests.Scores;

/// <summary>Classes, bands and visits of tiles against every pair of them: never wrong, and rarely Some without need.</summary>
public class TileAnalysisTests(ITestOutputHelper output)
{
    [Theory]
    [InlineData(2, 2, 192, 192, 40)]
    [InlineData(1, 2, 61, 130, 120)]
    [InlineData(2, 1, 130, 47, 120)]
    public void ClassesAreNeverWrong(int batch, int heads, int queries, int keys, int randomMasks)
    {
        using var examples = new ScoreExamples(batch, heads, queries, keys, 3);
        var masks = examples.Masks().Concat(Enumerable.Range(0, randomMasks).Select(_ => ("random", examples.RandomMask(3))));
        foreach (var group in masks.GroupBy(x => x.Item1, x => x.Item2))
        {
            (int tiles, int needless, int refused) = (0, 0, 0);
            foreach (ScoreProgram program in group)
            {
                TileAnalysis analysis;
                try
                {
                    analysis = examples.Analyse(program);
                }
                catch (ArgumentOutOfRangeException) when (group.Key == "random")
                {
                    refused++;
                    continue;
                }
                for (int b = 0; b < batch; b++)
                    for (int h = 0; h < heads; h++)
                        CheckHead(examples, program, analysis, b, h, ref tiles, ref needless);
            }
            output.WriteLine($"{group.Key,-18} {tiles,6} tiles, without need Some: {(double)needless / tiles:P2}, programs refused: {refused}");
            Assert.True(needless <= (group.Key is "random" or "global and local" ? 0.06 : 0) * tiles, $"{group.Key}: {needless} of {tiles} aligned tiles are Some without need.");
            Assert.True(refused < randomMasks / 10);
        }
    }

    [Fact]
    public void DiagonalsComeOutOfTheCondition()
    {
        using var examples = new ScoreExamples(1, 2, 40, 50, 1);
        (int window, int zero, int huge) = (7, 0, int.MaxValue);
        const int Unbounded = int.MaxValue / 2;
        Check((b, h, i, j) => j <= i, -Unbounded, 0);
        Check((b, h, i, j) => j < i + 3, -Unbounded, 2);
        Check((b, h, i, j) => i - j < window && i >= j, -6, 0);
        Check((b, h, i, j) => !(i - j >= window) && !(j > i), -6, 0);
        Check((b, h, i, j) => -window <= j - i && j <= i + window + 1, -7, 8);
        Check((b, h, i, j) => i == j + window, -7, -7);
        Check((b, h, i, j) => j - i > -2 * window && h == 0, -13, Unbounded, "(h == 0)");
        Check((b, h, i, j) => i != j, -Unbounded, Unbounded, "!(i == j)");
        Check((b, h, i, j) => j <= i || j < 4, -Unbounded, Unbounded, "((j <= i) || (j < 4))");
        Check((b, h, i, j) => j <= i && j < 4, -Unbounded, 0, "(j < 4)");
        Check((b, h, i, j) => 2 * j <= 2 * i, -Unbounded, Unbounded, "((j * 2) <= (i * 2))");
        Check((b, h, i, j) => j - i <= huge - zero, -Unbounded, Unbounded);
        // Which part is the band does not depend on numbers: what is left is compiled, and shared.
        window = 0;
        Check((b, h, i, j) => i * window <= j && j <= i + window, -Unbounded, 0, "((i * window) <= j)");

        void Check(Expression<PairFunction> condition, int first, int last, string where = "true")
        {
            TileAnalysis analysis = examples.Analyse(ScoreProgram.Identity.Where(condition));
            Assert.Equal((first, last, where), (analysis.FirstDiagonal, analysis.LastDiagonal, analysis.Where.ToString()));
        }
    }

    [Fact]
    public void DependenceOnBatchAndHead()
    {
        using var examples = new ScoreExamples(2, 3, 40, 50, 1);
        var expanded = new BoolTensor(null, 2, 3, 40, 50);
        examples.Add(expanded, "expanded", x => (x[2] + x[3]) % 2, [0, 0, 50, 1]);
        var perHead = new BoolTensor(null, 2, 3, 40, 50);
        examples.Add(perHead, "perHead", x => x[1] % 2, [0, 2000, 50, 1]);
        Check((b, h, i, j) => j <= i, false, false);
        Check((b, h, i, j) => examples.KeySeen[b, 0, 0, j], true, false);
        Check((b, h, i, j) => examples.Layout[h, i / 16, j / 16], false, true);
        Check((b, h, i, j) => j < 3 * b + h, true, true);
        Check((b, h, i, j) => expanded[b, h, i, j], false, false);
        Check((b, h, i, j) => perHead[b, h, i, j] && j <= i, false, true);

        void Check(Expression<PairFunction> condition, bool batch, bool head)
        {
            TileAnalysis analysis = examples.Analyse(ScoreProgram.Identity.Where(condition));
            Assert.Equal((batch, head), (analysis.DependsOnBatch, analysis.DependsOnHead));
        }
    }

    [Fact]
    public void WhatMayGoWrongIsRefusedBeforeItDoes()
    {
        using var examples = new ScoreExamples(2, 3, 50, 60, 1);
        (RealTensor table, IntTensor document) = (examples.Table, examples.Document);
        int window = 7;
        var large = new IntTensor(null, 60);
        examples.Add(large, "large", x => x[0] == 31 ? 3e9 : 1);
        var empty = new RealTensor(null, 3, 0);
        examples.Add(empty, "empty", _ => 0);
        Refuses(Then((s, b, h, i, j) => s + table[h, i - j]), "table[h, (i - j)]", "index 1, (i - j), is between -59 and 49", "121 long", "[3, 121]", "Math.Clamp((i - j), 0, 120)");
        Refuses(Then((s, b, h, i, j) => s + table[h, i + 72]), "between 72 and 121");
        Refuses(Then((s, b, h, i, j) => s + table[h, document[b, i] * 200]), "index 1, (document[b, i] * 200), is between 0 and 200");
        Refuses(Then((s, b, h, i, j) => s + empty[h, 0]), "empty is 0 long there");
        Refuses(Where((b, h, i, j) => i / (j - 5) > 0), "(j - 5), is between -5 and 54, so it may be 0");
        Refuses(Where((b, h, i, j) => i % j > 0), "may be 0");
        Refuses(Where((b, h, i, j) => i * 1000000 * window < j * 50000000), "int does not hold");
        Refuses(Where((b, h, i, j) => large[j] > 1), "large[j]", "3000000000", "int does not hold");
        // From end to end, and with the divisor that is never 0.
        examples.Analyse(Then((s, b, h, i, j) => s + table[h, i + 71] + table[h, 59 - j] + table[h, Math.Clamp(i - j, 0, 120)] + i / (j + 1)));

        static ScoreProgram Then(Expression<ScoreFunction> f) => ScoreProgram.Identity.Then(f);

        static ScoreProgram Where(Expression<PairFunction> f) => ScoreProgram.Identity.Where(f);

        void Refuses(ScoreProgram program, params string[] words)
        {
            string message = Assert.Throws<ArgumentOutOfRangeException>(() => examples.Analyse(program)).Message;
            Assert.All(words, word => Assert.Contains(word, message));
        }
    }

    [Theory]
    [InlineData(0, 2, 5, 5)]
    [InlineData(2, 0, 5, 5)]
    [InlineData(2, 2, 0, 5)]
    [InlineData(2, 2, 5, 0)]
    public void SizesOfZeroNeedNoTensors(int batch, int heads, int queries, int keys)
    {
        var mask = new BoolTensor(null, batch, heads, queries, keys);
        var problem = new AttentionProblem
        {
            Batch = batch,
            Heads = heads,
            QueryLength = queries,
            KeyLength = keys,
            HeadDim = 1,
            ValueDim = 1,
            Scale = 1,
        };
        var analysis = new TileAnalysis(ScoreProgram.Identity.Where((b, h, i, j) => mask[b, h, i, j] && j <= i), problem, [new CapturedView(0, 1, 1, 1, 1)]);
        Assert.Equal(0, analysis.LastDiagonal);
        var visits = new List<(int, TileClass)>();
        analysis.Visit(0, 0, 0, queries, true, 0, keys, 4, visits);
        analysis.Visit(0, 0, 0, keys, false, 0, queries, 4, visits);
        Assert.Empty(visits);
    }

    /// <summary>What a tensor of blocks says is not lost in a summary.</summary>
    [Fact]
    public void BlocksOfPairsAreExact()
    {
        using var examples = new ScoreExamples(1, 1, 192, 192, 1);
        var layout = new BoolTensor(null, 96, 96);
        examples.Add(layout, "layout", x => (x[0] / 16 + x[1] / 16) % 2);
        TileAnalysis analysis = examples.Analyse(ScoreProgram.Identity.Where((b, h, i, j) => layout[i / 2, j / 2]));
        for (int i = 0; i < 192; i += 32)
            for (int j = 0; j < 192; j += 32)
                Assert.Equal((i + j) / 32 % 2 == 0 ? TileClass.None : TileClass.All, analysis.Classify(0, 0, i, i + 32, j, j + 32));
    }

    /// <summary>Real numbers that are NaN, infinite or nearly equal never make a class that float arithmetic could belie.</summary>
    [Fact]
    public void RealComparisonsLeaveRoomForRounding()
    {
        using var examples = new ScoreExamples(1, 1, 8, 8, 1);
        var odd = new RealTensor(null, 8);
        examples.Add(odd, "odd", x => x[0] switch { 0 => double.NaN, 1 => double.PositiveInfinity, 2 => double.NegativeInfinity, 3 => 1e30, _ => 1 });
        Check((b, h, i, j) => odd[j] <= 1, 4, TileClass.All); // exact numbers need no room
        Check((b, h, i, j) => odd[j] * 1.1 <= 1.1, 4, TileClass.Some);
        Check((b, h, i, j) => odd[j] * 1.1 <= 1.2, 4, TileClass.All);
        Check((b, h, i, j) => odd[j] <= 1, 0, TileClass.Some);
        Check((b, h, i, j) => odd[j] - odd[j] <= 1, 1, TileClass.Some); // NaN
        Check((b, h, i, j) => odd[j] < -1e30, 2, TileClass.All);
        Check((b, h, i, j) => odd[j] * odd[j] - odd[j] * odd[j] == 0, 3, TileClass.Some); // infinite in float
        Check((b, h, i, j) => 1.0 / (j - 4) > 0, 4, TileClass.Some);
        Check((b, h, i, j) => Math.Log(odd[j]) < 1e-3 && Math.Exp(odd[j]) > 2.7 && Math.Sqrt(odd[j]) < 1.01 && Math.Tanh(odd[j]) < 0.8, 4, TileClass.All);

        Check((b, h, i, j) => odd[j] - odd[j] <= double.PositiveInfinity, 1, TileClass.Some, keys: 2); // infinities of both signs make NaN, too
        Check((b, h, i, j) => Math.Exp(odd[j]) >= 2.71828174591064453125, 4, TileClass.Some); // e in float
        Check((b, h, i, j) => Math.Exp(odd[j]) <= 2.718281984329223632812, 4, TileClass.Some);

        void Check(Expression<PairFunction> condition, int key, TileClass expected, int keys = 1) =>
            Assert.Equal(expected, examples.Analyse(ScoreProgram.Identity.Where(condition)).Classify(0, 0, 0, 8, key, key + keys));
    }

    /// <summary>Long stretches cost few evaluations: a window over very many keys is visited in no time.</summary>
    [Fact]
    public void LongStretchesAreVisitedAtOnce()
    {
        var length = new IntTensor(null, 1);
        var problem = new AttentionProblem
        {
            Batch = 1,
            Heads = 1,
            QueryLength = 1 << 24,
            KeyLength = 1 << 24,
            HeadDim = 1,
            ValueDim = 1,
            Scale = 1,
        };
        using var captured = new Captured(new HostMemory(), ElementType.Float32, length, _ => 100);
        var analysis = new TileAnalysis(ScoreProgram.Identity.Where((b, h, i, j) => Math.Abs(i - j) < 64 || j < length[b]), problem, [captured.View]);
        var visits = new List<(int Tile, TileClass Class)>();
        long start = Stopwatch.GetTimestamp();
        for (int k = 0; k < 1000; k++)
        {
            visits.Clear();
            analysis.Visit(0, 0, 1 << 20, (1 << 20) + 64, true, 0, int.MaxValue, 64, visits);
        }
        output.WriteLine($"{Stopwatch.GetElapsedTime(start).TotalMicroseconds / 1000:F2} us a visit");
        Assert.Equal([(0, TileClass.All), (1, TileClass.Some), ((1 << 14) - 1, TileClass.Some), (1 << 14, TileClass.All), ((1 << 14) + 1, TileClass.Some)], visits);
        int classes = 0;
        start = Stopwatch.GetTimestamp();
        for (int k = 0; k < 100000; k++)
            classes += (int)analysis.Classify(0, 0, k, k + 64, 2 * k, 2 * k + 64);
        output.WriteLine($"{Stopwatch.GetElapsedTime(start).TotalNanoseconds / 100000:F0} ns a class ({classes})");
    }

    private static void CheckHead(ScoreExamples examples, ScoreProgram program, TileAnalysis analysis, int b, int h, ref int tiles, ref int needless)
    {
        (int queries, int keys) = (examples.Problem.QueryLength, examples.Problem.KeyLength);
        Func<int, int, bool> visible = Compile(examples, program.Visible, b, h), where = Compile(examples, analysis.Where, b, h);
        // seen[i, j]: pairs above and to the left of i, j that Where has
        int[,] seen = new int[queries + 1, keys + 1];
        for (int i = 0; i < queries; i++)
            for (int j = 0; j < keys; j++)
            {
                bool isSeen = where(i, j);
                seen[i + 1, j + 1] = seen[i, j + 1] + seen[i + 1, j] - seen[i, j] + (isSeen ? 1 : 0);
                Assert.True((isSeen && j - i >= analysis.FirstDiagonal && j - i <= analysis.LastDiagonal) == visible(i, j), $"{program.Visible}: band and Where disagree with it");
            }

        TileClass Truth(int i0, int i1, int j0, int j1)
        {
            int count = seen[i1, j1] - seen[i0, j1] - seen[i1, j0] + seen[i0, j0];
            return count == 0 ? TileClass.None : count == (i1 - i0) * (j1 - j0) ? TileClass.All : TileClass.Some;
        }

        TileClass Check(int i0, int i1, int j0, int j1)
        {
            TileClass truth = Truth(i0, i1, j0, j1), said = analysis.Classify(b, h, i0, i1, j0, j1);
            Assert.True(said == truth || said == TileClass.Some, $"{analysis.Where}: {said}, but {truth} at {b}, {h}, {i0} .. {i1}, {j0} .. {j1}");
            return said == truth ? truth : TileClass.Some;
        }

        foreach ((int rows, int columns) in new[] { (32, 32), (32, 96), (96, 32) })
            for (int i = 0; i < queries; i += rows)
                for (int j = 0; j < keys; j += columns)
                {
                    (int i1, int j1) = (Math.Min(i + rows, queries), Math.Min(j + columns, keys));
                    tiles++;
                    needless += Check(i, i1, j, j1) != Truth(i, i1, j, j1) ? 1 : 0;
                }
        for (int k = 0; k < 100; k++)
        {
            (int i, int j) = (examples.Random.Next(queries), examples.Random.Next(keys));
            Check(i, examples.Random.Next(i + 1, queries + 1), j, examples.Random.Next(j + 1, keys + 1));
        }

        var visits = new List<(int Tile, TileClass Class)>();
        for (int k = 0; k < 20; k++)
        {
            bool queriesFixed = k % 2 == 0;
            (int fixedLength, int length) = queriesFixed ? (queries, keys) : (keys, queries);
            int from = examples.Random.Next(fixedLength), to = examples.Random.Next(from + 1, fixedLength + 1);
            (int first, int end, int step) = (examples.Random.Next(-5, length), examples.Random.Next(length + 20), examples.Random.Next(1, 40));
            visits.Clear();
            analysis.Visit(b, h, from, to, queriesFixed, first, end, step, visits);
            int at = 0;
            for (int tile = Math.Max(0, first) / step; tile * step < Math.Min(end, length); tile++)
            {
                (int low, int high) = (tile * step, Math.Min((tile + 1) * step, length));
                TileClass truth = queriesFixed ? Truth(from, to, low, high) : Truth(low, high, from, to);
                TileClass said = at < visits.Count && visits[at].Tile == tile ? visits[at++].Class : TileClass.None;
                Assert.True(said == truth || said == TileClass.Some, $"{analysis.Where}: visit of {tile} says {said}, but it is {truth}");
            }
            Assert.Equal(visits.Count, at);
        }
    }

    /// <summary>A condition as a function, for one head: <see cref="Meaning"/>, but thousands of times.</summary>
    private static Func<int, int, bool> Compile(ScoreExamples examples, Node root, int b, int h)
    {
        List<Node> order = Graph.Order(root);
        var number = order.Index().ToDictionary(x => x.Item, x => x.Index);
        var steps = order.Select(node => (node, node.Arguments.Select(x => number[x]).ToArray())).ToArray();
        double[] values = new double[order.Count];
        return (i, j) =>
        {
            for (int k = 0; k < steps.Length; k++)
            {
                (Node node, int[] a) = steps[k];
                values[k] = node.Op switch
                {
                    Op.Batch => b,
                    Op.Head => h,
                    Op.Query => i,
                    Op.Key => j,
                    Op.Constant or Op.Parameter => node.Value,
                    Op.Load => examples.Load(node.Tensor, Array.ConvertAll(a, x => (int)values[x])),
                    _ => Meaning.Of(node.Op, node.Arguments[0].Kind, values[a[0]], a.Length > 1 ? values[a[1]] : 0, a.Length > 2 ? values[a[2]] : 0),
                };
            }
            return values[^1] != 0;
        };
    }
}
