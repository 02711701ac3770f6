using TorchFlash.Gpu.Device;
using TorchFlash.Kernels;
using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Gpu.Verify;

/// <summary>One result against the truth.</summary>
/// <param name="Name">O, lse, dQ, dK, dV, W.</param>
/// <param name="Error">Largest |x - truth|.</param>
/// <param name="Bar">What it may be.</param>
internal sealed record Comparison(string Name, double Error, double Bar)
{
    public bool Passed => Error <= Bar; // NaN fails
}

/// <summary>A case and what came of it.</summary>
internal sealed record CaseResult(string Case, IReadOnlyList<Comparison> Comparisons, IReadOnlyList<string> Failures)
{
    public bool Passed => Failures.Count == 0 && Comparisons.All(c => c.Passed);
}

/// <summary>
/// Runs a case on the GPU's own memory, forward, backward and averaged weights, and holds it against the definition in double. The bar is
/// that of FlashAttention's own tests: twice the error of the naive computation in the type, and twice the rounding of the result.
/// </summary>
internal static class Verification
{
    public static CaseResult Run(EngineSet engines, VerifyCase test, int seed)
    {
        List<string> failures = [];
        List<Comparison> comparisons = [];
        try
        {
            engines.Gpu.Enter();
            using var run = new CaseRun(engines.Gpu, test, seed);
            CudaEngine engine = engines.Of(test.Family);
            HostResult truth = run.Host<double, Unrounded>();
            HostResult naive = run.Naive();
            byte[][]? first = null;
            foreach (bool deterministic in (bool[])[false, true])
            {
                run.Reset();
                run.Run(engine, deterministic);
                run.Compare(truth, naive, deterministic ? " (deterministic)" : "", comparisons);
                failures.AddRange(run.StrayWrites());
                if (deterministic)
                    first = run.Bits();
            }
            run.Reset();
            run.Run(engine, deterministic: true);
            byte[][] second = run.Bits();
            for (int i = 0; i < second.Length; i++)
                if (!second[i].AsSpan().SequenceEqual(first![i]))
                    failures.Add($"{CaseRun.ResultNames[i]} differs between two deterministic runs");
        }
        catch (Exception e)
        {
            failures.Add($"{e.GetType().Name}: {e.Message}");
        }
        return new CaseResult(test.ToString(), comparisons, failures);
    }
}

/// <summary>The operands of a case, on the host and on the GPU.</summary>
internal sealed class CaseRun : IDisposable
{
    /// <summary>The order of <see cref="Bits"/>.</summary>
    public static readonly string[] ResultNames = ["O", "m", "l", "dQ", "dK", "dV", "W"];

    private readonly GpuDriver _gpu;
    private readonly AttentionProblem _problem;
    private readonly double[] _query, _key, _value, _outputGradient;
    private readonly DeviceOperand _q, _k, _v, _dO, _o, _m, _l, _dQ, _dK, _dV, _w;

    public CaseRun(GpuDriver gpu, VerifyCase test, int seed)
    {
        (_gpu, _problem) = (gpu, test.Problem);
        AttentionProblem p = _problem;
        int keyHeads = p.KeyHeads == 0 ? p.Heads : p.KeyHeads;
        var random = new Random(seed);
        (int, int, int, int) query = (p.Batch, p.Heads, p.QueryLength, p.HeadDim), output = (p.Batch, p.Heads, p.QueryLength, p.ValueDim);
        (int, int, int, int) key = (p.Batch, keyHeads, p.KeyLength, p.HeadDim), value = (p.Batch, keyHeads, p.KeyLength, p.ValueDim);
        (int, int, int, int) row = (p.Batch, p.Heads, p.QueryLength, 1);
        ElementType statistics = p.ElementType == ElementType.Float64 ? ElementType.Float64 : ElementType.Float32;
        _q = Input(query, out _query);
        _k = Input(key, out _key);
        _v = Input(value, out _value);
        _dO = Input(output, out _outputGradient);
        _o = Result(output);
        _dQ = Result(query);
        _dK = Result(key);
        _dV = Result(value);
        _w = Result((p.Batch, 1, p.QueryLength, p.KeyLength));
        _m = new DeviceOperand(gpu, statistics, row);
        _l = new DeviceOperand(gpu, statistics, row);

        DeviceOperand Input((int B, int H, int N, int D) size, out double[] values)
        {
            values = new double[(long)size.B * size.H * size.N * size.D];
            for (int i = 0; i < values.Length; i++)
                values[i] = Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
            values = DeviceOperand.Rounded(p.ElementType, values);
            return new DeviceOperand(gpu, p.ElementType, size, test.Layout, values);
        }

        DeviceOperand Result((int, int, int, int) size) => new(gpu, p.ElementType, size, test.Layout);
    }

    private DeviceOperand[] Results => [_o, _m, _l, _dQ, _dK, _dV, _w];

