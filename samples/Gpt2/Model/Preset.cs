namespace Gpt2.Model;

/// <summary>A named model size and the training settings that suit it.</summary>
/// <param name="Name">As given to <c>--preset</c>.</param>
/// <param name="Layers">Number of transformer blocks.</param>
/// <param name="Heads">Attention heads a block.</param>
/// <param name="Width">Size of the residual stream.</param>
/// <param name="Context">Number of positions.</param>
/// <param name="Steps">Default number of optimiser steps.</param>
/// <param name="BatchSize">Default number of sequences in a forward pass.</param>
/// <param name="LearningRate">Default peak learning rate.</param>
public sealed record Preset(
    string Name, int Layers, int Heads, int Width, int Context, int Steps, int BatchSize, double LearningRate)
{
    /// <summary>All presets, smallest first; the first one is the default.</summary>
    public static IReadOnlyList<Preset> All { get; } =
    [
        new("nano", 4, 4, 128, 128, 2500, 8, 3e-3),
        new("micro", 6, 6, 384, 512, 2000, 8, 1e-3),
        new("gpt2", 12, 12, 768, 1024, 20_000, 4, 6e-4),
        new("gpt2-medium", 24, 16, 1024, 1024, 20_000, 4, 3e-4),
        new("gpt2-large", 36, 20, 1280, 1024, 20_000, 2, 2.5e-4),
        new("gpt2-xl", 48, 25, 1600, 1024, 20_000, 2, 2e-4),
    ];

    /// <summary>The preset of that name.</summary>
    /// <exception cref="ArgumentException">There is none.</exception>
    public static Preset Named(string name) =>
        All.FirstOrDefault(preset => preset.Name == name)
        ?? throw new ArgumentException($"No preset '{name}'; there are {string.Join(", ", All.Select(preset => preset.Name))}.", nameof(name));

    /// <summary>The model of this size for a vocabulary.</summary>
    public GptConfig Config(int vocabularySize) => new(Layers, Heads, Width, Context, vocabularySize);
}
