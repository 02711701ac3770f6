namespace TorchSharp.Modules;

/// <summary>The hyper-parameters of a group.</summary>
public class OptimizerOptions
{
    /// <summary>The learning rate; null takes the optimiser's default when the group is added.</summary>
    public double? LearningRate { get; set; }

    /// <summary>The learning rate at the start.</summary>
    public double InitialLearningRate { get; set; }

    /// <summary>Writes the options.</summary>
    /// <param name="writer">Where to.</param>
    public virtual void SaveStateDict(BinaryWriter writer)
    {
        writer.Write(InitialLearningRate);
        writer.Write(LearningRate!.Value);
    }

    /// <summary>Reads the options.</summary>
    /// <param name="reader">Where from.</param>
    public virtual void LoadStateDict(BinaryReader reader)
    {
        InitialLearningRate = reader.ReadDouble();
        LearningRate = reader.ReadDouble();
    }

    /// <summary>Copies another group's options.</summary>
    /// <param name="source">Options of the same class.</param>
    public virtual void LoadStateDict(OptimizerOptions source)
    {
        InitialLearningRate = source.InitialLearningRate;
        LearningRate = source.LearningRate;
    }
}
