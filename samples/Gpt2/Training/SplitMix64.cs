namespace Gpt2.Training;

/// <summary>Steele, Lea and Flood's SplitMix64 random generator: its whole state is one number, easy to save and to resume.</summary>
/// <param name="state">The seed, or a state read from <see cref="State"/>.</param>
public sealed class SplitMix64(ulong state)
{
    /// <summary>The state; a generator with the same one continues this one's sequence.</summary>
    public ulong State { get; set; } = state;

    /// <summary>64 random bits.</summary>
    public ulong NextUInt64()
    {
        State += 0x9E3779B97F4A7C15;
        ulong z = State;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }

    /// <summary>Uniform in 0 to <paramref name="bound"/> - 1; the bias of the multiplication method is below bound / 2⁶⁴.</summary>
    public long Next(long bound) => (long)Math.BigMul(NextUInt64(), (ulong)bound, out _);

    /// <summary>Uniform in [0, 1), a multiple of 2⁻⁵³.</summary>
    public double NextDouble() => (NextUInt64() >> 11) * (1.0 / (1UL << 53));
}
