using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Cuda.Tests;

/// <summary>The engine from end to end on the emulated GPU: every kernel once or twice; their own tests go further.</summary>
public class EngineTests
{
    internal static readonly AttentionProblem Small = new()
    {
        Batch = 2,
        Heads = 2,
        QueryLength = 35,
        KeyLength = 41,
        HeadDim = 32,
        ValueDim = 32,
        Scale = 0.25,
        ElementType = ElementType.BFloat16,
    };

    public static TheoryData<int, ElementType, bool> Kinds
    {
        get
        {
            var data = new TheoryData<int, ElementType, bool>();
            foreach (int device in new[] { EmulatedDevices.Ampere, EmulatedDevices.Hopper, EmulatedDevices.SmallAmpere })
                foreach (ElementType type in Enum.GetValues<ElementType>())
                    foreach (bool causal in new[] { false, true })
                        data.Add(device, type, causal);
            return data;
        }
    }

    [EmulatedTheory]
    [MemberData(nameof(Kinds))]
    public void BothPasses(int device, ElementType type, bool causal) =>
        GpuCase.Check(device, Small with { ElementType = type, Causal = causal ? CausalMask.BottomRight : CausalMask.None });

    [EmulatedTheory]
    [MemberData(nameof(Kinds))]
    public void FixedOrder(int device, ElementType type, bool causal) =>
        GpuCase.Check(device, Small with { ElementType = type, Causal = causal ? CausalMask.TopLeft : CausalMask.None }, deterministic: true);
}
