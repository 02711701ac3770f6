using TorchFlash.Kernels.Cpu;
using TorchFlash.Kernels.Scores;
using TorchFlash.Kernels.Tests.Support;

namespace TorchFlash.Kernels.Tests.Scores;

/// <summary>
/// The passes with everything that can happen to a score, in double: the output, m, l and the weights against the definition pair by pair,
/// every gradient against central differences of the fused forward pass.
/// </summary>
public sealed unsafe class ScorePassTests
{
    private const int Batch = 2, Heads = 2, Dim = 3, ValueDim = 4;

    private static ScoreProgram Program(Func<Graph, Node, Node?> output, Func<Graph, Node?>? visible = null)
        => ScoreProgram.Build(g => output(g, g.Leaf(Op.Score)), visible ?? (_ => null));

    private static readonly RealTensor s_slopes = new(null, Heads), s_table = new(null, Heads, 400), s_temperature = new(null, 1), s_keyBias = new(null, 1, Heads, 1, 131), s_pairBias = new(null, 1, 1, 97, 131);
    private static readonly IntTensor s_documents = new(null, Batch, 131), s_layout = new(null, Heads, 20, 20);
    private static readonly BoolTensor s_mask = new(null, 97, 131);

    private static Node J(Graph g) => g.Leaf(Op.Key);

    private static Node I(Graph g) => g.Leaf(Op.Query);

    private static Node JMinusI(Graph g) => g.Apply(Op.Subtract, J(g), I(g));

    private static Node Softcap(Graph g, Node s) => g.Apply(Op.Multiply, g.Parameter(ScoreKind.Real, 0.8, "cap"), g.Apply(Op.Tanh, g.Apply(Op.Divide, s, g.Parameter(ScoreKind.Real, 0.8, "cap"))));

    private static Node Window(Graph g, int left, int right) => g.Apply(Op.And,
        g.Apply(Op.LessOrEqual, g.Apply(Op.Subtract, I(g), J(g)), g.Int(left)), g.Apply(Op.LessOrEqual, JMinusI(g), g.Int(right)));

    private static Node SameDocument(Graph g) => g.Apply(Op.Equal, g.Load(s_documents, g.Leaf(Op.Batch), I(g)), g.Load(s_documents, g.Leaf(Op.Batch), J(g)));

    private static Node Table(Graph g) => g.Load(s_table, g.Leaf(Op.Head), g.Apply(Op.Add, JMinusI(g), g.Int(150)));

    /// <summary>s / sqrt(i - j + 1): infinite or NaN for later keys, and so is its derivative.</summary>
    private static Node Decay(Graph g, Node s) => g.Apply(Op.Divide, s, g.Apply(Op.Sqrt, g.Apply(Op.ToReal, g.Apply(Op.Add, g.Apply(Op.Subtract, I(g), J(g)), g.Int(1)))));

    private static readonly Dictionary<string, ScoreProgram?> s_programs = new()
    {
        ["none"] = null,
        ["alibi"] = Program((g, s) => g.Apply(Op.Add, s, g.Apply(Op.Multiply, g.Load(s_slopes, g.Leaf(Op.Head)), g.Apply(Op.ToReal, JMinusI(g))))),
        ["softcap"] = Program((g, s) => Softcap(g, s)),
        ["softcap of a shared temperature"] = Program((g, s) => Softcap(g, g.Apply(Op.Multiply, s, g.Load(s_temperature, g.Int(0))))),
        ["table"] = Program((g, s) => g.Apply(Op.Add, s, Table(g))),
        ["window"] = Program((_, _) => null, g => Window(g, 20, 7)),
        ["window without a middle"] = Program((_, _) => null, g => Window(g, -30, 40)),
        ["documents"] = Program((_, _) => null, SameDocument),
        ["layout"] = Program((_, _) => null, g => g.Apply(Op.Less, g.Int(0), g.Load(s_layout, g.Leaf(Op.Head), g.Apply(Op.Divide, I(g), g.Int(8)), g.Apply(Op.Divide, J(g), g.Int(8))))),
        ["mask"] = Program((_, _) => null, g => g.Load(s_mask, I(g), J(g))),
        ["key bias"] = Program((g, s) => g.Apply(Op.Add, s, g.Load(s_keyBias, g.Int(0), g.Leaf(Op.Head), g.Int(0), J(g)))),
        ["pair bias"] = Program((g, s) => g.Apply(Op.Add, s, g.Load(s_pairBias, g.Int(0), g.Int(0), I(g), J(g)))),
        ["decay that is no number where hidden"] = Program((g, s) => Decay(g, s), g => g.Apply(Op.LessOrEqual, J(g), I(g))),
        ["learned decay that is no number where hidden"] = Program(
            (g, s) => g.Apply(Op.Multiply, Decay(g, s), g.Load(s_temperature, g.Int(0))), g => g.Apply(Op.And, g.Apply(Op.LessOrEqual, J(g), I(g)), SameDocument(g))),
        ["everything"] = Program(
            (g, s) => Softcap(g, g.Apply(Op.Add, g.Apply(Op.Add, s, Table(g)), g.Load(s_pairBias, g.Int(0), g.Int(0), I(g), J(g)))), g => g.Apply(Op.And, Window(g, 60, 30), SameDocument(g))),
    };

