using TorchFlash.Attention;
using TorchFlash.Kernels.Scores;
using TorchSharp;
using static TorchSharp.torch;

namespace TorchFlash.Tests;

/// <summary>Every argument that does not fit is refused with a message that says which, what it got and what it takes.</summary>
public class ArgumentTests
{
    private static Tensor Zeros(params long[] shape) => zeros(shape);

    private static readonly Tensor s_operand = Zeros(2, 3, 5, 4);

    public static TheoryData<string, string, Action> Refusals
    {
        get
        {
            static void Attend(Tensor q, Tensor? k = null, Tensor? v = null, Tensor? mask = null, double p = 0, double? scale = null, CausalAlignment alignment = default) =>
                flash.nn.functional.scaled_dot_product_attention(q, k ?? s_operand, v ?? s_operand, mask, p, scale: scale, causal_alignment: alignment);

            return new()
            {
                { "query", "takes (..., N, d); it got [4]", () => Attend(Zeros(4)) },
                { "key", "takes (..., N, d); it got [4]", () => Attend(s_operand, Zeros(4)) },
                { "value", "takes (..., N, d_v); it got []", () => Attend(s_operand, v: Zeros()) },
                { "query", "takes a head dimension of 1 or more; it got [2, 3, 5, 0]", () => Attend(Zeros(2, 3, 5, 0)) },
                { "value", "takes a head dimension of 1 or more; it got [2, 3, 5, 0]", () => Attend(s_operand, v: Zeros(2, 3, 5, 0)) },
                { "query", "takes Float32, Float64, Float16 or BFloat16; it got Int64", () => Attend(Zeros(2, 3, 5, 4).to(ScalarType.Int64)) },
                { "key", "takes the type of query, Float32; it got Float64", () => Attend(s_operand, s_operand.to(ScalarType.Float64)) },
                { "value", "takes the type of query, Float32; it got Float64", () => Attend(s_operand, v: s_operand.to(ScalarType.Float64)) },
                { "key", "takes the head dimension of query, 4; it got [2, 3, 5, 8]", () => Attend(s_operand, Zeros(2, 3, 5, 8)) },
                { "value", "takes one row for each of the 5 keys; it got [2, 3, 6, 4]", () => Attend(s_operand, v: Zeros(2, 3, 6, 4)) },
                { "key", "takes leading dimensions that broadcast with those of query, [2, 3, 5, 4]; it got [2, 2, 5, 4]", () => Attend(s_operand, Zeros(2, 2, 5, 4)) },
                { "value", "takes leading dimensions that broadcast with those of query, [2, 3, 5, 4], and key, [2, 3, 5, 4]; it got [4, 3, 5, 4]", () => Attend(s_operand, v: Zeros(4, 3, 5, 4)) },
                { "attn_mask", "takes Bool (true = may attend) or the type of query, Float32 (added to the scores); it got Int64", () => Attend(s_operand, mask: Zeros(5, 5).to(ScalarType.Int64)) },
                { "attn_mask", "takes a shape that broadcasts to (..., Nq, Nk) = [2, 3, 5, 5]; it got [5, 4]", () => Attend(s_operand, mask: Zeros(5, 4)) },
                { "attn_mask", "takes a shape that broadcasts to (..., Nq, Nk) = [2, 3, 5, 5]; it got [7, 2, 3, 5, 5]", () => Attend(s_operand, mask: Zeros(7, 2, 3, 5, 5)) },
                { "p", "takes a probability, 0 to 1; it got 1.5", () => Attend(s_operand, p: 1.5) },
                { "p", "takes a probability, 0 to 1; it got -0.1", () => Attend(s_operand, p: -0.1) },
                { "p", "takes a probability, 0 to 1; it got NaN", () => Attend(s_operand, p: double.NaN) },
                { "scale", "takes a finite number, or null for 1 / sqrt(d); it got Infinity", () => Attend(s_operand, scale: double.PositiveInfinity) },
                { "causal_alignment", "takes a value of CausalAlignment; it got 7", () => Attend(s_operand, alignment: (CausalAlignment)7) },
                { "query", "takes a tensor; it got one that has been disposed", () => Attend(Disposed()) },
                { "value", "takes a tensor; it got one that has been disposed", () => Attend(s_operand, v: Disposed()) },

                { "tensor", "takes Float32, Float64, Float16 or BFloat16; it got Int64", () => flash.reals(zeros([3], ScalarType.Int64)) },
                { "tensor", "takes Int64 or Int32; it got Float32", () => flash.ints(Zeros(3)) },
                { "tensor", "takes Bool; it got Float32", () => flash.bools(Zeros(3)) },
                { "tensor", "takes 1 to 4 dimensions; it got []", () => flash.reals(Zeros()) },
                { "tensor", "takes 1 to 4 dimensions; it got [1, 1, 1, 1, 1]", () => flash.reals(Zeros(1, 1, 1, 1, 1)) },
                { "slopes", "takes [H]; it got [1, 3]", () => ScoreProgram.Identity.alibi(Zeros(1, 3)) },
                { "slopes", "takes floating point; it got Int64", () => ScoreProgram.Identity.alibi(zeros([3], ScalarType.Int64)) },
                { "cap", "takes a finite number above 0; it got 0", () => ScoreProgram.Identity.softcap(0) },
                { "left", "takes 0 or more, or -1 for all; it got -2", () => ScoreProgram.Identity.window(-2, 0) },
                { "right", "takes 0 or more, or -1 for all; it got -3", () => ScoreProgram.Identity.window(0, -3) },
                { "table", "takes [H or 1, 2n + 1]; it got [3, 4]", () => ScoreProgram.Identity.relative_bias(Zeros(3, 4)) },
                { "table", "takes an even number of buckets, 4 or more; it got [7, 3]", () => ScoreProgram.Identity.t5_bias(Zeros(7, 3)) },
                { "max_distance", "takes more than 8, below which every distance has a bucket of its own; it got 8", () => ScoreProgram.Identity.t5_bias(Zeros(32, 3), max_distance: 8) },
                { "lengths", "takes Int64 or Int32; it got Float32", () => ScoreProgram.Identity.key_padding(Zeros(2)) },
                { "key_ids", "takes [B, N] or [N]; it got [1, 1, 5]", () => ScoreProgram.Identity.documents(zeros([5], ScalarType.Int64), zeros([1, 1, 5], ScalarType.Int64)) },
                { "mask", "takes Bool; it got Float32", () => ScoreProgram.Identity.mask(Zeros(5, 5)) },
                { "offset", "takes a position of at most 536870912; it got 4294967296", () => ScoreProgram.Identity.causal(1L << 32) },
                { "blocks", "takes [nq, nk], [H, nq, nk] or [B, H, nq, nk]; it got [4]", () => BlockMask.of(zeros([4], ScalarType.Bool), 16) },
                { "block_q", "takes 1 or more; it got 0", () => BlockMask.of(zeros([4, 4], ScalarType.Bool), 0) },
                { "sinks", "takes [H] = [3]; it got [2]", () => Score(null, Zeros(2)) },
                { "sinks", "takes Float32, Float64, Float16 or BFloat16; it got Bool", () => Score(null, zeros([3], ScalarType.Bool)) },
                { "score", "reads the tensor slopes; it got one that has been disposed", () => Score(OfADisposedTensor()) },
                { "score", "reads slopes, which must be on the device of query, cpu; it got meta", () => Score(ScoreProgram.Identity.alibi(zeros([3], device: META))) },

                { "num_heads", "takes 1 or more; it got 0", () => flash.nn.MultiheadAttention(8, 0) },
                { "embedded_dim", "takes a positive multiple of num_heads, 3; it got 8", () => flash.nn.MultiheadAttention(8, 3) },
                { "embedded_dim", "takes a positive multiple of num_heads, 2; it got -8", () => flash.nn.MultiheadAttention(-8, 2) },
                { "dropout", "takes a probability, 0 to 1; it got 2", () => flash.nn.MultiheadAttention(8, 2, dropout: 2) },
                { "kdim", "takes 1 or more; it got 0", () => flash.nn.MultiheadAttention(8, 2, kdim: 0) },
                { "vdim", "takes 1 or more; it got -1", () => flash.nn.MultiheadAttention(8, 2, vdim: -1) },

                { "query", "takes (L, N, E) of width 8; it got [5, 8]", () => Call(Zeros(5, 8)) },
                { "query", "takes (L, N, E) of width 8; it got [5, 2, 6]", () => Call(Zeros(5, 2, 6)) },
                { "key", "takes (L, N, E) of width 8; it got [7, 2, 6]", () => Call(Zeros(5, 2, 8), Zeros(7, 2, 6)) },
                { "key", "takes the batch size of query, 2; it got [7, 3, 8]", () => Call(Zeros(5, 2, 8), Zeros(7, 3, 8)) },
                { "value", "takes the batch size and length of key, [7, 2, 8]; it got [6, 2, 8]", () => Call(Zeros(5, 2, 8), v: Zeros(6, 2, 8)) },
                { "query", "takes the type of the module's parameters, Float32; it got Float64", () => Call(Zeros(5, 2, 8).to(ScalarType.Float64)) },
                { "key_padding_mask", "takes Bool or Byte (true = leave out); it got Float32", () => Call(Zeros(5, 2, 8), padding: Zeros(2, 7)) },
                { "key_padding_mask", "takes (N, S) = [2, 7]; it got [2, 5]", () => Call(Zeros(5, 2, 8), padding: Zeros(2, 5).to(ScalarType.Bool)) },
                { "attn_mask", "takes Bool (true = may not attend) or floating point (added to the scores); it got Int64", () => Call(Zeros(5, 2, 8), mask: Zeros(5, 7).to(ScalarType.Int64)) },
                { "attn_mask", "takes (L, S) = [5, 7] or (N * H, L, S) = [4, 5, 7]; it got [2, 5, 7]", () => Call(Zeros(5, 2, 8), mask: Zeros(2, 5, 7)) },
            };
        }
    }

