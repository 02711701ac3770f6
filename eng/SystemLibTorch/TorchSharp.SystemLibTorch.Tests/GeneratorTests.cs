using TorchSharp;
using static TorchSharp.torch;

namespace TorchSharpTests;

public class GeneratorTests
{
    [Fact]
    public void TheSameSeedGivesTheSameNumbers()
    {
        manual_seed(42);
        Tensor first = rand(10);
        manual_seed(42);
        Assert.True(first.Equals(rand(10)));
        Assert.False(first.Equals(rand(10)));
        Assert.Equal(42, initial_seed());
    }

    [Fact]
    public void TheStateGoesRound()
    {
        manual_seed(1);
        rand(3);
        Tensor state = get_rng_state();
        Tensor uniform = rand(10), normal = randn(10), permutation = randperm(10), chosen = ones(5).multinomial(3);
        set_rng_state(state);
        Assert.True(uniform.Equals(rand(10)));
        Assert.True(normal.Equals(randn(10)));
        Assert.True(permutation.Equals(randperm(10)));
        Assert.True(chosen.Equals(ones(5).multinomial(3)));
    }

    [Fact]
    public void AGeneratorOfItsOwnLeavesTheDefaultOneAlone()
    {
        manual_seed(7);
        Tensor expected = rand(5);
        manual_seed(7);
        using var generator = new Generator(7);
        Tensor own = rand([5], generator: generator);
        Assert.True(expected.Equals(own));
        Assert.True(expected.Equals(rand(5)));
        Tensor state = generator.get_state();
        Tensor next = randint(0, 100, [20], generator: generator);
        generator.set_state(state);
        Assert.True(next.Equals(randint(0, 100, [20], generator: generator)));
    }

    [Fact]
    public void ADisposedGeneratorIsRefused()
    {
        var generator = new Generator(7);
        Tensor state = generator.get_state();
        generator.Dispose();
        generator.Dispose();
        Assert.Throws<ObjectDisposedException>(() => generator.get_state());
        Assert.Throws<ObjectDisposedException>(() => generator.set_state(state));
        Assert.Throws<ObjectDisposedException>(() => generator.manual_seed(1));
        Assert.Throws<ObjectDisposedException>(() => generator.seed());
        Assert.Throws<ObjectDisposedException>(() => generator.initial_seed());
        Assert.Throws<ObjectDisposedException>(() => rand([2], generator: generator));
    }

    [Fact]
    public void AnImpossibleStateEndsTheProcess()
    {
        Child child = Child.Run(SetImpossibleState);
        Assert.Equal(Child.Aborted, child.ExitCode);
        Assert.Contains("RNG state", child.Output);
    }

    private static void SetImpossibleState() => set_rng_state(zeros(3, dtype: ScalarType.Byte));
}
