namespace TorchSharp;

public static partial class torch
{
    public partial class Tensor
    {
        /// <summary>x + y.</summary>
        public Tensor add(Tensor target) => Operator.Call("add", "Tensor", this, target);

        /// <summary>x + alpha y.</summary>
        public Tensor add(Tensor target, Scalar alpha) => Operator.Call("add", "Tensor", this, target, alpha);

        /// <summary>x + y.</summary>
        public Tensor add(Scalar scalar) => Operator.Call("add", "Scalar", this, scalar);

        /// <summary>x + alpha y.</summary>
        public Tensor add(Scalar scalar, Scalar alpha) => Operator.Call("add", "Scalar", this, scalar, alpha);

        /// <summary>x + y, in place.</summary>
        public Tensor add_(Tensor target) => InPlace("add_", "Tensor", target);

        /// <summary>x + alpha y, in place.</summary>
        public Tensor add_(Tensor target, Scalar alpha) => InPlace("add_", "Tensor", target, alpha);

        /// <summary>x + y, in place.</summary>
        public Tensor add_(Scalar scalar) => InPlace("add_", "Scalar", scalar);

        /// <summary>x + alpha y, in place.</summary>
        public Tensor add_(Scalar scalar, Scalar alpha) => InPlace("add_", "Scalar", scalar, alpha);

        /// <summary>x - y.</summary>
        public Tensor sub(Tensor target) => Operator.Call("sub", "Tensor", this, target);

        /// <summary>x - y, in place.</summary>
        public Tensor sub_(Tensor target) => InPlace("sub_", "Tensor", target);

        /// <summary>x - y.</summary>
        public Tensor sub(Scalar target) => Operator.Call("sub", "Scalar", this, target);

        /// <summary>x - y, in place.</summary>
        public Tensor sub_(Scalar target) => InPlace("sub_", "Scalar", target);

        /// <summary>x * y.</summary>
        public Tensor mul(Tensor target) => Operator.Call("mul", "Tensor", this, target);

        /// <summary>x * y, in place.</summary>
        public Tensor mul_(Tensor target) => InPlace("mul_", "Tensor", target);

        /// <summary>x * y.</summary>
        public Tensor mul(Scalar target) => Operator.Call("mul", "Scalar", this, target);

        /// <summary>x * y, in place.</summary>
        public Tensor mul_(Scalar target) => InPlace("mul_", "Scalar", target);

        /// <summary>x / y, rounded as asked.</summary>
        public Tensor div(Tensor target, RoundingMode rounding_mode = RoundingMode.None) =>
            Operator.Call("div", "Tensor_mode", this, target, Name(rounding_mode));

        /// <summary>x / y, rounded as asked, in place.</summary>
        public Tensor div_(Tensor target, RoundingMode rounding_mode = RoundingMode.None) =>
            InPlace("div_", "Tensor_mode", target, Name(rounding_mode));

        /// <summary>x - y floor(x / y).</summary>
        public Tensor remainder(Tensor target) => Operator.Call("remainder", "Tensor", this, target);

        /// <summary>x to the power y.</summary>
        public Tensor pow(Tensor exponent) => Operator.Call("pow", "Tensor_Tensor", this, exponent);

        /// <summary>x to the power y, in place.</summary>
        public Tensor pow_(Tensor exponent) => InPlace("pow_", "Tensor", exponent);

        /// <summary>x / y, rounded as asked.</summary>
        public Tensor div(Scalar target, RoundingMode rounding_mode = RoundingMode.None) =>
            Operator.Call("div", "Scalar_mode", this, target, Name(rounding_mode));

        /// <summary>x / y, rounded as asked, in place.</summary>
        public Tensor div_(Scalar target, RoundingMode rounding_mode = RoundingMode.None) =>
            InPlace("div_", "Scalar_mode", target, Name(rounding_mode));

        /// <summary>x - y floor(x / y).</summary>
        public Tensor remainder(Scalar scalar) => Operator.Call("remainder", "Scalar", this, scalar);

        /// <summary>x to the power y.</summary>
        public Tensor pow(Scalar exponent) => Operator.Call("pow", "Tensor_Scalar", this, exponent);

        /// <summary>x to the power y, in place.</summary>
        public Tensor pow_(Scalar exponent) => InPlace("pow_", "Scalar", exponent);

        /// <summary>x + value * tensor1 * tensor2.</summary>
        public Tensor addcmul(Tensor tensor1, Tensor tensor2, Scalar value) =>
            Operator.Call("addcmul", "", this, tensor1, tensor2, value);

        /// <summary>x + value * tensor1 * tensor2, in place.</summary>
        public Tensor addcmul_(Tensor tensor1, Tensor tensor2, Scalar value) => InPlace("addcmul_", "", tensor1, tensor2, value);

        /// <summary>x + value * tensor1 / tensor2.</summary>
        public Tensor addcdiv(Tensor tensor1, Tensor tensor2, Scalar value) =>
            Operator.Call("addcdiv", "", this, tensor1, tensor2, value);

