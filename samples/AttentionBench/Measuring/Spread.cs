namespace AttentionBench.Measuring;

/// <summary>What a sample of measurements says: its median, and how far its middle half reaches.</summary>
/// <param name="Median">Half of the values lie below.</param>
/// <param name="Lower">First quartile.</param>
/// <param name="Upper">Third quartile.</param>
internal readonly record struct Spread(double Median, double Lower, double Upper)
{
    /// <summary>Of values in any order; quartiles are interpolated between neighbours.</summary>
    /// <exception cref="ArgumentException">There is no value.</exception>
    public static Spread Of(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        if (sorted.Length == 0)
            throw new ArgumentException("A spread takes at least one value.", nameof(values));
        return new(At(0.5), At(0.25), At(0.75));

        double At(double share)
        {
            double position = share * (sorted.Length - 1);
            int below = (int)position;
            return below + 1 < sorted.Length ? sorted[below] + (position - below) * (sorted[below + 1] - sorted[below]) : sorted[below];
        }
    }

    /// <summary>Of the ratios of what was measured in the same rounds.</summary>
    /// <exception cref="ArgumentException">The rounds differ in number.</exception>
    public static Spread OfRatios(IReadOnlyList<double> numerators, IReadOnlyList<double> denominators) =>
        numerators.Count == denominators.Count
            ? Of(numerators.Zip(denominators, (a, b) => a / b))
            : throw new ArgumentException($"Ratios are of pairs: there are {numerators.Count} numerators.", nameof(denominators));

    /// <summary>Of the values times a positive factor.</summary>
    public static Spread operator *(double factor, Spread spread) => new(factor * spread.Median, factor * spread.Lower, factor * spread.Upper);

    /// <summary>Of the reciprocals of positive values.</summary>
    public Spread Reciprocal => new(1 / Median, 1 / Upper, 1 / Lower);
}
