namespace TorchSharp;

public static partial class torch
{
    public partial class Tensor
    {
        /// <summary>Whether each element equals the other.</summary>
        public Tensor eq(Tensor target) => Operator.Call("eq", "Tensor", this, target);

        /// <summary>Whether each element equals a number.</summary>
        public Tensor eq(Scalar target) => Operator.Call("eq", "Scalar", this, target);

        /// <summary>Whether each element equals the other.</summary>
        public static Tensor operator ==(Tensor left, Tensor right) => left.eq(right);

        /// <summary>Whether each element equals a number.</summary>
        public static Tensor operator ==(Tensor left, Scalar right) => left.eq(right);

        /// <summary>Whether a number equals each element.</summary>
        public static Tensor operator ==(Scalar left, Tensor right) => right.eq(left);

        /// <summary>Whether each element differs from the other.</summary>
        public Tensor ne(Tensor target) => Operator.Call("ne", "Tensor", this, target);

        /// <summary>Whether each element differs from a number.</summary>
        public Tensor ne(Scalar target) => Operator.Call("ne", "Scalar", this, target);

        /// <summary>Whether each element differs from the other.</summary>
        public static Tensor operator !=(Tensor left, Tensor right) => left.ne(right);

        /// <summary>Whether each element differs from a number.</summary>
        public static Tensor operator !=(Tensor left, Scalar right) => left.ne(right);

        /// <summary>Whether a number differs from each element.</summary>
        public static Tensor operator !=(Scalar left, Tensor right) => right.ne(left);

        /// <summary>Whether each element is less than the other.</summary>
        public Tensor lt(Tensor target) => Operator.Call("lt", "Tensor", this, target);

        /// <summary>Whether each element is less than a number.</summary>
        public Tensor lt(Scalar target) => Operator.Call("lt", "Scalar", this, target);

        /// <summary>Whether each element is less than the other.</summary>
        public static Tensor operator <(Tensor left, Tensor right) => left.lt(right);

        /// <summary>Whether each element is less than a number.</summary>
        public static Tensor operator <(Tensor left, Scalar right) => left.lt(right);

        /// <summary>Whether a number is less than each element.</summary>
        public static Tensor operator <(Scalar left, Tensor right) => right.gt(left);

        /// <summary>Whether each element is at most the other.</summary>
        public Tensor le(Tensor target) => Operator.Call("le", "Tensor", this, target);

        /// <summary>Whether each element is at most a number.</summary>
        public Tensor le(Scalar target) => Operator.Call("le", "Scalar", this, target);

        /// <summary>Whether each element is at most the other.</summary>
        public static Tensor operator <=(Tensor left, Tensor right) => left.le(right);

        /// <summary>Whether each element is at most a number.</summary>
        public static Tensor operator <=(Tensor left, Scalar right) => left.le(right);

        /// <summary>Whether a number is at most each element.</summary>
        public static Tensor operator <=(Scalar left, Tensor right) => right.ge(left);

        /// <summary>Whether each element is greater than the other.</summary>
        public Tensor gt(Tensor target) => Operator.Call("gt", "Tensor", this, target);

        /// <summary>Whether each element is greater than a number.</summary>
        public Tensor gt(Scalar target) => Operator.Call("gt", "Scalar", this, target);

        /// <summary>Whether each element is greater than the other.</summary>
        public static Tensor operator >(Tensor left, Tensor right) => left.gt(right);

        /// <summary>Whether each element is greater than a number.</summary>
        public static Tensor operator >(Tensor left, Scalar right) => left.gt(right);

        /// <summary>Whether a number is greater than each element.</summary>
        public static Tensor operator >(Scalar left, Tensor right) => right.lt(left);

        /// <summary>Whether each element is at least the other.</summary>
        public Tensor ge(Tensor target) => Operator.Call("ge", "Tensor", this, target);

        /// <summary>Whether each element is at least a number.</summary>
        public Tensor ge(Scalar target) => Operator.Call("ge", "Scalar", this, target);

        /// <summary>Whether each element is at least the other.</summary>
        public static Tensor operator >=(Tensor left, Tensor right) => left.ge(right);

        /// <summary>Whether each element is at least a number.</summary>
        public static Tensor operator >=(Tensor left, Scalar right) => left.ge(right);

        /// <summary>Whether a number is at least each element.</summary>
        public static Tensor operator >=(Scalar left, Tensor right) => right.le(left);

        /// <summary>As <see cref="eq(Tensor)"/>: TorchSharp's <c>equal</c> compares element by element.</summary>
        public Tensor equal(Tensor target) => eq(target);

