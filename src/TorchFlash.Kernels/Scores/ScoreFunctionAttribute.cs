namespace TorchFlash.Kernels.Scores;

/// <summary>
/// Marks a static method as a function of score programs, of the meaning that its name has in <see cref="Math"/>, in upper or lower case: tanh, exp, log,
/// sqrt, abs, min, max, clamp; and sigmoid.
/// </summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class ScoreFunctionAttribute : Attribute;

/// <summary>Functions of score programs that <see cref="Math"/> lacks.</summary>
public static class ScoreMath
{
    /// <summary>1 / (1 + exp(-x)).</summary>
    [ScoreFunction]
    public static double Sigmoid(double x) => 1 / (1 + Math.Exp(-x));
}
