using AttentionBench.Plots;

namespace AttentionBench.Tests.Plots;

public sealed class AxisTests
{
    [Theory]
    [InlineData(AxisScale.Linear, AxisUnit.Number, 0, 100, "0|20|40|60|80|100")]
    [InlineData(AxisScale.Linear, AxisUnit.Number, .3, .9, "0.3|0.4|0.5|0.6|0.7|0.8|0.9")]
    [InlineData(AxisScale.Linear, AxisUnit.Number, -.3, .3, "-0.3|-0.2|-0.1|0|0.1|0.2|0.3")]
    [InlineData(AxisScale.Linear, AxisUnit.Number, 5, 5, "0|1|2|3|4|5")]
    [InlineData(AxisScale.Linear, AxisUnit.Number, 0, 0, "0|0.2|0.4|0.6|0.8|1")]
    [InlineData(AxisScale.Linear, AxisUnit.Number, 0, 250000, "0|50k|100k|150k|200k|250k")]
    [InlineData(AxisScale.Linear, AxisUnit.Share, .5, 1, "50 %|60 %|70 %|80 %|90 %|100 %")]
    [InlineData(AxisScale.Linear, AxisUnit.Ratio, 0, 2.1, "0x|0.5x|1x|1.5x|2x|2.5x")]
    [InlineData(AxisScale.Linear, AxisUnit.Bytes, 0, 3 << 20, "0|512 KiB|1 MiB|1.5 MiB|2 MiB|2.5 MiB|3 MiB")]
    [InlineData(AxisScale.Log2, AxisUnit.Number, 256, 16384, "256|512|1024|2048|4096|8192|16384")]
    [InlineData(AxisScale.Log2, AxisUnit.Number, 300, 700, "256|512|1024")]
    [InlineData(AxisScale.Log2, AxisUnit.Number, .25, 2, "0.25|0.5|1|2")]
    [InlineData(AxisScale.Log2, AxisUnit.Bytes, 1 << 15, 1 << 30, "64 KiB|256 KiB|1 MiB|4 MiB|16 MiB|64 MiB|256 MiB|1 GiB")]
    [InlineData(AxisScale.Log10, AxisUnit.Seconds, 2e-6, 1.5, "1 µs|10 µs|100 µs|1 ms|10 ms|100 ms|1 s|10 s")]
    [InlineData(AxisScale.Log10, AxisUnit.Number, 3, 40, "2|5|10|20|50")]
    [InlineData(AxisScale.Log10, AxisUnit.Number, 7, 7, "5|10")]
    public void TicksAreRound(AxisScale scale, AxisUnit unit, double minimum, double maximum, string expected)
    {
        var axis = new Axis("x", scale, unit);
        Assert.Equal(expected, string.Join('|', axis.Over([minimum, maximum], 6).Ticks.Select(axis.FormatTick)));
    }

    [Fact]
    public void TicksOfAnyRangeRiseWithinItAndHaveLabelsOfTheirOwn()
    {
        var random = new Random(1);
        for (int n = 0; n < 20000; n++)
        {
            var axis = new Axis("x", (AxisScale)random.Next(3), (AxisUnit)random.Next(5));
            double a = Math.Pow(10, random.NextDouble() * 24 - 12), b = random.Next(3) == 0 ? a * (1 + random.NextDouble()) : Math.Pow(10, random.NextDouble() * 24 - 12);
            if (axis.Scale == AxisScale.Linear)
                (a, b) = (a * (random.Next(3) - 1), b * (random.Next(3) - 1));
            Axis.Range range = axis.Over([a, b], 6);
            Assert.InRange(range.Ticks.Count, axis.Scale == AxisScale.Linear ? 2 : 1, 13);
            Assert.True(range.Start < range.End);
            double slack = axis.Scale == AxisScale.Linear ? 1e-8 * (range.End - range.Start) : 1e-8 * Math.Min(a, b);
            Assert.True(range.Start - slack <= Math.Min(a, b) && range.End * (axis.Scale == AxisScale.Linear ? 1 : 1 + 1e-8) + slack >= Math.Max(a, b));
            Assert.All(range.Ticks.Zip(range.Ticks.Skip(1)), pair => Assert.True(pair.First < pair.Second));
            Assert.All(range.Ticks, tick => Assert.InRange(tick, range.Start, range.End));
            string[] labels = [.. range.Ticks.Select(axis.FormatTick)];
            Assert.True(labels.Distinct().Count() == labels.Length, $"{axis}, {a} .. {b}: {string.Join('|', labels)}");
            Assert.Equal(0, range.Fraction(range.Start), 1e-9);
            Assert.Equal(1, range.Fraction(range.End), 1e-9);
        }
    }

    [Fact]
    public void AnAxisReachesWhatItIsToldToInclude()
        => Assert.Equal(0, new Axis("x", AxisScale.Linear, AxisUnit.Number, 0).Over([90, 100], 6).Start);

    [Theory]
    [InlineData(AxisUnit.Number, 1234567, "1.23M")]
    [InlineData(AxisUnit.Number, 113.46, "113")]
    [InlineData(AxisUnit.Ratio, 1.2349, "1.23x")]
    [InlineData(AxisUnit.Share, .9123, "91.2 %")]
    [InlineData(AxisUnit.Seconds, 0.0123456, "12.3 ms")]
    [InlineData(AxisUnit.Bytes, 1536, "1.5 KiB")]
    public void ValuesAreWrittenWithThreeDigits(AxisUnit unit, double value, string expected) => Assert.Equal(expected, new Axis("x", AxisScale.Linear, unit).Format(value));
}
