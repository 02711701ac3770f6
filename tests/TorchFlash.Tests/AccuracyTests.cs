using TorchSharp;
using static TorchSharp.torch;

namespace TorchFlash.Tests;

/// <summary>
/// How far O, dQ, dK and dV in float32 are from the same in float64, against matmul, softmax, matmul of float32 tensors with the heads of key and
/// value repeated for their group: on a part of the grid of FlashAttention's own tests.
/// </summary>
/// <remarks>
/// The root of the mean square is compared in every case. The largest error is that of a few pairs with a large score, of which either side may be lucky
/// with: its mean over seeds is compared, where heads are so wide that the engine's sums are shorter than those of a matrix product of libtorch.
/// </remarks>
public class AccuracyTests
{
    private const int Heads = 6, Seeds = 4;

    private static readonly string[] s_names = ["O", "dQ", "dK", "dV"];

    public static TheoryData<int, int, int, bool> Cases
    {
        get
        {
            var data = new TheoryData<int, int, int, bool>();
            foreach ((int queries, int keys) in new[] { (113, 203), (256, 512) })
                foreach (int keyHeads in (int[])[Heads, 2, 1])
                    foreach (bool causal in (bool[])[false, true])
                        data.Add(queries, keys, keyHeads, causal);
            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void ErrorsAreThoseOfLibtorch(int queries, int keys, int keyHeads, bool causal)
    {
        foreach (int dim in (int[])[32, 128, 256])
        {
            double[] square = new double[8], largest = new double[8];
            for (int seed = 0; seed < Seeds; seed++)
                AddErrors(queries, keys, keyHeads, dim, causal, 1 + 10 * seed, square, largest);
            for (int k = 0; k < s_names.Length; k++)
            {
                string what = $"{s_names[k]} of d = {dim}";
                Assert.True(Math.Sqrt(square[k] / square[k + 4]) <= 1.25, $"{what}: the mean error is {Math.Sqrt(square[k] / square[k + 4]):F2} times that of libtorch");
                Assert.True(dim < 128 || largest[k] <= 1.2 * largest[k + 4], $"{what}: the largest error is {largest[k] / largest[k + 4]:F2} times that of libtorch");
            }
        }
    }

    /// <summary>Adds mean squares and largest ones of the errors: the engine's four, then those of libtorch.</summary>
    private static void AddErrors(int queries, int keys, int keyHeads, int dim, bool causal, int seed, double[] square, double[] largest)
    {
        using IDisposable scope = NewDisposeScope();
        Tensor q = Input(seed, Heads, queries), k = Input(seed + 1, keyHeads, keys), v = Input(seed + 2, keyHeads, keys), cotangent = Input(seed + 3, Heads, queries);
        Tensor[] exact = Compose(ScalarType.Float64);
        Add(0, Run(ScalarType.Float32, x => flash.nn.functional.scaled_dot_product_attention(x[0], x[1], x[2], is_causal: causal, enable_gqa: true)));
        Add(4, Compose(ScalarType.Float32));

        Tensor Input(int seed, int heads, int rows) => TestData.Normal(seed, [1, heads, rows, dim], ScalarType.Float32);

        Tensor[] Compose(ScalarType type) => Run(type, x => Reference.Attention(x[0], Repeated(x[1]), Repeated(x[2]), allowed: causal ? Reference.Causal(queries, keys) : null));

        Tensor Repeated(Tensor x) => keyHeads == Heads ? x : x.repeat_interleave(Heads / keyHeads, 1);

        Tensor[] Run(ScalarType type, Func<Tensor[], Tensor> attention)
        {
            Tensor[] leaves = [.. new[] { q, k, v }.Select(x => x.to(type).detach().clone().requires_grad_(true))];
            Tensor output = attention(leaves);
            return [output, .. TestData.Gradients(output, cotangent.to(type), leaves)];
        }

        void Add(int first, Tensor[] results)
        {
            for (int r = 0; r < results.Length; r++)
            {
                Tensor error = (results[r].detach().to(ScalarType.Float64) - exact[r].detach()).abs();
                square[first + r] += (error * error).mean().item<double>();
                largest[first + r] += error.max().item<double>();
            }
        }
    }
}
