using System.Linq.Expressions;

namespace TorchFlash.Kernels.Scores;

/// <summary>From expression trees to nodes.</summary>
internal static class Lambda
{
    public static ScoreProgram Translate(Expression<ScoreFunction> modification) => throw new NotImplementedException();

    public static ScoreProgram Translate(Expression<PairFunction> condition) => throw new NotImplementedException();
}
