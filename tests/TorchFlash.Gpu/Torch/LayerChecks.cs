using TorchSharp;
using static TorchSharp.torch;

namespace TorchFlash.Gpu.Torch;

/// <summary>Functions and modules against compositions of libtorch's operators in float64 on the same tensors.</summary>
internal static class LayerChecks
{
    private static readonly ScalarType[] Types = [ScalarType.Float32, ScalarType.Float64, ScalarType.BFloat16, ScalarType.Float16];

    public static IEnumerable<Check> All(TorchGpu gpu)
    {
        long n = gpu.IsRehearsal ? 20 : 333;
        foreach (ScalarType type in Types)
            foreach (string causal in (string[])["full", "top left", "bottom right"])
                yield return new Check($"{type}, {causal}: values and gradients", () => Values(gpu, type, causal, n));
        yield return new Check("grouped heads", () => Grouped(gpu, n));
        yield return new Check("views of a packed projection", () => Packed(gpu, n));
        yield return new Check("averaged weights and their gradient", () => Module(gpu, ScalarType.Float32, needWeights: true, n));
        yield return new Check("MultiheadAttention, float32", () => Module(gpu, ScalarType.Float32, needWeights: false, n));
        yield return new Check("MultiheadAttention, bfloat16", () => Module(gpu, ScalarType.BFloat16, needWeights: false, n));
        yield return new Check("a mask is fused", () => Masked(gpu, n));
        yield return new Check("deterministic passes repeat bit by bit", () => Deterministic(gpu, n));
        yield return new Check("attention is differentiated twice", () => CreateGraph(gpu, n));
        if (!gpu.IsRehearsal)
            yield return new Check("memory handed on between passes that are not waited for", () => Unsynchronised(gpu));
    }

    private static string Values(TorchGpu gpu, ScalarType type, string causal, long n)
    {
        (Tensor q, Tensor k, Tensor v) = (Leaf(gpu, type, 2, 3, n, 64), Leaf(gpu, type, 2, 3, n + 13, 64), Leaf(gpu, type, 2, 3, n + 13, 64));
        Tensor? allowed = causal == "full" ? null : ones([n, n + 13], ScalarType.Bool, gpu.Device).tril(causal == "top left" ? 0 : 13);
        return Compare(gpu, type, [q, k, v],
            x => flash.nn.functional.scaled_dot_product_attention(x[0], x[1], x[2], is_causal: causal != "full",
                causal_alignment: causal == "bottom right" ? CausalAlignment.BottomRight : CausalAlignment.TopLeft),
            x => Definition(x[0], x[1], x[2], allowed));
    }

    private static string Grouped(TorchGpu gpu, long n)
    {
        Tensor[] x = [Leaf(gpu, ScalarType.BFloat16, 2, 6, n, 64), Leaf(gpu, ScalarType.BFloat16, 2, 2, n, 64), Leaf(gpu, ScalarType.BFloat16, 2, 2, n, 64)];
        return Compare(gpu, ScalarType.BFloat16, x,
            x => flash.nn.functional.scaled_dot_product_attention(x[0], x[1], x[2], enable_gqa: true),
            x => Definition(x[0], x[1].repeat_interleave(3, 1), x[2].repeat_interleave(3, 1), null));
    }

    private static string Packed(TorchGpu gpu, long n)
    {
        Tensor[] x = [Leaf(gpu, ScalarType.BFloat16, 2, n, 3 * 4 * 64)];
        static Tensor[] Heads(Tensor packed) =>
            [.. packed.chunk(3, -1).Select(t => t.view(t.shape[0], t.shape[1], 4, 64).transpose(1, 2))];
        return Compare(gpu, ScalarType.BFloat16, x,
            x => { Tensor[] h = Heads(x[0]); return flash.nn.functional.scaled_dot_product_attention(h[0], h[1], h[2], is_causal: true); },
            x => { Tensor[] h = Heads(x[0]); return Definition(h[0], h[1], h[2], ones([n, n], ScalarType.Bool, gpu.Device).tril()); });
    }

