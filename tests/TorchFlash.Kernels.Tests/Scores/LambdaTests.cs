using System.Linq.Expressions;
using TorchFlash.Kernels.Scores;

namespace TorchFlash.Kernels.Tests.Scores;

/// <summary>Lambdas mean what they mean in C#, and what cannot be part of a program is refused with the words of its author.</summary>
public class LambdaTests
{
    private static readonly RealTensor Table = new(null, 3, 121);
    private static readonly RealTensor Slopes = new(null, 3);
    private static readonly IntTensor Document = new(null, 2, 60);
    private static readonly BoolTensor Seen = new(null, 50, 60);

    private readonly int _field = 4;

    private int Property => _field + 1;

    /// <summary>Every lambda beside a delegate with the same text over functions instead of tensors.</summary>
    [Fact]
    public void LambdasMeanWhatTheyMeanInCSharp()
    {
        int window = 7;
        float cap = 3;
        double half = 0.5;
        bool flag = true, off = false;
        short narrow = 2;
        (Expression<ScoreFunction> Lambda, ScoreFunction Compiled)[] modifications =
        [
            ((s, b, h, i, j) => s + Slopes[h] * (j - i), (s, b, h, i, j) => s + SlopeAt(h) * (j - i)),
            Same((s, b, h, i, j) => cap * Math.Tanh(s / cap)),
            ((s, b, h, i, j) => s + Table[h, i - j + 60], (s, b, h, i, j) => s + TableAt(h, i - j + 60)),
            Same((s, b, h, i, j) => i - j < window ? Math.Max(s, half) : -Math.Abs(s) * (1.0 / 3) + Math.Exp(-s * s) / (window + 1)),
            ((s, b, h, i, j) => Math.Sqrt(1 + s * s) - Math.Log(2 + Math.Min(s, -s) * Math.Min(s, -s)) + ScoreMath.Sigmoid(s) * MathF.Abs(i % 3 - j / 4) + Table[h, Math.Clamp(i * 2 - j, 0, 100)],
                (s, b, h, i, j) => Math.Sqrt(1 + s * s) - Math.Log(2 + Math.Min(s, -s) * Math.Min(s, -s)) + ScoreMath.Sigmoid(s) * MathF.Abs(i % 3 - j / 4) + TableAt(h, Math.Clamp(i * 2 - j, 0, 100))),
            Same((s, b, h, i, j) => s * _field - Property * tanh(s) + narrow * b + Math.Clamp(s, -1, half) * checked(i + j)),
            Same((s, b, h, i, j) => flag && i > j ? s : flag || i > j ? s * 2 : s * 3),
            Same((s, b, h, i, j) => Math.Min(i, j) + Math.Max(b, h) + Math.Abs(i - j) + (float)s * 0 + int.MaxValue * 1e-9),
        ];
        (Expression<PairFunction> Lambda, PairFunction Compiled)[] conditions =
        [
            Same((b, h, i, j) => j <= i && i - j < window),
            ((b, h, i, j) => Document[b, i] == Document[b, j] || !(i != j) && h > 0, (b, h, i, j) => DocumentAt(b, i) == DocumentAt(b, j) || !(i != j) && h > 0),
            ((b, h, i, j) => (h == 1) == (i > j) && Table[h, i] >= 0.1f, (b, h, i, j) => (h == 1) == (i > j) && TableAt(h, i) >= 0.1f),
            ((b, h, i, j) => Seen[i, j] == true & flag | (i > j ^ h == 0), (b, h, i, j) => SeenAt(i, j) == true & flag | (i > j ^ h == 0)),
            ((b, h, i, j) => Seen[i, j] != flag, (b, h, i, j) => SeenAt(i, j) != flag),
            ((b, h, i, j) => Seen[i, j] == off, (b, h, i, j) => SeenAt(i, j) == off),
        ];
        var random = new Random(1);
        foreach ((Expression<ScoreFunction> lambda, ScoreFunction compiled) in modifications)
        {
            Node output = ScoreProgram.Identity.Then(lambda).Output;
            for (int trial = 0; trial < 300; trial++)
            {
                (int b, int h, int i, int j, double s) = (random.Next(2), random.Next(3), random.Next(50), random.Next(60), random.NextDouble() * 6 - 3);
                double expected = compiled(s, b, h, i, j), actual = Meaning.Evaluate(output, Load, s, b, h, i, j);
                Assert.True(Math.Abs(expected - actual) <= 2e-7 * (1 + Math.Abs(expected)), $"{lambda}: {actual} instead of {expected}");
            }
        }
        foreach ((Expression<PairFunction> lambda, PairFunction compiled) in conditions)
        {
            Node visible = ScoreProgram.Identity.Where(lambda).Visible;
            for (int trial = 0; trial < 300; trial++)
            {
                (int b, int h, int i, int j) = (random.Next(2), random.Next(3), random.Next(50), random.Next(60));
                Assert.True(compiled(b, h, i, j) == (Meaning.Evaluate(visible, Load, 0, b, h, i, j) != 0), $"{lambda} at {b}, {h}, {i}, {j}");
            }
        }
    }

