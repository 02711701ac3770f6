namespace TorchFlash.Testing;

internal static class RandomNumbers
{
    /// <summary>One sample of the standard normal distribution (Box and Muller).</summary>
    public static double NextNormal(this Random random) =>
        Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
}
