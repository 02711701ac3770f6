using System.Globalization;
using System.Text;
using System.Xml;
using System.Xml.Linq;

namespace AttentionBench.Plots;

/// <summary>
/// Draws charts as SVG: text stays text, fonts are the reader's own, and the same chart gives the same bytes on every machine.
/// </summary>
public static class SvgPlot
{
    private const double Edge = 20, TickLength = 4, LabelGap = 16, FontSize = 12, BoldFactor = 1.1;
    private const string Fonts = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif";
    private const int MarkersUpTo = 40;

    private static readonly XNamespace Svg = "http://www.w3.org/2000/svg";

    /// <summary>The chart as a document.</summary>
    /// <exception cref="ArgumentException">There is nothing to draw, or the series do not fit the groups.</exception>
    public static XDocument Draw(Chart chart, Theme theme) => chart switch
    {
        LineChart lines => new LinePicture(lines, theme).Document,
        BarChart bars => new BarPicture(bars, theme).Document,
        _ => throw new ArgumentException($"{chart.GetType().Name} is no chart that can be drawn; LineChart and BarChart are.", nameof(chart)),
    };

    /// <summary>The chart as the text of a file.</summary>
    /// <inheritdoc cref="Draw"/>
    public static string Render(Chart chart, Theme theme)
    {
        using var text = new MemoryStream();
        using (var writer = XmlWriter.Create(text, new XmlWriterSettings { Encoding = new UTF8Encoding(false), Indent = true, IndentChars = " ", NewLineChars = "\n", OmitXmlDeclaration = true }))
            Draw(chart, theme).Save(writer);
        return Encoding.UTF8.GetString(text.ToArray()) + "\n";
    }

    /// <summary>Writes name-light.svg and name-dark.svg.</summary>
    /// <returns>The paths of both.</returns>
    /// <inheritdoc cref="Draw"/>
    public static IReadOnlyList<string> Write(string folder, string name, Chart chart)
    {
        Directory.CreateDirectory(folder);
        return [.. new[] { Theme.Light, Theme.Dark }.Select(theme =>
        {
            string path = Path.Combine(folder, $"{name}-{theme.Name}.svg");
            File.WriteAllText(path, Render(chart, theme));
            return path;
        })];
    }

    /// <summary>The frame of a picture: sizes, title, axes, grid.</summary>
    private abstract class Picture
    {
        protected Theme Theme { get; }
        protected XElement Root { get; }
        protected double Left { get; }
        protected double Right { get; }
        protected double Top { get; }
        protected double Bottom { get; }
        protected Axis.Range Vertical { get; }
        protected double PictureWidth { get; }

        protected Picture(Chart chart, Theme theme, Axis.Range vertical, double rightMargin, double bottomMargin, IReadOnlyList<(string Name, XElement Key)> legend)
        {
            (Theme, Vertical, PictureWidth) = (theme, vertical, chart.Width);
            Root = new XElement(Svg + "svg",
                new XAttribute("viewBox", $"0 0 {Number(chart.Width)} {Number(chart.Height)}"), Attribute("width", chart.Width), Attribute("height", chart.Height),
                new XAttribute("role", "img"), new XAttribute("font-family", Fonts), Attribute("font-size", FontSize), new XAttribute("fill", theme.Text),
                new XElement(Svg + "title", Clean(chart.Title)),
                new XElement(Svg + "rect", new XAttribute("width", "100%"), new XAttribute("height", "100%"), new XAttribute("fill", theme.Background)));
            double y = Edge + 12;
            Root.Add(Text(Edge, y, chart.Title, "start", ("font-size", "16"), ("font-weight", "600")));
            if (chart.Subtitle.Length > 0)
                Root.Add(Text(Edge, y += 20, chart.Subtitle, "start", ("fill", theme.Muted)));
            double x = Edge;
            y += legend.Count > 0 ? 24 : 0;
            foreach ((string name, XElement key) in legend)
            {
                double width = 30 + TextWidth(name) + 18;
                if (x > Edge && x + width > chart.Width)
                    (x, y) = (Edge, y + 20);
                key.Add(new XAttribute("transform", $"translate({Number(x)} {Number(y - 4)})"));
                Root.Add(key, Text(x + 30, y, name, "start"));
                x += width;
            }
            if (chart.Source.Length > 0)
                Root.Add(Text(Edge, chart.Height - 10, chart.Source, "start", ("fill", theme.Muted), ("font-size", "10")));
            (Top, Bottom) = (y + 36, chart.Height - bottomMargin - (chart.Source.Length > 0 ? 18 : 0));
            (Left, Right) = (Edge + 12 + vertical.Ticks.Max(tick => TextWidth(vertical.Axis.FormatTick(tick))), chart.Width - rightMargin);
            if (Right - Left < 40 || Bottom - Top < 40)
                throw new ArgumentException($"A picture of {chart.Width} x {chart.Height} leaves no room for the plot beside its labels.", nameof(chart));

            Root.Add(Text(Edge, Top - 14, vertical.Axis.Label, "start", ("fill", theme.Muted)));
            foreach (double tick in vertical.Ticks)
            {
                Root.Add(Line(Left, Y(tick), Right, Y(tick), tick == 0 ? theme.Muted : theme.Grid));
                Root.Add(Text(Left - 8, Y(tick) + 4, vertical.Axis.FormatTick(tick), "end", ("fill", theme.Muted)));
            }
            Root.Add(new XElement(Svg + "rect", new XAttribute("class", "plot"), Attribute("x", Left), Attribute("y", Top),
                Attribute("width", Right - Left), Attribute("height", Bottom - Top), new XAttribute("fill", "none")));
        }

