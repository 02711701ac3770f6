namespace TorchSharp;

public static partial class torch
{
    public partial class Tensor
    {
        /// <summary>Sum of all elements.</summary>
        public Tensor sum(ScalarType? type = null) => Operator.Call("sum", "", this, type);

        /// <summary>Sum over dimensions.</summary>
        public Tensor sum(long[] dim, bool keepdim = false, ScalarType? type = null) =>
            Operator.Call("sum", "dim_IntList", this, dim, keepdim, type);

        /// <summary>Sum over dimensions.</summary>
        public Tensor sum(ReadOnlySpan<long> dim, bool keepdim = false, ScalarType? type = null) => sum(dim.ToArray(), keepdim, type);

        /// <summary>Sum over a dimension.</summary>
        public Tensor sum(long dim, bool keepdim = false, ScalarType? type = null) => sum([dim], keepdim, type);

        /// <summary>Mean of all elements.</summary>
        public Tensor mean() => Call("mean");

        /// <summary>Mean over dimensions.</summary>
        public Tensor mean(long[] dimensions, bool keepdim = false, ScalarType? type = null) =>
            Operator.Call("mean", "dim", this, dimensions, keepdim, type);

        /// <summary>Product of all elements.</summary>
        public Tensor prod(ScalarType? type = null) => Operator.Call("prod", "", this, type);

        /// <summary>Standard deviation of all elements.</summary>
        public Tensor std(bool unbiased = true) => Operator.Call("std", "", this, unbiased);

        /// <summary>Standard deviation over a dimension.</summary>
        public Tensor std(long dim, bool unbiased = true, bool keepdim = false, ScalarType? type = null) =>
            Operator.Call("std", "dim", Typed(type), new[] { dim }, unbiased, keepdim);

        /// <summary>Variance of all elements.</summary>
        public Tensor var(bool unbiased = true) => Operator.Call("var", "", this, unbiased);

        /// <summary>Variance over a dimension.</summary>
        public Tensor var(long dim, bool unbiased = true, bool keepdim = false, ScalarType? type = null) =>
            Operator.Call("var", "dim", Typed(type), new[] { dim }, unbiased, keepdim);

        /// <summary>Largest element.</summary>
        public Tensor max() => Call("max");

        /// <summary>The larger of each two elements.</summary>
        public Tensor max(Tensor other) => Operator.Call("max", "other", this, other);

        /// <summary>Largest elements of a dimension, and where they are.</summary>
        public (Tensor values, Tensor indexes) max(long dim, bool keepdim = false) =>
            Two(Operator.CallMany("max", "dim", this, dim, keepdim));

        /// <summary>Smallest element.</summary>
        public Tensor min() => Call("min");

        /// <summary>The smaller of each two elements.</summary>
        public Tensor min(Tensor other) => Operator.Call("min", "other", this, other);

        /// <summary>Smallest elements of a dimension, and where they are.</summary>
        public (Tensor values, Tensor indexes) min(long dim, bool keepdim = false) =>
            Two(Operator.CallMany("min", "dim", this, dim, keepdim));

        /// <summary>Largest elements over dimensions.</summary>
        public Tensor amax(long[] dims, bool keepdim = false, Tensor? @out = null) =>
            @out is null ? Operator.Call("amax", "", this, dims, keepdim) : Operator.Call("amax", "out", this, dims, keepdim, @out);

        /// <summary>Largest elements over dimensions.</summary>
        public Tensor amax(params long[] dims) => Operator.Call("amax", "", this, dims);

        /// <summary>Smallest elements over dimensions.</summary>
        public Tensor amin(params long[] dims) => Operator.Call("amin", "", this, dims);

        /// <summary>Where the largest element is in the flattened tensor.</summary>
        public Tensor argmax() => Call("argmax");

        /// <summary>Where the largest elements of a dimension are.</summary>
        public Tensor argmax(long dim, bool keepdim = false) => Operator.Call("argmax", "", this, dim, keepdim);

        /// <summary>Where the smallest element is in the flattened tensor.</summary>
        public Tensor argmin() => Call("argmin");

        /// <summary>Where the smallest elements of a dimension are.</summary>
        public Tensor argmin(long dim, bool keepdim = false) => Operator.Call("argmin", "", this, dim, keepdim);

        /// <summary>Whether all elements are true.</summary>
        public Tensor all() => Call("all");

        /// <summary>Whether all elements of a dimension are true.</summary>
        public Tensor all(long dim, bool keepdim = false) => Operator.Call("all", "dim", this, dim, keepdim);

        /// <summary>Whether any element is true.</summary>
        public Tensor any() => Call("any");

        /// <summary>Whether any element of a dimension is true.</summary>
        public Tensor any(long dim, bool keepdim = false) => Operator.Call("any", "dim", this, dim, keepdim);

        /// <summary>The p-norm of all elements.</summary>
        public Tensor norm(float p = 2.0f) => Operator.Call("norm", "Scalar", this, p);

        /// <summary>The p-norm over a dimension.</summary>
        public Tensor norm(int dim, bool keepdim = false, float p = 2.0f) =>
            Operator.Call("norm", "ScalarOpt_dim", this, p, new long[] { dim }, keepdim);

        /// <summary>log(sum(exp(x))) over a dimension.</summary>
        public Tensor logsumexp(long dim, bool keepdim = false) => Operator.Call("logsumexp", "", this, new[] { dim }, keepdim);

        /// <summary>Running sum along a dimension.</summary>
        public Tensor cumsum(long dim, ScalarType? type = null) => Operator.Call("cumsum", "", this, dim, type);