    [Fact]
    public void ModificationsFollowOneAnotherAndConditionsAllHold()
    {
        double cap = 20;
        int window = 5;
        ScoreProgram program = ScoreProgram.Identity.Then((s, b, h, i, j) => s + Slopes[h] * (j - i)).Then((s, b, h, i, j) => cap * Math.Tanh(s / cap))
            .Where((b, h, i, j) => j <= i).Where((b, h, i, j) => i - j < window);
        Assert.Equal("(cap * Tanh(((s + (Slopes[h] * (j - i))) / cap)))", program.Output.ToString());
        Assert.Equal("((j <= i) && ((i - j) < window))", program.Visible.ToString());
        Assert.Same(Slopes, Assert.Single(program.Tensors));
        Assert.False(program.IsAdditive);
        Assert.False(program.OnlyHides);
        Assert.True(ScoreProgram.Identity.Then((s, b, h, i, j) => s + Slopes[h] * (j - i) - Table[h, i]).IsAdditive);
        Assert.False(ScoreProgram.Identity.Then((s, b, h, i, j) => Slopes[h]).IsAdditive);
        Assert.True(ScoreProgram.Identity is { OnlyHides: true, IsAdditive: true });
    }

    [Fact]
    public void WhatIsEqualIsMadeOnceAndWhatIsKnownIsNotComputed()
    {
        int window = 5;
        bool hasTable = false;
        RealTensor? none = null;
        Assert.Equal(5, Graph.Order(ScoreProgram.Identity.Then((s, b, h, i, j) => Math.Tanh(s * 2) + Math.Tanh(2 * s)).Output).Count);
        Assert.True(ScoreProgram.Identity.Then((s, b, h, i, j) => (s + 0) * 1 + (3 - 3) * i).OnlyHides);
        Assert.True(ScoreProgram.Identity.Then((s, b, h, i, j) => window > 3 ? s : Math.Exp(s)).OnlyHides);
        Assert.True(ScoreProgram.Identity.Then((s, b, h, i, j) => hasTable ? s + none![h] : s).OnlyHides);
        Assert.True(ScoreProgram.Identity.Then((s, b, h, i, j) => hasTable && none![h] > 0 ? 0 : s).OnlyHides);

        // Numbers that are captured are parameters under their names, literals are constants.
        Node output = ScoreProgram.Identity.Then((s, b, h, i, j) => s * _field + window / 2.0 + 0.25).Output;
        Assert.Equal("(((s * _field) + (window / 2)) + 0.25)", output.ToString());
        Assert.Equal(["_field", "(window / 2)"], Graph.Order(output).Where(node => node.Op == Op.Parameter).Select(node => (string)node.Tag!));
    }

