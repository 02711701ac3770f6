using TorchFlash.Kernels.Cpu.Assembled;

namespace TorchFlash.Kernels.Cpu;

/// <summary>What a pass runs with.</summary>
/// <param name="Threads">Threads at most.</param>
/// <param name="Plan">Sizes of tiles.</param>
/// <param name="Pairs">The tile for products of bfloat16; null: they are computed in float32.</param>
internal readonly record struct PassSetting(int Threads, TilePlan Plan, PairTile? Pairs);