    private static string Module(TorchGpu gpu, ScalarType type, bool needWeights, long n)
    {
        random.manual_seed(1);
        using var ours = flash.nn.MultiheadAttention(128, 2, batch_first: true, is_causal: true);
        using var truth = flash.nn.MultiheadAttention(128, 2, batch_first: true, is_causal: true);
        truth.load_state_dict(ours.state_dict());
        ours.to(gpu.Device, type);
        truth.to(gpu.Device, ScalarType.Float64);
        truth.load_state_dict(ours.state_dict().ToDictionary(p => p.Key, p => p.Value.to(ScalarType.Float64)));
        Tensor x = Leaf(gpu, type, 2, n, 128);
        Tensor mask = ones([n, n], ScalarType.Bool, gpu.Device).triu(1); // what is causal, as a program: another way
        string said = "";
        string note = Compare(gpu, type, [x],
            x => Output(ours.call(x[0], x[0], x[0], need_weights: needWeights)),
            x => Quietly(() => Output(truth.call(x[0], x[0], x[0], need_weights: needWeights, attn_mask: mask)), out said));
        return note;

        Tensor Output(Tuple<Tensor, Tensor> result) => needWeights ? cat([result.Item1, result.Item2 * n], -1) : result.Item1;
    }

    private static string Masked(TorchGpu gpu, long n)
    {
        string said = Said(ScalarType.Float32, 2e-3) + Said(ScalarType.BFloat16, 5e-2);
        return said == "" ? "fused" : throw new InvalidOperationException($"expected no message about a mask, got: {said}");

        string Said(ScalarType type, double tolerance)
        {
            Tensor[] x = [Leaf(gpu, type, 1, 2, n, 64), Leaf(gpu, type, 1, 2, n, 64), Leaf(gpu, type, 1, 2, n, 64)];
            Tensor allowed = ones([n, n], ScalarType.Bool, gpu.Device).tril(3);
            Quietly(() =>
            {
                for (int i = 0; i < 2; i++)
                    Near(Definition(x[0], x[1], x[2], allowed), flash.nn.functional.scaled_dot_product_attention(x[0], x[1], x[2], allowed), tolerance, "O");
                return x[0];
            }, out string said);
            return said;
        }
    }

    private static string Deterministic(TorchGpu gpu, long n)
    {
        Tensor[] x = [Leaf(gpu, ScalarType.BFloat16, 2, 3, n, 64), Leaf(gpu, ScalarType.BFloat16, 2, 3, n, 64), Leaf(gpu, ScalarType.BFloat16, 2, 3, n, 64)];
        Tensor c = gpu.Normal(ScalarType.BFloat16, 2, 3, n, 64);
        flash.use_deterministic_algorithms(true);
        try
        {
            Tensor[] first = Gradients(x, c);
            for (int i = 0; i < 5; i++)
                foreach ((Tensor a, Tensor b) in first.Zip(Gradients(x, c)))
                    if (!a.eq(b).all().item<bool>())
                        throw new InvalidOperationException($"repeat {i + 1} differs");
            return "5 repeats";
        }
        finally
        {
            flash.use_deterministic_algorithms(false);
        }
    }

    private static Tensor[] Gradients(Tensor[] x, Tensor cotangent)
    {
        foreach (Tensor leaf in x)
            leaf.grad = null;
        flash.nn.functional.scaled_dot_product_attention(x[0], x[1], x[2], is_causal: true).backward([cotangent]);
        return [.. x.Select(leaf => leaf.grad!.clone())];
    }

    /// <summary>The second derivative against that of the definition.</summary>
    private static string CreateGraph(TorchGpu gpu, long n)
    {
        Tensor x = Leaf(gpu, ScalarType.Float32, 1, 1, n, 64), c = gpu.Normal(ScalarType.Float32, 1, 1, n, 64);
        Tensor actual = Second(x => flash.nn.functional.scaled_dot_product_attention(x, x, x)), expected = Second(x => Definition(x, x, x, null));
        Near(expected, actual, 2e-2 * expected.abs().max().item<float>(), "second derivative");
        return "differentiated twice";

        Tensor Second(Func<Tensor, Tensor> attention)
        {
            Tensor first = autograd.grad([(attention(x) * c).sum()], [x], retain_graph: true, create_graph: true)[0];
            return autograd.grad([first.square().sum()], [x])[0];
        }
    }

