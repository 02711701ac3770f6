using TorchFlash.Kernels.Cpu.Scores;
using TorchFlash.Kernels.Cpu.Tiles;

namespace TorchFlash.Kernels.Cpu;

internal sealed unsafe partial class BackwardPass<L, V, T>
{
    /// <summary>The state of one key-value tile, and of the query tile that passes by.</summary>
    private readonly struct Tile
    {
        /// <summary>± K and V, packed.</summary>
        public readonly T* KeyPacked, ValuePacked;

        /// <summary>S, then P, then dS: queries x keys.</summary>
        public readonly Matrix<T> Scores;

        /// <summary>dP of one block of S.</summary>
        public readonly Matrix<T> ProbabilityGradient;

        public readonly Matrix<T> KeyGradient;
        public readonly Matrix<T> ValueGradient;
        public readonly Matrix<T> QueryGradient;
        public readonly T* KeyPadding;
        public readonly T* QueryPadding;
        public readonly T* OutputGradientPadding;

        /// <summary>For 16-bit operands: K or V, and O and dO where delta is taken from them.</summary>
        public readonly T* KeySideRows, OutputRows, OutputGradientRows;

        /// <summary>For products of pairs: Q and dO in pairs of rows, P or dS rounded.</summary>
        public readonly T* QueryPairs, OutputGradientPairs;
        public readonly Matrix<T> Rounded;

        /// <summary>For a modified score that is no sum: S, or d(modified score)/dS. Laid out as <see cref="Scores"/>.</summary>
        public readonly Matrix<T> Raw;

        /// <summary>With dropout: Z o P. Laid out as <see cref="Scores"/>.</summary>
        public readonly Matrix<T> Kept;

        /// <summary>Of every panel of keys the queries of the tile that see it.</summary>
        public readonly Visibility.Part* Parts;

        /// <summary>For the score program: its tensors, with the gradients of this key-value tile, and what lies across the lanes.</summary>
        public readonly CapturedTensor* Tensors;
        public readonly T* Staged;

        /// <summary>For dropout: random words.</summary>
        public readonly uint* Words;

        /// <summary>What comes after the query tile that passes by.</summary>
        public readonly Ahead Ahead = new(lines: 16);

        public Tile(BackwardPass<L, V, T> pass, Scratch.Cursor scratch)
        {
            int queries = Product<L, V, T>.PadRows(pass._sizes.Queries), keys = Product<L, V, T>.PadRows(pass._sizes.Keys);
            int panels = Product<L, V, T>.PadPanels(pass._sizes.Keys), stride = Product<L, V, T>.OddLines(panels), width = Product<L, V, T>.Width;
            KeyPacked = scratch.Take<T>(pass._products.PackedSize(pass._sizes.Keys, pass._problem.HeadDim));
            ValuePacked = scratch.Take<T>(pass._products.PackedSize(pass._sizes.Keys, pass._problem.ValueDim));
            Scores = new(scratch.Take<T>((long)queries * stride), stride);
            ProbabilityGradient = new(scratch.Take<T>((long)BlockRows * width), width);
            KeyGradient = new(scratch.Take<T>((long)keys * pass._columns), pass._columns);
            ValueGradient = new(scratch.Take<T>((long)keys * pass._valueColumns), pass._valueColumns);
            QueryGradient = new(scratch.Take<T>((long)queries * pass._columns), pass._columns);
            KeyPadding = scratch.Take<T>((long)keys * pass._columns);
            QueryPadding = scratch.Take<T>((long)queries * pass._columns);
            OutputGradientPadding = scratch.Take<T>((long)queries * pass._valueColumns);
            bool isHalfWidth = pass._problem.ElementType.IsHalfWidth();
            KeySideRows = scratch.Take<T>(isHalfWidth ? (long)keys * Math.Max(pass._problem.HeadDim, pass._problem.ValueDim) : 0);
            OutputRows = scratch.Take<T>(isHalfWidth ? (long)queries * pass._problem.ValueDim : 0);
            OutputGradientRows = scratch.Take<T>(isHalfWidth ? (long)queries * pass._problem.ValueDim : 0);
            bool isOfPairs = pass._products.IsOfPairs;
            QueryPairs = scratch.Take<T>(isOfPairs ? (long)queries * pass._columns : 0);
            OutputGradientPairs = scratch.Take<T>(isOfPairs ? (long)queries * pass._valueColumns : 0);
            Rounded = isOfPairs ? new(scratch.Take<T>((long)queries * stride), stride) : Scores;
            Raw = pass._score.IsAdditive ? Scores : new(scratch.Take<T>((long)queries * stride), stride);
            Kept = pass._problem.Dropout > 0 ? new(scratch.Take<T>((long)queries * stride), stride) : Scores;
            Parts = scratch.Take<Visibility.Part>(panels / width);
            Tensors = scratch.Take<CapturedTensor>(pass._score.TensorCount);
            Staged = scratch.Take<T>((long)pass._score.StagedTiles * queries * width);
            Words = scratch.Take<uint>(pass._problem.Dropout > 0 ? DropoutStrip<L, V, T>.Words : 0);
        }
    }
}