    [Fact]
    public void WhatCannotBePartOfAProgramIsRefused()
    {
        float[] array = new float[3];
        float[,] matrix = new float[3, 3];
        string text = "x";
        long large = 1;
        decimal exact = 1;
        RealTensor? none = null;
        Func<double, double> function = x => x;
        Refuses((s, b, h, i, j) => s + Math.Cbrt(s), "'Math.Cbrt(s)'", "its functions are tanh", "clamp");
        Refuses((s, b, h, i, j) => s + array[h], "'array[h]'", "capture a tensor");
        Refuses((s, b, h, i, j) => s + matrix[h, i], "'matrix[h, i]'", "capture one");
        Refuses((s, b, h, i, j) => s + (int)s, "'(int)s'", "put the integers into a tensor, indexed by i - j");
        Refuses((s, b, h, i, j) => s + text.Substring(h).Length, "text.Substring(h).Length");
        Refuses((s, b, h, i, j) => s + large * i, "'(large * (long)i)'", "not long");
        Refuses((s, b, h, i, j) => s + (double)(i * exact), "decimal");
        Refuses((s, b, h, i, j) => s + (double)((long)i + j), "'((long)i + (long)j)'", "not long");
        Refuses((s, b, h, i, j) => s % 2, "'(s % 2)'", "no % of real numbers");
        Refuses((s, b, h, i, j) => s + Table[h], "Table[h]'", "2 dimensions, not 1");
        Refuses((s, b, h, i, j) => s + none![h], "'none[h]'", "none is null");
        Refuses((s, b, h, i, j) => function(s), "function");
        Refuses((s, b, h, i, j) => Math.Log(s, 2), "'Math.Log(s, 2)'");
        Refuses((s, b, h, i, j) => (i & j) == 0 ? s : 0, "'(i & j)'", "no & of integers");
        Refuses((s, b, h, i, j) => ~i + s, "no Not of int|no OnesComplement of int");
        Refuses((s, b, h, i, j) => Own(i), "'this.Own(i)'");
        foreach (float[] inner in new[] { array }) // a closure in a closure, and this in it
        {
            Refuses((s, b, h, i, j) => s + inner[h] + array[h] + _field, "'inner[h]'");
            Refuses((s, b, h, i, j) => inner.Length + array.Length + Own(i + _field) + s, "'this.Own((i + _field))'");
            Refuses((s, b, h, i, j) => function(s) + inner.Length, "'Invoke(function, s)'");
            Assert.Equal("(s + (inner.Length + _field))", ScoreProgram.Identity.Then((s, b, h, i, j) => s + (double)(inner.Length + _field)).Output.ToString());
        }
        string message = Assert.Throws<NotSupportedException>(() => ScoreProgram.Identity.Where((b, h, i, j) => array[i] > 0 && j < i)).Message;
        Assert.Contains("'array[i]'", message);
        Assert.Throws<ArgumentNullException>(() => ScoreProgram.Identity.Then((Expression<ScoreFunction>)null!));
        Assert.Throws<ArgumentNullException>(() => ScoreProgram.Identity.Where(null!));
        Assert.Throws<ArgumentNullException>(() => ScoreProgram.Identity.Then((ScoreProgram)null!));

        static void Refuses(Expression<ScoreFunction> lambda, params string[] words)
        {
            string message = Assert.Throws<NotSupportedException>(() => ScoreProgram.Identity.Then(lambda)).Message;
            foreach (string word in words)
                Assert.True(word.Split('|').Any(message.Contains), $"{word} is not in: {message}");
            Assert.DoesNotContain("DisplayClass", message);
            Assert.DoesNotContain("value(", message);
            Assert.DoesNotContain("<>", message);
        }
    }

    private double Own(int x) => x + _field;

    [ScoreFunction]
    private static double tanh(double x) => Math.Tanh(x);

    private static (Expression<ScoreFunction>, ScoreFunction) Same(Expression<ScoreFunction> lambda) => (lambda, lambda.Compile());

    private static (Expression<PairFunction>, PairFunction) Same(Expression<PairFunction> lambda) => (lambda, lambda.Compile());

    private static double SlopeAt(int a) => Math.Sin(a + 1);

    private static double TableAt(int a, int b) => Math.Cos(3 * a + b);

    private static int DocumentAt(int a, int b) => (a + b) / 7;

    private static bool SeenAt(int a, int b) => (a * b) % 3 == 0;

    private static double Load(ScoreTensor tensor, int[] x) =>
        tensor == Slopes ? SlopeAt(x[0]) : tensor == Table ? TableAt(x[0], x[1]) : tensor == Document ? DocumentAt(x[0], x[1]) : SeenAt(x[0], x[1]) ? 1 : 0;
}