    public static TheoryData<string, int, int, bool, double, CausalMask> Cases()
    {
        var data = new TheoryData<string, int, int, bool, double, CausalMask>();
        foreach (string name in s_programs.Keys)
        {
            foreach ((int nq, int nk) in new[] { (70, 131), (97, 61) })
            {
                data.Add(name, nq, nk, false, 0, CausalMask.None);
                data.Add(name, nq, nk, true, 0.3, CausalMask.BottomRight);
            }
            data.Add(name, 97, 131, true, 0, CausalMask.TopLeft);
        }
        return data;
    }

    [Theory, MemberData(nameof(Cases))]
    public void AgreesWithTheDefinition(string program, int nq, int nk, bool hasSinks, double dropout, CausalMask causal)
    {
        foreach (int bits in Engines.Widths.Select(engine => engine.VectorBits))
        {
            using var a = new Attention(s_programs[program], nq, nk, hasSinks, dropout, causal, keyHeads: 1);
            a.Forward(new CpuEngine(bits));
            for (int head = 0; head < Batch * Heads; head++)
                for (int i = 0; i < nq; i++)
                    a.CheckRow(head, i, $"{program} {bits} bits, head {head}, query {i}");
        }
    }

    [Theory, MemberData(nameof(Cases))]
    public void GradientsAreThoseOfTheForwardPass(string program, int nq, int nk, bool hasSinks, double dropout, CausalMask causal)
    {
        foreach (int bits in Engines.Widths.Select(engine => engine.VectorBits))
        {
            var engine = new CpuEngine(bits);
            using var a = new Attention(s_programs[program], nq, nk, hasSinks, dropout, causal, keyHeads: 2);
            a.Forward(engine);
            a.Backward(engine, threads: 3);
            var random = new Random(5);
            foreach ((string name, double[] x, double[] gradient) in a.Differentiable())
            {
                for (int trial = 0; trial < 6; trial++)
                {
                    int at = random.Next(x.Length);
                    double before = x[at], step = 1e-5;
                    double Loss(double value)
                    {
                        x[at] = value;
                        a.Forward(engine);
                        return a.Loss();
                    }
                    double difference = (Loss(before + step) - Loss(before - step)) / (2 * step);
                    x[at] = before;
                    Assert.True(Math.Abs(difference - gradient[at]) < 2e-7 * (1 + Math.Abs(gradient[at])), $"{program} {bits} bits: d{name}[{at}] = {gradient[at]}, difference {difference}");
                }
            }
        }
    }

    [Theory, MemberData(nameof(Cases))]
    public void BitsDoNotDependOnThreads(string program, int nq, int nk, bool hasSinks, double dropout, CausalMask causal)
    {
        double[][] Run(int threads)
        {
            using var a = new Attention(s_programs[program], nq, nk, hasSinks, dropout, causal, keyHeads: 1);
            a.Forward(CpuEngine.Instance, threads);
            a.Backward(CpuEngine.Instance, threads);
            return [.. a.Differentiable().Select(x => (double[])x.Gradient.Clone()), (double[])a.Output.Clone()];
        }
        double[][] one = Run(1);
        foreach (int threads in new[] { 2, 3, 8 })
            Assert.Equal(one, Run(threads));
    }

