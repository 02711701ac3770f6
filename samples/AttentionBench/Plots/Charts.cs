namespace AttentionBench.Plots;

/// <summary>A measured or computed value. A value that is not finite is a gap.</summary>
/// <param name="X">Where.</param>
/// <param name="Y">What.</param>
/// <param name="Low">Lower end of its spread; NaN: no spread.</param>
/// <param name="High">Upper end of its spread.</param>
public readonly record struct PlotPoint(double X, double Y, double Low = double.NaN, double High = double.NaN);

/// <summary>A line of a chart.</summary>
/// <param name="Name">Its label.</param>
/// <param name="Points">In the order in which they are joined.</param>
/// <param name="Colour">Which colour and marker; null: the next one.</param>
/// <param name="IsDashed">For what is computed beside what is measured, say.</param>
public sealed record Series(string Name, IReadOnlyList<PlotPoint> Points, int? Colour = null, bool IsDashed = false);

/// <summary>A straight line over the whole plot, such as a limit of the machine.</summary>
/// <param name="Value">Where.</param>
/// <param name="Label">Stands beside it.</param>
/// <param name="IsVertical">At a value of the horizontal axis.</param>
public sealed record ReferenceLine(double Value, string Label, bool IsVertical = false);

/// <summary>Bars of one colour, one a group.</summary>
/// <param name="Name">Its label.</param>
/// <param name="Values">One a group, NaN where there is none; X is not looked at.</param>
public sealed record BarSeries(string Name, IReadOnlyList<PlotPoint> Values);

/// <summary>What all charts have.</summary>
public abstract record Chart(string Title)
{
    /// <summary>Stands smaller below the title: what was held fixed.</summary>
    public string Subtitle { get; init; } = "";

    /// <summary>Stands small below the plot: the machine and the run.</summary>
    public string Source { get; init; } = "";

    /// <summary>Width of the picture in units of which text is 12 high.</summary>
    public double Width { get; init; } = 860;

    /// <summary>Height of the picture.</summary>
    public double Height { get; init; } = 460;

    /// <summary>Lines over the whole plot.</summary>
    public IReadOnlyList<ReferenceLine> References { get; init; } = [];
}

/// <summary>Lines over a numeric axis, each labelled at its end.</summary>
public sealed record LineChart(string Title, Axis X, Axis Y, IReadOnlyList<Series> Series) : Chart(Title)
{
    /// <summary>Labels stand in a legend above the plot rather than at the ends of the lines.</summary>
    public bool HasLegend { get; init; }
}

/// <summary>Bars in groups, from 0.</summary>
public sealed record BarChart(string Title, IReadOnlyList<string> Groups, Axis Y, IReadOnlyList<BarSeries> Series) : Chart(Title);
