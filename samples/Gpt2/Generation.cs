using System.Text;
using Gpt2.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Gpt2;

/// <summary>Continues texts, token by token.</summary>
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
    public static IEnumerable<string> Continue(GptModel model, ITokenizer tokenizer, string prompt, int count, TokenSampler sampler) =>
        Continue(model, tokenizer, [prompt], count, [sampler]).Select(piece => piece.Text);

    /// <summary>The same for several texts at once: the matrix products of a step are shared, and so is their reading of the weights.</summary>
    /// <param name="model">A trained model; it is put into evaluation mode.</param>
    /// <param name="tokenizer">The tokeniser it was trained with.</param>
    /// <param name="prompts">What to continue.</param>
    /// <param name="count">Number of tokens to draw for each.</param>
    /// <param name="samplers">How to draw them, for each.</param>
    /// <returns>Pieces of text, and which of the prompts each continues.</returns>
    public static IEnumerable<(int Prompt, string Text)> Continue(
        GptModel model, ITokenizer tokenizer, IReadOnlyList<string> prompts, int count, IReadOnlyList<TokenSampler> samplers)
    {
        int[] Encode(string prompt) =>
            prompt.Length > 0 ? tokenizer.Encode(prompt) : tokenizer.EndOfText is { } end ? [end] : tokenizer.Encode("\n");

        // A character's bytes may be spread over tokens: the decoder keeps the unfinished ones.
        Decoder[] decoders = [.. prompts.Select(_ => Encoding.UTF8.GetDecoder())];
        int drawn = 0;
        foreach (int[] tokens in Tokens(model, [.. prompts.Select(Encode)], samplers).Take(count))
        {
            drawn++;
            for (int row = 0; row < tokens.Length; row++)
            {
                string piece = Decode(decoders[row], tokenizer.Bytes(tokens[row]), flush: drawn == count);
                if (piece.Length > 0) yield return (row, piece);
            }
        }
    }

    /// <summary>The tokens that continue each prompt, one for each in every step, without end.</summary>
    /// <param name="model">A trained model; it is put into evaluation mode.</param>
    /// <param name="prompts">At least one token each.</param>
    /// <param name="samplers">How to draw the tokens, for each prompt.</param>
    /// <exception cref="ArgumentException">There is no prompt, one of them is empty, or not one sampler for each.</exception>
    public static IEnumerable<int[]> Tokens(GptModel model, IReadOnlyList<int[]> prompts, IReadOnlyList<TokenSampler> samplers)
    {
        if (prompts.Count == 0 || prompts.Any(prompt => prompt.Length == 0))
            throw new ArgumentException("Each prompt must have a token.", nameof(prompts));
        if (samplers.Count != prompts.Count) throw new ArgumentException($"{samplers.Count} samplers for {prompts.Count} prompts.", nameof(samplers));
        return Run();

        IEnumerable<int[]> Run()
        {
            model.eval();
            List<int>[] texts = [.. prompts.Select(prompt => prompt.ToList())];
            using var cache = new KeyValueCache(model, texts.Length);
            while (true)
            {
                int[] next = Step(model, cache, texts, samplers);
                for (int row = 0; row < next.Length; row++) texts[row].Add(next[row]);
                yield return next;
            }
        }
    }

    private static int[] Step(GptModel model, KeyValueCache cache, List<int>[] texts, IReadOnlyList<TokenSampler> samplers)
    {
        using IDisposable noGradient = no_grad();
        using DisposeScope scope = NewDisposeScope();

        // Beyond the context every token moves to another position, which is part of its key: there all is computed anew.
        int columns = 1;
        if (cache.Length == 0 || cache.Length == cache.Context)
        {
            columns = texts.Max(text => Math.Min(text.Count, cache.Context));
            cache.Restart([.. texts.Select(text => (long)Math.Max(0, columns - text.Count))]);
        }

        var ids = new long[texts.Length * columns];
        for (int row = 0; row < texts.Length; row++)
        {
            for (int i = 1; i <= Math.Min(columns, texts[row].Count); i++) ids[((row + 1) * columns) - i] = texts[row][^i];
        }

        Tensor logits = model.NextTokenLogits(tensor(ids, [texts.Length, columns], device: model.Device), cache);
        float[] values = logits.cpu().to(ScalarType.Float32).data<float>().ToArray();
        int size = values.Length / texts.Length;
        return [.. samplers.Select((sampler, row) => sampler.Sample(values.AsSpan(row * size, size)))];
    }

    private static string Decode(Decoder decoder, ReadOnlySpan<byte> bytes, bool flush)
    {
        var characters = new char[Encoding.UTF8.GetMaxCharCount(bytes.Length)];
        int length = decoder.GetChars(bytes, characters, flush);
        return new string(characters, 0, length);
    }
}

/// <summary>Draws a token from logits.</summary>
/// <param name="temperature">Divides the logits; 0 takes the most probable token.</param>
/// <param name="topK">Only the k most probable tokens can be drawn; 0 means all.</param>
/// <param name="seed">Equal seeds and logits give equal tokens.</param>
/// <param name="topP">Only the most probable tokens can be drawn whose probabilities first sum up to p; 1 means all.</param>
public sealed class TokenSampler(double temperature, int topK, long seed, double topP = 1)
{
    private readonly SplitMix64 _random = new((ulong)seed);

    /// <summary>The index of the drawn logit. Of equal logits the lower index counts as the more probable.</summary>
    public int Sample(ReadOnlySpan<float> logits)
    {
        int[] order = MostProbable(logits, temperature == 0 ? 1 : topK == 0 ? logits.Length : Math.Min(topK, logits.Length));
        var weights = new double[order.Length];
        for (int i = 0; i < order.Length && temperature > 0; i++) weights[i] = Math.Exp((logits[order[i]] - (double)logits[order[0]]) / temperature);
        if (temperature == 0) return order[0];

        double sum = weights.Sum();
        int candidates = weights.Length;
        if (topP < 1)
        {
            double kept = 0;
            for (candidates = 0; candidates < weights.Length && kept < topP * sum; candidates++) kept += weights[candidates];
            (candidates, sum) = candidates == 0 ? (1, weights[0]) : (candidates, kept);
        }

        double remaining = _random.NextDouble() * sum;
        for (int i = 0; i < candidates; i++)
        {
            remaining -= weights[i];
            if (remaining < 0) return order[i];
        }

        return order[candidates - 1];
    }

    // The indices of the largest logits, in order. A key is a logit, turned into an integer that falls as it rises, and its index.
    private static int[] MostProbable(ReadOnlySpan<float> logits, int count)
    {
        var keys = new ulong[count];
        int length = 0;
        for (int i = 0; i < logits.Length; i++)
        {
            int bits = BitConverter.SingleToInt32Bits(logits[i] + 0f); // no -0
            uint rising = (uint)(bits < 0 ? ~bits : bits | int.MinValue);
            ulong key = ((ulong)~rising << 32) | (uint)i;
            if (count == logits.Length) keys[length++] = key;
            else if (length < count || key < keys[^1]) Insert(key);
        }

        if (count == logits.Length) Array.Sort(keys);
        return Array.ConvertAll(keys, key => (int)(uint)key);

        void Insert(ulong key)
        {
            int place = ~Array.BinarySearch(keys, 0, length, key);
            length = Math.Min(length + 1, count);
            Array.Copy(keys, place, keys, place + 1, length - place - 1);
            keys[place] = key;
        }
    }
}
