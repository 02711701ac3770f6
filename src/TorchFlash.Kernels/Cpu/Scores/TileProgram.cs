using System.Runtime.InteropServices;
using TorchFlash.Kernels.Scores;

namespace TorchFlash.Kernels.Cpu.Scores;

/// <summary>What a tile program gets. Rows and lanes: keys and queries in the forward pass, queries and keys in the backward pass.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct TileArguments
{
    /// <summary>Raw products Q Kᵀ (read; <see cref="ScorePass.ModifyWithDerivative"/> writes the derivative over them).</summary>
    public void* Raw;

    /// <summary>Modified scores (written; may be <see cref="Raw"/>).</summary>
    public void* Scores;

    /// <summary><see cref="ScorePass.Gradient"/>: the gradient of the modified scores, over which that of raw * scale is written.</summary>
    public void* Gradients;

    /// <summary>Elements from one row to the next, of each of the three. Rows have room for whole registers.</summary>
    public nint RawStride, ScoresStride, GradientsStride;

    public int Rows, Lanes, FirstRow, FirstLane, Batch, Head;

    /// <summary>What a raw product is multiplied by to be the s of the program.</summary>
    public double Scale;

    /// <summary>The program's tensors, in its order.</summary>
    public CapturedTensor* Tensors;

    /// <summary>The plan's parameters, in its order.</summary>
    public double* Parameters;

    /// <summary>Room for <see cref="TileProgram.StagedTiles"/> tiles of Rows x StagedStride elements.</summary>
    public void* Staged;

    public nint StagedStride;
}

/// <summary>A captured tensor as tile programs read it: real numbers of the compute type, integers as wide, bytes of 0 or 1; the last stride is 1.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct CapturedTensor
{
    public void* Data;

    /// <summary>Where gradients are added, strides as below; null where none is wanted.</summary>
    public void* Gradient;

    public nint Stride0, Stride1, Stride2, Stride3;
    public nint GradientStride0, GradientStride1, GradientStride2, GradientStride3;
}

internal unsafe delegate void TileCode(TileArguments* arguments);

/// <summary>
/// A program's code for one pass, for tiles of any size: compiled once for every structure, register width and type, or interpreted where no
/// code can be made. Safe for many threads.
/// </summary>
internal sealed unsafe class TileProgram
{
    /// <param name="output">The modified score.</param>
    /// <param name="where">Which pairs exist; the others get -inf, and a gradient of 0. Constant true: all.</param>
    /// <param name="pass">What is wanted.</param>
    /// <param name="tensors">The program's tensors.</param>
    /// <param name="wantsGradient">Which of them get a gradient (<see cref="ScorePass.Gradient"/>).</param>
    /// <param name="vectorBits">512, 256, 128; 0 as 128.</param>
    /// <param name="isDouble">Whether the compute type is double, else float.</param>
    public static TileProgram Of(Node output, Node where, ScorePass pass, IReadOnlyList<ScoreTensor> tensors, ReadOnlySpan<bool> wantsGradient, int vectorBits, bool isDouble)
        => throw new NotImplementedException();

    /// <summary>Tiles of scratch memory that the code needs (<see cref="TileArguments.Staged"/>).</summary>
    public int StagedTiles { get; }

    /// <summary>Runs it; Parameters is filled in here.</summary>
    public void Run(ref TileArguments arguments) => throw new NotImplementedException();
}
