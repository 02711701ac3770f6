using System.Runtime.CompilerServices;

namespace TorchSharp;

public static partial class torch
{
    /// <summary>One index of a tensor: a number, a slice, a tensor, a new dimension or an ellipsis.</summary>
    public struct TensorIndex
    {
        internal enum Kind
        {
            None,
            Single,
            Ellipsis,
            Tensor,
            Slice,
        }

        internal Kind IndexKind;
        internal long? Start;
        internal long? Stop;
        internal long? Step;
        internal Tensor? Indices;

        /// <summary>All dimensions not indexed otherwise.</summary>
        public static TensorIndex Ellipsis = new() { IndexKind = Kind.Ellipsis };

        /// <summary>A new dimension of size 1.</summary>
        public static TensorIndex None = new() { IndexKind = Kind.None };

        /// <summary>A whole dimension.</summary>
        public static TensorIndex Colon = Slice();

        /// <summary>Part of a dimension.</summary>
        public static TensorIndex Slice(long? start = null, long? stop = null, long? step = null) =>
            new() { IndexKind = Kind.Slice, Start = start, Stop = stop, Step = step };

        /// <summary>Part of a dimension.</summary>
        public static TensorIndex Slice(Range range) =>
            Slice(From(range.Start), range.End.Equals(System.Index.End) ? null : From(range.End));

        /// <summary>One slice of a dimension.</summary>
        public static TensorIndex Single(long? index) => new() { IndexKind = Kind.Single, Start = index };

        /// <summary>The elements a tensor of numbers, or a mask, selects.</summary>
        public static TensorIndex Tensor(Tensor tensor) => new() { IndexKind = Kind.Tensor, Indices = tensor };

        /// <summary>One slice of a dimension.</summary>
        public static implicit operator TensorIndex(long value) => Single(value);

        /// <summary>Part of a dimension.</summary>
        public static implicit operator TensorIndex((int? start, int? end) range) => Slice(range.start, range.end);

        /// <summary>Part of a dimension.</summary>
        public static implicit operator TensorIndex(Range range) => Slice(range);

        /// <summary>One slice of a dimension.</summary>
        public static implicit operator TensorIndex(Index index) => Single(From(index));

        private static long From(Index index) => index.IsFromEnd ? -index.Value : index.Value;
    }

    public partial class Tensor
    {
        /// <summary>The elements at the indices.</summary>
        [IndexerName("TensorItems")]
        public Tensor this[params TensorIndex[] indices]
        {
            get => index(indices);
            set => index_put_(value, indices);
        }

        /// <summary>The elements at the indices.</summary>
        [IndexerName("TensorItems")]
        public Tensor this[params Tensor[] indices]
        {
            get => index(indices);
            set => index_put_(value, indices);
        }

        /// <summary>The slice at an index.</summary>
        [IndexerName("TensorItems")]
        public Tensor this[long i1]
        {
            get => select(0, i1);
            set => index_put_(value, (TensorIndex)i1);
        }

        /// <summary>The slice at two indices.</summary>
        [IndexerName("TensorItems")]
        public Tensor this[long i1, long i2]
        {
            get => index((TensorIndex)i1, i2);
            set => index_put_(value, (TensorIndex)i1, i2);
        }

        /// <summary>The slice at three indices.</summary>
        [IndexerName("TensorItems")]
        public Tensor this[long i1, long i2, long i3]
        {
            get => index((TensorIndex)i1, i2, i3);
            set => index_put_(value, (TensorIndex)i1, i2, i3);
        }

        /// <summary>The slice at four indices.</summary>
        [IndexerName("TensorItems")]
        public Tensor this[long i1, long i2, long i3, long i4]
        {
            get => index((TensorIndex)i1, i2, i3, i4);
            set => index_put_(value, (TensorIndex)i1, i2, i3, i4);
        }

        /// <summary>The elements at the indices: a view as long as no index is a tensor.</summary>
        public Tensor index(params TensorIndex[] indices)
        {
            (Tensor view, Operator.OptionalTensors? gathered) = View(indices);
            return gathered is null ? view : Operator.Call("index", "Tensor", view, gathered);
        }

        /// <summary>The elements that tensors of numbers, or masks, select.</summary>
        public Tensor index(params Tensor[] indices) => Operator.Call("index", "Tensor", this, new Operator.OptionalTensors(indices));

        /// <summary>Sets the elements at the indices.</summary>
        public Tensor index_put_(Tensor value, params TensorIndex[] indices)
        {
            (Tensor view, Operator.OptionalTensors? gathered) = View(indices);
            if (gathered is null)
            {
                view.copy_(value);
            }
            else
            {
                view.InPlace("index_put_", "", gathered, value);
            }
            return this;
        }

        /// <summary>Sets the elements that tensors of numbers, or masks, select.</summary>
        public Tensor index_put_(Tensor value, params Tensor[] indices) =>
            InPlace("index_put_", "", new Operator.OptionalTensors(indices), value);

