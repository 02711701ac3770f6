using System.Diagnostics.CodeAnalysis;
using TorchSharp.Utils;
using static TorchSharp.torch;

namespace TorchSharp.Modules
{
    /// <summary>A table of vectors, looked up by index.</summary>
    public sealed class Embedding : nn.Module<Tensor, Tensor>
    {
        private readonly long paddingIndex;
        private readonly double? maxNorm;
        private readonly double normType;
        private readonly bool scaleGradByFreq;
        private readonly bool sparse;

        [ComponentName(Name = nameof(weight))]
        private Parameter? table;

        internal Embedding(Parameter weight, long? padding_idx, double? max_norm, double norm_type, bool scale_grad_by_freq, bool sparse)
            : base(nameof(Embedding))
        {
            ReplaceField(ref table, nameof(weight), weight);
            var rows = weight.shape[0];
            paddingIndex = padding_idx ?? -1;
            if (padding_idx is < 0) paddingIndex += rows;
            if (padding_idx.HasValue && (paddingIndex < 0 || paddingIndex >= rows))
            {
                throw new ArgumentOutOfRangeException(nameof(padding_idx), padding_idx, $"The padding index must lie within the {rows} embeddings.");
            }

            maxNorm = max_norm;
            normType = norm_type;
            scaleGradByFreq = scale_grad_by_freq;
            this.sparse = sparse;
        }

        /// <summary>
        /// The table, of shape (num_embeddings, embedding_dims). As in TorchSharp, each reading gives a new object over the
        /// same storage and gradient.
        /// </summary>
        [DisallowNull]
        public Parameter? weight
        {
            get => new(Operator.Call("to", "other", table, table), table!.requires_grad); // converts nothing: the very same tensor
            set => ReplaceField(ref table, nameof(weight), value ?? throw new ArgumentNullException(nameof(value)));
        }

        /// <summary>Looks up rows of the table.</summary>
        /// <param name="input">Indices, int32 or int64, of any shape.</param>
        /// <returns>A tensor of the shape of the input with the rows' dimension appended.</returns>
        public override Tensor forward(Tensor input)
        {
            if (maxNorm.HasValue)
            {
                using var inference = no_grad();
                using var indices = input.contiguous();
                Operator.CallVoid("embedding_renorm_", "", table, indices, maxNorm.Value, normType);
            }

            return Operator.Call("embedding", "", table, input, paddingIndex, scaleGradByFreq, sparse);
        }
    }
}

namespace TorchSharp
{
    public static partial class torch
    {
        public static partial class nn
        {
            /// <summary>A table of vectors drawn from N(0, 1), looked up by index.</summary>
            /// <param name="num_embeddings">Number of vectors.</param>
            /// <param name="embedding_dims">Their dimension.</param>
            /// <param name="padding_idx">Index of a vector that starts as zero and gets no gradient.</param>
            /// <param name="max_norm">Norm to which longer vectors are cut when looked up.</param>
            /// <param name="norm_type">The p of that norm.</param>
            /// <param name="scale_grad_by_freq">Whether to divide gradients by the number of times an index occurs.</param>
            /// <param name="sparse">Whether the gradient is a sparse tensor.</param>
            /// <param name="device">Device of the table.</param>
            /// <param name="dtype">Element type of the table.</param>
            public static Modules.Embedding Embedding(
                long num_embeddings,
                long embedding_dims,
                long? padding_idx = null,
                double? max_norm = null,
                double norm_type = 2.0,
                bool scale_grad_by_freq = false,
                bool sparse = false,
                Device? device = null,
                ScalarType? dtype = null)
            {
                var weight = new Modules.Parameter(empty([num_embeddings, embedding_dims], dtype, device));
                init.normal_(weight);
                var module = new Modules.Embedding(weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse);
                if (padding_idx is { } index)
                {
                    using var inference = no_grad();
                    using var row = weight.select(0, index);
                    row.zero_();
                }

                return module;
            }

            /// <summary>A table of given vectors.</summary>
            /// <param name="embeddings">The vectors, of shape (number, dimension). The module uses this very storage.</param>
            /// <param name="freeze">Whether the table is not trained.</param>
            /// <param name="padding_idx">Index of a vector that gets no gradient.</param>
            /// <param name="max_norm">Norm to which longer vectors are cut when looked up.</param>
            /// <param name="norm_type">The p of that norm.</param>
            /// <param name="scale_grad_by_freq">Whether to divide gradients by the number of times an index occurs.</param>
            /// <param name="sparse">Whether the gradient is a sparse tensor.</param>
            /// <param name="device">Device of the table.</param>
            /// <param name="dtype">Element type of the table.</param>
            public static Modules.Embedding Embedding_from_pretrained(
                Tensor embeddings,
                bool freeze = true,
                long? padding_idx = null,
                double? max_norm = null,
                double norm_type = 2.0,
                bool scale_grad_by_freq = false,
                bool sparse = false,
                Device? device = null,
                ScalarType? dtype = null)
            {
                ArgumentNullException.ThrowIfNull(embeddings);
                if (embeddings.dim() != 2) throw new ArgumentException($"Expected a matrix, got {embeddings.dim()} dimensions.", nameof(embeddings));
                var converted = embeddings.detach().to(dtype ?? embeddings.dtype, device ?? embeddings.device);
                return new Modules.Embedding(new Modules.Parameter(converted, !freeze), padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse);
            }
        }
    }
}
