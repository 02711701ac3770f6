using System.Globalization;

namespace AttentionBench.Plots;

/// <summary>How an axis spaces its values.</summary>
public enum AxisScale
{
    /// <summary>Equal differences lie equally far apart.</summary>
    Linear,

    /// <summary>Equal ratios do; tick labels at powers of two.</summary>
    Log2,

    /// <summary>Equal ratios do; tick labels at powers of ten, with 2 and 5 between them where there is room.</summary>
    Log10,
}

/// <summary>What the numbers of an axis are; says how its labels are written.</summary>
public enum AxisUnit
{
    /// <summary>Plain numbers; 1000 and more with k, M, G ... where they are not powers of two.</summary>
    Number,

    /// <summary>Bytes, written in B, KiB, MiB, ...</summary>
    Bytes,

    /// <summary>Seconds, written in ns, µs, ms, s.</summary>
    Seconds,

    /// <summary>Shares, 1 written as 100 %.</summary>
    Share,

    /// <summary>Ratios, 2 written as 2x.</summary>
    Ratio,
}

/// <summary>An axis of a chart.</summary>
/// <param name="Label">What is on it.</param>
/// <param name="Scale">How it spaces its values.</param>
/// <param name="Unit">How its labels are written.</param>
/// <param name="Include">Values that the axis reaches in any case, such as 0.</param>
public sealed record Axis(string Label, AxisScale Scale = AxisScale.Linear, AxisUnit Unit = AxisUnit.Number, params double[] Include)
{
    /// <summary>Beyond this the differences and ratios of an axis leave the range of its numbers.</summary>
    private const double Largest = 1e100;

    /// <summary>Whether a value has a place on this axis: finite (at most 1e100 in magnitude), on a logarithmic axis above 1e-100.</summary>
    public bool Takes(double value) => Math.Abs(value) <= Largest && (Scale == AxisScale.Linear || value >= 1 / Largest);

    /// <summary>The axis over these values, from a tick or round number to another.</summary>
    /// <param name="values">Those it does not take are left out.</param>
    /// <param name="ticks">About so many ticks.</param>
    internal Range Over(IEnumerable<double> values, int ticks)
    {
        double[] known = [.. values.Concat(Include).Where(Takes)];
        if (known.Length == 0)
            known = [Scale == AxisScale.Linear ? 0 : 1];
        double minimum = known.Min(), maximum = known.Max();
        return Scale switch
        {
            AxisScale.Log2 => Powers(minimum, maximum, ticks),
            AxisScale.Log10 => Decades(minimum, maximum, ticks),
            _ => Steps(minimum, maximum, ticks),
        };
    }

    /// <summary>A value with its unit, as a label beside a bar or in a table: three digits, all before the point.</summary>
    public string Format(double value) => Format(value, 3);

    /// <summary>A tick with its unit. Ticks are round: of six digits few are ever written.</summary>
    internal string FormatTick(double value) => Format(value, 6);

    private string Format(double value, int digits)
    {
        double magnitude = Math.Abs(value);
        return Unit switch
        {
            AxisUnit.Share => Digits(value * 100) + " %",
            AxisUnit.Ratio => Digits(value) + "x",
            AxisUnit.Seconds => magnitude == 0 ? "0" : magnitude >= 1 ? Digits(value) + " s"
                : magnitude >= 1e-3 ? Digits(value * 1e3) + " ms" : magnitude >= 1e-6 ? Digits(value * 1e6) + " µs" : Digits(value * 1e9) + " ns",
            AxisUnit.Bytes => value == 0 ? "0" : Prefixed(value, 1024, " B", " KiB", " MiB", " GiB", " TiB", " PiB"),
            _ => magnitude < 1e4 || (magnitude < 1e5 && IsPower(magnitude)) ? Digits(value)
                : IsPower(magnitude) ? Prefixed(value, 1024, "", "Ki", "Mi", "Gi", "Ti", "Pi") : Prefixed(value, 1000, "", "k", "M", "G", "T", "P"),
        };

        static bool IsPower(double x) => Math.Log2(x) == Math.Floor(Math.Log2(x));

        string Prefixed(double x, double by, params ReadOnlySpan<string> suffixes)
        {
            int i = 0;
            for (; Math.Abs(x) >= by && i < suffixes.Length - 1; i++)
                x /= by;
            return Digits(x) + suffixes[i];
        }

        string Digits(double x)
        {
            double size = Math.Abs(x);
            if (size == 0 || size is >= 1e-6 and < 1e9)
            {
                int decimals = size == 0 ? 0 : Math.Clamp(digits - 1 - (int)Math.Floor(Math.Log10(size)), 0, 15);
                return decimal.Round((decimal)x, decimals).ToString("0.###############", CultureInfo.InvariantCulture);
            }
            return x.ToString("0." + new string('#', digits - 1) + "e0", CultureInfo.InvariantCulture);
        }
    }

