using System.Numerics;
using TorchFlash.Kernels.Scores;
using TorchFlash.Kernels.Tests.Support;

namespace TorchFlash.Kernels.Tests.Scores;

public class ScoreFuzzTestsFloat32 : ScoreFuzzTests<float>;

public class ScoreFuzzTestsFloat64 : ScoreFuzzTests<double>;

/// <summary>
/// Random modifications and conditions, composed, with random shapes, layouts, captured tensors of any strides, grouped heads, causal masks, sinks,
/// dropout and gradients of the log-sum-exp: both passes in every vector width, and the weights, against the reference.
/// </summary>
public abstract class ScoreFuzzTests<T> where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private static readonly double s_cap = 2.5;

    public static TheoryData<int> Seeds => [.. Enumerable.Range(0, 60)];

    [Theory, MemberData(nameof(Seeds))]
    public void AgreesWithTheReference(int seed)
    {
        var random = new Random(seed);
        int keyHeads = random.Next(1, 3), heads = keyHeads * random.Next(1, 3), nq = random.Next(8) == 0 ? 1 : random.Next(1, 260), nk = random.Next(8) == 0 ? 1 : random.Next(1, 260);
        var problem = new AttentionProblem
        {
            Batch = random.Next(1, 3),
            Heads = heads,
            KeyHeads = keyHeads,
            QueryLength = nq,
            KeyLength = nk,
            HeadDim = random.Next(1, 40),
            ValueDim = random.Next(1, 40),
            Scale = random.Next(4) == 0 ? -0.4 : 0.3,
            Causal = (CausalMask)random.Next(3),
            HasSinks = random.Next(3) == 0,
            Dropout = random.Next(3) == 0 ? 0.25 : 0,
            DropoutSeed = (ulong)random.NextInt64(),
        };
        problem = problem with { Score = Program(random, problem) };
        Layout[] readable = [.. Layouts.Writable, Layout.SharedHeads];
        using var attention = new AttentionCase<T>(problem, readable[random.Next(readable.Length)], Layouts.Writable[random.Next(Layouts.Writable.Length)], seed,
            scores: new ScoreOptions
            {
                Values = (tensor, index) => tensor.Kind switch
                {
                    ScoreKind.Real => random.NextNormal(),
                    ScoreKind.Int => index[^1] / 29,
                    _ => random.Next(4) > 0 ? 1 : 0,
                },
                Strides = tensor => seed % 3 == 0 ? [.. Enumerable.Range(0, tensor.Shape.Count).Select(d => tensor.Shape.Take(d).Aggregate(1L, (x, y) => x * y))] : null,
                WantsGradient = _ => seed % 5 != 0,
                WithLogSumExpGradient = random.Next(2) == 0,
                WithHeadWeights = random.Next(2) == 0,
                Keep = (b, h, i, j) => Dropout.Keeps(problem.DropoutSeed, problem.Dropout, b, h, i, j),
            });
        Accuracy.AssertRunMatchesReference(attention, threads: random.Next(1, 4));
        foreach (var engine in Engines.Widths)
        {
            attention.PoisonOutputs();
            attention.RunWeights(engine: engine);
            double[] expected = attention.WeightsArguments.PerHead ? attention.Reference<double>().HeadWeights : attention.Reference<double>().AverageWeights;
            T[] naive = attention.WeightsArguments.PerHead ? attention.Reference<T>().HeadWeights : attention.Reference<T>().AverageWeights;
            Accuracy.AssertClose($"weights of {attention} {engine.VectorBits} bit", attention.Weights.ToArray(), expected, naive, typeof(T) == typeof(float) ? 2e-6 : 1e-14);
        }
    }

    private static ScoreProgram Program(Random random, AttentionProblem p)
    {
        ScoreProgram program = ScoreProgram.Identity;
        for (int parts = random.Next(1, 4); parts > 0; parts--)
            program = program.Then(Part(random, p));
        return program;
    }

    private static ScoreProgram Part(Random random, AttentionProblem p)
    {
        int n = Math.Max(p.QueryLength, p.KeyLength), left = random.Next(-5, n), right = random.Next(-5, n), block = random.Next(1, 70), third = p.KeyLength / 3;
        var slopes = new RealTensor(null, p.Heads);
        var table = new RealTensor(null, p.Heads, 2 * n);
        var temperature = new RealTensor(null, 1);
        var documents = new IntTensor(null, p.Batch, n);
        var layout = new BoolTensor(null, p.Heads, n / block + 1, n / block + 1);
        bool perBatch = random.Next(2) == 0, perHead = random.Next(2) == 0, perQuery = random.Next(2) == 0, perKey = random.Next(2) == 0;
        int[] shape = [perBatch ? p.Batch : 1, perHead ? p.Heads : 1, perQuery ? p.QueryLength : 1, perKey ? p.KeyLength : 1];
        var bias = new RealTensor(null, shape);
        var mask = new BoolTensor(null, shape);
        ScoreProgram all = ScoreProgram.Identity;
        return random.Next(12) switch
        {
            0 => all.Then((s, b, h, i, j) => s + slopes[h] * (j - i) / n),
            1 => all.Then((s, b, h, i, j) => s_cap * Math.Tanh(s / s_cap)),
            2 => all.Then((s, b, h, i, j) => s + table[h, i - j + n]),
            3 => all.Then((s, b, h, i, j) => s + bias[perBatch ? b : 0, perHead ? h : 0, perQuery ? i : 0, perKey ? j : 0]),
            4 => all.Then((s, b, h, i, j) => s * Math.Exp(0.1 * temperature[0]) + bias[perBatch ? b : 0, perHead ? h : 0, perQuery ? i : 0, perKey ? j : 0] * 0.5),
            5 => all.Where((b, h, i, j) => i - j <= left && j - i <= right),
            6 => all.Where((b, h, i, j) => documents[b, i] == documents[b, j]),
            7 => all.Where((b, h, i, j) => layout[h, i / block, j / block]),
            8 => all.Where((b, h, i, j) => mask[perBatch ? b : 0, perHead ? h : 0, perQuery ? i : 0, perKey ? j : 0]),
            9 => all.Where((b, h, i, j) => j < third || j <= i),
            10 => all.Where((b, h, i, j) => j < p.KeyLength - b * 7),
            _ => all.Then((s, b, h, i, j) => (i + j) % 3 == 0 ? s - 0.5 : s),
        };
    }
}