        public XDocument Document => new(Root);

        protected double Y(double value) => Bottom - Vertical.Fraction(value) * (Bottom - Top);

        protected string Colour(int series) => Theme.Series[series % Theme.Series.Count];

        /// <summary>A horizontal reference line; its label, above its right end or beyond it, is returned.</summary>
        protected XElement? AddReference(ReferenceLine line, bool isBeyond)
        {
            if (!Vertical.Axis.Takes(line.Value))
                return null;
            Root.Add(Line(Left, Y(line.Value), Right, Y(line.Value), Theme.Text, ("stroke-dasharray", "2 3"), ("stroke-width", "1.2")));
            return isBeyond
                ? Text(Right + 6, Y(line.Value) + 4, line.Label, "start", ("fill", Theme.Muted))
                : Text(Right - 4, Y(line.Value) - 5, line.Label, "end", [("fill", Theme.Muted), .. Halo()]);
        }

        /// <summary>A bar from low to high with short ends.</summary>
        protected void AddSpread(double x, PlotPoint point, string colour)
        {
            if (!Vertical.Axis.Takes(point.Low) || !Vertical.Axis.Takes(point.High))
                return;
            double low = Y(point.Low), high = Y(point.High);
            Root.Add(new XElement(Svg + "path", new XAttribute("class", "spread"),
                new XAttribute("d", $"M{Number(x - 4)} {Number(low)}h8M{Number(x - 4)} {Number(high)}h8M{Number(x)} {Number(low)}V{Number(high)}"),
                new XAttribute("stroke", colour), new XAttribute("stroke-width", "1.3"), new XAttribute("fill", "none")));
        }

        /// <summary>Keeps text readable over lines.</summary>
        protected (string, string)[] Halo() => [("stroke", Theme.Background), ("stroke-width", "4"), ("stroke-linejoin", "round"), ("paint-order", "stroke")];
    }

    private sealed class LinePicture : Picture
    {
        private readonly LineChart _chart;
        private readonly Axis.Range _horizontal;

        public LinePicture(LineChart chart, Theme theme)
            : base(chart, theme, VerticalRange(chart), chart.HasLegend ? Edge + 10 : Edge + 12 + BoldFactor * chart.Series.Max(s => TextWidth(s.Name)), 54,
                chart.HasLegend ? [.. chart.Series.Select((s, i) => (s.Name, Key(s, s.Colour ?? i, theme)))] : [])
        {
            _chart = chart;
            _horizontal = chart.X.Over([.. Drawable(chart).Select(p => p.X), .. chart.References.Where(r => r.IsVertical).Select(r => r.Value)], 8);
            AddAxis();
            XElement[] labels = [.. chart.References.Select(line => line.IsVertical ? AddVerticalReference(line) : AddReference(line, isBeyond: false)).OfType<XElement>()];
            for (int i = 0; i < chart.Series.Count; i++)
                AddSeries(chart.Series[i], chart.Series[i].Colour ?? i);
            Root.Add(labels); // Above the series, which they would lie under.
            if (!chart.HasLegend)
                AddLabels();
        }

