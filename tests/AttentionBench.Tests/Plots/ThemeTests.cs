using System.Globalization;
using AttentionBench.Plots;

namespace AttentionBench.Tests.Plots;

public sealed class ThemeTests
{
    /// <summary>How red, green and blue (linear) look to people without one kind of cone (Machado, Oliveira, Fernandes 2009, severity 1).</summary>
    private static readonly Dictionary<string, double[]> Sights = new()
    {
        ["all cones"] = [1, 0, 0, 0, 1, 0, 0, 0, 1],
        ["protanopia"] = [0.152286, 1.052583, -0.204868, 0.114503, 0.786281, 0.099216, -0.003882, -0.048116, 1.051998],
        ["deuteranopia"] = [0.367322, 0.860646, -0.227968, 0.280085, 0.672501, 0.047413, -0.011820, 0.042940, 0.968881],
    };

    public static TheoryData<string> Themes => ["light", "dark"];

    private static Theme Named(string name) => name == "light" ? Theme.Light : Theme.Dark;

    /// <summary>WCAG 2.1: 4.5 for text, 3 for graphics.</summary>
    [Theory]
    [MemberData(nameof(Themes))]
    public void EverythingStandsOutFromTheBackground(string name)
    {
        Theme theme = Named(name);
        Assert.All([theme.Text, theme.Muted], colour => Assert.True(Contrast(colour, theme.Background) >= 4.5, colour));
        Assert.All(theme.Series, colour => Assert.True(Contrast(colour, theme.Background) >= 3, $"{colour}: {Contrast(colour, theme.Background)}"));
    }

    /// <summary>Between any two of the first five colours a difference (CIE 1976) that is plain to see side by side.</summary>
    [Theory]
    [MemberData(nameof(Themes))]
    public void ColoursDifferForAnyColourVision(string name)
    {
        string[] colours = [.. Named(name).Series.Take(5)];
        foreach ((string sight, double[] matrix) in Sights)
        {
            for (int i = 0; i < colours.Length; i++)
            {
                for (int j = 0; j < i; j++)
                {
                    double[] a = Lab(colours[i], matrix), b = Lab(colours[j], matrix);
                    double difference = Math.Sqrt(a.Zip(b, (x, y) => (x - y) * (x - y)).Sum());
                    Assert.True(difference >= 14, $"{sight}: {colours[i]} and {colours[j]} differ by {difference:f1}.");
                }
            }
        }
    }

    private static double Contrast(string a, string b)
    {
        double x = Luminance(a), y = Luminance(b);
        return (Math.Max(x, y) + .05) / (Math.Min(x, y) + .05);

        static double Luminance(string colour) => Linear(colour).Zip([.2126, .7152, .0722], (c, w) => c * w).Sum();
    }

    private static double[] Linear(string colour) => [.. Enumerable.Range(0, 3).Select(i =>
    {
        double c = int.Parse(colour.AsSpan(1 + 2 * i, 2), NumberStyles.HexNumber, CultureInfo.InvariantCulture) / 255.0;
        return c <= .04045 ? c / 12.92 : Math.Pow((c + .055) / 1.055, 2.4);
    })];

    private static double[] Lab(string colour, double[] sight)
    {
        double[] rgb = Linear(colour);
        double[] seen = [.. Enumerable.Range(0, 3).Select(i => Math.Clamp(sight[3 * i] * rgb[0] + sight[3 * i + 1] * rgb[1] + sight[3 * i + 2] * rgb[2], 0, 1))];
        double x = F((.4124 * seen[0] + .3576 * seen[1] + .1805 * seen[2]) / .9505), y = F(.2126 * seen[0] + .7152 * seen[1] + .0722 * seen[2]);
        double z = F((.0193 * seen[0] + .1192 * seen[1] + .9505 * seen[2]) / 1.089);
        return [116 * y - 16, 500 * (x - y), 200 * (y - z)];

        static double F(double t) => t > .008856 ? Math.Cbrt(t) : 7.787 * t + 16 / 116.0;
    }
}
