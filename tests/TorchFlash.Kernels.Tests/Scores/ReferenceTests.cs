using TorchFlash.Kernels.Scores;
using TorchFlash.Kernels.Tests.Support;

namespace TorchFlash.Kernels.Tests.Scores;

/// <summary>The reference's gradients are those of its own forward pass, by central differences: with it every other gradient stands or falls.</summary>
public class ReferenceTests
{
    [Theory]
    [InlineData(CausalMask.None, 0)]
    [InlineData(CausalMask.BottomRight, 0.3)]
    public void GradientsAreThoseOfTheForwardPass(CausalMask causal, double dropout)
    {
        var table = new RealTensor(null, 4, 17);
        var slopes = new RealTensor(null, 4);
        var seen = new BoolTensor(null, 2, 9);
        double cap = 2;
        ScoreProgram program = ScoreProgram.Identity.Then((s, b, h, i, j) => cap * Math.Tanh((s + slopes[h] * (j - i)) / cap) + table[h, i - j + 8])
            .Where((b, h, i, j) => seen[b, j] && i != 3);
        var problem = new AttentionProblem
        {
            Batch = 2,
            Heads = 4,
            KeyHeads = 2,
            QueryLength = 7,
            KeyLength = 9,
            HeadDim = 3,
            ValueDim = 2,
            Scale = 0.7,
            Causal = causal,
            Score = program,
            HasSinks = true,
            Dropout = dropout,
        };
        Func<int, int, int, int, bool> keep = (b, h, i, j) => dropout == 0 || (7 * b + 5 * h + 3 * i + j) % 4 != 0;
        var options = new ScoreOptions { WithLogSumExpGradient = true, WithHeadWeights = true, Keep = keep };
        using var attention = new AttentionCase<double>(problem, scores: options);
        problem = attention.Problem;
        double[] q = attention.Query.ToArray(), k = attention.Key.ToArray(), v = attention.Value.ToArray(), dO = attention.OutputGradient.ToArray();
        ScoreInputs inputs = attention.Scores.Inputs;
        double[] sinks = inputs.Sinks!, tables = new double[table.Shape[0] * table.Shape[1]], slope = new double[slopes.Shape[0]];
        foreach (Captured captured in attention.Scores.Captured.Where(c => c.Tensor.Kind == ScoreKind.Real))
            foreach (int[] index in captured.Indices)
                (captured.Tensor == table ? tables : slope)[Captured.Number(captured.Tensor, index)] = captured[index];
        inputs = inputs with
        {
            Load = (tensor, index) => tensor == table ? tables[Captured.Number(table, index)] : tensor == slopes ? slope[index[0]] : attention.Scores.Inputs.Load(tensor, index),
        };
        var reference = Reference<double>.Compute(problem, q, k, v, dO, scores: inputs);

        CheckGradient("q", q, reference.QueryGradient);
        CheckGradient("k", k, reference.KeyGradient);
        CheckGradient("v", v, reference.ValueGradient);
        CheckGradient("sinks", sinks, reference.SinkGradient);
        CheckGradient("table", tables, reference.TensorGradients[table]);
        CheckGradient("slopes", slope, reference.TensorGradients[slopes]);

        // Weights: those of a row, with the sink's and without dropout, add up to 1; and their average is the average.
        for (int b = 0; b < problem.Batch; b++)
            for (int i = 0; i < problem.QueryLength; i++)
                for (int j = 0; j < problem.KeyLength; j++)
                {
                    double sum = Enumerable.Range(0, 4).Sum(h => reference.HeadWeights[((b * 4 + h) * problem.QueryLength + i) * problem.KeyLength + j]);
                    Assert.Equal(sum / 4, reference.AverageWeights[(b * problem.QueryLength + i) * problem.KeyLength + j], 1e-14);
                    bool hidden = i == 3 || attention.Scores.Inputs.Load(seen, [b, j]) == 0 || causal == CausalMask.BottomRight && j > i + 2;
                    Assert.True(!hidden || sum == 0);
                }
        for (int row = 0; row < reference.LogSumExp.Length; row++)
            if (row % problem.QueryLength == 3)
                Assert.Equal(sinks[row / problem.QueryLength % 4], reference.LogSumExp[row], 1e-14);

        double Loss()
        {
            var moved = Reference<double>.Compute(problem, q, k, v, scores: inputs);
            double[] dLse = inputs.LogSumExpGradient!;
            return moved.Output.Zip(dO, (x, y) => x * y).Sum() + moved.LogSumExp.Zip(dLse, (x, y) => x * y).Sum();
        }

        void CheckGradient(string name, double[] values, double[] gradient)
        {
            Assert.Equal(values.Length, gradient.Length);
            for (int x = 0; x < values.Length; x++)
            {
                const double Step = 1e-5;
                double value = values[x];
                values[x] = value + Step;
                double above = Loss();
                values[x] = value - Step;
                double below = Loss();
                values[x] = value;
                Assert.True(Math.Abs((above - below) / (2 * Step) - gradient[x]) <= 1e-7 * (1 + Math.Abs(gradient[x])), $"d{name}[{x}] is {gradient[x]}, differences say {(above - below) / (2 * Step)}");
            }
        }
    }
}
