using TorchFlash.Kernels.Scores;
using Xunit.Abstractions;

namespace TorchFlash.Kernels.Tests.Scores;

public class DerivativeTests(ITestOutputHelper output)
{
    /// <summary>Where two step sizes disagree there is a corner, and no derivative.</summary>
    [Fact]
    public void DerivativesOfRandomProgramsAreWhatDifferencesSay()
    {
        (int compared, int corners, double worst) = (0, 0, 0);
        using var examples = new ScoreExamples(2, 3, 20, 24, 2);
        Random random = examples.Random;
        for (int trial = 0; trial < 1500; trial++)
        {
            ScoreProgram program = examples.RandomModification(4, smooth: false);
            var graph = new Graph();
            Node modified = graph.Import(program.Output);
            Dictionary<Node, Node> adjoints = Derivative.Adjoints(graph, modified, graph.Real(1));
            (int b, int h, int i, int j, double s) = (random.Next(2), random.Next(3), random.Next(20), random.Next(24), random.NextDouble() * 4 - 2);
            foreach (Node leaf in Graph.Order(modified).Where(node => node.Kind == ScoreKind.Real && node.Op is Op.Score or Op.Load))
            {
                // The leaf itself moves, not every load of the same element.
                double At(double step)
                {
                    Node moved = graph.Rewrite(modified, (node, _) => node == leaf ? graph.Intern(Op.Add, ScoreKind.Real, 0, null, leaf, graph.Real(step)) : null);
                    return Meaning.Evaluate(moved, examples.Load, s, b, h, i, j);
                }

                double wide = (At(2e-5) - At(-2e-5)) / 4e-5, narrow = (At(1e-5) - At(-1e-5)) / 2e-5;
                double actual = adjoints.TryGetValue(leaf, out Node? d) ? Meaning.Evaluate(d, examples.Load, s, b, h, i, j) : 0;
                double scale = 1 + Math.Abs(narrow) + Math.Abs(At(0));
                if (Math.Abs(wide - narrow) > 1e-6 * scale)
                    corners++;
                else
                {
                    compared++;
                    worst = Math.Max(worst, Math.Abs(actual - narrow) / scale);
                    Assert.True(Math.Abs(actual - narrow) <= 1e-6 * scale, $"d/d{leaf} of {program.Output} is {actual}, differences say {narrow}");
                }
            }
        }
        output.WriteLine($"{compared} compared, {corners} corners left out, worst {worst:G2}");
        Assert.True(compared >= 1000 && corners < compared / 20);
    }
}
