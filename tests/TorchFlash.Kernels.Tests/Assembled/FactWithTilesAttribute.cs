using TorchFlash.Kernels.Cpu.Assembled;

namespace TorchFlash.Kernels.Tests.Assembled;

/// <summary>A test that runs assembled tiles: skipped where the processor has no instructions for them, failing where they do not work.</summary>
internal sealed class FactWithTilesAttribute : FactAttribute
{
    public FactWithTilesAttribute() => Skip = PairTile.Missing(setting: null);
}