        /// <summary>x + tensor1 / tensor2.</summary>
        public Tensor addcdiv(Tensor tensor1, Tensor tensor2) => Operator.Call("addcdiv", "", this, tensor1, tensor2);

        /// <summary>x + value * tensor1 / tensor2, in place.</summary>
        public Tensor addcdiv_(Tensor tensor1, Tensor tensor2, Scalar value) => InPlace("addcdiv_", "", tensor1, tensor2, value);

        /// <summary>x + tensor1 / tensor2, in place.</summary>
        public Tensor addcdiv_(Tensor tensor1, Tensor tensor2) => InPlace("addcdiv_", "", tensor1, tensor2);

        /// <summary>x + weight * (end - x).</summary>
        public Tensor lerp(Tensor end, Tensor weight) => Operator.Call("lerp", "Tensor", this, end, weight);

        /// <summary>x + weight * (end - x), in place.</summary>
        public Tensor lerp_(Tensor end, Tensor weight) => InPlace("lerp_", "Tensor", end, weight);

        /// <summary>Limits the elements to [min, max]; null for no limit.</summary>
        public Tensor clamp(Scalar? min = null, Scalar? max = null) => Operator.Call("clamp", "", this, min, max);

        /// <summary>Limits the elements to [min, max], in place; null for no limit.</summary>
        public Tensor clamp_(Scalar? min = null, Scalar? max = null) => InPlace("clamp_", "", min, max);

        /// <summary>Raises the elements to at least <paramref name="min"/>.</summary>
        public Tensor clamp_min(Scalar min) => Operator.Call("clamp_min", "", this, min);

        /// <summary>Lowers the elements to at most <paramref name="max"/>.</summary>
        public Tensor clamp_max(Scalar max) => Operator.Call("clamp_max", "", this, max);

        private static string? Name(RoundingMode mode) => mode == RoundingMode.None ? null : mode.ToString();

        /// <summary>Element by element.</summary>
        public static Tensor operator +(Tensor left, Tensor right) => left.add(right);

        /// <summary>Element by element.</summary>
        public static Tensor operator +(Tensor left, Scalar right) => left.add(right);

        /// <summary>Element by element.</summary>
        public static Tensor operator +(Scalar left, Tensor right) => right.add(left);

        /// <summary>Element by element.</summary>
        public static Tensor operator +(Tensor left, int right) => left.add(right);

        /// <summary>Element by element.</summary>
        public static Tensor operator +(int left, Tensor right) => right.add(left);

        /// <summary>Element by element.</summary>
        public static Tensor operator +(Tensor left, long right) => left.add(right);

        /// <summary>Element by element.</summary>
        public static Tensor operator +(long left, Tensor right) => right.add(left);

        /// <summary>Element by element.</summary>
        public static Tensor operator +(Tensor left, float right) => left.add(right);

        /// <summary>Element by element.</summary>
        public static Tensor operator +(float left, Tensor right) => right.add(left);

        /// <summary>Element by element.</summary>
        public static Tensor operator +(Tensor left, double right) => left.add(right);

        /// <summary>Element by element.</summary>
        public static Tensor operator +(double left, Tensor right) => right.add(left);

        /// <summary>Element by element.</summary>
        public static Tensor operator -(Tensor left, Tensor right) => left.sub(right);

        /// <summary>Element by element.</summary>
        public static Tensor operator -(Tensor left, Scalar right) => left.sub(right);

        /// <summary>Element by element.</summary>
        public static Tensor operator -(Scalar left, Tensor right) => right.negative().add(left);

        /// <summary>Element by element.</summary>
        public static Tensor operator -(Tensor left, int right) => left.sub(right);

        /// <summary>Element by element.</summary>
        public static Tensor operator -(int left, Tensor right) => right.negative().add(left);

        /// <summary>Element by element.</summary>
        public static Tensor operator -(Tensor left, long right) => left.sub(right);

        /// <summary>Element by element.</summary>
        public static Tensor operator -(long left, Tensor right) => right.negative().add(left);

        /// <summary>Element by element.</summary>
        public static Tensor operator -(Tensor left, float right) => left.sub(right);

        /// <summary>Element by element.</summary>
        public static Tensor operator -(float left, Tensor right) => right.negative().add(left);

        /// <summary>Element by element.</summary>
        public static Tensor operator -(Tensor left, double right) => left.sub(right);

        /// <summary>Element by element.</summary>
        public static Tensor operator -(double left, Tensor right) => right.negative().add(left);

        /// <summary>Element by element.</summary>
        public static Tensor operator *(Tensor left, Tensor right) => left.mul(right);

        /// <summary>Element by element.</summary>
        public static Tensor operator *(Tensor left, Scalar right) => left.mul(right);

        /// <summary>Element by element.</summary>
        public static Tensor operator *(Scalar left, Tensor right) => right.mul(left);

        /// <summary>Element by element.</summary>
        public static Tensor operator *(Tensor left, int right) => left.mul(right);

