namespace TorchSharp;

public static partial class torch
{
    public partial class Tensor
    {
        /// <summary>A view of another shape; one size may be -1.</summary>
        public Tensor view(params long[] shape) => Operator.Call("view", "", this, shape);

        /// <summary>A view of the shape of another tensor.</summary>
        public Tensor view_as(Tensor other) => Operator.Call("view_as", "", this, other);

        /// <summary>Another shape, as a view where the layout allows it; one size may be -1.</summary>
        public Tensor reshape(params long[] shape) => Operator.Call("reshape", "", this, shape);

        /// <summary>Makes one dimension of a range of them.</summary>
        public Tensor flatten(long start_dim = 0, long end_dim = -1) => Operator.Call("flatten", "using_ints", this, start_dim, end_dim);

        /// <summary>Splits one dimension into several.</summary>
        public Tensor unflatten(long dim, params long[] sizes) => Operator.Call("unflatten", "int", this, dim, sizes);

        /// <summary>Reorders the dimensions.</summary>
        public Tensor permute(params long[] permutation) => Operator.Call("permute", "", this, permutation);

        /// <summary>Reorders the dimensions.</summary>
        public Tensor permute(IEnumerable<long> permutation) => permute(permutation.ToArray());

        /// <summary>Exchanges two dimensions.</summary>
        public Tensor transpose(long dim0, long dim1) => Operator.Call("transpose", "int", this, dim0, dim1);

        /// <summary>Exchanges two dimensions, in place.</summary>
        public Tensor transpose_(long dim0, long dim1) => InPlace("transpose_", "", dim0, dim1);

        /// <summary>Exchanges the two dimensions of a matrix.</summary>
        public Tensor t() => Call("t");

        /// <summary>Reverses the dimensions.</summary>
        public Tensor T => Call("numpy_T");

        /// <summary>Exchanges the last two dimensions.</summary>
        public Tensor mT => Call("mT");

        /// <summary>Drops dimensions of size 1: all of them, or one.</summary>
        public Tensor squeeze(long? dim = null) => dim is null ? Call("squeeze") : Operator.Call("squeeze", "dim", this, dim);

        /// <summary>Inserts a dimension of size 1.</summary>
        public Tensor unsqueeze(long dim) => Operator.Call("unsqueeze", "", this, dim);

        /// <summary>Inserts a dimension of size 1, in place.</summary>
        public Tensor unsqueeze_(long dim) => InPlace("unsqueeze_", "", dim);

        /// <summary>Repeats dimensions of size 1 without copying; -1 keeps a size.</summary>
        public Tensor expand(ReadOnlySpan<long> sizes, bool isImplicit = false) =>
            Operator.Call("expand", "", this, sizes.ToArray(), isImplicit);

        /// <summary>Repeats dimensions of size 1 without copying; -1 keeps a size.</summary>
        public Tensor expand(long[] sizes, bool isImplicit = false) => Operator.Call("expand", "", this, sizes, isImplicit);

        /// <summary>Repeats dimensions of size 1 without copying; -1 keeps a size.</summary>
        public Tensor expand(params long[] sizes) => Operator.Call("expand", "", this, sizes);

        /// <summary>Expands to the shape of another tensor.</summary>
        public Tensor expand_as(Tensor other) => expand(other.shape);

        /// <summary>Expands to a shape.</summary>
        public Tensor broadcast_to(params long[] shape) => Operator.Call("broadcast_to", "", this, shape);

        /// <summary>Copies the tensor that many times along each dimension.</summary>
        public Tensor repeat(params long[] sizes) => Operator.Call("repeat", "", this, sizes);

        /// <summary>Repeats each element.</summary>
        public Tensor repeat_interleave(long repeats, long? dim = null, long? output_size = null) =>
            Operator.Call("repeat_interleave", "self_int", this, repeats, dim, output_size);

        /// <summary>The elements in row-major order: the tensor itself if they are.</summary>
        public Tensor contiguous() => Call("contiguous");

        /// <summary>A copy.</summary>
        public Tensor clone() => Call("clone");

        /// <summary>Another view of the same elements.</summary>
        public Tensor alias() => Call("alias");

        /// <summary>A view of the storage with any sizes and strides.</summary>
        public Tensor as_strided(long[] size, long[] strides, long storageOffset = 0L) =>
            Operator.Call("as_strided", "", this, size, strides, storageOffset);

        /// <summary>Part of a dimension, as a view.</summary>
        public Tensor narrow(long dim, long start, long length) => Operator.Call("narrow", "", this, dim, start, length);

        /// <summary>Part of a dimension with a step, as a view.</summary>
        public Tensor slice(long dim, long start, long finish, long step) =>
            Operator.Call("slice", "Tensor", this, dim, start, finish, step);