    /// <summary>Many passes of changing sizes, their tensors let go of at once, against the same with a wait after each.</summary>
    private static string Unsynchronised(TorchGpu gpu)
    {
        const int passes = 60;
        flash.use_deterministic_algorithms(true);
        try
        {
            Tensor waited = Sums(wait: true), hurried = Sums(wait: false);
            return waited.eq(hurried).all().item<bool>() ? $"{passes} passes" : throw new InvalidOperationException("the results differ");
        }
        finally
        {
            flash.use_deterministic_algorithms(false);
        }

        Tensor Sums(bool wait)
        {
            cuda.manual_seed_all(7);
            Tensor sums = zeros([passes], ScalarType.Float64, gpu.Device);
            for (int i = 0; i < passes; i++)
            {
                using DisposeScope scope = NewDisposeScope();
                Tensor x = gpu.Normal(ScalarType.BFloat16, 1, 4, 200 + 37 * (i % 11), 64).requires_grad_();
                Tensor o = flash.nn.functional.scaled_dot_product_attention(x, x, x, is_causal: i % 2 == 0);
                o.backward([o.detach()]);
                sums[i] = x.grad!.to(ScalarType.Float64).abs().sum();
                if (wait)
                    gpu.Synchronize();
            }
            return sums;
        }
    }

    /// <summary>softmax(Q Kᵀ / sqrt(d)) V in float64.</summary>
    private static Tensor Definition(Tensor q, Tensor k, Tensor v, Tensor? allowed)
    {
        (q, k, v) = (q.to(ScalarType.Float64), k.to(ScalarType.Float64), v.to(ScalarType.Float64));
        Tensor s = matmul(q, k.transpose(-2, -1)) / Math.Sqrt(q.shape[^1]);
        return matmul((allowed is null ? s : s.masked_fill(allowed.logical_not(), double.NegativeInfinity)).softmax(-1), v);
    }

    /// <summary>Outputs and gradients of the same leaves; fails where they are further apart than the type's rounding, or where a warning came.</summary>
    private static string Compare(TorchGpu gpu, ScalarType type, Tensor[] leaves, Func<Tensor[], Tensor> actual, Func<Tensor[], Tensor> expected)
    {
        double tolerance = type switch { ScalarType.Float64 => 1e-11, ScalarType.Float32 => 2e-5, ScalarType.Float16 => 5e-3, _ => 2e-2 };
        Tensor[] copies = [.. leaves.Select(x => x.detach().to(ScalarType.Float64).requires_grad_())];
        Tensor e = expected(copies);
        Tensor c = gpu.Normal(ScalarType.Float64, e.shape);
        e.backward([c]);
        Tensor o = Quietly(() =>
        {
            Tensor o = actual(leaves);
            o.backward([c.to(o.dtype)]);
            return o;
        }, out string said);
        if (said.Length > 0)
            throw new InvalidOperationException($"not fused: {said}");
        double worst = Near(e, o, tolerance, "O");
        for (int i = 0; i < leaves.Length; i++)
            worst = Math.Max(worst, Near(copies[i].grad!, leaves[i].grad!, 2 * tolerance, $"gradient {i}"));
        return FormattableString.Invariant($"worst relative error {worst:G2}");
    }

    private static double Near(Tensor expected, Tensor actual, double tolerance, string what)
    {
        Tensor e = expected.detach().to(ScalarType.Float64), a = actual.detach().to(ScalarType.Float64);
        double error = ((e - a).norm() / e.norm()).item<double>();
        return error <= tolerance ? error : throw new InvalidOperationException(FormattableString.Invariant($"{what} is off by {error:G4} of its norm, allowed {tolerance:G2}"));
    }

    private static Tensor Quietly(Func<Tensor> action, out string said)
    {
        List<string> messages = [];
        Action<string> before = flash.warn;
        flash.warn = message => { lock (messages) messages.Add(message); };
        try
        {
            return action();
        }
        finally
        {
            flash.warn = before;
            said = string.Join('\n', messages);
        }
    }

    private static Tensor Leaf(TorchGpu gpu, ScalarType type, params long[] size) => gpu.Normal(type, size).requires_grad_();
}
