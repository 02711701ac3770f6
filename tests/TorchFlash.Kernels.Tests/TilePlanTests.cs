using TorchFlash.Kernels.Cpu;
using TorchFlash.Kernels.Files;
using TorchFlash.Kernels.Tests.Support;

namespace TorchFlash.Kernels.Tests;

/// <summary>Sizes of tiles from caches and searches, and that results do not depend on the threads whatever the machine.</summary>
public sealed class TilePlanTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("torchflash-tiles").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    /// <summary>Caches of processors: Zen 5, Zen 4, Skylake with both threads at work, an old desktop processor, and one that tells nothing sensible.</summary>
    private static readonly Caches[] s_machines =
        [new(48 << 10, 1, 1 << 20, 1), new(32 << 10, 1, 1 << 20, 1), new(32 << 10, 2, 1 << 20, 2), new(32 << 10, 2, 256 << 10, 2), new(1024, 8, 4096, 8)];

    [Fact]
    public void TilesShrinkWithTheCachesAndGrowNoLargerThanTheProblem()
    {
        foreach (int dim in new[] { 1, 8, 32, 64, 128, 256, 1000, 100_000 })
        {
            (long Forward, long Backward) before = (long.MaxValue, long.MaxValue);
            foreach (Caches caches in s_machines)
            {
                TilePlan plan = new(caches);
                TileSizes forward = plan.Forward(Problem(4096, dim)), backward = plan.Backward(Problem(4096, dim));
                Assert.Contains(forward.Keys, TilePlan.StreamedSizes.ToArray());
                Assert.Contains(forward.Queries, TilePlan.StationarySizes.ToArray());
                Assert.Contains(backward.Queries, TilePlan.StreamedSizes.ToArray());
                Assert.Contains(backward.Keys, TilePlan.StationarySizes.ToArray());
                Assert.True(forward.Keys <= before.Forward && backward.Queries <= before.Backward);
                before = (forward.Keys, backward.Queries);
                Assert.Equal(new TileSizes(6, 12), plan.Forward(Problem(5, dim, 7)));
                Assert.Equal(new TileSizes(6, 12), plan.Backward(Problem(5, dim, 7)));
            }
        }
    }

    [Fact]
    public void TheTileOfVFitsTheFirstLevelBesideP()
    {
        Assert.Equal(96, new TilePlan(s_machines[0]).Forward(Problem(4096, 64)).Keys);
        Assert.Equal(96, new TilePlan(s_machines[1]).Forward(Problem(4096, 64)).Keys);
        Assert.Equal(48, new TilePlan(s_machines[2]).Forward(Problem(4096, 64)).Keys);
        Assert.Equal(192, new TilePlan(s_machines[0]).Forward(Problem(4096, 32)).Keys);
    }

    [Fact]
    public void ThereAreTilesToShareWhereTheProblemHasThem()
    {
        TilePlan plan = new(s_machines[0]);
        for (int heads = 1; heads <= 64; heads *= 2)
        {
            AttentionProblem problem = Problem(4096, 64) with { Heads = heads };
            Assert.True(heads * plan.Forward(problem).QueryTiles(problem) >= 16 && heads * plan.Backward(problem).KeyTiles(problem) >= 16);
        }
        Assert.Equal(96, plan.Forward(Problem(512, 64) with { Heads = 1 }).Queries);
        Assert.Equal(384, plan.Forward(Problem(4096, 64)).Queries);
    }

    [Fact]
    public void BitsDoNotDependOnThreadsOnAnyMachine()
    {
        foreach (Caches caches in s_machines)
        {
            CpuEngine engine = new(new(CpuEngine.Instance.VectorBits, "for a test"), new TilePlan(caches), isAssembled: true);
            foreach (CausalMask causal in Enum.GetValues<CausalMask>())
            {
                using var attention = new AttentionCase<float>(Problem(523, 64, 611) with { Heads = 2, Causal = causal }, seed: 3, withWeights: false);
                Dictionary<string, float[]> expected = attention.Run(1, engine).Results();
                foreach (int threads in new[] { 2, 3, 8 })
                {
                    foreach ((string name, float[] result) in attention.Run(threads, engine).Results())
                        Assert.True(expected[name].AsSpan().SequenceEqual(result), $"{name}, {caches}, {causal}, {threads} threads");
                }
            }
        }
    }

    [Theory]
    [InlineData("0", 1)]
    [InlineData("0-3", 4)]
    [InlineData("0,2", 2)]
    [InlineData("0-1,4-7,9", 7)]
    public void ListsOfProcessorsAreCounted(string list, int expected) => Assert.Equal(expected, Caches.Members(list));

    [Fact]
    public void WhatASearchHasFoundIsKeptAndUsed()
    {
        AttentionProblem problem = Problem(2048, 59);
        var results = TuningResults.None.With(false, ElementType.Float32, 64, new(192, 48)).With(true, ElementType.Float64, 64, new(48, 96));
        DiskCache cache = new(_folder);
        Assert.StartsWith("kept in", results.Keep(256, cache));
        Assert.Null(TuningResults.Load(512, cache));
        TilePlan plan = new TilePlan(s_machines[0]).With(TuningResults.Load(256, cache)!);
        Assert.Equal(new TileSizes(192, 48), plan.Forward(problem));
        Assert.Equal(new TilePlan(s_machines[0]).Backward(problem), plan.Backward(problem));
        Assert.Equal(new TileSizes(48, 96), plan.Backward(problem with { ElementType = ElementType.Float64 }));
        Assert.Equal(new TilePlan(s_machines[0]).Forward(Problem(2048, 65)), plan.Forward(Problem(2048, 65)));
    }

    [Theory]
    [InlineData("sideways Float32 64 192 48\n")]
    [InlineData("forward Float31 64 192 48\n")]
    [InlineData("forward Float32 64 192\n")]
    [InlineData("forward Float32 64 192 4096\n")]
    [InlineData("forward Float32 64 0 48\n")]
    [InlineData("forward Float32 -64 192 48\n")]
    public void WhatIsNoResultIsNotRead(string text) => Assert.Null(TuningResults.Parse(text));

    [Fact]
    public void ASearchTriesEveryType()
    {
        foreach (ElementType type in Enum.GetValues<ElementType>())
        {
            CpuEngine engine = CpuEngine.Instance;
            (TuningResults results, IReadOnlyList<string> lines) = Tuner.Search(plan => new CpuEngine(new(engine.VectorBits, "for a test"), plan, isAssembled: true), engine.Plan, type, 8, 0);
            Assert.Equal(2, lines.Count);
            Assert.NotNull(results.Find(Problem(100, 8) with { ElementType = type }, isBackward: false));
            Assert.NotNull(results.Find(Problem(100, 8) with { ElementType = type }, isBackward: true));
            Assert.Equal(results.ToString(), TuningResults.Parse(results.ToString())!.ToString());
        }
    }

    [Fact]
    public void ASearchRefusesWhatIsNoProblem()
        => Assert.Equal("HeadDim", Assert.Throws<ArgumentOutOfRangeException>(() => CpuEngine.Instance.Tune(ElementType.Float32, 0)).ParamName);

    private static AttentionProblem Problem(int queries, int dim, int keys = 0) => new()
    {
        Batch = 1,
        Heads = 12,
        QueryLength = queries,
        KeyLength = keys == 0 ? queries : keys,
        HeadDim = dim,
        ValueDim = dim,
        Scale = AttentionProblem.DefaultScale(dim),
    };
}
