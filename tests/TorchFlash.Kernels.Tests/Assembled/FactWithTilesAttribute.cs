using TorchFlash.Kernels.Cpu.Assembled;

namespace TorchFlash.Kernels.Tests.Assembled;

/// <summary>A test that runs assembled tiles: skipped where the processor or the system has none.</summary>
internal sealed class FactWithTilesAttribute : FactAttribute
{
    public FactWithTilesAttribute() => Skip = PairTile.Instance.Refusal;
}