        /// <summary>Pieces of one size along a dimension; the last may be smaller.</summary>
        public Tensor[] split(long size, int dim = 0) => Operator.CallMany("split", "Tensor", this, size, dim);

        /// <summary>Pieces of given sizes along a dimension.</summary>
        public Tensor[] split(long[] sizes, long dim = 0) => Operator.CallMany("split_with_sizes", "", this, sizes, dim);

        /// <summary>A number of pieces along a dimension.</summary>
        public Tensor[] chunk(long chunks, long dim = 0L) => Operator.CallMany("chunk", "", this, chunks, dim);

        /// <summary>The slices of a dimension.</summary>
        public Tensor[] unbind(long dimension = 0L) => Operator.CallMany("unbind", "int", this, dimension);

        /// <summary>Reverses dimensions.</summary>
        public Tensor flip(params long[] dims) => Operator.Call("flip", "", this, dims);

        /// <summary>The lower triangle; zeros elsewhere.</summary>
        public Tensor tril(long diagonal = 0) => Operator.Call("tril", "", this, diagonal);

        /// <summary>The upper triangle; zeros elsewhere.</summary>
        public Tensor triu(long diagonal = 0) => Operator.Call("triu", "", this, diagonal);

        /// <summary>The diagonal of two dimensions, as a view.</summary>
        public Tensor diagonal(long offset = 0L, long dim1 = 0L, long dim2 = 1L) =>
            Operator.Call("diagonal", "", this, offset, dim1, dim2);
    }

    /// <summary>Joins tensors along a dimension they have.</summary>
    public static Tensor cat(IList<Tensor> tensors, long dim = 0) => Operator.Call("cat", "", tensors, dim);

    /// <summary>Joins tensors along a dimension they have.</summary>
    public static Tensor concat(IList<Tensor> tensors, long dim = 0) => cat(tensors, dim);

    /// <summary>Joins tensors along a new dimension.</summary>
    public static Tensor stack(IEnumerable<Tensor> tensors, long dim = 0) => Operator.Call("stack", "", tensors.ToArray(), dim);

    /// <inheritdoc cref="Tensor.reshape"/>
    public static Tensor reshape(Tensor input, params long[] shape) => input.reshape(shape);

    /// <inheritdoc cref="Tensor.flatten"/>
    public static Tensor flatten(Tensor input, long start_dim = 0, long end_dim = -1) => input.flatten(start_dim, end_dim);

    /// <inheritdoc cref="Tensor.permute(long[])"/>
    public static Tensor permute(Tensor input, params long[] permutation) => input.permute(permutation);

    /// <inheritdoc cref="Tensor.transpose"/>
    public static Tensor transpose(Tensor input, long dim0, long dim1) => input.transpose(dim0, dim1);

    /// <inheritdoc cref="Tensor.squeeze"/>
    public static Tensor squeeze(Tensor input, long? dim = null) => input.squeeze(dim);

    /// <inheritdoc cref="Tensor.unsqueeze"/>
    public static Tensor unsqueeze(Tensor input, long dim) => input.unsqueeze(dim);

    /// <inheritdoc cref="Tensor.broadcast_to"/>
    public static Tensor broadcast_to(Tensor input, params long[] shape) => input.broadcast_to(shape);

    /// <inheritdoc cref="Tensor.narrow"/>
    public static Tensor narrow(Tensor input, long dim, long start, long length) => input.narrow(dim, start, length);

    /// <inheritdoc cref="Tensor.split(long[], long)"/>
    public static Tensor[] split(Tensor tensor, long[] split_size_or_sections, long dim = 0L) => tensor.split(split_size_or_sections, dim);

    /// <inheritdoc cref="Tensor.chunk"/>
    public static Tensor[] chunk(Tensor input, long chunks, long dim = 0L) => input.chunk(chunks, dim);

    /// <inheritdoc cref="Tensor.unbind"/>
    public static Tensor[] unbind(Tensor input, long dim = 0L) => input.unbind(dim);

    /// <inheritdoc cref="Tensor.flip"/>
    public static Tensor flip(Tensor input, params long[] dims) => input.flip(dims);

    /// <inheritdoc cref="Tensor.tril"/>
    public static Tensor tril(Tensor input, long diagonal = 0) => input.tril(diagonal);

    /// <inheritdoc cref="Tensor.triu"/>
    public static Tensor triu(Tensor input, long diagonal = 0L) => input.triu(diagonal);

    /// <inheritdoc cref="Tensor.clone"/>
    public static Tensor clone(Tensor input) => input.clone();
}