    /// <summary>One attention in managed arrays.</summary>
    private sealed class Attention : IDisposable
    {
        private readonly AttentionProblem _problem;
        private readonly Dictionary<ScoreTensor, Array> _tensors = [];
        private readonly Dictionary<ScoreTensor, double[]> _tensorGradients = [];
        private readonly double[] _q, _k, _v, _m, _l, _sinks, _dO, _dLse, _dQ, _dK, _dV, _dSinks;
        private readonly List<System.Runtime.InteropServices.GCHandle> _pins = [];

        public double[] Output { get; }

        public Attention(ScoreProgram? program, int nq, int nk, bool hasSinks, double dropout, CausalMask causal, int keyHeads)
        {
            var random = new Random(3);
            double[] Some(int n) => [.. Enumerable.Range(0, n).Select(_ => random.NextDouble() * 4 - 2)];
            _problem = new AttentionProblem
            {
                Batch = Batch,
                Heads = Heads,
                KeyHeads = keyHeads,
                QueryLength = nq,
                KeyLength = nk,
                HeadDim = Dim,
                ValueDim = ValueDim,
                Scale = 0.6,
                ElementType = ElementType.Float64,
                Causal = causal,
                Score = program,
                HasSinks = hasSinks,
                Dropout = dropout,
                DropoutSeed = 0x123456789ABCDEF,
            };
            (_q, _k, _v) = (Some(Batch * Heads * nq * Dim), Some(Batch * keyHeads * nk * Dim), Some(Batch * keyHeads * nk * ValueDim));
            (Output, _m, _l, _sinks) = (new double[Batch * Heads * nq * ValueDim], new double[Batch * Heads * nq], new double[Batch * Heads * nq], Some(Heads));
            (_dO, _dLse) = (Some(Output.Length), Some(_m.Length));
            (_dQ, _dK, _dV, _dSinks) = (new double[_q.Length], new double[_k.Length], new double[_v.Length], new double[Heads]);
            foreach (ScoreTensor tensor in program?.Tensors ?? [])
            {
                int size = tensor.Shape.Aggregate(1, (x, y) => x * y);
                _tensors[tensor] = tensor switch
                {
                    RealTensor => Some(size),
                    IntTensor when tensor == s_documents => Enumerable.Range(0, size).Select(x => (long)(x % 131 / 37)).ToArray(),
                    IntTensor => Enumerable.Range(0, size).Select(_ => (long)random.Next(2)).ToArray(),
                    _ => Enumerable.Range(0, size).Select(_ => (byte)(random.Next(3) > 0 ? 1 : 0)).ToArray(),
                };
                if (tensor is RealTensor)
                    _tensorGradients[tensor] = new double[size];
            }
        }

        public IEnumerable<(string Name, double[] X, double[] Gradient)> Differentiable()
        {
            yield return ("Q", _q, _dQ);
            yield return ("K", _k, _dK);
            yield return ("V", _v, _dV);
            if (_problem.HasSinks)
                yield return ("sinks", _sinks, _dSinks);
            foreach ((ScoreTensor tensor, double[] gradient) in _tensorGradients)
                yield return ("tensor", (double[])_tensors[tensor], gradient);
        }

        public void Forward(CpuEngine engine, int threads = 1) => engine.Forward(
            _problem,
            new ForwardArguments { Query = View(_q, Heads, Dim), Key = View(_k, KeyHeads, Dim), Value = View(_v, KeyHeads, ValueDim), Output = View(Output, Heads, ValueDim), Statistics = new(Pin(_m), Pin(_l)), ScoreTensors = Tensors(), Sinks = Pin(_sinks) },
            new ExecutionOptions { Threads = threads });

        public void Backward(CpuEngine engine, int threads) => engine.Backward(
            _problem,
            new BackwardArguments
            {
                Query = View(_q, Heads, Dim),
                Key = View(_k, KeyHeads, Dim),
                Value = View(_v, KeyHeads, ValueDim),
                Output = View(Output, Heads, ValueDim),
                OutputGradient = View(_dO, Heads, ValueDim),
                Statistics = new(Pin(_m), Pin(_l)),
                QueryGradient = View(_dQ, Heads, Dim),
                KeyGradient = View(_dK, KeyHeads, Dim),
                ValueGradient = View(_dV, KeyHeads, ValueDim),
                ScoreTensors = Tensors(),
                ScoreTensorGradients = [.. (_problem.Score?.Tensors ?? []).Select(x => _tensorGradients.TryGetValue(x, out double[]? gradient) ? Pin(gradient) : 0)],
                Sinks = Pin(_sinks),
                SinkGradient = _problem.HasSinks ? Pin(_dSinks) : 0,
                LogSumExpGradient = Pin(_dLse),
            },
            new ExecutionOptions { Threads = threads });

