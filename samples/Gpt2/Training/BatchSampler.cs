using TorchSharp;
using static TorchSharp.torch;

namespace Gpt2.Training;

/// <summary>Cuts training sequences out of a token stream at random places.</summary>
internal sealed class BatchSampler
{
    private readonly ushort[] _tokens;
    private readonly int _batchSize;
    private readonly int _context;

    /// <summary><paramref name="random"/> is the order of the data: its state belongs into a checkpoint.</summary>
    internal BatchSampler(ushort[] tokens, int batchSize, int context, SplitMix64 random)
    {
        (_tokens, _batchSize, _context, Random) = (tokens, batchSize, context, random);
    }

    internal SplitMix64 Random { get; }

    /// <summary>Two (B, N) int64 tensors; the targets are the inputs one token later.</summary>
    internal (Tensor Inputs, Tensor Targets) Next()
    {
        var starts = new long[_batchSize];
        for (int i = 0; i < starts.Length; i++) starts[i] = Random.Next(_tokens.LongLength - _context);
        return Windows(_tokens, starts, _context);
    }

    /// <summary>The windows of <paramref name="context"/> tokens from each start on, and the same one token later.</summary>
    internal static (Tensor Inputs, Tensor Targets) Windows(ushort[] tokens, ReadOnlySpan<long> starts, int context)
    {
        var inputs = new long[starts.Length * context];
        var targets = new long[inputs.Length];
        for (int b = 0; b < starts.Length; b++)
        {
            for (int i = 0; i < context; i++)
            {
                inputs[(b * context) + i] = tokens[starts[b] + i];
                targets[(b * context) + i] = tokens[starts[b] + i + 1];
            }
        }

        long[] shape = [starts.Length, context];
        return (tensor(inputs, shape), tensor(targets, shape));
    }
}
