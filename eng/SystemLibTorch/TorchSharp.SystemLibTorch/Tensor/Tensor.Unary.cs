namespace TorchSharp;

public static partial class torch
{
    public partial class Tensor
    {
        /// <summary>Absolute value.</summary>
        public Tensor abs() => Call("abs");

        /// <summary>Absolute value, in place.</summary>
        public Tensor abs_() => InPlace("abs_", "");

        /// <summary>Rounds up.</summary>
        public Tensor ceil() => Call("ceil");

        /// <summary>Rounds up, in place.</summary>
        public Tensor ceil_() => InPlace("ceil_", "");

        /// <summary>Cosine.</summary>
        public Tensor cos() => Call("cos");

        /// <summary>Cosine, in place.</summary>
        public Tensor cos_() => InPlace("cos_", "");

        /// <summary>Error function.</summary>
        public Tensor erf() => Call("erf");

        /// <summary>Error function, in place.</summary>
        public Tensor erf_() => InPlace("erf_", "");

        /// <summary>Complement of the error function.</summary>
        public Tensor erfc() => Call("erfc");

        /// <summary>Complement of the error function, in place.</summary>
        public Tensor erfc_() => InPlace("erfc_", "");

        /// <summary>Natural exponential.</summary>
        public Tensor exp() => Call("exp");

        /// <summary>Natural exponential, in place.</summary>
        public Tensor exp_() => InPlace("exp_", "");

        /// <summary>2 to the power of each element.</summary>
        public Tensor exp2() => Call("exp2");

        /// <summary>exp(x) - 1.</summary>
        public Tensor expm1() => Call("expm1");

        /// <summary>exp(x) - 1, in place.</summary>
        public Tensor expm1_() => InPlace("expm1_", "");

        /// <summary>Rounds down.</summary>
        public Tensor floor() => Call("floor");

        /// <summary>Rounds down, in place.</summary>
        public Tensor floor_() => InPlace("floor_", "");

        /// <summary>Natural logarithm.</summary>
        public Tensor log() => Call("log");

        /// <summary>Natural logarithm, in place.</summary>
        public Tensor log_() => InPlace("log_", "");

        /// <summary>Logarithm to base 10.</summary>
        public Tensor log10() => Call("log10");

        /// <summary>Logarithm to base 10, in place.</summary>
        public Tensor log10_() => InPlace("log10_", "");

        /// <summary>log(1 + x).</summary>
        public Tensor log1p() => Call("log1p");

        /// <summary>log(1 + x), in place.</summary>
        public Tensor log1p_() => InPlace("log1p_", "");

        /// <summary>Logarithm to base 2.</summary>
        public Tensor log2() => Call("log2");

        /// <summary>Logarithm to base 2, in place.</summary>
        public Tensor log2_() => InPlace("log2_", "");

        /// <summary>Negative.</summary>
        public Tensor neg() => Call("neg");

        /// <summary>Negative, in place.</summary>
        public Tensor neg_() => InPlace("neg_", "");

        /// <summary>1 / x.</summary>
        public Tensor reciprocal() => Call("reciprocal");

        /// <summary>1 / x, in place.</summary>
        public Tensor reciprocal_() => InPlace("reciprocal_", "");

        /// <summary>1 / sqrt(x).</summary>
        public Tensor rsqrt() => Call("rsqrt");

        /// <summary>1 / sqrt(x), in place.</summary>
        public Tensor rsqrt_() => InPlace("rsqrt_", "");

        /// <summary>Logistic function.</summary>
        public Tensor sigmoid() => Call("sigmoid");

        /// <summary>Logistic function, in place.</summary>
        public Tensor sigmoid_() => InPlace("sigmoid_", "");

        /// <summary>-1, 0 or 1.</summary>
        public Tensor sign() => Call("sign");

        /// <summary>-1, 0 or 1, in place.</summary>
        public Tensor sign_() => InPlace("sign_", "");

        /// <summary>Sine.</summary>
        public Tensor sin() => Call("sin");

        /// <summary>Sine, in place.</summary>
        public Tensor sin_() => InPlace("sin_", "");

        /// <summary>Square root.</summary>
        public Tensor sqrt() => Call("sqrt");

        /// <summary>Square root, in place.</summary>
        public Tensor sqrt_() => InPlace("sqrt_", "");

        /// <summary>Tangent.</summary>
        public Tensor tan() => Call("tan");

        /// <summary>Tangent, in place.</summary>
        public Tensor tan_() => InPlace("tan_", "");

        /// <summary>Hyperbolic tangent.</summary>
        public Tensor tanh() => Call("tanh");

        /// <summary>Hyperbolic tangent, in place.</summary>
        public Tensor tanh_() => InPlace("tanh_", "");

        /// <summary>Rounds towards zero.</summary>
        public Tensor trunc() => Call("trunc");

        /// <summary>Rounds towards zero, in place.</summary>
        public Tensor trunc_() => InPlace("trunc_", "");