    /// <summary>Forward and backward pass and averaged weights.</summary>
    public void Run(CudaEngine engine, bool deterministic)
    {
        var options = new ExecutionOptions { Deterministic = deterministic };
        var statistics = new RowStatistics(_m.Address, _l.Address);
        long bytes = engine.BackwardWorkspace(_problem, options);
        nint workspace = bytes == 0 ? 0 : _gpu.Allocate(bytes);
        try
        {
            engine.Forward(_problem, new ForwardArguments { Query = _q.View, Key = _k.View, Value = _v.View, Output = _o.View, Statistics = statistics }, options);
            engine.Backward(_problem, new BackwardArguments
            {
                Query = _q.View,
                Key = _k.View,
                Value = _v.View,
                Output = _o.View,
                OutputGradient = _dO.View,
                Statistics = statistics,
                QueryGradient = _dQ.View,
                KeyGradient = _dK.View,
                ValueGradient = _dV.View,
                Workspace = workspace,
            }, options);
            engine.AverageWeights(_problem, new WeightsArguments { Query = _q.View, Key = _k.View, Statistics = statistics, Weights = _w.View }, options);
            _gpu.Synchronize();
        }
        finally
        {
            if (workspace != 0)
                _gpu.Free(workspace);
        }
    }

    /// <summary>The definition on the same inputs.</summary>
    public HostResult Host<T, TRounding>()
        where T : unmanaged, System.Numerics.IBinaryFloatingPointIeee754<T>
        where TRounding : struct, IRounding =>
        HostAttention.Compute<T, TRounding>(_problem, _query, _key, _value, _outputGradient);

    /// <summary>The naive computation in the operands' type; sums in float32, as a matrix product of that type has them.</summary>
    public HostResult Naive() => _problem.ElementType switch
    {
        ElementType.BFloat16 => Host<float, ToBFloat16>(),
        ElementType.Float16 => Host<float, ToFloat16>(),
        ElementType.Float32 => Host<float, Unrounded>(),
        _ => Host<double, Unrounded>(),
    };

    public void Compare(HostResult truth, HostResult naive, string suffix, List<Comparison> comparisons)
    {
        // A few roundings of the scores, which P and dS inherit: unavoidable, yet small problems are sometimes spared them by luck.
        double roundoff = Math.ScaleB(1, _problem.ElementType == ElementType.Float64 ? -53 : -24);
        double score = 2 * roundoff * Math.Max(12, truth.LargestScore), row = score * truth.RowCancellation, column = Math.Max(row, score * truth.ColumnCancellation);
        Add("O", _o.ToArray(), truth.Output, naive.Output, score * RootMeanSquare(_value));
        Add("dQ", _dQ.ToArray(), truth.QueryGradient, naive.QueryGradient, row * RootMeanSquare(_key));
        Add("dK", _dK.ToArray(), truth.KeyGradient, naive.KeyGradient, column * RootMeanSquare(_query));
        Add("dV", _dV.ToArray(), truth.ValueGradient, naive.ValueGradient, score * RootMeanSquare(_outputGradient));
        Add("W", _w.ToArray(), truth.Weights, naive.Weights, score);
        double scale = Math.Abs(_problem.Scale);
        // Scale 0 times m = -inf of a row without keys is no number.
        double[] lse = [.. _m.ToArray().Zip(_l.ToArray(), (m, l) => l == 0 ? double.NegativeInfinity : scale * m + Math.Log(l))];
        comparisons.Add(new Comparison("lse" + suffix, Largest(lse, truth.LogSumExp), 8 * score));

        void Add(string name, double[] actual, double[] expected, double[] naiveResult, double unavoidable) => comparisons.Add(
            new Comparison(name + suffix, Largest(actual, expected), 2 * Largest(naiveResult, expected) + 2 * Rounding(expected) + unavoidable));
    }

    public IEnumerable<string> StrayWrites() =>
        Results.Concat([_q, _k, _v, _dO]).Select((operand, i) => (operand.StrayWrite(), i)).Where(w => w.Item1 is not null)
            .Select(w => $"{(w.i < ResultNames.Length ? ResultNames[w.i] : "an input")}: {w.Item1}");

    public byte[][] Bits() => [.. Results.Select(r => r.Read())];

    public void Reset()
    {
        foreach (DeviceOperand operand in Results)
            operand.Reset();
    }

    public void Dispose()
    {
        foreach (DeviceOperand operand in Results.Concat([_q, _k, _v, _dO]))
            operand.Dispose();
    }

    private static double RootMeanSquare(double[] values) => values.Length == 0 ? 0 : Math.Sqrt(values.Average(x => x * x));

    private static double Largest(double[] actual, double[] expected)
    {
        double largest = 0;
        for (int i = 0; i < expected.Length; i++)
        {
            double error = actual[i].Equals(expected[i]) ? 0 : Math.Abs(actual[i] - expected[i]); // equal infinities
            if (!(error <= largest))
                largest = error;
            if (double.IsNaN(error))
                return error;
        }
        return largest;
    }

    /// <summary>The largest |x + 0.3 - 0.3 - x| in the operands' type.</summary>
    private double Rounding(double[] values)
    {
        if (_problem.ElementType == ElementType.Float64)
            return DoubleRounding(values);
        double[] raised = DeviceOperand.Rounded(_problem.ElementType, [.. DeviceOperand.Rounded(_problem.ElementType, values).Select(x => x + 0.3)]);
        double[] lowered = DeviceOperand.Rounded(_problem.ElementType, [.. raised.Select(x => x - 0.3)]);
        return Largest(lowered, values);
    }

    // Sums of double have no wider type to be held against: a thousand units in the last place of the largest.
    private static double DoubleRounding(double[] values) => values.Length == 0 ? 0 : Math.ScaleB(1000, -52) * values.Max(Math.Abs);
}
