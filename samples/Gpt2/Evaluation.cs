using Gpt2.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Gpt2;

/// <summary>How well a model predicts a text.</summary>
/// <param name="Loss">Mean cross-entropy in nats a token.</param>
/// <param name="Tokens">Tokens that were predicted.</param>
public readonly record struct Evaluation(double Loss, long Tokens)
{
    /// <summary>exp of the loss: as uncertain as among so many equally probable tokens.</summary>
    public double Perplexity => Math.Exp(Loss);

    /// <summary>
    /// Predicts every token but the first once, in windows of the model's context, each <paramref name="stride"/> tokens behind the one
    /// before: beyond the first window a token is predicted from at least context - stride tokens before it. A small stride takes long and is
    /// fair to the model; a stride of the context is fast, and hard on the tokens where windows begin.
    /// </summary>
    /// <param name="model">The model; it is put into evaluation mode.</param>
    /// <param name="tokens">At least two.</param>
    /// <param name="stride">1 to the context.</param>
    /// <exception cref="ArgumentException">There are too few tokens, or the stride is out of its range.</exception>
    public static Evaluation Of(GptModel model, TokenSequence tokens, int stride)
    {
        int context = model.Config.Context;
        ArgumentOutOfRangeException.ThrowIfLessThan(tokens.Length, 2);
        ArgumentOutOfRangeException.ThrowIfLessThan(stride, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(stride, context);
        model.eval();
        using IDisposable noGradient = no_grad();
        double sum = 0;

        // Targets 1 to n - 1; those up to `predicted` are done.
        long predicted = 0;
        for (long start = 0; predicted < tokens.Length - 1; start += stride)
        {
            using DisposeScope scope = NewDisposeScope();
            int length = (int)Math.Min(context, tokens.Length - 1 - start);
            (Tensor inputs, Tensor targets) = BatchSampler.Windows(tokens, [start], length);
            long added = start + length - predicted;
            sum += model.Loss(inputs.to(model.Device), targets.to(model.Device), added).to(ScalarType.Float64).item<double>() * added;
            predicted += added;
        }

        return new Evaluation(sum / predicted, predicted);
    }
}
