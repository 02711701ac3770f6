using System.Globalization;
using System.Xml.Linq;

namespace Gpt2.Cli;

/// <summary>Draws the losses of a run over its steps as an SVG picture.</summary>
public static class LossCurveSvg
{
    private const double Width = 860, Height = 480, Left = 70, Right = 24, Top = 56, Bottom = 56;
    private const int MaximumPoints = 400;
    private const string TrainingColour = "#7aa6d8", ValidationColour = "#c0392b", TextColour = "#333333", GridColour = "#dddddd";

    // The first thing in the file, by which it is told from other people's pictures.
    private const string Mark = " Loss curve of a GPT-2 run of TorchFlash's sample, drawn anew by every run ";

    private static readonly XNamespace Svg = "http://www.w3.org/2000/svg";

    /// <summary>The picture: training and validation loss, axes with round numbers, a legend.</summary>
    /// <param name="history">At least one training or validation point.</param>
    /// <param name="title">Stands above the curves.</param>
    /// <exception cref="ArgumentException">There is nothing to draw.</exception>
    public static XDocument Draw(LossHistory history, string title)
    {
        List<LossPoint> training = Thin(history.Training);
        List<LossPoint> all = [.. training, .. history.Validation];
        if (all.Count == 0) throw new ArgumentException("There are no losses to draw.", nameof(history));

        var steps = Axis.Covering(0, all.Max(point => point.Step));
        var losses = Axis.Covering(all.Min(point => point.Loss), all.Max(point => point.Loss));
        double X(double step) => Left + (steps.Fraction(step) * (Width - Left - Right));
        double Y(double loss) => Height - Bottom - (losses.Fraction(loss) * (Height - Top - Bottom));

        var root = new XElement(
            Svg + "svg",
            new XAttribute("viewBox", $"0 0 {Number(Width)} {Number(Height)}"),
            new XAttribute("width", Number(Width)),
            new XAttribute("height", Number(Height)),
            new XAttribute("font-family", "sans-serif"),
            new XAttribute("font-size", "13"),
            new XElement(Svg + "title", title),
            new XElement(Svg + "rect", new XAttribute("width", "100%"), new XAttribute("height", "100%"), new XAttribute("fill", "white")));

        foreach (double step in steps.Ticks)
            root.Add(Line(X(step), Top, X(step), Height - Bottom, GridColour), Text(X(step), Height - Bottom + 20, Number(step), "middle"));
        foreach (double loss in losses.Ticks)
            root.Add(Line(Left, Y(loss), Width - Right, Y(loss), GridColour), Text(Left - 8, Y(loss) + 4, Number(loss), "end"));
        root.Add(Line(Left, Height - Bottom, Width - Right, Height - Bottom, TextColour), Line(Left, Top, Left, Height - Bottom, TextColour));

        XElement lossLabel = Text(0, 0, "loss (nats per token)", "middle");
        lossLabel.Add(new XAttribute("transform", $"translate(20 {Number((Top + Height - Bottom) / 2)}) rotate(-90)"));
        root.Add(Text((Left + Width - Right) / 2, Height - 14, "step", "middle"), lossLabel);
        XElement heading = Text(Left, 24, title, "start");
        heading.Add(new XAttribute("font-weight", "bold"));
        root.Add(heading);

        root.Add(Curve(training, TrainingColour, 1.5), Curve(history.Validation, ValidationColour, 2.2));
        foreach (LossPoint point in history.Validation)
        {
            root.Add(new XElement(
                Svg + "circle", Attribute("cx", X(point.Step)), Attribute("cy", Y(point.Loss)), Attribute("r", 3), new XAttribute("fill", ValidationColour)));
        }

        AddLegend(root, Width - Right - 210, "training", TrainingColour);
        AddLegend(root, Width - Right - 100, "validation", ValidationColour);
        return new XDocument(new XComment(Mark), root);

        XElement Curve(List<LossPoint> points, string colour, double strokeWidth) => new(
            Svg + "polyline",
            new XAttribute("points", string.Join(' ', points.Select(point => $"{Number(X(point.Step))},{Number(Y(point.Loss))}"))),
            new XAttribute("fill", "none"),
            new XAttribute("stroke", colour),
            Attribute("stroke-width", strokeWidth),
            new XAttribute("stroke-linejoin", "round"));
    }

