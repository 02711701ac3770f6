namespace TorchSharp;

public static partial class torch
{
    public partial class Tensor
    {
        /// <summary>Elements not set; the shape of this tensor.</summary>
        public Tensor empty_like(ScalarType? dtype = null, Device? device = null, bool requires_grad = false) =>
            Operator.Call("empty_like", "", this, dtype, null, device).requires_grad_(requires_grad);

        /// <summary>Zeros in the shape of this tensor.</summary>
        public Tensor zeros_like(ScalarType? dtype = null, Device? device = null, bool requires_grad = false) =>
            Operator.Call("zeros_like", "", this, dtype, null, device).requires_grad_(requires_grad);

        /// <summary>Ones in the shape of this tensor.</summary>
        public Tensor ones_like(ScalarType? dtype = null, Device? device = null, bool requires_grad = false) =>
            Operator.Call("ones_like", "", this, dtype, null, device).requires_grad_(requires_grad);

        /// <summary>Uniform samples on [0, 1) in the shape of this tensor.</summary>
        public Tensor rand_like(ScalarType? dtype = null, Device? device = null, bool requires_grad = false) =>
            Operator.Call("rand_like", "", this, dtype, null, device).requires_grad_(requires_grad);

        /// <summary>Standard normal samples in the shape of this tensor.</summary>
        public Tensor randn_like(ScalarType? dtype = null, Device? device = null, bool requires_grad = false) =>
            Operator.Call("randn_like", "", this, dtype, null, device).requires_grad_(requires_grad);

        /// <summary>One value in the shape of this tensor.</summary>
        public Tensor full_like(Scalar value, ScalarType? dtype = null, Device? device = null, bool requires_grad = false) =>
            Operator.Call("full_like", "", this, value, dtype, null, device).requires_grad_(requires_grad);
    }

    /// <summary>Elements not set; the shape of a tensor.</summary>
    public static Tensor empty_like(
        Tensor input, ScalarType? dtype = null, Device? device = null, bool requires_grad = false, string[]? names = null) =>
        Unnamed(input, names).empty_like(dtype, device, requires_grad);

    /// <summary>Zeros in the shape of a tensor.</summary>
    public static Tensor zeros_like(
        Tensor input, ScalarType? dtype = null, Device? device = null, bool requires_grad = false, string[]? names = null) =>
        Unnamed(input, names).zeros_like(dtype, device, requires_grad);

    /// <summary>Ones in the shape of a tensor.</summary>
    public static Tensor ones_like(
        Tensor input, ScalarType? dtype = null, Device? device = null, bool requires_grad = false, string[]? names = null) =>
        Unnamed(input, names).ones_like(dtype, device, requires_grad);

    /// <summary>Uniform samples on [0, 1) in the shape of a tensor.</summary>
    public static Tensor rand_like(
        Tensor input, ScalarType? dtype = null, Device? device = null, bool requires_grad = false) =>
        input.rand_like(dtype, device, requires_grad);

    /// <summary>Standard normal samples in the shape of a tensor.</summary>
    public static Tensor randn_like(
        Tensor input, ScalarType? dtype = null, Device? device = null, bool requires_grad = false) =>
        input.randn_like(dtype, device, requires_grad);

    /// <summary>One value in the shape of a tensor.</summary>
    public static Tensor full_like(
        Tensor input, Scalar value, ScalarType? dtype = null, Device? device = null, bool requires_grad = false, string[]? names = null) =>
        Unnamed(input, names).full_like(value, dtype, device, requires_grad);

    /// <summary>0, 1, ... below <paramref name="stop"/>.</summary>
    public static Tensor arange(Scalar stop, ScalarType? dtype = null, Device? device = null, bool requires_grad = false) =>
        arange(0, stop, 1, dtype, device, requires_grad);

    /// <summary>From <paramref name="start"/> in steps of 1 below <paramref name="stop"/>.</summary>
    public static Tensor arange(Scalar start, Scalar stop, ScalarType? dtype = null, Device? device = null, bool requires_grad = false) =>
        arange(start, stop, 1, dtype, device, requires_grad);

    /// <summary>From <paramref name="start"/> in steps below <paramref name="stop"/>; 64-bit integers if all three are integers.</summary>
    public static Tensor arange(
        Scalar start, Scalar stop, Scalar step, ScalarType? dtype = null, Device? device = null, bool requires_grad = false)
    {
        bool integers = is_integral(start.Type) && is_integral(stop.Type) && is_integral(step.Type);
        return Make(
            "arange", "start_step", dtype ?? (integers ? ScalarType.Int64 : null), device, requires_grad, null, start, stop, step);
    }

    /// <summary>Evenly spaced numbers from <paramref name="start"/> to <paramref name="end"/>, both included.</summary>
    public static Tensor linspace(
        double start, double end, long steps, ScalarType? dtype = null, Device? device = null, bool requires_grad = false) =>
        Make("linspace", "", dtype, device, requires_grad, null, start, end, steps);

    /// <summary>A matrix with ones on the diagonal; square for <paramref name="columns"/> = -1.</summary>
    public static Tensor eye(
        long rows, long columns = -1L, ScalarType? dtype = null, Device? device = null, bool requires_grad = false, string[]? names = null) =>
        Make("eye", "m", dtype, device, requires_grad, names, rows, columns == -1 ? rows : columns);

    /// <summary>Random integers of [0, <paramref name="high"/>).</summary>
    public static Tensor randint(
        long high, long[] size, ScalarType? dtype = null, Device? device = null, bool requires_grad = false, Generator? generator = null, string[]? names = null) =>
        randint(0, high, size, dtype, device, requires_grad, generator, names);

    /// <summary>Random integers of [<paramref name="low"/>, <paramref name="high"/>).</summary>
    public static Tensor randint(
        long low, long high, long[] size, ScalarType? dtype = null, Device? device = null, bool requires_grad = false, Generator? generator = null, string[]? names = null) =>
        Make("randint", "low_generator", dtype ?? ScalarType.Int64, device, requires_grad, names, low, high, size, generator);

    /// <summary>A random permutation of 0, 1, ... below <paramref name="n"/>.</summary>
    public static Tensor randperm(
        long n, ScalarType? dtype = null, Device? device = null, bool requires_grad = false, Generator? generator = null) =>
        Make("randperm", "generator", dtype ?? ScalarType.Int64, device, requires_grad, null, n, generator);

    private static Tensor Unnamed(Tensor input, string[]? names) =>
        names is null ? input : throw new NotSupportedException("named dimensions are not supported by the SystemLibTorch provider");
}