        private double X(double value) => Left + _horizontal.Fraction(value) * (Right - Left);

        private static bool IsDrawable(LineChart chart, PlotPoint p) => chart.X.Takes(p.X) && chart.Y.Takes(p.Y);

        private static IEnumerable<PlotPoint> Drawable(LineChart chart) => chart.Series.SelectMany(s => s.Points).Where(p => IsDrawable(chart, p));

        private static Axis.Range VerticalRange(LineChart chart)
        {
            if (!Drawable(chart).Any())
                throw new ArgumentException($"There is nothing to draw: no series has a point with a place on both axes.", nameof(chart));
            return chart.Y.Over([.. Drawable(chart).SelectMany(p => new[] { p.Y, p.Low, p.High }), .. chart.References.Where(r => !r.IsVertical).Select(r => r.Value)], 6);
        }

        private void AddAxis()
        {
            double free = Left - 20;
            foreach (double tick in _horizontal.Ticks)
            {
                string label = _chart.X.FormatTick(tick);
                Root.Add(Line(X(tick), Bottom, X(tick), Bottom + TickLength, Theme.Muted));
                if (X(tick) - TextWidth(label) / 2 < free)
                    continue; // Labels that would run into each other are left out, their ticks are not.
                Root.Add(Text(X(tick), Bottom + 18, label, "middle", ("fill", Theme.Muted)));
                free = X(tick) + TextWidth(label) / 2 + 6;
            }
            Root.Add(Line(Left, Bottom, Right, Bottom, Theme.Muted));
            Root.Add(Text((Left + Right) / 2, Bottom + 38, _chart.X.Label, "middle", ("fill", Theme.Muted)));
        }

        private XElement? AddVerticalReference(ReferenceLine line)
        {
            if (!_chart.X.Takes(line.Value))
                return null;
            double x = X(line.Value), width = TextWidth(line.Label);
            bool isLeft = x + 5 + width > Right && x - 5 - width > Left;
            Root.Add(Line(x, Top, x, Bottom, Theme.Text, ("stroke-dasharray", "2 3"), ("stroke-width", "1.2")));
            return Text(isLeft ? x - 5 : x + 5, Top + 11, line.Label, isLeft ? "end" : "start", [("fill", Theme.Muted), .. Halo()]);
        }

        private void AddSeries(Series series, int colour)
        {
            bool hasMarkers = series.Points.Count <= MarkersUpTo;
            List<PlotPoint> run = [];
            foreach (PlotPoint point in series.Points.Append(new(double.NaN, double.NaN)))
            {
                if (IsDrawable(_chart, point))
                {
                    run.Add(point);
                    continue;
                }
                if (run.Count > 1)
                    Root.Add(Polyline(run.Select(p => (X(p.X), Y(p.Y))), Colour(colour), series.IsDashed));
                foreach (PlotPoint p in run)
                {
                    AddSpread(X(p.X), p, Colour(colour));
                    if (hasMarkers || run.Count == 1)
                        Root.Add(Marker(X(p.X), Y(p.Y), colour, Theme));
                }
                run.Clear();
            }
        }

