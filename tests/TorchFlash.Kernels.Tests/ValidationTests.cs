using TorchFlash.Kernels.Cpu;
using TorchFlash.Kernels.Tests.Support;

namespace TorchFlash.Kernels.Tests;

/// <summary>Bad input is refused by name, before anything is written.</summary>
public class ValidationTests
{
    private static readonly AttentionProblem Valid = new()
    {
        Batch = 2,
        Heads = 3,
        QueryLength = 5,
        KeyLength = 6,
        HeadDim = 4,
        ValueDim = 7,
        Scale = 0.5,
    };

    public static TheoryData<string, AttentionProblem> BadProblems => new()
    {
        { nameof(AttentionProblem.Batch), Valid with { Batch = -1 } },
        { nameof(AttentionProblem.Heads), Valid with { Heads = -1 } },
        { nameof(AttentionProblem.KeyHeads), Valid with { KeyHeads = -1 } },
        { nameof(AttentionProblem.KeyHeads), Valid with { KeyHeads = 2 } }, // of 3
        { nameof(AttentionProblem.KeyHeads), Valid with { KeyHeads = 6 } },
        { nameof(AttentionProblem.QueryLength), Valid with { QueryLength = -1 } },
        { nameof(AttentionProblem.KeyLength), Valid with { KeyLength = int.MinValue } },
        { nameof(AttentionProblem.HeadDim), Valid with { HeadDim = 0 } },
        { nameof(AttentionProblem.HeadDim), Valid with { HeadDim = -4 } },
        { nameof(AttentionProblem.ValueDim), Valid with { ValueDim = 0 } },
        { nameof(AttentionProblem.Scale), Valid with { Scale = double.NaN } },
        { nameof(AttentionProblem.Scale), Valid with { Scale = double.PositiveInfinity } },
        { nameof(AttentionProblem.Scale), Valid with { Scale = 3e38 } }, // times log2(e) it is no float
        { nameof(AttentionProblem.QueryLength), Valid with { QueryLength = AttentionProblem.MaxLength + 1 } },
        { nameof(AttentionProblem.KeyLength), Valid with { KeyLength = AttentionProblem.MaxLength + 1 } },
        { nameof(AttentionProblem.HeadDim), Valid with { HeadDim = AttentionProblem.MaxHeadDim + 1 } },
        { nameof(AttentionProblem.ValueDim), Valid with { ValueDim = AttentionProblem.MaxHeadDim + 1 } },
        { nameof(AttentionProblem.ElementType), Valid with { ElementType = (ElementType)17 } },
        { nameof(AttentionProblem.Causal), Valid with { Causal = (CausalMask)17 } },
    };

    /// <summary>Sizes that are valid one by one, but whose operands no address space can hold.</summary>
    public static TheoryData<AttentionProblem> TooLarge =>
    [
        Valid with { Batch = int.MaxValue, Heads = int.MaxValue, QueryLength = int.MaxValue },
        Valid with { Batch = int.MaxValue, Heads = int.MaxValue, KeyLength = int.MaxValue, QueryLength = 1 },
        Valid with { Batch = int.MaxValue, Heads = 1, QueryLength = int.MaxValue, HeadDim = int.MaxValue },
    ];

    public static TheoryData<string> ForwardOperands => [.. Forward.Keys];

    public static TheoryData<string> BackwardOperands => [.. Backward.Keys];

    public static TheoryData<string> WeightsOperands => [.. Weights.Keys];

    private static Dictionary<string, Func<ForwardArguments, ForwardArguments>> Forward { get; } = new()
    {
        ["Query"] = a => a with { Query = default },
        ["Key"] = a => a with { Key = default },
        ["Value"] = a => a with { Value = default },
        ["Output"] = a => a with { Output = default },
        ["Max"] = a => a with { Statistics = a.Statistics with { Max = 0 } },
        ["Sum"] = a => a with { Statistics = a.Statistics with { Sum = 0 } },
    };

    private static Dictionary<string, Func<BackwardArguments, BackwardArguments>> Backward { get; } = new()
    {
        ["Query"] = a => a with { Query = default },
        ["Key"] = a => a with { Key = default },
        ["Value"] = a => a with { Value = default },
        ["Output"] = a => a with { Output = default },
        ["OutputGradient"] = a => a with { OutputGradient = default },
        ["Max"] = a => a with { Statistics = a.Statistics with { Max = 0 } },
        ["Sum"] = a => a with { Statistics = a.Statistics with { Sum = 0 } },
        ["QueryGradient"] = a => a with { QueryGradient = default },
        ["KeyGradient"] = a => a with { KeyGradient = default },
        ["ValueGradient"] = a => a with { ValueGradient = default },
    };