        /// <summary>Element by element.</summary>
        public static Tensor operator *(int left, Tensor right) => right.mul(left);

        /// <summary>Element by element.</summary>
        public static Tensor operator *(Tensor left, long right) => left.mul(right);

        /// <summary>Element by element.</summary>
        public static Tensor operator *(long left, Tensor right) => right.mul(left);

        /// <summary>Element by element.</summary>
        public static Tensor operator *(Tensor left, float right) => left.mul(right);

        /// <summary>Element by element.</summary>
        public static Tensor operator *(float left, Tensor right) => right.mul(left);

        /// <summary>Element by element.</summary>
        public static Tensor operator *(Tensor left, double right) => left.mul(right);

        /// <summary>Element by element.</summary>
        public static Tensor operator *(double left, Tensor right) => right.mul(left);

        /// <summary>Element by element.</summary>
        public static Tensor operator /(Tensor left, Tensor right) => left.div(right);

        /// <summary>Element by element.</summary>
        public static Tensor operator /(Tensor left, Scalar right) => left.div(right);

        /// <summary>Element by element.</summary>
        public static Tensor operator /(Scalar left, Tensor right) => right.reciprocal().mul(left);

        /// <summary>Element by element.</summary>
        public static Tensor operator /(Tensor left, int right) => left.div(right);

        /// <summary>Element by element.</summary>
        public static Tensor operator /(int left, Tensor right) => right.reciprocal().mul(left);

        /// <summary>Element by element.</summary>
        public static Tensor operator /(Tensor left, long right) => left.div(right);

        /// <summary>Element by element.</summary>
        public static Tensor operator /(long left, Tensor right) => right.reciprocal().mul(left);

        /// <summary>Element by element.</summary>
        public static Tensor operator /(Tensor left, float right) => left.div(right);

        /// <summary>Element by element.</summary>
        public static Tensor operator /(float left, Tensor right) => right.reciprocal().mul(left);

        /// <summary>Element by element.</summary>
        public static Tensor operator /(Tensor left, double right) => left.div(right);

        /// <summary>Element by element.</summary>
        public static Tensor operator /(double left, Tensor right) => right.reciprocal().mul(left);

        /// <summary>Element by element.</summary>
        public static Tensor operator %(Tensor left, Tensor right) => left.remainder(right);

        /// <summary>Element by element.</summary>
        public static Tensor operator %(Tensor left, Scalar right) => left.remainder(right);

        /// <summary>Element by element.</summary>
        public static Tensor operator %(Tensor left, int right) => left.remainder(right);

        /// <summary>Element by element.</summary>
        public static Tensor operator %(Tensor left, long right) => left.remainder(right);

        /// <summary>Element by element.</summary>
        public static Tensor operator %(Tensor left, float right) => left.remainder(right);

        /// <summary>Element by element.</summary>
        public static Tensor operator %(Tensor left, double right) => left.remainder(right);
    }

    /// <inheritdoc cref="Tensor.add(Tensor)"/>
    public static Tensor add(Tensor left, Tensor right) => left.add(right);

    /// <inheritdoc cref="Tensor.add(Scalar)"/>
    public static Tensor add(Tensor left, Scalar right) => left.add(right);

    /// <inheritdoc cref="Tensor.sub(Tensor)"/>
    public static Tensor sub(Tensor left, Tensor right) => left.sub(right);

    /// <inheritdoc cref="Tensor.sub(Scalar)"/>
    public static Tensor sub(Tensor left, Scalar right) => left.sub(right);

    /// <inheritdoc cref="Tensor.mul(Tensor)"/>
    public static Tensor mul(Tensor left, Tensor right) => left.mul(right);

    /// <inheritdoc cref="Tensor.mul(Scalar)"/>
    public static Tensor mul(Tensor left, Scalar right) => left.mul(right);

    /// <inheritdoc cref="Tensor.div(Tensor, RoundingMode)"/>
    public static Tensor div(Tensor left, Tensor right, RoundingMode rounding_mode = RoundingMode.None) => left.div(right, rounding_mode);

    /// <inheritdoc cref="Tensor.pow(Tensor)"/>
    public static Tensor pow(Tensor left, Tensor exponent) => left.pow(exponent);

    /// <inheritdoc cref="Tensor.div(Scalar, RoundingMode)"/>
    public static Tensor div(Tensor left, Scalar right, RoundingMode rounding_mode = RoundingMode.None) => left.div(right, rounding_mode);

    /// <inheritdoc cref="Tensor.pow(Scalar)"/>
    public static Tensor pow(Tensor left, Scalar exponent) => left.pow(exponent);

    /// <inheritdoc cref="Tensor.clamp(Scalar, Scalar)"/>
    public static Tensor clamp(Tensor input, Scalar? min = null, Scalar? max = null) => input.clamp(min, max);

    /// <inheritdoc cref="Tensor.lerp(Tensor, Tensor)"/>
    public static Tensor lerp(Tensor input, Tensor end, Tensor weight) => input.lerp(end, weight);
}