        /// <summary>The names beside the ends of the lines, moved apart; of a line that ends early, in the plot beside its last point.</summary>
        private void AddLabels()
        {
            List<(string Name, int Colour, double X, double Y)> ends = [];
            for (int i = 0; i < _chart.Series.Count; i++)
            {
                Series series = _chart.Series[i];
                if (!series.Points.Any(p => IsDrawable(_chart, p)))
                    continue;
                PlotPoint last = series.Points.Last(p => IsDrawable(_chart, p));
                ends.Add((series.Name, series.Colour ?? i, X(last.X), Y(last.Y)));
            }
            foreach ((string name, int colour, double x, double y) in ends.Where(end => !IsAtRight(end.X)))
                Root.Add(Text(Math.Min(x + 9, PictureWidth - 4 - BoldFactor * TextWidth(name)), y + 4, name, "start", [("fill", Colour(colour)), ("font-weight", "600"), .. Halo()]));

            var right = ends.Where(end => IsAtRight(end.X)).OrderBy(end => end.Y).ToList();
            double[] places = [.. right.Select(end => end.Y)];
            for (int i = 1; i < places.Length; i++)
                places[i] = Math.Max(places[i], places[i - 1] + LabelGap);
            double limit = Bottom;
            for (int i = places.Length - 1; i >= 0; i--, limit -= LabelGap)
                places[i] = Math.Min(places[i], limit);
            for (int i = 0; i < places.Length; i++)
            {
                if (Math.Abs(places[i] - right[i].Y) > 3)
                    Root.Add(Line(right[i].X + 5, right[i].Y, Right + 9, places[i], Colour(right[i].Colour)));
                Root.Add(Text(Right + 11, places[i] + 4, right[i].Name, "start", ("fill", Colour(right[i].Colour)), ("font-weight", "600")));
            }

            bool IsAtRight(double x) => x > Right - 12;
        }

        private static XElement Key(Series series, int colour, Theme theme) => new(Svg + "g",
            Polyline([(0, 0), (24, 0)], theme.Series[colour % theme.Series.Count], series.IsDashed), Marker(12, 0, colour, theme));

        private static XElement Polyline(IEnumerable<(double X, double Y)> points, string colour, bool isDashed)
        {
            var line = new XElement(Svg + "polyline", new XAttribute("points", string.Join(' ', points.Select(p => $"{Number(p.X)},{Number(p.Y)}"))),
                new XAttribute("fill", "none"), new XAttribute("stroke", colour), new XAttribute("stroke-width", "2"), new XAttribute("stroke-linejoin", "round"));
            if (isDashed)
                line.Add(new XAttribute("stroke-dasharray", "6 4"));
            return line;
        }

        /// <summary>A shape for every colour: nobody needs to tell lines apart by colour alone.</summary>
        private static XElement Marker(double x, double y, int colour, Theme theme)
        {
            string at = $"M{Number(x)} {Number(y)}";
            string shape = (colour % 6) switch
            {
                0 => "m-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0z",
                1 => "m-3.2 -3.2h6.4v6.4h-6.4z",
                2 => "m0 -4.4l4.2 7.2h-8.4z",
                3 => "m0 -4.6l4.6 4.6l-4.6 4.6l-4.6 -4.6z",
                4 => "m0 4.4l4.2 -7.2h-8.4z",
                _ => "m-1.3 -4.2h2.6v2.9h2.9v2.6h-2.9v2.9h-2.6v-2.9h-2.9v-2.6h2.9z",
            };
            return new XElement(Svg + "path", new XAttribute("class", "marker"), new XAttribute("d", at + shape),
                new XAttribute("fill", theme.Series[colour % theme.Series.Count]), new XAttribute("stroke", theme.Background));
        }
    }

    private sealed class BarPicture : Picture
    {
        public BarPicture(BarChart chart, Theme theme)
            : base(chart, theme, VerticalRange(chart), Edge + chart.References.Select(r => TextWidth(r.Label)).DefaultIfEmpty(0).Max(), HasSlantedGroups(chart) ? 90 : 40,
                chart.Series.Count == 1 ? [] : [.. chart.Series.Select((s, i) => (s.Name, Key(theme.Series[i % theme.Series.Count])))])
        {
            double group = (Right - Left) / chart.Groups.Count, bar = Math.Min(56, group * .8 / chart.Series.Count), zero = Y(0);
            for (int g = 0; g < chart.Groups.Count; g++)
            {
                double middle = Left + (g + .5) * group;
                for (int i = 0; i < chart.Series.Count; i++)
                {
                    PlotPoint value = chart.Series[i].Values[g];
                    if (!chart.Y.Takes(value.Y))
                        continue;
                    double x = middle + (i - chart.Series.Count / 2.0) * bar, y = Y(value.Y);
                    Root.Add(new XElement(Svg + "rect", new XAttribute("class", "bar"), Attribute("x", x + 1), Attribute("y", Math.Min(y, zero)),
                        Attribute("width", Math.Max(1, bar - 2)), Attribute("height", Math.Abs(y - zero)), new XAttribute("fill", Colour(i))));
                    AddSpread(x + bar / 2, value, theme.Text);
                    string label = chart.Y.Format(value.Y);
                    double end = value.Y < 0 ? Math.Max(y, chart.Y.Takes(value.Low) ? Y(value.Low) : y) + 14 : Math.Min(y, chart.Y.Takes(value.High) ? Y(value.High) : y) - 5;
                    if (TextWidth(label) * 10 / FontSize < bar + 2)
                        Root.Add(Text(x + bar / 2, end, label, "middle", ("font-size", "10"), ("fill", theme.Text)));
                }
                XElement name = Text(0, 0, chart.Groups[g], HasSlantedGroups(chart) ? "end" : "middle", ("fill", theme.Muted));
                name.Add(new XAttribute("transform", $"translate({Number(middle)} {Number(Bottom + 18)})" + (HasSlantedGroups(chart) ? " rotate(-25)" : "")));
                Root.Add(name);
            }
            foreach (ReferenceLine line in chart.References)
                Root.Add(AddReference(line, isBeyond: true));
        }