    private static Dictionary<string, Func<WeightsArguments, WeightsArguments>> Weights { get; } = new()
    {
        ["Query"] = a => a with { Query = default },
        ["Key"] = a => a with { Key = default },
        ["Max"] = a => a with { Statistics = a.Statistics with { Max = 0 } },
        ["Sum"] = a => a with { Statistics = a.Statistics with { Sum = 0 } },
        ["Weights"] = a => a with { Weights = default },
    };

    [Theory]
    [MemberData(nameof(BadProblems))]
    public void Problem(string name, AttentionProblem problem) =>
        AssertEveryPassRefuses<ArgumentOutOfRangeException>(problem, default, e => Assert.Equal(name, e.ParamName));

    [Theory]
    [MemberData(nameof(TooLarge))]
    public void ProblemBeyondTheAddressSpace(AttentionProblem problem) =>
        AssertEveryPassRefuses<ArgumentOutOfRangeException>(problem, default, _ => { });

    [Fact]
    public void NegativeThreads() =>
        AssertEveryPassRefuses<ArgumentOutOfRangeException>(Valid, new ExecutionOptions { Threads = -1 },
            e => Assert.Equal(nameof(ExecutionOptions.Threads), e.ParamName));

    [Theory]
    [MemberData(nameof(ForwardOperands))]
    public void NullOperandOfForward(string name) =>
        AssertRefused<ArgumentException>(c => CpuEngine.Instance.Forward(c.Problem, Forward[name](c.ForwardArguments)),
            e => Assert.Contains(name, e.Message, StringComparison.Ordinal));

    [Theory]
    [MemberData(nameof(BackwardOperands))]
    public void NullOperandOfBackward(string name) =>
        AssertRefused<ArgumentException>(c => CpuEngine.Instance.Backward(c.Problem, Backward[name](c.BackwardArguments)),
            e => Assert.Contains(name, e.Message, StringComparison.Ordinal));

    [Theory]
    [MemberData(nameof(WeightsOperands))]
    public void NullOperandOfAverageWeights(string name) =>
        AssertRefused<ArgumentException>(c => CpuEngine.Instance.Weights(c.Problem, Weights[name](c.WeightsArguments)),
            e => Assert.Contains(name, e.Message, StringComparison.Ordinal));

    /// <summary>Two threads would write the same element.</summary>
    [Fact]
    public void OverlappingResults()
    {
        AssertOverlapRefused("Output", c => CpuEngine.Instance.Forward(c.Problem, c.ForwardArguments with { Output = Overlapping(c.ForwardArguments.Output) }));
        AssertOverlapRefused("QueryGradient", c => CpuEngine.Instance.Backward(c.Problem, c.BackwardArguments with { QueryGradient = Overlapping(c.BackwardArguments.QueryGradient) }));
        AssertOverlapRefused("KeyGradient", c => CpuEngine.Instance.Backward(c.Problem, c.BackwardArguments with { KeyGradient = c.BackwardArguments.KeyGradient with { HeadStride = 0 } }));
        AssertOverlapRefused("ValueGradient", c => CpuEngine.Instance.Backward(c.Problem, c.BackwardArguments with { ValueGradient = c.BackwardArguments.ValueGradient with { BatchStride = 0 } }));
        AssertOverlapRefused("Weights", c => CpuEngine.Instance.Weights(c.Problem, c.WeightsArguments with { Weights = Overlapping(c.WeightsArguments.Weights) }));

        static TensorView Overlapping(TensorView view) => view with { RowStride = -1 };
    }

    private static void AssertOverlapRefused(string name, Action<AttentionCase<float>> call) =>
        AssertRefused<ArgumentException>(call, e =>
        {
            Assert.Equal(name, e.ParamName);
            Assert.Contains("overlap", e.Message, StringComparison.Ordinal);
        });

    private static void AssertEveryPassRefuses<TException>(AttentionProblem problem, ExecutionOptions options, Action<TException> check)
        where TException : Exception
    {
        AssertRefused(c => CpuEngine.Instance.Forward(problem, c.ForwardArguments, options), check);
        AssertRefused(c => CpuEngine.Instance.Backward(problem, c.BackwardArguments, options), check);
        AssertRefused(c => CpuEngine.Instance.Weights(problem, c.WeightsArguments, options), check);
    }

    private static void AssertRefused<TException>(Action<AttentionCase<float>> call, Action<TException> check) where TException : Exception
    {
        using var attention = new AttentionCase<float>(Valid);
        check(Assert.ThrowsAny<TException>(() => call(attention)));
        attention.AssertUntouched();
    }
}