    [Theory]
    [MemberData(nameof(Refusals), DisableDiscoveryEnumeration = true)]
    public void IsRefused(string name, string message, Action action)
    {
        ArgumentException exception = Assert.ThrowsAny<ArgumentException>(action);
        Assert.Equal(name, exception.ParamName);
        Assert.StartsWith($"{name} {message}.", exception.Message);
    }

    [Fact]
    public void NullIsRefused()
    {
        Assert.Equal("query", Assert.Throws<ArgumentNullException>(() => flash.nn.functional.scaled_dot_product_attention(null!, s_operand, s_operand)).ParamName);
        Assert.Equal("key", Assert.Throws<ArgumentNullException>(() => flash.nn.functional.scaled_dot_product_attention(s_operand, null!, s_operand)).ParamName);
        Assert.Equal("value", Assert.Throws<ArgumentNullException>(() => flash.nn.functional.scaled_dot_product_attention(s_operand, s_operand, null!)).ParamName);
        Assert.Equal("query", Assert.Throws<ArgumentNullException>(() => Call(null!)).ParamName);
        Assert.Equal("module", Assert.Throws<ArgumentNullException>(() => flash.nn.MultiheadAttention(null!, 2)).ParamName);
    }

    private static void Call(Tensor q, Tensor? k = null, Tensor? v = null, Tensor? padding = null, Tensor? mask = null) =>
        flash.nn.MultiheadAttention(8, 2).call(q, k ?? Zeros(7, 2, 8), v ?? Zeros(7, 2, 8), padding, attn_mask: mask);

