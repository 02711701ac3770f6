using AttentionBench.IoModel;

namespace AttentionBench.Tests.IoModel;

/// <summary>The closed form against a simulation of the loops, access by access.</summary>
public sealed class EngineTrafficTests
{
    /// <summary>Whether a pass goes backward; N, d, element size; Br, Bc, register bits.</summary>
    public static TheoryData<bool, int, int, int, int, int, int> Cases => new()
    {
        { false, 768, 64, 4, 192, 96, 512 },
        { false, 768, 128, 4, 192, 96, 512 },
        { false, 768, 32, 4, 384, 96, 512 },
        { false, 600, 64, 4, 384, 96, 256 },
        { false, 480, 64, 8, 96, 48, 512 },
        { true, 768, 64, 4, 96, 192, 512 },
        { true, 768, 128, 4, 96, 192, 512 },
        { true, 768, 32, 4, 96, 384, 512 },
        { true, 600, 64, 4, 96, 384, 256 },
        { true, 480, 64, 8, 48, 96, 512 },
    };

    private static (EngineTraffic Model, StackDistances Simulated) Run(bool isBackward, int n, int d, int elementSize, int queries, int keys, int bits)
    {
        HeadShape head = new(n, d, elementSize);
        TileShape tile = TileShape.Of(queries, keys, bits, elementSize);
        var simulated = new StackDistances();
        if (isBackward)
            EngineTrace.Backward(head, tile, simulated);
        else
            EngineTrace.Forward(head, tile, simulated);
        return (isBackward ? EngineTraffic.Backward(head, tile) : EngineTraffic.Forward(head, tile), simulated);
    }

    /// <summary>
    /// At every size of the cache the simulated bytes lie within what the formula says for caches a fifth smaller and larger, give or take 8 %: it may
    /// miss by a little at which size something begins to fit, not what that saves.
    /// </summary>
    [Theory]
    [MemberData(nameof(Cases))]
    public void TheFormulaFollowsTheSimulationOverAllCacheSizes(bool isBackward, int n, int d, int elementSize, int queries, int keys, int bits)
    {
        (EngineTraffic model, StackDistances simulated) = Run(isBackward, n, d, elementSize, queries, keys, bits);
        for (double cache = 4096; cache < 8 << 20; cache *= Math.Pow(2, .25))
        {
            double fills = simulated.Fills(cache), bytes = fills + simulated.WriteBacks(cache);
            Assert.InRange(fills, .92 * model.Fills(cache * 1.2), 1.08 * model.Fills(cache / 1.2));
            Assert.InRange(bytes, .92 * model.Bytes(cache * 1.2), 1.08 * model.Bytes(cache / 1.2));
        }
    }

    /// <summary>Where next to nothing fits, every use comes from outside: a use that the formula left out, or counted twice, shows in the sum.</summary>
    [Fact]
    public void TheFormulaCountsEveryUse()
    {
        int checkedCases = 0;
        foreach (object[] parameters in Cases)
        {
            if (parameters is [bool isBackward, int n, int d and >= 64, int elementSize, int queries, int keys, 512])
            {
                (EngineTraffic model, StackDistances simulated) = Run(isBackward, n, d, elementSize, queries, keys, 512);
                Assert.InRange(model.Fills(4096) / simulated.Fills(4096), .997, 1.003);
                checkedCases++;
            }
        }
        Assert.Equal(6, checkedCases);
    }

    /// <summary>Where everything fits, the formula is exact: every operand in once, every result and the scratch memory out once.</summary>
    [Theory]
    [MemberData(nameof(Cases))]
    public void TheFormulaIsExactWhereEverythingFits(bool isBackward, int n, int d, int elementSize, int queries, int keys, int bits)
    {
        (EngineTraffic model, StackDistances simulated) = Run(isBackward, n, d, elementSize, queries, keys, bits);
        Assert.Equal(simulated.Fills(1 << 30), model.Fills(1 << 30));
        Assert.Equal(simulated.WriteBacks(1 << 30), model.WriteBacks(1 << 30));
    }