        /// <summary>exp(x) / sum(exp(x)) along a dimension.</summary>
        public Tensor softmax(long dim, ScalarType? dtype = null) => Operator.Call("softmax", "int", this, dim, dtype);

        /// <summary>x - log(sum(exp(x))) along a dimension.</summary>
        public Tensor log_softmax(long dim, ScalarType? dtype = null) => Operator.Call("log_softmax", "int", this, dim, dtype);

        /// <summary>The k largest (or smallest) elements of a dimension, and where they are.</summary>
        public (Tensor values, Tensor indexes) topk(int k, int dim = -1, bool largest = true, bool sorted = true) =>
            Two(Operator.CallMany("topk", "", this, k, dim, largest, sorted));

        /// <summary>The elements of a dimension in order, and where they were.</summary>
        public (Tensor Values, Tensor Indices) sort(long dim = -1, bool descending = false, bool stable = false) =>
            Two(Operator.CallMany("sort", "stable", this, stable, dim, descending));

        /// <summary>Where the elements of a dimension are, in order.</summary>
        public Tensor argsort(long dim = -1, bool descending = false) => Operator.Call("argsort", "", this, dim, descending);

        private static (Tensor, Tensor) Two(Tensor[] tensors) => (tensors[0], tensors[1]);

        private Tensor Typed(ScalarType? type) => type is null ? this : to(type.Value);
    }

    /// <inheritdoc cref="Tensor.sum(ScalarType?)"/>
    public static Tensor sum(Tensor input, ScalarType? type = null) => input.sum(type);

    /// <inheritdoc cref="Tensor.sum(ReadOnlySpan{long}, bool, ScalarType?)"/>
    public static Tensor sum(Tensor input, ReadOnlySpan<long> dim, bool keepdim = false, ScalarType? type = null) =>
        input.sum(dim, keepdim, type);

    /// <inheritdoc cref="Tensor.sum(long, bool, ScalarType?)"/>
    public static Tensor sum(Tensor input, long dim, bool keepdim = false, ScalarType? type = null) => input.sum(dim, keepdim, type);

    /// <inheritdoc cref="Tensor.mean()"/>
    public static Tensor mean(Tensor input) => input.mean();

    /// <inheritdoc cref="Tensor.mean(long[], bool, ScalarType?)"/>
    public static Tensor mean(Tensor input, long[] dimensions, bool keepdim = false, ScalarType? type = null) =>
        input.mean(dimensions, keepdim, type);

    /// <inheritdoc cref="Tensor.max()"/>
    public static Tensor max(Tensor input) => input.max();

    /// <inheritdoc cref="Tensor.max(Tensor)"/>
    public static Tensor max(Tensor input, Tensor other) => input.max(other);

    /// <inheritdoc cref="Tensor.max(long, bool)"/>
    public static (Tensor values, Tensor indexes) max(Tensor input, long dim, bool keepdim = false) => input.max(dim, keepdim);

    /// <inheritdoc cref="Tensor.min()"/>
    public static Tensor min(Tensor input) => input.min();

    /// <inheritdoc cref="Tensor.min(Tensor)"/>
    public static Tensor min(Tensor input, Tensor other) => input.min(other);

    /// <inheritdoc cref="Tensor.min(long, bool)"/>
    public static (Tensor values, Tensor indexes) min(Tensor input, long dim, bool keepdim = false) => input.min(dim, keepdim);

    /// <inheritdoc cref="Tensor.argmax()"/>
    public static Tensor argmax(Tensor input) => input.argmax();

    /// <inheritdoc cref="Tensor.argmax(long, bool)"/>
    public static Tensor argmax(Tensor input, long dim, bool keepdim = false) => input.argmax(dim, keepdim);

    /// <inheritdoc cref="Tensor.all()"/>
    public static Tensor all(Tensor input) => input.all();

    /// <inheritdoc cref="Tensor.any()"/>
    public static Tensor any(Tensor input) => input.any();

    /// <inheritdoc cref="Tensor.norm(float)"/>
    public static Tensor norm(Tensor input, float p = 2.0f) => input.norm(p);

    /// <inheritdoc cref="Tensor.logsumexp"/>
    public static Tensor logsumexp(Tensor input, long dim, bool keepdim = false) => input.logsumexp(dim, keepdim);

    /// <inheritdoc cref="Tensor.cumsum"/>
    public static Tensor cumsum(Tensor input, long dim, ScalarType? type = null) => input.cumsum(dim, type);

    /// <inheritdoc cref="Tensor.softmax"/>
    public static Tensor softmax(Tensor input, int dim, ScalarType? dtype = null) => input.softmax(dim, dtype);

    /// <inheritdoc cref="Tensor.topk"/>
    public static (Tensor values, Tensor indices) topk(Tensor tensor, int k, int dim = -1, bool largest = true, bool sorted = true) =>
        tensor.topk(k, dim, largest, sorted);

    /// <inheritdoc cref="Tensor.sort"/>
    public static (Tensor values, Tensor indices) sort(Tensor input, long dim = -1, bool descending = false, bool stable = false) =>
        input.sort(dim, descending, stable);

    /// <inheritdoc cref="Tensor.argsort"/>
    public static Tensor argsort(Tensor input, long dim = -1, bool descending = false) => input.argsort(dim, descending);

    /// <summary>Special functions.</summary>
    public static partial class special
    {
        /// <inheritdoc cref="Tensor.log_softmax"/>
        public static Tensor log_softmax(Tensor input, long dim, ScalarType? dtype = null) => input.log_softmax(dim, dtype);

        /// <inheritdoc cref="Tensor.softmax"/>
        public static Tensor softmax(Tensor input, long dim, ScalarType? dtype = null) => input.softmax(dim, dtype);
    }
}
