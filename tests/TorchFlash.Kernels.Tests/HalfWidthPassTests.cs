using TorchFlash.Kernels.Cpu;
using TorchFlash.Kernels.Cpu.Assembled;
using TorchFlash.Kernels.Scores;
using TorchFlash.Kernels.Tests.Support;

namespace TorchFlash.Kernels.Tests;

/// <summary>The passes over 16-bit operands: against the reference, and against the float32 passes over the same numbers.</summary>
public class HalfWidthPassTests
{
    private static readonly ElementType[] Types = [ElementType.BFloat16, ElementType.Float16];

    private static readonly RealTensor s_slopes = new(null, 4), s_bias = new(null, 1, 4, 70, 131);
    private static readonly IntTensor s_documents = new(null, 2, 131);

    /// <summary>ALiBi, a cap and a bias, of documents.</summary>
    private static ScoreProgram Everything => ScoreProgram.Identity.Then((s, b, h, i, j) => 3 * Math.Tanh((s + s_slopes[h] * (j - i) * 0.01) / 3) + s_bias[0, h, i, j])
        .Where((b, h, i, j) => s_documents[b, i] == s_documents[b, j]);

    private static ScoreProgram Alibi => ScoreProgram.Identity.Then((s, b, h, i, j) => s + s_slopes[h] * (j - i) * 0.01);

    private static ScoreProgram Window => ScoreProgram.Identity.Where((b, h, i, j) => j - i <= 9 && i - j <= 21);

    private static ScoreOptions Options => new()
    {
        WithLogSumExpGradient = true,
        Values = (tensor, index) => tensor.Kind == ScoreKind.Int ? index[1] / 50 : Math.Sin(1 + index[^1] + 7 * index[0]),
    };

    public static TheoryData<int> SmallSizes => [.. Enumerable.Range(1, 70)];

    public static TheoryData<int, int> OddSizes => new() { { 97, 113 }, { 113, 97 }, { 203, 257 }, { 257, 1 }, { 1, 257 }, { 1023, 113 }, { 97, 1025 } };

    public static TheoryData<int> HeadDims => [1, 2, 8, 31, 32, 40, 59, 64, 80, 96, 111, 128, 160, 192, 256];

    public static TheoryData<string> Features => [.. s_features.Keys];

    private static readonly Dictionary<string, AttentionProblem> s_features = new()
    {
        ["full"] = Problem(203, 257, 64),
        ["causal"] = Problem(400, 500, 40, CausalMask.BottomRight),
        ["odd dimensions"] = Problem(130, 145, 41, CausalMask.TopLeft) with { ValueDim = 23 },
        ["grouped heads"] = Problem(150, 200, 24, CausalMask.TopLeft) with { Batch = 2, Heads = 6, KeyHeads = 2 },
        ["one head of key"] = Problem(150, 201, 32) with { Heads = 4, KeyHeads = 1 },
        ["negative scale"] = Problem(70, 131, 24) with { Scale = -0.3 },
        ["program"] = Problem(70, 131, 24) with { Batch = 2, Heads = 4, Score = Everything },
        ["additive program"] = Problem(70, 131, 24) with { Heads = 4, Score = Alibi },
        ["window"] = Problem(300, 290, 24) with { Score = Window },
        ["window and dropout"] = Problem(300, 290, 24) with { Score = Window, Dropout = 0.3, DropoutSeed = 5 },
        ["sinks"] = Problem(70, 131, 24, CausalMask.TopLeft) with { Heads = 4, HasSinks = true },
        ["dropout"] = Problem(131, 201, 33) with { Dropout = 0.25, DropoutSeed = 3 },
        ["all of it"] = Problem(70, 131, 24, CausalMask.BottomRight) with { Batch = 2, Heads = 4, KeyHeads = 2, Score = Everything, HasSinks = true, Dropout = 0.25, DropoutSeed = 9 },
        ["no key"] = Problem(5, 0, 8) with { HasSinks = true },
        ["no query"] = Problem(0, 5, 8),
        ["queries that see nothing"] = Problem(300, 100, 8, CausalMask.BottomRight),
    };

    [Theory]
    [MemberData(nameof(SmallSizes))]
    public void EverySmallLength(int n)
    {
        int d = 1 + n * 7 % 24;
        foreach ((int nq, int nk) in new[] { (n, n), (n, 71 - n), (70, n) })
            Check(Problem(nq, nk, d, (CausalMask)(n % 3)));
    }

