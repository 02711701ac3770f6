using System.Linq.Expressions;
using TorchFlash.Arguments;
using TorchFlash.Attention;
using TorchFlash.Kernels.Scores;
using static TorchSharp.torch;

namespace TorchFlash;

public static partial class flash
{
    /// <summary>
    /// Starts a score program with a modification: what becomes of the score s = scale q·k of query i and key j in query head h of batch entry
    /// b. <c>flash.score((s, b, h, i, j) => s + slopes[h] * (j - i))</c>
    /// </summary>
    /// <remarks>
    /// The lambda is translated, differentiated and compiled, not called. It consists of arithmetic, comparisons, conditions, the functions
    /// <see cref="tanh"/> and its neighbours or those of <see cref="Math"/>, numbers that it captures, and tensors captured by <see cref="reals"/>,
    /// <see cref="ints"/> and <see cref="bools"/>. Captured numbers are parameters of the compiled code: another value compiles nothing.
    /// </remarks>
    /// <param name="modification">The modified score.</param>
    /// <exception cref="NotSupportedException">The lambda has a part that no score program can have; the message shows it.</exception>
    public static ScoreProgram score(Expression<ScoreFunction> modification) => ScoreProgram.Identity.Then(modification);

    /// <summary>Starts a score program with nothing: scores as they are, all pairs. <c>flash.score().window(1023, 0).softcap(50)</c></summary>
    public static ScoreProgram score() => ScoreProgram.Identity;

    /// <summary>
    /// Starts a score program with a condition: whether query i of query head h of batch entry b may attend to key j. Tiles of which no pair
    /// may are skipped. <c>flash.where((b, h, i, j) => j &lt;= i &amp;&amp; i - j &lt; 1024)</c>
    /// </summary>
    /// <param name="condition">True where a pair may exist.</param>
    /// <exception cref="NotSupportedException">The lambda has a part that no score program can have; the message shows it.</exception>
    public static ScoreProgram where(Expression<PairFunction> condition) => ScoreProgram.Identity.Where(condition);

    /// <summary>
    /// Captures a floating-point tensor of 1 to 4 dimensions for lambdas. It stays the caller's; its values are read at every call, and it gets its
    /// gradient if it requires one. Of another type than the operands' it is converted at every call, and its gradient back.
    /// </summary>
    /// <exception cref="ArgumentException">The tensor is of another type, or has no or more than 4 dimensions.</exception>
    public static RealTensor reals(Tensor tensor)
    {
        ArgumentChecks.Usable(tensor);
        ArgumentChecks.FloatingPoint(tensor);
        return new(tensor, Shape(tensor));
    }

    /// <summary>
    /// Captures an Int64 or Int32 tensor of 1 to 4 dimensions for lambdas; its values are read at every call, Int32 through a copy in Int64, and
    /// must fit an int.
    /// </summary>
    /// <exception cref="ArgumentException">The tensor is of another type, or has no or more than 4 dimensions.</exception>
    public static IntTensor ints(Tensor tensor)
    {
        ArgumentChecks.Usable(tensor);
        if (tensor.dtype is not (ScalarType.Int64 or ScalarType.Int32))
            ArgumentChecks.Refuse(nameof(tensor), "takes Int64 or Int32", tensor.dtype);
        return new(tensor, Shape(tensor));
    }

    /// <summary>Captures a Bool tensor of 1 to 4 dimensions for lambdas; its values are read at every call.</summary>
    /// <exception cref="ArgumentException">The tensor is of another type, or has no or more than 4 dimensions.</exception>
    public static BoolTensor bools(Tensor tensor)
    {
        ArgumentChecks.Usable(tensor);
        if (tensor.dtype != ScalarType.Bool)
            ArgumentChecks.Refuse(nameof(tensor), "takes Bool", tensor.dtype);
        return new(tensor, Shape(tensor));
    }

    /// <summary>For lambdas of score programs: the hyperbolic tangent.</summary>
    [ScoreFunction]
    public static double tanh(double x) => Math.Tanh(x);

    /// <summary>For lambdas of score programs: e to the x.</summary>
    [ScoreFunction]
    public static double exp(double x) => Math.Exp(x);

    /// <summary>For lambdas of score programs: the natural logarithm.</summary>
    [ScoreFunction]
    public static double log(double x) => Math.Log(x);

    /// <summary>For lambdas of score programs: the square root.</summary>
    [ScoreFunction]
    public static double sqrt(double x) => Math.Sqrt(x);