        /// <summary>The slices of a dimension at the numbers in <paramref name="index"/>.</summary>
        public Tensor index_select(long dim, Tensor index) => Operator.Call("index_select", "", this, dim, index);

        /// <summary>One slice of a dimension, as a view.</summary>
        public Tensor select(long dim, long index) => Operator.Call("select", "int", this, dim, index);

        /// <summary>The tensor with <paramref name="alpha"/> times the slices of <paramref name="source"/> added to those at the numbers in <paramref name="index"/>.</summary>
        public Tensor index_add(long dim, Tensor index, Tensor source, Scalar alpha) => Operator.Call("index_add", "", this, dim, index, source, alpha);

        /// <summary>out[i][j] = x[i][index[i][j]] along a dimension.</summary>
        public Tensor gather(long dim, Tensor index) => Operator.Call("gather", "", this, dim, index);

        /// <summary>out[i][index[i][j]] = src[i][j] along a dimension.</summary>
        public Tensor scatter(long dim, Tensor index, Tensor src) => Operator.Call("scatter", "src", this, dim, index, src);

        /// <summary>out[i][index[i][j]] = src[i][j] along a dimension, in place.</summary>
        public Tensor scatter_(long dim, Tensor index, Tensor src) => InPlace("scatter_", "src", dim, index, src);

        /// <summary>The elements with <paramref name="value"/> where the mask is true.</summary>
        public Tensor masked_fill(Tensor mask, Scalar value) => Operator.Call("masked_fill", "Scalar", this, mask, value);

        /// <summary>Sets the elements to <paramref name="value"/> where the mask is true.</summary>
        public Tensor masked_fill_(Tensor mask, Scalar value) => InPlace("masked_fill_", "Scalar", mask, value);

        /// <summary>The elements where the mask is true.</summary>
        public Tensor masked_select(Tensor mask) => Operator.Call("masked_select", "", this, mask);

        /// <summary>The indices of the elements that are not zero.</summary>
        public Tensor nonzero() => Call("nonzero");

        /// <summary>These elements where the condition is true, those of <paramref name="y"/> elsewhere.</summary>
        public Tensor where(Tensor condition, Tensor y) => Operator.Call("where", "self", condition, this, y);

        // Applies everything but tensors as views; what is left for index() is one optional tensor for each dimension.
        private (Tensor View, Operator.OptionalTensors? Gathered) View(TensorIndex[] indices)
        {
            long consumed = indices.Count(index => index.IndexKind is TensorIndex.Kind.Single or TensorIndex.Kind.Slice)
                + indices.Sum(index => index.Indices is { } tensor ? (tensor.dtype == ScalarType.Bool ? tensor.Dimensions : 1) : 0);
            Tensor view = this;
            var gathered = new List<Tensor?>();
            bool any = false;
            long dim = 0;
            void Skip(long count)
            {
                gathered.AddRange(Enumerable.Repeat<Tensor?>(null, (int)count));
                dim += count;
            }
            foreach (TensorIndex index in indices)
            {
                switch (index.IndexKind)
                {
                    case TensorIndex.Kind.Single:
                        view = view.select(dim, index.Start!.Value);
                        break;
                    case TensorIndex.Kind.Slice:
                        view = Operator.Call("slice", "Tensor", view, dim, index.Start, index.Stop, index.Step ?? 1);
                        Skip(1);
                        break;
                    case TensorIndex.Kind.None:
                        view = view.unsqueeze(dim);
                        Skip(1);
                        break;
                    case TensorIndex.Kind.Ellipsis:
                        Skip(Dimensions - consumed);
                        break;
                    case TensorIndex.Kind.Tensor:
                        any = true;
                        gathered.Add(index.Indices);
                        dim += index.Indices!.dtype == ScalarType.Bool ? index.Indices.Dimensions : 1;
                        break;
                }
            }
            if (ReferenceEquals(view, this))
            {
                view = alias();
            }
            return (view, any ? new Operator.OptionalTensors(gathered) : null);
        }
    }

    /// <inheritdoc cref="Tensor.index_select"/>
    public static Tensor index_select(Tensor input, long dim, Tensor index) => input.index_select(dim, index);

    /// <inheritdoc cref="Tensor.select"/>
    public static Tensor select(Tensor input, long dim, long index) => input.select(dim, index);

    /// <inheritdoc cref="Tensor.gather"/>
    public static Tensor gather(Tensor input, long dim, Tensor index) => input.gather(dim, index);

    /// <summary>The elements of <paramref name="x"/> where the condition is true, those of <paramref name="y"/> elsewhere.</summary>
    public static Tensor where(Tensor condition, Tensor x, Tensor y) => x.where(condition, y);

    /// <inheritdoc cref="Tensor.nonzero"/>
    public static Tensor nonzero(Tensor input) => input.nonzero();
}