        /// <summary>Whether shapes and all elements are equal.</summary>
        public bool Equals(Tensor target) => Operator.CallBoolean("equal", "", this, target);

        /// <summary>Whether |x - y| &lt;= atol + rtol |y| for all elements.</summary>
        public bool allclose(Tensor target, double rtol = 1e-05, double atol = 1e-08, bool equal_nan = false) =>
            Operator.CallBoolean("allclose", "", this, target, rtol, atol, equal_nan);

        /// <summary>Whether |x - y| &lt;= atol + rtol |y|, for each element.</summary>
        public Tensor isclose(Tensor other, double rtol = 1e-05, double atol = 1e-08, bool nanEqual = false) =>
            Operator.Call("isclose", "", this, other, rtol, atol, nanEqual);

        /// <summary>The larger of each two elements.</summary>
        public Tensor maximum(Tensor other) => Operator.Call("maximum", "", this, other);

        /// <summary>The smaller of each two elements.</summary>
        public Tensor minimum(Tensor other) => Operator.Call("minimum", "", this, other);

        /// <summary>Element by element.</summary>
        public Tensor logical_and(Tensor other) => Operator.Call("logical_and", "", this, other);

        /// <summary>Element by element.</summary>
        public Tensor logical_or(Tensor other) => Operator.Call("logical_or", "", this, other);

        /// <summary>Element by element.</summary>
        public Tensor bitwise_and(Tensor other) => Operator.Call("bitwise_and", "Tensor", this, other);

        /// <summary>Element by element.</summary>
        public Tensor bitwise_or(Tensor other) => Operator.Call("bitwise_or", "Tensor", this, other);

        /// <summary>Element by element.</summary>
        public Tensor bitwise_xor(Tensor other) => Operator.Call("bitwise_xor", "Tensor", this, other);

        /// <summary>Element by element.</summary>
        public static Tensor operator &(Tensor left, Tensor right) => left.bitwise_and(right);

        /// <summary>Element by element.</summary>
        public static Tensor operator |(Tensor left, Tensor right) => left.bitwise_or(right);

        /// <summary>Element by element.</summary>
        public static Tensor operator ^(Tensor left, Tensor right) => left.bitwise_xor(right);
    }

    /// <inheritdoc cref="Tensor.allclose"/>
    public static bool allclose(Tensor tensor, Tensor target, double rtol = 1e-05, double atol = 1e-08, bool equal_nan = false) =>
        tensor.allclose(target, rtol, atol, equal_nan);

    /// <inheritdoc cref="Tensor.isclose"/>
    public static Tensor isclose(Tensor tensor, Tensor other, double rtol = 1e-05, double atol = 1e-08, bool nanEqual = false) =>
        tensor.isclose(other, rtol, atol, nanEqual);

    /// <inheritdoc cref="Tensor.equal"/>
    public static Tensor equal(Tensor tensor, Tensor target) => tensor.eq(target);

    /// <inheritdoc cref="Tensor.maximum"/>
    public static Tensor maximum(Tensor input, Tensor other) => input.maximum(other);

    /// <inheritdoc cref="Tensor.minimum"/>
    public static Tensor minimum(Tensor input, Tensor other) => input.minimum(other);

    /// <inheritdoc cref="Tensor.logical_and"/>
    public static Tensor logical_and(Tensor left, Tensor right) => left.logical_and(right);

    /// <inheritdoc cref="Tensor.logical_or"/>
    public static Tensor logical_or(Tensor left, Tensor right) => left.logical_or(right);

    /// <inheritdoc cref="Tensor.eq(Tensor)"/>
    public static Tensor eq(Tensor left, Tensor right) => left.eq(right);

    /// <inheritdoc cref="Tensor.ne(Tensor)"/>
    public static Tensor ne(Tensor left, Tensor right) => left.ne(right);

    /// <inheritdoc cref="Tensor.lt(Tensor)"/>
    public static Tensor lt(Tensor left, Tensor right) => left.lt(right);

    /// <inheritdoc cref="Tensor.le(Tensor)"/>
    public static Tensor le(Tensor left, Tensor right) => left.le(right);

    /// <inheritdoc cref="Tensor.gt(Tensor)"/>
    public static Tensor gt(Tensor left, Tensor right) => left.gt(right);

    /// <inheritdoc cref="Tensor.ge(Tensor)"/>
    public static Tensor ge(Tensor left, Tensor right) => left.ge(right);
}