    [Theory]
    [MemberData(nameof(OddSizes))]
    public void OddLengths(int nq, int nk)
    {
        foreach (CausalMask mask in Enum.GetValues<CausalMask>())
            Check(Problem(nq, nk, 40, mask));
    }

    [Theory]
    [MemberData(nameof(HeadDims))]
    public void EveryHeadDim(int d)
    {
        Check(Problem(70, 83, d));
        Check(Problem(37, 41, d, CausalMask.TopLeft) with { ValueDim = 71 });
        Check(Problem(41, 37, 25, CausalMask.BottomRight) with { ValueDim = d });
    }

    /// <summary>Pages that may not be touched at both ends, gaps that may not be written, rows at odd addresses.</summary>
    [Theory]
    [InlineData(Layout.Interleaved)]
    [InlineData(Layout.Padded)]
    [InlineData(Layout.Misaligned)]
    [InlineData(Layout.Odd)]
    [InlineData(Layout.Reversed)]
    [InlineData(Layout.PageStart)]
    [InlineData(Layout.PageEnd)]
    [InlineData(Layout.SharedHeads)]
    public void Layouts(Layout layout)
    {
        Layout outputs = layout.IsWritable() ? layout : Layout.Contiguous;
        foreach ((int nq, int nk, int d, int dv) in new[] { (33, 47, 16, 16), (5, 1, 3, 5), (97, 100, 41, 18), (6, 12, 64, 32), (1, 6, 1, 1) })
            Check(Problem(nq, nk, d, CausalMask.TopLeft) with { ValueDim = dv, Batch = 2, Heads = 2 }, layout, outputs);
    }

    [Theory]
    [MemberData(nameof(Features))]
    public void EveryFeature(string feature)
    {
        Func<int, int, int, int, bool> keep = (b, h, i, j) => Dropout.Keeps(s_features[feature].DropoutSeed, s_features[feature].Dropout, b, h, i, j);
        foreach (bool perHead in new[] { false, true })
            Check(s_features[feature], options: Options with { WithHeadWeights = perHead, Keep = keep });
    }

    /// <summary>Equal bits whatever the number of threads.</summary>
    [Theory]
    [MemberData(nameof(Features))]
    public void AnyNumberOfThreads(string feature)
    {
        foreach (ElementType type in Types)
        {
            // Enough work for a second thread.
            using var attention = new DeviceCase(new HostMemory(), s_features[feature] with { ElementType = type, HeadDim = 32 + s_features[feature].HeadDim }, scores: Options);
            Dictionary<string, double[]> expected = attention.Run(CpuEngine.Instance, Passes.All, threads: 1).Results();
            foreach (int threads in new[] { 2, 3, 8 })
            {
                attention.PoisonOutputs();
                foreach ((string name, double[] result) in attention.Run(CpuEngine.Instance, Passes.All, threads: threads).Results())
                    Accuracy.AssertBitwiseEqual($"{name} of {attention}, {threads} threads", expected[name], result);
            }
        }
    }

    /// <summary>Where products are of float32, results are those of float32 operands with the same values, rounded once.</summary>
    [Theory]
    [MemberData(nameof(Features))]
    public void RoundedFloat32(string feature)
    {
        foreach (ElementType type in Types)
            foreach (CpuEngine engine in Engines.Widths.Select(engine => new CpuEngine(new VectorWidth(engine.VectorBits, "for a test"), engine.Plan, isAssembled: false)))
            {
                using var half = new DeviceCase(new HostMemory(), s_features[feature] with { ElementType = type }, scores: Options);
                using var single = new DeviceCase(new HostMemory(), s_features[feature] with { ElementType = ElementType.Float32 }, scores: Options);
                single.Query.Fill(half.Query.ToArray());
                single.Key.Fill(half.Key.ToArray());
                single.Value.Fill(half.Value.ToArray());
                single.OutputGradient.Fill(half.OutputGradient.ToArray());
                half.Run(engine, Passes.All);
                single.Run(engine, Passes.Forward | Passes.Weights);
                AssertRounded("O", single.Output, half.Output);
                AssertRounded("weights", single.Weights, half.Weights);
                single.Output.Fill(half.Output.ToArray()); // delta is that of O as the caller has it
                engine.Backward(single.Problem, single.BackwardArguments(engine));
                foreach (((string name, Operand expected), (_, Operand actual)) in single.Outputs.Zip(half.Outputs))
                    AssertRounded(name, expected, actual);

                void AssertRounded(string name, Operand expected, Operand actual)
                {
                    ElementType to = name is "m" or "l" || name.StartsWith("ds", StringComparison.Ordinal) || name.StartsWith("dt", StringComparison.Ordinal) ? ElementType.Float32 : type;
                    Accuracy.AssertBitwiseEqual($"{name} of {half}, {engine.VectorBits} bits", Array.ConvertAll(expected.ToArray(), x => to.Round(x)), actual.ToArray());
                }
            }
    }

