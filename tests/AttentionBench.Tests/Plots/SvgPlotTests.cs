using System.Globalization;
using System.Xml.Linq;
using AttentionBench.Plots;

namespace AttentionBench.Tests.Plots;

public sealed class SvgPlotTests
{
    private static readonly XNamespace Svg = "http://www.w3.org/2000/svg";

    private static LineChart Chart(params Series[] series) => new("Title", new("N", AxisScale.Log2), new("time", AxisScale.Log10, AxisUnit.Seconds), series);

    private static Series Line(string name, params double[] values) => new(name, [.. values.Select((y, i) => new PlotPoint(256 << i, y))]);

    [Fact]
    public void TextIsEscapedAndWhatXmlCannotSayIsReplaced()
    {
        const string hostile = "<script>&amp; \"quoted\" 'single' \0 \u0008 \ud800 ]]> 😀";
        const string clean = "<script>&amp; \"quoted\" 'single' \uFFFD \uFFFD \uFFFD ]]> 😀";
        LineChart chart = new(hostile, new(hostile), new(hostile), [new(hostile, [new(1, 2), new(2, 3)])])
        {
            Subtitle = hostile,
            Source = hostile,
            References = [new(2.5, hostile), new(1.5, hostile, IsVertical: true)],
        };
        XDocument picture = XDocument.Parse(SvgPlot.Render(chart, Theme.Light));
        Assert.Equal(9, picture.Descendants().Count(element => !element.HasElements && element.Value == clean));
        Assert.Empty(picture.Descendants(Svg + "script"));

        BarChart bars = new(hostile, [hostile], new(hostile), [new(hostile, [new(0, 1)]), new("b", [new(0, 1)])]);
        Assert.Equal(5, XDocument.Parse(SvgPlot.Render(bars, Theme.Dark)).Descendants().Count(element => !element.HasElements && element.Value == clean));
    }

    [Fact]
    public void TheSameChartGivesTheSameBytesInAnyCulture()
    {
        LineChart chart = Chart(Line("a", .00123, .0045, .0178), Line("b", .1, .2, .4)) with { Subtitle = "d = 64" };
        string expected = SvgPlot.Render(chart, Theme.Light);
        CultureInfo before = CultureInfo.CurrentCulture;
        var comma = (CultureInfo)CultureInfo.InvariantCulture.Clone();
        (comma.NumberFormat.NumberDecimalSeparator, comma.NumberFormat.NegativeSign) = (",", "−");
        try
        {
            CultureInfo.CurrentCulture = comma;
            Assert.Equal(expected, SvgPlot.Render(chart, Theme.Light));
        }
        finally
        {
            CultureInfo.CurrentCulture = before;
        }
        Assert.DoesNotContain('\r', expected);
        Assert.StartsWith("<svg ", expected);
    }

