using System.Text;
using Gpt2.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Gpt2;

/// <summary>Continues a text, token by token.</summary>
public static class TextGenerator
{
    /// <summary>
    /// The continuation of <paramref name="prompt"/>, in pieces of whole characters as they become known. The model sees as much
    /// of the text as its context holds.
    /// </summary>
    /// <param name="model">A trained model; it is put into evaluation mode.</param>
    /// <param name="tokenizer">The tokeniser it was trained with.</param>
    /// <param name="prompt">What to continue. An empty one stands for the start of a document.</param>
    /// <param name="count">Number of tokens to draw.</param>
    /// <param name="sampler">How to draw them.</param>
    public static IEnumerable<string> Continue(GptModel model, ITokenizer tokenizer, string prompt, int count, TokenSampler sampler)
    {
        model.eval();
        var tokens = new List<int>(tokenizer.Encode(prompt));
        if (tokens.Count == 0) tokens.AddRange(tokenizer.EndOfText is { } end ? [end] : tokenizer.Encode("\n"));

        // A character's bytes may be spread over tokens: the decoder keeps the unfinished ones.
        Decoder decoder = Encoding.UTF8.GetDecoder();
        for (int i = 0; i < count; i++)
        {
            int token = NextToken(model, tokens, sampler);
            tokens.Add(token);
            string piece = Decode(decoder, tokenizer.Bytes(token), flush: i == count - 1);
            if (piece.Length > 0) yield return piece;
        }
    }

    private static int NextToken(GptModel model, List<int> tokens, TokenSampler sampler)
    {
        using IDisposable noGradient = no_grad();
        using DisposeScope scope = NewDisposeScope();
        long[] visible = [.. tokens.Skip(tokens.Count - model.Config.Context).Select(token => (long)token)];
        Tensor logits = model.NextTokenLogits(tensor(visible, [1, visible.Length], device: model.Device));
        return sampler.Sample(logits.cpu().data<float>().ToArray());
    }

    private static string Decode(Decoder decoder, ReadOnlySpan<byte> bytes, bool flush)
    {
        Span<char> characters = stackalloc char[Encoding.UTF8.GetMaxCharCount(bytes.Length)];
        int length = decoder.GetChars(bytes, characters, flush);
        return new string(characters[..length]);
    }
}

/// <summary>Draws a token from logits.</summary>
/// <param name="temperature">Divides the logits; 0 takes the most probable token.</param>
/// <param name="topK">Only the k most probable tokens can be drawn; 0 means all.</param>
/// <param name="seed">Equal seeds and logits give equal tokens.</param>
public sealed class TokenSampler(double temperature, int topK, long seed)
{
    private readonly SplitMix64 _random = new((ulong)seed);

    /// <summary>The index of the drawn logit. Of equal logits the lower index counts as the more probable.</summary>
    public int Sample(ReadOnlySpan<float> logits)
    {
        int[] order = [.. Enumerable.Range(0, logits.Length)];
        float[] keys = logits.ToArray();
        Array.Sort(order, (a, b) => keys[a] != keys[b] ? keys[b].CompareTo(keys[a]) : a.CompareTo(b));
        if (temperature == 0) return order[0];

        int candidates = topK == 0 ? order.Length : Math.Min(topK, order.Length);
        var weights = new double[candidates];
        double sum = 0;
        for (int i = 0; i < candidates; i++)
        {
            weights[i] = Math.Exp((keys[order[i]] - (double)keys[order[0]]) / temperature);
            sum += weights[i];
        }

        double remaining = _random.NextDouble() * sum;
        for (int i = 0; i < candidates; i++)
        {
            remaining -= weights[i];
            if (remaining < 0) return order[i];
        }

        return order[candidates - 1];
    }
}
