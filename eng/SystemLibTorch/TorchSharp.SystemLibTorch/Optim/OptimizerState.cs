using static TorchSharp.torch;

namespace TorchSharp.Modules;

/// <summary>What an optimiser remembers about one parameter.</summary>
public abstract class OptimizerState
{
    /// <summary>The parameter.</summary>
    protected Parameter _parameter;

    /// <param name="parameter">The parameter.</param>
    protected OptimizerState(Parameter parameter)
    {
        _parameter = parameter;
    }

    /// <summary>Sets the state to where an optimiser starts.</summary>
    /// <param name="options">Options of the parameter's group.</param>
    public abstract void Initialize(OptimizerOptions options);

    /// <summary>Writes the state.</summary>
    /// <param name="writer">Where to.</param>
    public abstract void SaveStateDict(BinaryWriter writer);

    /// <summary>Reads the state.</summary>
    /// <param name="reader">Where from.</param>
    public abstract void LoadStateDict(BinaryReader reader);

    /// <summary>Copies another parameter's state.</summary>
    /// <param name="source">A state of the same class.</param>
    public abstract void LoadStateDict(OptimizerState source);

    /// <summary>Whether another state equals this one to rounding.</summary>
    /// <param name="other">The other state.</param>
    public virtual bool ApproximatelyEquals(OptimizerState other) => false;

    /// <summary>Moves the state to another device.</summary>
    /// <param name="device">The device.</param>
    public virtual void to(Device device)
    {
    }

    /// <summary>Reads a tensor that may be missing, and disposes the one it replaces.</summary>
    /// <param name="reader">Where from.</param>
    /// <param name="result">The tensor, null if missing.</param>
    /// <param name="device">Device for it.</param>
    protected static void LoadConditionalStateTensor(BinaryReader reader, ref Tensor? result, Device device) =>
        Replace(ref result, reader.ReadBoolean() ? TensorExtensionMethods.Load(reader).to(device) : null);

    /// <summary>Writes a tensor, or that there is none.</summary>
    /// <param name="writer">Where to.</param>
    /// <param name="tensor">The tensor, or null.</param>
    protected static void SaveConditionalStateTensor(BinaryWriter writer, Tensor? tensor)
    {
        writer.Write(tensor is not null);
        tensor?.Save(writer);
    }

    /// <summary>Puts a tensor, which outlives every dispose scope, in the place of another.</summary>
    private protected static void Replace(ref Tensor? field, Tensor? value)
    {
        field?.Dispose();
        field = value?.DetachFromDisposeScope();
    }

    private protected static bool AllClose(Tensor? left, Tensor? right) =>
        left is null || right is null ? ReferenceEquals(left, right) : left.allclose(right);
}
