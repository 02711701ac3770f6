using AttentionBench.IoModel;

namespace AttentionBench.Tests.IoModel;

public sealed class RooflineTests
{
    private static readonly HeadShape s_head = new(4096, 64, 4);
    private static readonly TileShape s_tile = TileShape.Of(384, 96, 512, 4);

    private static Roofline Machine(double second) => new(100e9, 400e9, [new("L1", 32 << 10, 200e9), new("L2", 1 << 20, second)]);

    [Fact]
    public void TheSlowestLevelBindsAndNoneWhereMultiplyAddsTakeLonger()
    {
        EngineTraffic traffic = EngineTraffic.Forward(s_head, s_tile);
        Assert.Null(Machine(50e9).Binding(traffic, false));
        Assert.Equal("L2", Machine(50e6).Binding(traffic, false)!.Name);
        // Time over time, and bytes for every operation over what balances: the same number.
        MemoryLevel level = Machine(50e9).Levels[1];
        double intensity = s_head.Flops(false) / traffic.Bytes(level.Cache);
        Assert.Equal(Machine(50e9).Balance(level) / intensity, Machine(50e9).Share(traffic, level, false), 1e-12);
    }

    [Fact]
    public void RegisterTilesLoadTenVectorsForTwentyFourMultiplyAdds()
    {
        // 4 of B and 6 single elements a step of the depth; C is stored once (S), or loaded and stored once a key tile (O).
        double steps = 2.0 * 4096 * 4096 * 64 / (2 * 6 * 64), step = (64 + 6) * 4;
        double expected = 2 * steps * step + steps / 64 * 6 * 64 * 4 + steps / 96 * 2 * 6 * 64 * 4 + 3.0 * 4096 * 4096 * 4;
        Assert.Equal(expected, EngineTraffic.Forward(s_head, s_tile).RegisterBytes, expected * 1e-12);
    }

    [Fact]
    public void NoTileOfTheSearchMovesLess()
    {
        Roofline roof = Machine(50e9);
        (TileShape best, double share) = roof.Best(s_head, 512, false);
        Assert.Equal(share, roof.Share(EngineTraffic.Forward(s_head, best), false), 1e-12);
        Assert.True(share <= roof.Share(EngineTraffic.Forward(s_head, s_tile), false) + .005);
    }

    /// <summary>Figures of the vendor agree with each other: rate a clock times multiprocessors is the peak at a clock that the product can have.</summary>
    [Fact]
    public void ThePeakOfAGpuIsItsRateAClockTimesAClock()
    {
        foreach (Gpu gpu in Gpu.All)
            Assert.InRange(gpu.TensorFlops / (gpu.FlopsPerClock * gpu.Multiprocessors), 1.4e9, 1.99e9);
        Gpu a100 = Gpu.All[0];
        Assert.Equal(16, a100.SharedBalance);
        Assert.Equal(16, a100.SharedIntensity(16)); // 16 rows a warp keep the tensor cores of an A100 just busy.
        Assert.Equal(128, Gpu.MemoryIntensity(1 << 20, 64, 128, isBackward: false), 1.0); // Br operations for every byte.
    }
}
