using System.Globalization;
using System.Text.RegularExpressions;
using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Cuda.Tests;

/// <summary>The emulation finds what is wrong with a kernel, and nothing where nothing is, whatever the order in which threads run.</summary>
public unsafe partial class EmulationTests
{
    private static readonly int[] s_seeds = [0, 1, 2, 6, 15];

    public static TheoryData<string> Faults()
    {
        var data = new TheoryData<string>();
        foreach (EmulationFault fault in EmulationFault.All)
            data.Add(fault.Name);
        return data;
    }

    [EmulatedTheory]
    [MemberData(nameof(Faults))]
    public void FaultIsFoundAndItsTwinPasses(string name)
    {
        EmulationFault fault = EmulationFault.All.Single(f => f.Name == name);
        byte[] image = EmulatedGpu.Compile("fault.cu", fault.Source, "sm_80", "K_SHARED_LIMIT=166912");
        using var current = EmulatedGpu.Use(0);
        nint module = EmulatedGpu.Driver.LoadModule(image);
        nint right = EmulatedGpu.Driver.Function(module, "right"), wrong = EmulatedGpu.Driver.Function(module, "wrong");
        foreach (int seed in s_seeds)
        {
            EmulatedGpu.Set("seed", seed);
            EmulatedGpu.Set("workers", seed == 2 ? 2 : 1);
            Assert.Null(Run(right, fault.Blocks));
            string? finding = Run(wrong, fault.Blocks);
            Assert.NotNull(finding);
            Assert.Matches(fault.Expected, finding);
            Assert.Contains("[block ", finding, StringComparison.Ordinal);
            if (fault.Lines.Any())
                Assert.Contains(int.Parse(PlaceInSource().Match(finding).Groups[1].Value, CultureInfo.InvariantCulture), fault.Lines);
        }
    }

    private static string? Run(nint kernel, int blocks)
    {
        using var input = EmulatedGpu.Memory<float>.Input(new float[256]);
        using var output = new EmulatedGpu.Memory<float>(256);
        using var gap = new EmulatedGpu.Memory<float>(64);
        using var fresh = new EmulatedGpu.Memory<float>(128);
        using var sum = new EmulatedGpu.Memory<float>(64);
        gap.Write(new float[64]);
        gap.MarkGap(32, 16);
        sum.Write(new float[64]);
        nint* addresses = stackalloc nint[] { input.Address, output.Address, gap.Address, fresh.Address, sum.Address };
        void** parameters = stackalloc void*[] { addresses };
        return EmulatedGpu.Launch(kernel, blocks, 64, 4096, parameters);
    }

    [GeneratedRegex(@"fault\.cu:(\d+)")]
    private static partial Regex PlaceInSource();
}
