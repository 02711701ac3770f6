using TorchFlash.Kernels.Scores;
using Xunit.Abstractions;

namespace TorchFlash.Kernels.Tests.Scores;

/// <summary>Classes, bands and visits of tiles against every pair of them: never wrong, and rarely Some without need.</summary>
public class TileAnalysisTests(ITestOutputHelper output)
{
    [Theory]
    [InlineData(2, 2, 192, 192, 60)]
    [InlineData(1, 2, 61, 130, 200)]
    [InlineData(2, 1, 130, 47, 200)]
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