    /// <summary>Infinities, NaN, numbers below the normal ones and results beyond the largest one.</summary>
    [Fact]
    public void SpecialValues()
    {
        foreach (CpuEngine engine in Engines.Widths)
        {
            foreach (ElementType type in Types)
            {
                using var attention = new DeviceCase(new HostMemory(), Problem(20, 33, 9) with { ElementType = type });
                attention.Value.Set(0, 0, 32, 3, double.NaN);
                attention.Query.Set(0, 0, 7, 2, double.NaN);
                attention.Run(engine);
                double[] o = attention.Output.ToArray();
                for (int i = 0; i < 20; i++)
                    for (int x = 0; x < 9; x++)
                        Assert.True(double.IsNaN(o[i * 9 + x]) == (x == 3 || i == 7), $"O[{i}, {x}] is {o[i * 9 + x]}");

                attention.Query.Fill(() => 1);
                attention.Value.Fill(() => double.PositiveInfinity);
                attention.Run(engine, Passes.Forward);
                Assert.All(attention.Output.ToArray(), x => Assert.Equal(double.PositiveInfinity, x));
            }

            // The smallest number: a sum of many is one of them; and gradients too large for the type are infinite.
            using var small = new DeviceCase(new HostMemory(), Problem(20, 33, 9) with { ElementType = ElementType.Float16 });
            small.Value.Fill(() => Math.ScaleB(3, -24));
            small.Key.Fill(() => Math.ScaleB(1, -24));
            small.OutputGradient.Fill(() => 60000);
            small.Run(engine);
            Assert.All(small.Output.ToArray(), x => Assert.Equal(Math.ScaleB(3, -24), x));
            Assert.All(small.ValueGradient.ToArray(), x => Assert.Equal(36352, x)); // 60000 * 20 / 33, rounded
            small.Key.Fill(() => 0);
            using var one = new DeviceCase(new HostMemory(), Problem(20, 1, 9) with { ElementType = ElementType.Float16 });
            one.OutputGradient.Fill(() => -60000);
            one.Run(engine);
            Assert.All(one.ValueGradient.ToArray(), x => Assert.Equal(double.NegativeInfinity, x));
        }
    }

    /// <summary>Products of pairs are what bfloat16 gets where the processor has them, and what it says.</summary>
    [Fact]
    public void PairsWhereThereAreSome()
    {
        AttentionProblem problem = Problem(64, 96, 32) with { ElementType = ElementType.BFloat16 };
        using var attention = new DeviceCase(new HostMemory(), problem);
        double[] with = attention.Run(CpuEngine.Instance).Sum.ToArray(), without = attention.Run(new CpuEngine(new VectorWidth(CpuEngine.Instance.VectorBits, "for a test"), CpuEngine.Instance.Plan, isAssembled: false)).Sum.ToArray();
        Assert.Equal(CpuEngine.Instance.VectorBits == 512 && PairTile.Instance.Refusal is null, !with.SequenceEqual(without));
        Assert.Contains(PairTile.Instance.Describe(), CpuEngine.Instance.Describe(), StringComparison.Ordinal);
    }

    public static TheoryData<ElementType, CausalMask, int> Positions
    {
        get
        {
            var data = new TheoryData<ElementType, CausalMask, int>();
            foreach (ElementType type in Types)
                foreach (CausalMask mask in Enum.GetValues<CausalMask>())
                    foreach (int position in new[] { 0, 5, 95, 96, 201, 299 })
                        data.Add(type, mask, position);
            return data;
        }
    }

