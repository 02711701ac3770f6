using TorchFlash.Attention;
using TorchFlash.Gpu.Device;
using TorchFlash.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace TorchFlash.Gpu.Torch;

/// <summary>What a forward pass leaves for the backward pass: O first, then whatever else.</summary>
internal sealed class ForwardResult(params object[] values) : IDisposable
{
    public object[] Values => values;

    public Tensor Output => (Tensor)values[0];

    public void Dispose()
    {
        foreach (object value in values)
            (value as Tensor)?.Dispose();
    }
}

/// <summary>One implementation of attention on tensors of a GPU, called below autograd: both passes by themselves.</summary>
internal abstract class Contestant(string name)
{
    public string Name => name;

    public abstract ForwardResult Forward(BenchOperands x, BenchCase size);

    /// <summary>dQ, dK, dV.</summary>
    public abstract Tensor[] Backward(BenchOperands x, ForwardResult forward, BenchCase size);

    /// <summary>This project's engine and those of libtorch's backends that this libtorch has.</summary>
    public static Contestant[] All(TorchGpu gpu)
    {
        List<Contestant> all = [new FlashContestant("flash", gpu, gpu.Engines.Default)];
        if (gpu.IsRehearsal)
            return [.. all];
        if (gpu.Engines.HasHopper)
            all.Add(new FlashContestant("flash (mma)", gpu, gpu.Engines.Of(KernelFamily.Mma)));
        foreach (LibTorchContestant contestant in (LibTorchContestant[])[new FlashAttention2Contestant(), new CudnnContestant(), new EfficientContestant()])
            if (contestant.Exists)
                all.Add(contestant);
        return [.. all];
    }
}

/// <summary>An engine of this project, by the same code that a user's tensors go through, autograd left out.</summary>
internal sealed class FlashContestant(string name, TorchGpu gpu, IAttentionEngine engine) : Contestant(name)
{
    public override ForwardResult Forward(BenchOperands x, BenchCase size)
    {
        (Tensor output, Tensor statistics) = Pass(size).Forward(new(x.Query, x.Key, x.Value));
        return new ForwardResult(output, statistics);
    }

    public override Tensor[] Backward(BenchOperands x, ForwardResult forward, BenchCase size)
    {
        Tensor?[] gradients =
            Pass(size).Backward(new(x.Query, x.Key, x.Value), forward.Output, (Tensor)forward.Values[1], x.OutputGradient, null, [true, true, true]);
        return [.. gradients.Select(gradient => gradient!)];
    }

    // In a rehearsal tensors lie in the host's memory, which the engine that stands in for the CPU's copies from.
    private EnginePass Pass(BenchCase size) => new(gpu.IsRehearsal ? Engines.For(DeviceType.CPU, 0, out _)! : engine, size.Problem);
}

/// <summary>One of the kernels behind libtorch's scaled_dot_product_attention, by the name of its operator.</summary>
internal abstract class LibTorchContestant(string name, string forward) : Contestant(name)
{
    protected const double NoDropout = 0;

    protected string ForwardName => forward;

    protected string BackwardName => forward + "_backward";

    /// <summary>Whether this libtorch has it.</summary>
    public bool Exists => Operator.Exists(ForwardName, "") && Operator.Exists(BackwardName, "");

    /// <summary>dQ, dK, dV; what comes after them is let go.</summary>
    protected static Tensor[] Gradients(object[] results)
    {
        foreach (object result in results.Skip(3))
            (result as Tensor)?.Dispose();
        return [.. results.Take(3).Cast<Tensor>()];
    }
}

/// <summary>libtorch's copy of FlashAttention-2.</summary>
internal sealed class FlashAttention2Contestant() : LibTorchContestant("torch flash", "_scaled_dot_product_flash_attention")
{
    public override ForwardResult Forward(BenchOperands x, BenchCase size) =>
        new(Operator.CallMixed(ForwardName, "", x.Query, x.Key, x.Value, NoDropout, size.Causal, false));

    public override Tensor[] Backward(BenchOperands x, ForwardResult f, BenchCase size) => Gradients(Operator.CallMixed(
        BackwardName, "", x.OutputGradient, x.Query, x.Key, x.Value, f.Output, f.Values[1], f.Values[2], f.Values[3], f.Values[4], f.Values[5],
        NoDropout, size.Causal, f.Values[6], f.Values[7]));
}

/// <summary>cuDNN's attention.</summary>
internal sealed class CudnnContestant() : LibTorchContestant("torch cudnn", "_scaled_dot_product_cudnn_attention")
{
    public override ForwardResult Forward(BenchOperands x, BenchCase size) =>
        new(Operator.CallMixed(ForwardName, "", x.Query, x.Key, x.Value, null, true, NoDropout, size.Causal, false));

    public override Tensor[] Backward(BenchOperands x, ForwardResult f, BenchCase size) => Gradients(Operator.CallMixed(
            BackwardName, "", x.OutputGradient, x.Query, x.Key, x.Value, f.Output, f.Values[1], f.Values[6], f.Values[7], Operator.Undefined,
            f.Values[2], f.Values[3], f.Values[4], f.Values[5], NoDropout, size.Causal));
}

/// <summary>xFormers' memory-efficient attention.</summary>
internal sealed class EfficientContestant() : LibTorchContestant("torch efficient", "_scaled_dot_product_efficient_attention")
{
    public override ForwardResult Forward(BenchOperands x, BenchCase size) =>
        new(Operator.CallMixed(ForwardName, "", x.Query, x.Key, x.Value, null, true, NoDropout, size.Causal));

    public override Tensor[] Backward(BenchOperands x, ForwardResult f, BenchCase size) => Gradients(Operator.CallMixed(
            BackwardName, "", x.OutputGradient, x.Query, x.Key, x.Value, Operator.Undefined, f.Output, f.Values[1], f.Values[2], f.Values[3],
            NoDropout, new[] { true, true, true, false }, size.Causal));
}
