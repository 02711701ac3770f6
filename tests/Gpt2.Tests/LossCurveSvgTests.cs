using System.Xml.Linq;
using Gpt2.Cli;

namespace Gpt2.Tests;

public sealed class LossCurveSvgTests : IDisposable
{
    private static readonly XNamespace Svg = "http://www.w3.org/2000/svg";
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Is_well_formed_and_has_curves_axes_and_labels()
    {
        string path = _folder.File("curve.svg");
        LossCurveSvg.Write(path, History(50), "a < b & c");

        XElement root = XDocument.Load(path).Root!;
        Assert.Equal(Svg + "svg", root.Name);
        Assert.Equal([50, 6], root.Elements(Svg + "polyline").Select(line => Points(line).Length));
        string[] texts = [.. root.Elements(Svg + "text").Select(text => text.Value)];
        Assert.All<string>(["a < b & c", "step", "loss (nats per token)", "training", "validation", "0", "50"], label => Assert.Contains(label, texts));
    }

    [Fact]
    public void Curves_stay_inside_the_axes_and_a_falling_loss_falls()
    {
        XElement root = LossCurveSvg.Draw(History(5000), "t").Root!;
        (double X, double Y)[] training = Points(root.Elements(Svg + "polyline").First());
        Assert.InRange(training.Length, 200, 400);
        Assert.All(training, point => Assert.True(point.X is >= 70 and <= 836 && point.Y is >= 56 and <= 424));
        Assert.True(training[0].Y < training[^1].Y, "the y axis of SVG points down");
    }

    [Fact]
    public void One_point_can_be_drawn_and_none_is_refused()
    {
        var one = new LossHistory { Validation = [new LossPoint(0, 5.5)] };
        Assert.Single(LossCurveSvg.Draw(one, "t").Root!.Elements(Svg + "circle"));
        Assert.Throws<ArgumentException>(() => LossCurveSvg.Draw(new LossHistory(), "t"));
    }

    [Theory]
    [InlineData(5.5, 5.5)]
    [InlineData(5.5, 5.5000000000000009)]
    [InlineData(1e20, 1e20)]
    [InlineData(0, 5e-324)]
    [InlineData(0, float.MaxValue)]
    [InlineData(-float.MaxValue, float.MaxValue)]
    public void Any_losses_can_be_drawn(double first, double second)
    {
        XElement root = LossCurveSvg.Draw(new LossHistory { Training = [new LossPoint(1, first), new LossPoint(2, second)] }, "t").Root!;
        Assert.All(Points(root.Elements(Svg + "polyline").First()), point => Assert.InRange(point.Y, 56, 424));
    }

    [Fact]
    public void A_picture_of_ours_is_told_from_others()
    {
        string path = _folder.File("curve.svg");
        LossCurveSvg.Write(path, History(5), "first");
        LossCurveSvg.Write(path, History(5), "second");
        Assert.Contains("second", File.ReadAllText(path));
        foreach (string content in (string[])["", "<svg/>", "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<!-- mine --><svg/>"])
        {
            string other = _folder.Write("other.svg", content);
            Assert.Contains("is not a picture of this program", Assert.Throws<UserException>(() => LossCurveSvg.Write(other, History(5), "t")).Message);
            Assert.Equal(content, File.ReadAllText(other));
        }
    }

    private static LossHistory History(int steps) => new()
    {
        Training = [.. Enumerable.Range(1, steps).Select(step => new LossPoint(step, 1 + (4.5 / step)))],
        Validation = [.. Enumerable.Range(0, 6).Select(i => new LossPoint(i * steps / 5, 5.5 - (0.7 * i)))],
    };

    private static (double X, double Y)[] Points(XElement polyline) =>
        [.. polyline.Attribute("points")!.Value.Split(' ').Select(pair => pair.Split(',')).Select(xy => (double.Parse(xy[0]), double.Parse(xy[1])))];
}