    /// <summary>
    /// NaN in one element of an input reaches what is connected with it through the mask, and of the rest at most what shares a tile with that.
    /// </summary>
    [Theory]
    [MemberData(nameof(Positions))]
    public void NaNStaysWhereItBelongs(ElementType type, CausalMask mask, int at)
    {
        AttentionProblem problem = Problem(300, 320, 10, mask) with { ElementType = type };
        foreach (CpuEngine engine in Engines.Widths)
        {
            TileSizes tile = engine.Plan.Backward(problem);
            using var clean = new DeviceCase(new HostMemory(), problem).Run(engine);
            bool[] seers = [.. Enumerable.Range(0, 300).Select(i => at < Reference<double>.VisibleKeys(problem, i))], only = [.. Enumerable.Range(0, 300).Select(i => i == at)];
            Check(a => a.Key, seers, isExactO: true);
            Check(a => a.Value, seers, isExactO: false);
            Check(a => a.Query, only, isExactO: true);
            Check(a => a.OutputGradient, only, isExactO: true);

            void Check(Func<DeviceCase, Operand> operand, bool[] rows, bool isExactO)
            {
                using var dirty = new DeviceCase(new HostMemory(), problem);
                operand(dirty).Set(0, 0, at, 3, double.NaN);
                dirty.Run(engine).AssertMemoryIntact();
                bool isQuerySide = ReferenceEquals(rows, only);
                int last = Enumerable.Range(0, 300).Where(i => rows[i]).Select(i => Reference<double>.VisibleKeys(problem, i)).DefaultIfEmpty().Max();
                bool[] near = isQuerySide ? rows : InTilesOf(rows, tile.Queries);
                int nearLast = Enumerable.Range(0, 300).Where(i => near[i]).Select(i => Reference<double>.VisibleKeys(problem, i)).DefaultIfEmpty().Max();
                bool[] keys = InTilesOf([.. Enumerable.Range(0, 320).Select(j => j < nearLast)], tile.Keys);
                AssertEqualOutside("O", clean.Output, dirty.Output, isExactO ? rows : near);
                AssertEqualOutside("dQ", clean.QueryGradient, dirty.QueryGradient, near);
                AssertEqualOutside("dK", clean.KeyGradient, dirty.KeyGradient, keys);
                AssertEqualOutside("dV", clean.ValueGradient, dirty.ValueGradient, keys);
                double[] dQ = dirty.QueryGradient.ToArray(), dK = dirty.KeyGradient.ToArray();
                for (int i = 0; i < 300; i++)
                    Assert.True(!rows[i] || Reference<double>.VisibleKeys(problem, i) == 0 || double.IsNaN(dQ[i * 10]), $"dQ of row {i} is {dQ[i * 10]}");
                for (int j = 0; j < last; j++)
                    Assert.True(double.IsNaN(dK[j * 10]), $"dK of key {j} is {dK[j * 10]}");
            }
        }

        static bool[] InTilesOf(bool[] touched, int size) => [.. Enumerable.Range(0, touched.Length).Select(n => touched.Skip(n / size * size).Take(size).Any(t => t))];

        static void AssertEqualOutside(string name, Operand clean, Operand dirty, bool[] touched)
        {
            double[] expected = clean.ToArray(), actual = dirty.ToArray();
            for (int k = 0; k < expected.Length; k++)
                Assert.True(touched[k / 10] || expected[k].Equals(actual[k]), $"{name}[{k / 10}, {k % 10}] became {actual[k]}, was {expected[k]}");
        }
    }

    private static AttentionProblem Problem(int nq, int nk, int d, CausalMask mask = CausalMask.None) => new()
    {
        Batch = 1,
        Heads = 1,
        QueryLength = nq,
        KeyLength = nk,
        HeadDim = d,
        ValueDim = d,
        Scale = AttentionProblem.DefaultScale(d),
        Causal = mask,
    };

    private static void Check(AttentionProblem problem, Layout inputs = Layout.Contiguous, Layout outputs = Layout.Contiguous, ScoreOptions? options = null)
    {
        foreach (ElementType type in Types)
        {
            using var attention = new DeviceCase(new HostMemory(), problem with { ElementType = type }, inputs, outputs, scores: options);
            foreach (CpuEngine engine in Engines.Widths)
            {
                attention.PoisonOutputs();
                attention.Run(engine, Passes.All, threads: 2).AssertResults(Passes.All);
            }
        }
    }
}