    /// <summary>
    /// Where a tile fits and the operands do not, K and V come once per query tile: N d (4 + 2 (N/Br - 1)) elements and the tile's scratch memory, to the
    /// byte; backward Q, dO and dQ in and dQ out once per key tile.
    /// </summary>
    [Fact]
    public void WhereATileFitsTheStreamedSideComesOncePerTile()
    {
        (EngineTraffic model, StackDistances simulated) = Run(false, 768, 64, 4, 192, 96, 512);
        double operand = 768 * 64 * 4, scratch = (2 * 192 * 64 + 192 * 96) * 4, fits = 400 << 10;
        Assert.Equal(operand * (4 + 2 * 3) + scratch, simulated.Fills(fits));
        Assert.Equal(simulated.Fills(fits), model.Fills(fits));
        Assert.Equal(operand + scratch, model.WriteBacks(fits));

        (model, simulated) = Run(true, 768, 64, 4, 96, 192, 512);
        scratch = (4 * 192 * 64 + 96 * 192 + 48 * 64) * 4;
        fits = 800 << 10;
        Assert.Equal(operand * (8 + 3 * 3) + scratch, simulated.Fills(fits));
        Assert.Equal(simulated.Fills(fits), model.Fills(fits));
        Assert.Equal(operand * (3 + 3) + scratch, model.WriteBacks(fits));
    }

    /// <summary>Theta(N² d² / M): with the tile as large as half the cache, four times the cache quarters the traffic beyond the operands themselves.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void TrafficFallsAsTheCacheGrows(bool isBackward)
    {
        HeadShape head = new(1 << 16, 64, 4);
        double Beyond(double cache)
        {
            int stationary = (int)(cache / 2 / (4 * 64 * 4)) / 6 * 6;
            TileShape tile = TileShape.Of(isBackward ? 48 : stationary, isBackward ? stationary : 48, 512, 4);
            EngineTraffic traffic = isBackward ? EngineTraffic.Backward(head, tile) : EngineTraffic.Forward(head, tile);
            return traffic.Fills(4 * cache) - PaperFormulas.Compulsory(head, isBackward); // A tile's scores and streamed rows fit beside it.
        }
        foreach (double cache in new[] { 128 << 10, 512 << 10, 2 << 20 })
        {
            Assert.InRange(Beyond(cache) / Beyond(4 * cache), 3.6, 4.4);
            Assert.InRange(Beyond(cache) / PaperFormulas.Bound(head, cache), 1, 64);
        }
    }

    [Fact]
    public void ThePapersCountsHaveThePapersOrders()
    {
        HeadShape head = new(4096, 64, 4);
        foreach (bool isBackward in new[] { false, true })
        {
            double standard = PaperFormulas.Standard(head, isBackward), twice = PaperFormulas.Standard(head with { Length = 8192 }, isBackward);
            Assert.InRange(twice / standard, 3.8, 4); // Theta(N²) where N >> d.
            double tiled = PaperFormulas.Tiled(head, 1 << 17, isBackward), larger = PaperFormulas.Tiled(head, 1 << 18, isBackward);
            Assert.InRange(tiled / larger, 1.7, 2); // Theta(1/M)
            Assert.InRange(PaperFormulas.Tiled(head with { Length = 8192 }, 1 << 17, isBackward) / tiled, 3.8, 4); // Theta(N²)
            Assert.True(tiled < standard && tiled > PaperFormulas.Compulsory(head, isBackward));
        }
        // By hand, N = 2, d = 1, one byte: Q, K in, S out; S in, P out; P, V in, O out.
        Assert.Equal(2 + 2 + 4 + 4 + 4 + 4 + 2 + 2, PaperFormulas.Standard(new(2, 1, 1), false));
        // P, dO in, dV out; dO, V in, dP out; P, dP in, dS out; dS, K in, dQ out; dS, Q in, dK out.
        Assert.Equal((4 + 2 + 2) + (2 + 2 + 4) + (4 + 4 + 4) + (4 + 2 + 2) + (4 + 2 + 2), PaperFormulas.Standard(new(2, 1, 1), true));
    }
}