        /// <summary>sum of dO o O and of dLSE o LSE.</summary>
        public double Loss() => Output.Zip(_dO, (x, y) => x * y).Sum() + Enumerable.Range(0, _m.Length).Sum(i => _l[i] == 0 ? 0 : LogSumExp(i) * _dLse[i]);

        private double LogSumExp(int row) => _m[row] * (_problem.Score is { OnlyHides: false } ? 1 : _problem.Scale) + Math.Log(_l[row]);

        public void CheckRow(int head, int i, string where)
        {
            (int b, int h, int nk) = (head / Heads, head % Heads, _problem.KeyLength);
            int keyHead = b * KeyHeads + h / (Heads / KeyHeads), row = head * _problem.QueryLength + i;
            var scores = new double[nk + 1];
            for (int j = 0; j < nk; j++)
            {
                double s = 0;
                for (int x = 0; x < Dim; x++)
                    s += _q[row * Dim + x] * _k[(keyHead * nk + j) * Dim + x];
                s *= _problem.Scale;
                bool exists = j <= (long)i + _problem.DiagonalOffset && (_problem.Score is null || Meaning.Evaluate(_problem.Score.Visible, Element, s, b, h, i, j) != 0);
                scores[j] = exists ? _problem.Score is null ? s : Meaning.Evaluate(_problem.Score.Output, Element, s, b, h, i, j) : double.NegativeInfinity;
            }
            scores[nk] = _problem.HasSinks ? _sinks[h] : double.NegativeInfinity;
            double max = scores.Max(), sum = scores.Sum(s => double.IsNegativeInfinity(max) ? 0 : Math.Exp(s - max));
            Assert.Equal(sum == 0 ? double.NegativeInfinity : max + Math.Log(sum), _l[row] == 0 ? double.NegativeInfinity : LogSumExp(row), 1e-12);
            for (int x = 0; x < ValueDim; x++)
            {
                double o = 0;
                for (int j = 0; j < nk && sum > 0; j++)
                {
                    if (Dropout.Keeps(_problem.DropoutSeed, _problem.Dropout, b, h, i, j))
                        o += Math.Exp(scores[j] - max) / sum / (1 - _problem.Dropout) * _v[(keyHead * nk + j) * ValueDim + x];
                }
                Assert.True(Math.Abs(o - Output[row * ValueDim + x]) < 1e-12, $"{where}: {Output[row * ValueDim + x]} for {o}");
            }
        }

        private int KeyHeads => _problem.KeyHeadCount;

        private double Element(ScoreTensor tensor, int[] index)
        {
            int at = 0;
            for (int d = 0; d < index.Length; d++)
                at = at * tensor.Shape[d] + index[d];
            return Convert.ToDouble(_tensors[tensor].GetValue(at), System.Globalization.CultureInfo.InvariantCulture);
        }

        private CapturedView[] Tensors() => [.. (_problem.Score?.Tensors ?? []).Select(tensor =>
        {
            long[] strides = new long[4];
            long next = 1;
            for (int d = tensor.Shape.Count - 1; d >= 0; d--)
                (strides[d], next) = (next, next * tensor.Shape[d]);
            return new CapturedView(Pin(_tensors[tensor]), strides[0], strides[1], strides[2], strides[3]);
        })];

        private TensorView View(double[] x, int heads, int width) => new(Pin(x), x.Length / Batch, x.Length / Batch / heads, width);

        private nint Pin(Array x)
        {
            var pin = System.Runtime.InteropServices.GCHandle.Alloc(x, System.Runtime.InteropServices.GCHandleType.Pinned);
            _pins.Add(pin);
            return pin.AddrOfPinnedObject();
        }

        public void Dispose() => _pins.ForEach(pin => pin.Free());
    }
}
