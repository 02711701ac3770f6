namespace AttentionBench.Plots;

/// <summary>The colours of a picture.</summary>
/// <param name="Name">Ends the name of its file.</param>
/// <param name="Background">Behind everything.</param>
/// <param name="Text">Titles and direct labels.</param>
/// <param name="Muted">Axes and notes.</param>
/// <param name="Grid">Lines at the ticks.</param>
/// <param name="Series">The first five can be told apart with any colour vision, and all stand out from the background.</param>
public sealed record Theme(string Name, string Background, string Text, string Muted, string Grid, IReadOnlyList<string> Series)
{
    /// <summary>For GitHub's light pages.</summary>
    public static Theme Light { get; } = new(
        "light", "#ffffff", "#1f2328", "#59636e", "#e4e8ec", ["#0072b2", "#d55e00", "#2e8b74", "#802f7c", "#57430f", "#2b8fc9", "#24292f", "#9a6fd0"]);

    /// <summary>For GitHub's dark pages.</summary>
    public static Theme Dark { get; } = new(
        "dark", "#0d1117", "#f0f6fc", "#9198a1", "#262c36", ["#4aa8e8", "#f5823b", "#6fe0b5", "#d648ae", "#998552", "#a5d8ff", "#d0d7de", "#b39df3"]);
}
