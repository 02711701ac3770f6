using System.Text;
using Gpt2.Model;
using Gpt2.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Gpt2.Generation;

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