    /// <summary>From a multiple of 1, 2, 2.5 or 5 times a power of ten to another.</summary>
    private Range Steps(double minimum, double maximum, int ticks)
    {
        // Values that differ by less than a thousandth are one, which no axis parts: it goes from 0.
        if (maximum - minimum <= Math.Max(1e-90, Math.Max(Math.Abs(minimum), Math.Abs(maximum)) / 1000))
            (minimum, maximum) = (Math.Min(0, minimum), Math.Abs(maximum) < 1e-90 ? 1 : Math.Max(0, maximum));
        double span = maximum - minimum;
        double unit = Unit == AxisUnit.Bytes ? Math.Pow(1024, Math.Clamp(Math.Floor(Math.Log(span, 1024)), 0, 5)) : 1; // 1.5 MiB is round, 1.5 million bytes are not.
        double magnitude = Math.Pow(10, Math.Floor(Math.Log10(span / unit / ticks)));
        double step = new[] { 1, 2, 2.5, 5, 10, 20 }.Select(factor => factor * magnitude * unit).First(step => span / step <= ticks * 1.0001);
        double first = Math.Floor(minimum / step + 1e-9), last = Math.Max(Math.Ceiling(maximum / step - 1e-9), first + 1);
        return new(this, first * step, last * step, [.. Enumerable.Range(0, (int)(last - first) + 1).Select(i => (first + i) * step)]);
    }

    /// <summary>From a power of two to another.</summary>
    private Range Powers(double minimum, double maximum, int ticks)
    {
        int first = (int)Math.Floor(Math.Log2(minimum) + 1e-9), last = Math.Max((int)Math.Ceiling(Math.Log2(maximum) - 1e-9), first + 1);
        int stride = new[] { 1, 2, 5, 10, 20, 50, 100, 200 }.First(stride => (last - first) / stride <= ticks + 2);
        int tick = (int)Math.Ceiling(first / (double)stride) * stride;
        return new(this, Math.Pow(2, first), Math.Pow(2, last), [.. Enumerable.Range(0, (last - tick) / stride + 1).Select(i => Math.Pow(2, tick + i * stride))]);
    }

    /// <summary>From 1, 2 or 5 times a power of ten to another.</summary>
    private Range Decades(double minimum, double maximum, int ticks)
    {
        int from = (int)Math.Floor(Math.Log10(minimum)), to = (int)Math.Ceiling(Math.Log10(maximum)) + 1;
        int stride = new[] { 1, 2, 5, 10, 20, 50 }.First(stride => (to - from) / stride <= ticks + 2);
        double[] factors = stride == 1 && to - from <= 4 ? [1, 2, 5] : [1];
        double[] all = [.. Enumerable.Range(from / stride - 1, (to - from) / stride + 3)
            .SelectMany(i => factors.Select(factor => double.Parse(FormattableString.Invariant($"{factor}e{i * stride}"), CultureInfo.InvariantCulture)))];
        double start = all.Last(tick => tick <= minimum * (1 + 1e-9)), end = all.First(tick => tick >= maximum * (1 - 1e-9) && tick > start);
        return new(this, start, end, [.. all.Where(tick => tick >= start && tick <= end)]);
    }

    /// <summary>The part of an axis that a chart shows.</summary>
    /// <param name="Axis">The axis.</param>
    /// <param name="Start">Its lower end.</param>
    /// <param name="End">Its upper end.</param>
    /// <param name="Ticks">Where its labels are.</param>
    internal sealed record Range(Axis Axis, double Start, double End, IReadOnlyList<double> Ticks)
    {
        /// <summary>0 at the lower end, 1 at the upper one; values outside of the axis lie at its ends.</summary>
        public double Fraction(double value) => Math.Clamp(
            Axis.Scale == AxisScale.Linear ? (value - Start) / (End - Start) : Math.Log(value / Start) / Math.Log(End / Start), 0, 1);
    }
}