    /// <summary>Whatever the values are, what is drawn lies in the plot, and no number is one that SVG does not know.</summary>
    [Fact]
    public void EveryPointLiesInThePlot()
    {
        var random = new Random(5);
        double[] special = [0, -0.0, 1, -1, 1e-320, 1e-99, 1e100, -1e100, 1e300, double.MaxValue, double.NaN, double.PositiveInfinity, double.NegativeInfinity, 1.0000001, 3.3e-7];
        int drawn = 0;
        for (int n = 0; n < 3000; n++)
        {
            Axis x = new("x", (AxisScale)random.Next(3), (AxisUnit)random.Next(5)), y = new("y", (AxisScale)random.Next(3), (AxisUnit)random.Next(5));
            double spread = random.Next(4);
            Series[] series = [.. Enumerable.Range(0, random.Next(1, 9)).Select(i => new Series($"series {i}", [.. Enumerable.Range(0, random.Next(0, 50)).Select(_ => new PlotPoint(Value(), Value(), Value(), Value()))]))];
            LineChart chart = new("t", x, y, series) { References = [new(Value(), "r"), new(Value(), "s", IsVertical: true)], HasLegend = random.Next(2) == 0 };
            if (!series.SelectMany(s => s.Points).Any(p => x.Takes(p.X) && y.Takes(p.Y)))
            {
                Assert.Throws<ArgumentException>(() => SvgPlot.Render(chart, Theme.Dark));
                continue;
            }
            Check(SvgPlot.Render(chart, Theme.Dark), series.SelectMany(s => s.Points).Any() ? 1 : 0);
            drawn++;

            BarChart bars = new("t", ["a", "b", "c"], new("y", AxisScale.Linear, (AxisUnit)random.Next(5)),
                [.. Enumerable.Range(0, random.Next(1, 5)).Select(i => new BarSeries($"{i}", [new(0, Value(), Value(), Value()), new(0, Value()), new(0, Value())]))]);
            Check(SvgPlot.Render(bars, Theme.Light), 0);

            double Value() => random.Next(6) == 0 ? special[random.Next(special.Length)]
                : spread == 0 ? random.NextDouble() : spread == 1 ? 1e6 * random.NextDouble() : Math.Pow(10, 30 * random.NextDouble() - 15) * (random.Next(3) - 1);
        }
        Assert.True(drawn > 2500);

        static void Check(string text, int leastMarkers)
        {
            foreach (string wrong in (string[])["NaN", "Infinity", "∞", "E+", "E-"])
                Assert.DoesNotContain(wrong, text, StringComparison.Ordinal);
            XElement picture = XDocument.Parse(text).Root!, plot = Plot(picture);
            double left = Number(plot, "x") - .011, top = Number(plot, "y") - .011, right = left + Number(plot, "width") + .022, bottom = top + Number(plot, "height") + .022;
            int markers = 0;
            foreach ((double px, double py) in Points(picture))
            {
                Assert.InRange(px, left, right);
                Assert.InRange(py, top, bottom);
                markers++;
            }
            Assert.True(markers >= leastMarkers);
            foreach (XElement bar in picture.Elements(Svg + "rect").Where(r => (string?)r.Attribute("class") == "bar"))
            {
                Assert.InRange(Number(bar, "x"), left, right - Number(bar, "width"));
                Assert.InRange(Number(bar, "y"), top, bottom - Number(bar, "height"));
            }
        }
    }

    [Fact]
    public void MissingPointsLeaveGaps()
    {
        XElement picture = SvgPlot.Draw(Chart(Line("a", 1, 2, double.NaN, 4, 5, double.PositiveInfinity, 7, 0, -3)), Theme.Light).Root!;
        Assert.Equal([2, 2], picture.Elements(Svg + "polyline").Select(line => ((string)line.Attribute("points")!).Split(' ').Length));
        Assert.Equal(5, picture.Elements(Svg + "path").Count(path => (string?)path.Attribute("class") == "marker")); // The lone one too; no place for 0 and -3.
    }

    [Fact]
    public void LargerValuesLieHigherAndSpreadsSurroundTheirPoint()
    {
        Series series = new("a", [new(256, 1, .5, 2), new(512, 10, 5, 20), new(1024, 100, 50, 200)]);
        XElement picture = SvgPlot.Draw(Chart(series), Theme.Light).Root!;
        double[] y = [.. Points(picture).Select(p => p.Y)];
        Assert.True(y[0] > y[1] && y[1] > y[2]);
        Assert.Equal(y[0] - y[1], y[1] - y[2], .02); // Equal ratios.
        double[][] spreads = [.. picture.Elements(Svg + "path").Where(p => (string?)p.Attribute("class") == "spread")
            .Select(p => ((string)p.Attribute("d")!).Split('M', 'h', 'V', ' ').Where(t => t.Length > 0).Select(t => double.Parse(t, CultureInfo.InvariantCulture)).ToArray())];
        Assert.Equal(3, spreads.Length);
        Assert.All(spreads.Zip(y.TakeLast(3)), pair => Assert.True(pair.First[1] > pair.Second && pair.First[4] < pair.Second));
    }

