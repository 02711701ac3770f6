namespace TorchFlash.Kernels.Scores;

/// <summary>
/// A tensor that a score program reads, by its shape; its memory comes with every call (<see cref="CapturedView"/>). The indexers of the
/// derived classes are for the lambdas of a program only.
/// </summary>
public abstract class ScoreTensor
{
    /// <summary>Most dimensions of a captured tensor.</summary>
    public const int MaxDimensions = 4;

    private protected ScoreTensor(ScoreKind kind, object? source, int[] shape)
    {
        ArgumentNullException.ThrowIfNull(shape);
        if (shape.Length is < 1 or > MaxDimensions)
            throw new ArgumentException($"A captured tensor has 1 to {MaxDimensions} dimensions; this one has {shape.Length}.", nameof(shape));
        foreach (int size in shape)
            ArgumentOutOfRangeException.ThrowIfNegative(size, nameof(shape));
        Kind = kind;
        Source = source;
        Shape = [.. shape];
    }

    /// <summary>What its elements are.</summary>
    public ScoreKind Kind { get; }

    /// <summary>Its sizes.</summary>
    public IReadOnlyList<int> Shape { get; }

    /// <summary>What it stands for, whatever its maker likes.</summary>
    public object? Source { get; }

    /// <summary>What messages call it: the name of the variable that a lambda captured.</summary>
    public string Name { get; internal set; } = "tensor";

    private protected static InvalidOperationException OnlyInLambdas => new("A captured tensor can be indexed in the lambda of a score program only.");
}

/// <summary>Numbers of the type of the attention's operands; they may get a gradient.</summary>
/// <param name="source">What it stands for.</param>
/// <param name="shape">Its sizes, 1 to 4 of them.</param>
public sealed class RealTensor(object? source, params int[] shape) : ScoreTensor(ScoreKind.Real, source, shape)
{
    /// <summary>An element of a tensor of one dimension.</summary>
    public double this[int a] => throw OnlyInLambdas;

    /// <summary>An element of a tensor of two dimensions.</summary>
    public double this[int a, int b] => throw OnlyInLambdas;

    /// <summary>An element of a tensor of three dimensions.</summary>
    public double this[int a, int b, int c] => throw OnlyInLambdas;

    /// <summary>An element of a tensor of four dimensions.</summary>
    public double this[int a, int b, int c, int d] => throw OnlyInLambdas;
}

/// <summary>Whole numbers that fit an int, in memory as 64-bit integers.</summary>
/// <param name="source">What it stands for.</param>
/// <param name="shape">Its sizes, 1 to 4 of them.</param>
public sealed class IntTensor(object? source, params int[] shape) : ScoreTensor(ScoreKind.Int, source, shape)
{
    /// <summary>An element of a tensor of one dimension.</summary>
    public int this[int a] => throw OnlyInLambdas;

    /// <summary>An element of a tensor of two dimensions.</summary>
    public int this[int a, int b] => throw OnlyInLambdas;

    /// <summary>An element of a tensor of three dimensions.</summary>
    public int this[int a, int b, int c] => throw OnlyInLambdas;

    /// <summary>An element of a tensor of four dimensions.</summary>
    public int this[int a, int b, int c, int d] => throw OnlyInLambdas;
}

/// <summary>Truth values, in memory as bytes of 0 or 1.</summary>
/// <param name="source">What it stands for.</param>
/// <param name="shape">Its sizes, 1 to 4 of them.</param>
public sealed class BoolTensor(object? source, params int[] shape) : ScoreTensor(ScoreKind.Bool, source, shape)
{
    /// <summary>An element of a tensor of one dimension.</summary>
    public bool this[int a] => throw OnlyInLambdas;

    /// <summary>An element of a tensor of two dimensions.</summary>
    public bool this[int a, int b] => throw OnlyInLambdas;

    /// <summary>An element of a tensor of three dimensions.</summary>
    public bool this[int a, int b, int c] => throw OnlyInLambdas;

    /// <summary>An element of a tensor of four dimensions.</summary>
    public bool this[int a, int b, int c, int d] => throw OnlyInLambdas;
}