        /// <summary>max(x, 0).</summary>
        public Tensor relu() => Call("relu");

        /// <summary>max(x, 0), in place.</summary>
        public Tensor relu_() => InPlace("relu_", "");

        /// <summary>x * sigmoid(x).</summary>
        public Tensor silu() => Call("silu");

        /// <summary>x * sigmoid(x), in place.</summary>
        public Tensor silu_() => InPlace("silu_", "");

        /// <summary>Scaled exponential linear unit.</summary>
        public Tensor selu() => Call("selu");

        /// <summary>Scaled exponential linear unit, in place.</summary>
        public Tensor selu_() => InPlace("selu_", "");

        /// <summary>Whether each element is finite.</summary>
        public Tensor isfinite() => Call("isfinite");

        /// <summary>Whether each element is infinite.</summary>
        public Tensor isinf() => Call("isinf");

        /// <summary>Whether each element is NaN.</summary>
        public Tensor isnan() => Call("isnan");

        /// <summary>Whether each element is zero.</summary>
        public Tensor logical_not() => Call("logical_not");

        /// <summary>Bitwise complement.</summary>
        public Tensor bitwise_not() => Call("bitwise_not");

        /// <summary>Gaussian error linear unit, by the error function.</summary>
        public Tensor gelu() => Call("gelu");

        /// <summary>Negative.</summary>
        public Tensor negative() => neg();

        /// <summary>x * x.</summary>
        public Tensor square() => pow(2);

        /// <summary>Rounds to a number of decimals, halves to even.</summary>
        public Tensor round(long decimals = 0L) => Operator.Call("round", "decimals", this, decimals);

        /// <summary>Element by element.</summary>
        public static Tensor operator -(Tensor tensor) => tensor.neg();

        /// <summary>Bitwise complement.</summary>
        public static Tensor operator ~(Tensor left) => left.bitwise_not();
    }

    /// <summary>Absolute value.</summary>
    public static Tensor abs(Tensor input) => input.abs();

    /// <summary>Rounds up.</summary>
    public static Tensor ceil(Tensor input) => input.ceil();

    /// <summary>Cosine.</summary>
    public static Tensor cos(Tensor input) => input.cos();

    /// <summary>Error function.</summary>
    public static Tensor erf(Tensor input) => input.erf();

    /// <summary>Complement of the error function.</summary>
    public static Tensor erfc(Tensor input) => input.erfc();

    /// <summary>Natural exponential.</summary>
    public static Tensor exp(Tensor input) => input.exp();

    /// <summary>2 to the power of each element.</summary>
    public static Tensor exp2(Tensor input) => input.exp2();

    /// <summary>exp(x) - 1.</summary>
    public static Tensor expm1(Tensor input) => input.expm1();

    /// <summary>Rounds down.</summary>
    public static Tensor floor(Tensor input) => input.floor();

    /// <summary>Natural logarithm.</summary>
    public static Tensor log(Tensor input) => input.log();

    /// <summary>Logarithm to base 10.</summary>
    public static Tensor log10(Tensor input) => input.log10();

    /// <summary>log(1 + x).</summary>
    public static Tensor log1p(Tensor input) => input.log1p();

    /// <summary>Logarithm to base 2.</summary>
    public static Tensor log2(Tensor input) => input.log2();

    /// <summary>Negative.</summary>
    public static Tensor neg(Tensor input) => input.neg();

    /// <summary>1 / x.</summary>
    public static Tensor reciprocal(Tensor input) => input.reciprocal();

    /// <summary>1 / sqrt(x).</summary>
    public static Tensor rsqrt(Tensor input) => input.rsqrt();

    /// <summary>Logistic function.</summary>
    public static Tensor sigmoid(Tensor input) => input.sigmoid();

    /// <summary>-1, 0 or 1.</summary>
    public static Tensor sign(Tensor input) => input.sign();

    /// <summary>Sine.</summary>
    public static Tensor sin(Tensor input) => input.sin();

    /// <summary>Square root.</summary>
    public static Tensor sqrt(Tensor input) => input.sqrt();

    /// <summary>Tangent.</summary>
    public static Tensor tan(Tensor input) => input.tan();

    /// <summary>Hyperbolic tangent.</summary>
    public static Tensor tanh(Tensor input) => input.tanh();

    /// <summary>Rounds towards zero.</summary>
    public static Tensor trunc(Tensor input) => input.trunc();

    /// <summary>Whether each element is finite.</summary>
    public static Tensor isfinite(Tensor tensor) => tensor.isfinite();

    /// <summary>Whether each element is infinite.</summary>
    public static Tensor isinf(Tensor tensor) => tensor.isinf();

    /// <summary>Whether each element is NaN.</summary>
    public static Tensor isnan(Tensor input) => input.isnan();

    /// <summary>x * x.</summary>
    public static Tensor square(Tensor input) => input.square();

    /// <summary>Whether each element is zero.</summary>
    public static Tensor logical_not(Tensor input) => input.logical_not();
}