    [Fact]
    public void LabelsOfLinesThatEndTogetherDoNotCoverEachOther()
    {
        Series[] series = [.. Enumerable.Range(0, 8).Select(i => Line($"series {i}", 1, 2, 3 + i * .001))];
        XElement picture = SvgPlot.Draw(Chart(series), Theme.Light).Root!;
        double[] y = [.. picture.Elements(Svg + "text").Where(t => t.Value.StartsWith("series", StringComparison.Ordinal)).Select(t => Number(t, "y")).Order()];
        Assert.Equal(8, y.Length);
        for (int i = 1; i < y.Length; i++)
            Assert.True(y[i] - y[i - 1] >= 15.9);
        Assert.InRange(y[^1], 0, Number(Plot(picture), "y") + Number(Plot(picture), "height") + 5);
    }

    [Fact]
    public void BarsAreAsLongAsTheirValues()
    {
        BarChart chart = new("t", ["a", "b"], new("speed-up", AxisScale.Linear, AxisUnit.Ratio), [new("x", [new(0, 1), new(0, 2)]), new("y", [new(0, double.NaN), new(0, -1)])]);
        XElement[] bars = [.. SvgPlot.Draw(chart, Theme.Light).Root!.Elements(Svg + "rect").Where(r => (string?)r.Attribute("class") == "bar")];
        Assert.Equal(3, bars.Length); // None for NaN.
        Assert.Equal(2 * Number(bars[0], "height"), Number(bars[1], "height"), .03);
        Assert.Equal(Number(bars[0], "height"), Number(bars[2], "height"), .03);
        Assert.Equal(Number(bars[0], "y") + Number(bars[0], "height"), Number(bars[2], "y"), .03); // The negative one hangs from zero.
    }

    [Fact]
    public void WhatCannotBeDrawnIsRefused()
    {
        Axis y = new("y");
        Assert.Contains("logarithmic", Assert.Throws<ArgumentException>(() => SvgPlot.Draw(new BarChart("t", ["a"], y with { Scale = AxisScale.Log2 }, [new("s", [new(0, 1)])]), Theme.Light)).Message);
        Assert.Contains("2 values for 1 groups", Assert.Throws<ArgumentException>(() => SvgPlot.Draw(new BarChart("t", ["a"], y, [new("s", [new(0, 1), new(0, 2)])]), Theme.Light)).Message);
        Assert.Contains("no groups", Assert.Throws<ArgumentException>(() => SvgPlot.Draw(new BarChart("t", [], y, []), Theme.Light)).Message);
        Assert.Contains("nothing to draw", Assert.Throws<ArgumentException>(() => SvgPlot.Draw(new LineChart("t", y, y, []), Theme.Light)).Message);
        Assert.Contains("no room", Assert.Throws<ArgumentException>(() => SvgPlot.Draw(Chart(Line("a", 1, 2)) with { Width = 90 }, Theme.Light)).Message);
    }

    [Fact]
    public void BothThemesAreWritten()
    {
        string folder = Directory.CreateTempSubdirectory("svgplot").FullName;
        try
        {
            IReadOnlyList<string> paths = SvgPlot.Write(Path.Combine(folder, "new"), "time", Chart(Line("a", 1, 2)));
            Assert.Equal(["time-light.svg", "time-dark.svg"], paths.Select(p => Path.GetFileName(p)!));
            Assert.All(paths, path => Assert.Equal("svg", XDocument.Load(path).Root!.Name.LocalName));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static XElement Plot(XElement picture) => picture.Elements(Svg + "rect").Single(r => (string?)r.Attribute("class") == "plot");

    private static double Number(XElement element, string name) => double.Parse((string)element.Attribute(name)!, CultureInfo.InvariantCulture);

    /// <summary>Corners of lines and places of markers.</summary>
    private static IEnumerable<(double X, double Y)> Points(XElement picture)
    {
        IEnumerable<string> corners = picture.Elements(Svg + "polyline").SelectMany(line => ((string)line.Attribute("points")!).Split(' '));
        IEnumerable<string> markers = picture.Elements(Svg + "path").Where(p => (string?)p.Attribute("class") == "marker")
            .Select(p => ((string)p.Attribute("d")!)[1..].Split('m')[0].Replace(' ', ','));
        return corners.Concat(markers).Select(pair => pair.Split(',')).Select(p => (double.Parse(p[0], CultureInfo.InvariantCulture), double.Parse(p[1], CultureInfo.InvariantCulture)));
    }
}