    /// <summary>For lambdas of score programs: 1 / (1 + exp(-x)).</summary>
    [ScoreFunction]
    public static double sigmoid(double x) => ScoreMath.Sigmoid(x);

    /// <summary>For lambdas of score programs: the magnitude; its derivative at 0 is 0.</summary>
    [ScoreFunction]
    public static double abs(double x) => Math.Abs(x);

    /// <inheritdoc cref="abs(double)"/>
    [ScoreFunction]
    public static int abs(int x) => Math.Abs(x);

    /// <summary>For lambdas of score programs: the smaller one; of equal ones the first gets the gradient.</summary>
    [ScoreFunction]
    public static double min(double x, double y) => Math.Min(x, y);

    /// <inheritdoc cref="min(double, double)"/>
    [ScoreFunction]
    public static int min(int x, int y) => Math.Min(x, y);

    /// <summary>For lambdas of score programs: the larger one; of equal ones the first gets the gradient.</summary>
    [ScoreFunction]
    public static double max(double x, double y) => Math.Max(x, y);

    /// <inheritdoc cref="max(double, double)"/>
    [ScoreFunction]
    public static int max(int x, int y) => Math.Max(x, y);

    /// <summary>For lambdas of score programs: the number of [low, high] that is closest to x.</summary>
    [ScoreFunction]
    public static double clamp(double x, double low, double high) => Math.Clamp(x, low, high);

    /// <inheritdoc cref="clamp(double, double, double)"/>
    [ScoreFunction]
    public static int clamp(int x, int low, int high) => Math.Clamp(x, low, high);

    /// <summary>
    /// The seed that an attention with dropout takes at its start: one draw from libtorch's default generator of the CPU, so that
    /// <c>torch.manual_seed</c> reproduces it. After the same <c>manual_seed</c> this is the seed of the call that would have come instead.
    /// </summary>
    public static long dropout_seed()
    {
        using Tensor drawn = randint(0, long.MaxValue, [1], ScalarType.Int64);
        return drawn.item<long>();
    }

    /// <summary>
    /// Which weights a dropout keeps: Philox 4x32-10 of (seed, batch entry, head, query, key), the same in every pass and on every engine.
    /// </summary>
    /// <param name="seed">The seed of the call, see <see cref="dropout_seed"/>.</param>
    /// <param name="p">Probability of being dropped.</param>
    /// <param name="batch">B.</param>
    /// <param name="heads">H.</param>
    /// <param name="queries">Nq.</param>
    /// <param name="keys">Nk.</param>
    /// <returns>Bool [B, H, Nq, Nk] on the CPU, true = kept (and divided by 1 - p).</returns>
    /// <exception cref="ArgumentException"><paramref name="p"/> is no probability.</exception>
    public static Tensor dropout_mask(long seed, double p, long batch, long heads, long queries, long keys)
    {
        ArgumentChecks.Probability(p);
        return ComposedAttention.DropoutMask((ulong)seed, p, [batch, heads, queries, keys], 0, CPU);
    }

    /// <summary>
    /// The slopes of ALiBi (Press et al. 2021, section 3): for H a power of two the geometric sequence that starts at 2^(-8/H) with that ratio,
    /// else that of the power below, and every other one of the power above.
    /// </summary>
    /// <param name="heads">Number of heads H.</param>
    /// <returns>[H], Float32.</returns>
    /// <exception cref="ArgumentException"><paramref name="heads"/> is less than 1.</exception>
    public static Tensor alibi_slopes(long heads)
    {
        ArgumentChecks.Positive(heads);
        int below = 1 << System.Numerics.BitOperations.Log2((ulong)heads);
        IEnumerable<double> slopes = Powers(below).Concat(Powers(2 * below).Where((_, k) => k % 2 == 0));
        return tensor([.. slopes.Take((int)heads).Select(slope => (float)slope)]);

        static IEnumerable<double> Powers(int count) => Enumerable.Range(1, count).Select(k => Math.Pow(2, -8.0 * k / count));
    }

    private static int[] Shape(Tensor tensor)
    {
        long[] sizes = TensorMemory.Sizes(tensor);
        if (sizes.Length is < 1 or > ScoreTensor.MaxDimensions)
            ArgumentChecks.Refuse(nameof(tensor), $"takes 1 to {ScoreTensor.MaxDimensions} dimensions", ArgumentChecks.Text(sizes));
        return [.. sizes.Select(size => checked((int)size))];
    }
}