    private static void Score(ScoreProgram? score, Tensor? sinks = null) => flash.nn.functional.attention(s_operand, s_operand, s_operand, score, sinks: sinks);

    private static ScoreProgram OfADisposedTensor()
    {
        using Tensor slopes = Zeros(3);
        return ScoreProgram.Identity.alibi(slopes);
    }

    [Fact]
    public void AnIndexThatMayLeaveItsTensorIsRefusedBeforeItIsRead()
    {
        ScoreProgram none = ScoreProgram.Identity;
        IntTensor far = flash.ints(full([5], 3L, ScalarType.Int64));
        RealTensor three = flash.reals(Zeros(3));
        foreach (ScoreProgram score in new[]
        {
            none.alibi(Zeros(2)), none.relative_bias(Zeros(1, 7)), none.bias(Zeros(5, 4)), none.mask(zeros([5, 4], ScalarType.Bool)), flash.score((s, b, h, i, j) => s + three[far[j]]),
        })
        {
            Assert.ThrowsAny<ArgumentException>(() => Score(score));
            Assert.ThrowsAny<ArgumentException>(() => new AttentionCall(s_operand, s_operand, s_operand, score: score).CheckProgram()); // Before libtorch gets it.
        }
        new AttentionCall(s_operand, s_operand, s_operand, score: ScoreProgram.Identity.alibi(Zeros(3)).documents(zeros([5], ScalarType.Int64))).CheckProgram();
        Assert.Contains("slopes[h]", Assert.ThrowsAny<ArgumentException>(() => Score(ScoreProgram.Identity.alibi(Zeros(2)))).Message);
        double[] numbers = [1];
        Assert.Contains("capture a tensor", Assert.Throws<NotSupportedException>(() => flash.score((s, b, h, i, j) => s + numbers[h])).Message);
    }

    private static Tensor Disposed()
    {
        Tensor tensor = Zeros(2, 3, 5, 4);
        tensor.Dispose();
        return tensor;
    }
}