    /// <summary>Draws and saves the picture, replacing an older one only when the new one is complete.</summary>
    /// <exception cref="UserException">There is another file, or it cannot be written.</exception>
    public static void Write(string path, LossHistory history, string title)
    {
        XDocument picture = Draw(history, title);
        OwnFile.Write(path, Recognise, picture.Save);
    }

    /// <summary>Refuses a file that is not a loss curve of this program.</summary>
    /// <exception cref="UserException">It is not.</exception>
    public static void Recognise(string path)
    {
        using var reader = new StreamReader(RegularFile.OpenRead(path, "--checkpoint"));
        var start = new char[256];
        int length = reader.ReadBlock(start);
        if (!new string(start, 0, length).Contains($"?>{Environment.NewLine}<!--{Mark}-->", StringComparison.Ordinal))
            throw new UserException($"--checkpoint: {path}, the place of the loss curve, is not a picture of this program.");
    }

    // Long curves: the mean of each of MaximumPoints stretches.
    private static List<LossPoint> Thin(List<LossPoint> points)
    {
        int stretch = (points.Count + MaximumPoints - 1) / MaximumPoints;
        return stretch <= 1
            ? points
            : [.. points.Chunk(stretch).Select(part => new LossPoint((int)part.Average(p => p.Step), part.Average(p => p.Loss)))];
    }

    private static void AddLegend(XElement root, double x, string label, string colour)
    {
        XElement line = Line(x, 42, x + 22, 42, colour);
        line.SetAttributeValue("stroke-width", "3");
        root.Add(line, Text(x + 28, 46, label, "start"));
    }

    private static XElement Line(double x1, double y1, double x2, double y2, string colour) => new(
        Svg + "line", Attribute("x1", x1), Attribute("y1", y1), Attribute("x2", x2), Attribute("y2", y2), new XAttribute("stroke", colour));

    private static XElement Text(double x, double y, string text, string anchor) => new(
        Svg + "text", Attribute("x", x), Attribute("y", y), new XAttribute("text-anchor", anchor), new XAttribute("fill", TextColour), text);

    private static XAttribute Attribute(string name, double value) => new(name, Number(value));

    private static string Number(double value) => Math.Round(value, 3).ToString(CultureInfo.InvariantCulture);

    /// <summary>An axis from a round number to a round number.</summary>
    private sealed record Axis(double Start, double End, double Interval)
    {
        private const int WantedIntervals = 6;

        internal IEnumerable<double> Ticks =>
            Enumerable.Range(0, (int)Math.Round((End - Start) / Interval) + 1).Select(i => Start + (i * Interval));

        internal double Fraction(double value) => (value - Start) / (End - Start);

        internal static Axis Covering(double minimum, double maximum)
        {
            // Losses that differ by less than a thousandth are one: no axis can part them.
            double least = Math.Max(1e-9, Math.Max(Math.Abs(minimum), Math.Abs(maximum)) / 1000);
            double span = maximum - minimum > least ? maximum - minimum : Math.Max(1, least);
            double magnitude = Math.Pow(10, Math.Floor(Math.Log10(span / WantedIntervals)));
            double interval = new[] { 1.0, 2, 5, 10 }.Select(factor => factor * magnitude).First(candidate => span / candidate <= WantedIntervals);
            double start = Math.Floor(minimum / interval) * interval;
            double end = Math.Max(Math.Ceiling(maximum / interval) * interval, start + interval);
            return new Axis(start, end, interval);
        }
    }
}
