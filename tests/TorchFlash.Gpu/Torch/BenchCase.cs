using TorchFlash.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace TorchFlash.Gpu.Torch;

/// <summary>One size to measure.</summary>
internal sealed record BenchCase(int Batch, int Heads, int Length, int Dim, bool Causal, ScalarType Type)
{
    /// <summary>4 N² d operations a head forward, half of them where causal.</summary>
    public double ForwardOperations => 4.0 * Length * Length * Dim * Heads * Batch * (Causal ? 0.5 : 1);

    /// <summary>Five products instead of two.</summary>
    public double BackwardOperations => 2.5 * ForwardOperations;

    public AttentionProblem Problem => new()
    {
        Batch = Batch,
        Heads = Heads,
        QueryLength = Length,
        KeyLength = Length,
        HeadDim = Dim,
        ValueDim = Dim,
        Scale = AttentionProblem.DefaultScale(Dim),
        ElementType = Type == ScalarType.Float16 ? ElementType.Float16 : Type == ScalarType.BFloat16 ? ElementType.BFloat16 : ElementType.Float32,
        Causal = Causal ? CausalMask.TopLeft : CausalMask.None,
    };

    public override string ToString() => $"{Type} d={Dim} N={Length} {(Causal ? "causal" : "full")} B={Batch} H={Heads}";
}

/// <summary>Q, K, V and dO of a case, (B, H, N, d) views of (B, N, H, d) memory as models have them.</summary>
internal sealed class BenchOperands : IDisposable
{
    public BenchOperands(TorchGpu gpu, BenchCase size)
    {
        Query = Make();
        Key = Make();
        Value = Make();
        OutputGradient = Make();

        Tensor Make()
        {
            using DisposeScope scope = NewDisposeScope();
            return gpu.Normal(size.Type, size.Batch, size.Length, size.Heads, size.Dim).transpose(1, 2).MoveToOuterDisposeScope();
        }
    }

    public Tensor Query { get; }

    public Tensor Key { get; }

    public Tensor Value { get; }

    public Tensor OutputGradient { get; }

    public void Dispose()
    {
        foreach (Tensor tensor in (Tensor[])[Query, Key, Value, OutputGradient])
            tensor.Dispose();
    }
}
