namespace TorchSharp;

public static partial class torch
{
    public partial class Tensor
    {
        /// <summary>Fills with samples of a normal distribution.</summary>
        public Tensor normal_(double mean = 0.0, double std = 1.0, Generator? generator = null) =>
            InPlace("normal_", "", mean, std, generator);

        /// <summary>Fills with samples of a uniform distribution.</summary>
        public Tensor uniform_(double from, double to, Generator? generator = null) => InPlace("uniform_", "", from, to, generator);

        /// <summary>Fills with ones, each with probability <paramref name="p"/>, and zeros.</summary>
        public Tensor bernoulli_(double p = 0.5, Generator? generator = null) => InPlace("bernoulli_", "float", p, generator);

        /// <summary>Ones and zeros, ones with the probabilities that are the elements.</summary>
        public Tensor bernoulli(Generator? generator = null) => Operator.Call("bernoulli", "", this, generator);

        /// <summary>Fills with samples of an exponential distribution.</summary>
        public Tensor exponential_(double lambda = 1.0, Generator? generator = null) => InPlace("exponential_", "", lambda, generator);

        /// <summary>Indices drawn with probabilities proportional to the elements of each row.</summary>
        public Tensor multinomial(long num_samples, bool replacement = false, Generator? generator = null) =>
            Operator.Call("multinomial", "", this, num_samples, replacement, generator);
    }

    /// <inheritdoc cref="Tensor.bernoulli"/>
    public static Tensor bernoulli(Tensor input, Generator? generator = null) => input.bernoulli(generator);

    /// <inheritdoc cref="Tensor.multinomial"/>
    public static Tensor multinomial(Tensor input, long num_samples, bool replacement = false, Generator? generator = null) =>
        input.multinomial(num_samples, replacement, generator);
}