        private static bool HasSlantedGroups(BarChart chart) => chart.Groups.Max(TextWidth) > (chart.Width - 100) / chart.Groups.Count;

        private static Axis.Range VerticalRange(BarChart chart)
        {
            if (chart.Y.Scale != AxisScale.Linear)
                throw new ArgumentException("Bars have no length on a logarithmic axis; take lines.", nameof(chart));
            if (chart.Groups.Count == 0 || chart.Series.Count == 0)
                throw new ArgumentException("There is nothing to draw: no groups or no series.", nameof(chart));
            if (chart.Series.FirstOrDefault(s => s.Values.Count != chart.Groups.Count) is { } wrong)
                throw new ArgumentException($"Series '{wrong.Name}' has {wrong.Values.Count} values for {chart.Groups.Count} groups.", nameof(chart));
            if (chart.References.Any(r => r.IsVertical))
                throw new ArgumentException("Groups of bars have no horizontal axis for a vertical reference line.", nameof(chart));
            return chart.Y.Over([0, .. chart.Series.SelectMany(s => s.Values).SelectMany(p => chart.Y.Takes(p.Y) ? [p.Y, p.Low, p.High] : Array.Empty<double>()), .. chart.References.Select(r => r.Value)], 6);
        }

        private static XElement Key(string colour) => new(Svg + "g", new XElement(Svg + "rect",
            Attribute("x", 8), Attribute("y", -7), Attribute("width", 14), Attribute("height", 14), new XAttribute("rx", "2"), new XAttribute("fill", colour)));
    }

    private static XElement Line(double x1, double y1, double x2, double y2, string colour, params ReadOnlySpan<(string Name, string Value)> more)
        => With(new(Svg + "line", Attribute("x1", x1), Attribute("y1", y1), Attribute("x2", x2), Attribute("y2", y2), new XAttribute("stroke", colour)), more);

    private static XElement Text(double x, double y, string text, string anchor, params ReadOnlySpan<(string Name, string Value)> more)
        => With(new(Svg + "text", Attribute("x", x), Attribute("y", y), new XAttribute("text-anchor", anchor), Clean(text)), more);

    private static XElement With(XElement element, ReadOnlySpan<(string Name, string Value)> attributes)
    {
        foreach ((string name, string value) in attributes)
            element.SetAttributeValue(name, value);
        return element;
    }

    private static XAttribute Attribute(string name, double value) => new(name, Number(value));

    private static string Number(double value) => (Math.Round(value, 2) + 0.0).ToString("0.##", CultureInfo.InvariantCulture);

    /// <summary>An upper estimate: no font is at hand to ask.</summary>
    private static double TextWidth(string text) => text.Length * FontSize * .6;

    /// <summary>What XML cannot say, not even escaped, is shown as U+FFFD.</summary>
    private static string Clean(string text)
    {
        var clean = new StringBuilder(text.Length);
        for (int i = 0; i < text.Length; i++)
        {
            if (i + 1 < text.Length && char.IsSurrogatePair(text[i], text[i + 1]))
                clean.Append(text[i]).Append(text[++i]);
            else
                clean.Append(XmlConvert.IsXmlChar(text[i]) ? text[i] : '\uFFFD');
        }
        return clean.ToString();
    }
}
