using System.Numerics;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Gpt2;

/// <summary>
/// What TorchSharp has only as a chain of operators, each of which goes through memory once: here in one pass, for float32 on the CPU.
/// </summary>
internal static unsafe class Fused
{
    // A thread's share. Less is done by one thread: libtorch's own threads, which still wait for work, are in the way of others.
    private const int Chunk = 1 << 19;

    private delegate void Pass(long start, int count);

    internal static bool Takes(Tensor tensor) => tensor.dtype == ScalarType.Float32 && tensor.device_type == DeviceType.CPU && tensor.NumberOfElements * sizeof(float) <= int.MaxValue;

    /// <summary>GPT-2's GELU, y = x σ(2u) with 2u = x (c + k x²).</summary>
    internal sealed class Gelu : autograd.SingleTensorFunction<Gelu>
    {
        // c = 2 sqrt(2/pi),   k = 0.044715 c
        internal const double C = 1.5957691216057308, K = 0.044715 * C;

        public override string Name => nameof(Gelu);

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
        {
            using DisposeScope scope = NewDisposeScope();
            Tensor x = ((Tensor)vars[0]).contiguous();
            ctx.save_for_backward([x]);
            Tensor y = empty_like(x);
            fixed (byte* from = x.bytes, to = y.bytes)
            {
                float* source = (float*)from, target = (float*)to;
                Run(x.NumberOfElements, (start, count) => Forward(new(source + start, count), new(target + start, count)));
            }

            return y.MoveToOuterDisposeScope();
        }

        public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output)
        {
            using DisposeScope scope = NewDisposeScope();
            Tensor x = ctx.get_saved_variables()[0], dy = grad_output.contiguous(), dx = empty_like(x);
            fixed (byte* at = x.bytes, from = dy.bytes, to = dx.bytes)
            {
                float* point = (float*)at, source = (float*)from, target = (float*)to;
                Run(x.NumberOfElements, (start, count) => Backward(new(point + start, count), new(source + start, count), new(target + start, count)));
            }

            return [dx.MoveToOuterDisposeScope()];
        }

        private static void Forward(ReadOnlySpan<float> x, Span<float> y)
        {
            int i = 0;
            for (; i <= x.Length - Vector<float>.Count; i += Vector<float>.Count)
            {
                var v = new Vector<float>(x[i..]);
                (v * Sigmoid(v, out _)).CopyTo(y[i..]);
            }

            if (i < x.Length) Rest(x[i..], y[i..], static (v, _) => v * Sigmoid(v, out _), default);
        }

        // dx = dy (σ + x σ (1 - σ) (c + 3 k x²))
        private static void Backward(ReadOnlySpan<float> x, ReadOnlySpan<float> dy, Span<float> dx)
        {
            int i = 0;
            for (; i <= x.Length - Vector<float>.Count; i += Vector<float>.Count) Slope(new(x[i..]), new(dy[i..])).CopyTo(dx[i..]);
            if (i < x.Length) Rest(x[i..], dx[i..], Slope, dy[i..]);
        }

        private static Vector<float> Slope(Vector<float> x, Vector<float> dy)
        {
            Vector<float> s = Sigmoid(x, out Vector<float> square);
            return dy * (s + (x * s * (Vector<float>.One - s) * (new Vector<float>((float)C) + (square * (float)(3 * K)))));
        }

        private static Vector<float> Sigmoid(Vector<float> x, out Vector<float> square)
        {
            square = x * x;
            return Vector<float>.One / (Vector<float>.One + Vector.Exp(-x * (new Vector<float>((float)C) + (square * (float)K))));
        }

        // What is left of less than a vector, with zeros behind it.
        private static void Rest(ReadOnlySpan<float> x, Span<float> y, Func<Vector<float>, Vector<float>, Vector<float>> function, ReadOnlySpan<float> other)
        {
            Span<float> first = stackalloc float[Vector<float>.Count], second = stackalloc float[Vector<float>.Count];
            first.Clear();
            second.Clear();
            x.CopyTo(first);
            other.CopyTo(second);
            function(new(first), new(second)).CopyTo(first);
            first[..x.Length].CopyTo(y);
        }
    }

    /// <summary>
    /// The step of AdamW: θ &lt;- (1 - η λ) θ,  m &lt;- β₁ m + (1 - β₁) g,  v &lt;- β₂ v + (1 - β₂) g²,
    /// θ &lt;- θ - η / (1 - β₁ᵗ) m / (sqrt(v / (1 - β₂ᵗ)) + ε).
    /// </summary>
    /// <param name="parameter">θ, with its gradient g.</param>
    /// <param name="state">m, v and t, which is counted up.</param>
    /// <param name="rate">η.</param>
    /// <param name="decay">λ.</param>
    /// <param name="beta1">β₁.</param>
    /// <param name="beta2">β₂.</param>
    /// <param name="epsilon">ε.</param>
    internal static void AdamWStep(Parameter parameter, AdamW.State state, double rate, double decay, double beta1, double beta2, double epsilon)
    {
        using DisposeScope scope = NewDisposeScope();
        if (parameter.grad is not { } stored) return;
        Tensor gradient = stored.contiguous();
        state.step++;
        float keep = (float)(1 - (rate * decay)), first = (float)beta1, second = (float)beta2;
        float step = (float)(rate / (1 - Math.Pow(beta1, state.step))), spread = (float)(1 / Math.Sqrt(1 - Math.Pow(beta2, state.step)));
        fixed (byte* parameters = parameter.bytes, gradients = gradient.bytes, means = state.exp_avg.bytes, squares = state.exp_avg_sq.bytes)
        {
            float* p = (float*)parameters, g = (float*)gradients, m = (float*)means, v = (float*)squares;
            Run(parameter.NumberOfElements, (start, count) =>
            {
                int i = 0;
                for (; i <= count - Vector<float>.Count; i += Vector<float>.Count)
                {
                    long at = start + i;
                    Vector<float> slope = Vector.Load(g + at);
                    Vector<float> mean = (Vector.Load(m + at) * first) + (slope * (1 - first));
                    Vector<float> square = (Vector.Load(v + at) * second) + (slope * slope * (1 - second));
                    mean.Store(m + at);
                    square.Store(v + at);
                    ((Vector.Load(p + at) * keep) - (mean * step / ((Vector.SquareRoot(square) * spread) + new Vector<float>((float)epsilon)))).Store(p + at);
                }

                for (; i < count; i++)
                {
                    long at = start + i;
                    m[at] = (m[at] * first) + (g[at] * (1 - first));
                    v[at] = (v[at] * second) + (g[at] * g[at] * (1 - second));
                    p[at] = (p[at] * keep) - (m[at] * step / ((MathF.Sqrt(v[at]) * spread) + (float)epsilon));
                }
            });
        }
    }

    // The chunks are the same for any number of threads, and their results do not depend on each other.
    private static void Run(long length, Pass pass)
    {
        long chunks = (length + Chunk - 1) / Chunk;
        void One(long chunk) => pass(chunk * Chunk, (int)Math.Min(Chunk, length - (chunk * Chunk)));
        int threads = get_num_threads();
        if (chunks <= 1 || threads == 1)
        {
            for (long chunk = 0; chunk < chunks; chunk++) One(chunk);
        }
        else
        {
            Parallel.For(0, chunks, new ParallelOptions { MaxDegreeOfParallelism = threads }, One);
        }
    }
}
