#if SYSTEM_LIBTORCH
using TorchFlash.Gpu.Device;
using TorchFlash.Gpu.Torch;
using TorchSharp;
using static TorchSharp.torch;

namespace TorchFlash.Gpu.Tests;

/// <summary>
/// The TorchSharp layer over the CUDA engine: what is checked on tensors of a GPU is checked here on tensors of the CPU, whose operands the
/// emulated GPU gets copies of. Everything above the launch of a kernel is that of a GPU.
/// </summary>
public class LayerTests
{
    private static readonly string[] Names = Checks();

    public static TheoryData<int, string> OnEveryDevice
    {
        get
        {
            var data = new TheoryData<int, string>();
            foreach (string name in Names)
                foreach (int device in (int[])[EmulatedGpu.Ampere, EmulatedGpu.Hopper])
                    data.Add(device, name);
            return data;
        }
    }

    [EmulatedTheory]
    [MemberData(nameof(OnEveryDevice))]
    public void HoldsOnTheEmulatedGpu(int device, string name)
    {
        using DisposeScope scope = NewDisposeScope();
        using TorchGpu gpu = TorchGpu.Rehearse(EmulatedGpu.Engines(device));
        LayerChecks.All(gpu).Single(check => check.Name == name).Body();
    }

    [EmulatedFact]
    public void MisalignedAndStridedOperandsKeepTheirPlaces()
    {
        using DisposeScope scope = NewDisposeScope();
        using TorchGpu gpu = TorchGpu.Rehearse(EmulatedGpu.Engines(EmulatedGpu.Hopper));
        manual_seed(3);
        // Rows of 21 elements out of 23, beginning at the second: no 16-byte load fits.
        Tensor memory = randn([3, 2, 19, 23], ScalarType.Float32).to(ScalarType.BFloat16);
        Tensor[] x = [.. Enumerable.Range(0, 3).Select(i => memory.select(0, i).narrow(-1, 1, 21).unsqueeze(0))];
        Tensor actual = flash.nn.functional.scaled_dot_product_attention(x[0], x[1], x[2], is_causal: true);
        Tensor[] wide = [.. x.Select(t => t.to(ScalarType.Float64))];
        Tensor s = (matmul(wide[0], wide[1].transpose(-2, -1)) / Math.Sqrt(21)).masked_fill(ones([19, 19], ScalarType.Bool).triu(1), double.NegativeInfinity);
        Tensor expected = matmul(s.softmax(-1), wide[2]);
        Assert.True((actual.to(ScalarType.Float64) - expected).abs().max().item<double>() < 0.02);
    }

    /// <summary>A program, dropout, sinks and the gradient of the log-sum-exp: what the CPU engine makes of the same seed, fused and without a word.</summary>
    [EmulatedTheory]
    [InlineData(EmulatedGpu.Hopper, ScalarType.BFloat16, 0.03)]
    [InlineData(EmulatedGpu.Ampere, ScalarType.Float16, 0.005)]
    [InlineData(EmulatedGpu.Ampere, ScalarType.Float32, 1e-5)]
    public void ScoresAreThoseOfTheCpuEngine(int device, ScalarType type, double tolerance)
    {
        using DisposeScope scope = NewDisposeScope();
        manual_seed(3);
        Tensor[] made = [.. Enumerable.Range(0, 4).Select(_ => randn([2, 2, 40, 16]).to(type)), randn(2), randn(2)];
        List<string> said = [];
        Action<string> before = flash.warn;
        flash.warn = said.Add;
        try
        {
            Tensor[] expected = Run();
            using TorchGpu gpu = TorchGpu.Rehearse(EmulatedGpu.Engines(device));
            foreach ((Tensor a, Tensor b) in Run().Zip(expected))
                Assert.True((a.to(ScalarType.Float64) - b.to(ScalarType.Float64)).abs().max().item<double>() < tolerance * (1 + b.abs().max().to(ScalarType.Float64).item<double>()));
        }
        finally
        {
            flash.warn = before;
        }
        Assert.Empty(said);

        Tensor[] Run()
        {
            manual_seed(11);
            Tensor[] leaves = [.. made.Select(t => t.detach().clone())];
            foreach (int k in (int[])[0, 1, 2, 5])
                leaves[k].requires_grad_(true);
            (Tensor o, Tensor lse) = flash.nn.functional.attention_lse(leaves[0], leaves[1], leaves[2], flash.score().alibi(leaves[4]).softcap(4).window(left: 20, right: 3), sinks: leaves[5], p: 0.2);
            ((o * leaves[3]).sum().to(ScalarType.Float32) + (lse * lse).sum().to(ScalarType.Float32)).backward();
            return [o.detach(), lse.detach(), .. ((int[])[0, 1, 2, 5]).Select(k => leaves[k].grad!)];
        }
    }

    [EmulatedFact]
    public void HeadDimensionsThatTheEngineRefusesFallBackAndSayWhy()
    {
        using DisposeScope scope = NewDisposeScope();
        using TorchGpu gpu = TorchGpu.Rehearse(EmulatedGpu.Engines(EmulatedGpu.Ampere));
        List<string> said = [];
        Action<string> before = flash.warn;
        flash.warn = said.Add;
        try
        {
            Tensor x = randn([1, 1, 5, 264]);
            Tensor o = flash.nn.functional.scaled_dot_product_attention(x, x, x);
            flash.nn.functional.scaled_dot_product_attention(x, x, x);
            Tensor expected = matmul((matmul(x, x.transpose(-2, -1)) / Math.Sqrt(264)).softmax(-1), x);
            Assert.True((o - expected).abs().max().item<float>() < 1e-4);
        }
        finally
        {
            flash.warn = before;
        }
        Assert.Contains("HeadDim is 264", Assert.Single(said));
    }

    // The names are needed where there is no emulated GPU, too, for tests that are skipped.
    private static string[] Checks()
    {
        if (EmulatedLibrary.Missing is not null)
            return ["all"];
        using TorchGpu gpu = TorchGpu.Rehearse(EmulatedGpu.Engines(EmulatedGpu.Ampere));
        return [.. LayerChecks.All(gpu).Select(check => check.Name)];
    }
}
#endif
