using System.Runtime.InteropServices;

namespace TorchFlash.Kernels.Cuda;

// The structs of native/cuda/parameters.cuh, field by field.

[StructLayout(LayoutKind.Sequential)]
internal struct View
{
    public nint Data;
    public long Batch, Head, Row;
}

[StructLayout(LayoutKind.Sequential)]
internal struct ForwardParameters
{
    public View Query, Key, Value, Output;
    public nint Maximum, Sum;
    public int Batch, Heads, Group;
    public int QueryLength, KeyLength;
    public int Diagonal;
    public int HeadDim, ValueDim;
    public float ScaleLog2;
    public double Scale;
}

[StructLayout(LayoutKind.Sequential)]
internal struct BackwardParameters
{
    public View Query, Key, Value, Output, OutputGradient;
    public View QueryGradient, KeyGradient, ValueGradient;
    public nint Maximum, Sum;
    public nint Delta;
    public nint LogSum;
    public nint QueryAccumulator;
    public nint LogSumExpGradient;
    public int Batch, Heads, Group;
    public int QueryLength, KeyLength;
    public int Diagonal;
    public int HeadDim, ValueDim;
    public int PaddedQueries;
    public int PaddedDim;
    public float ScaleLog2;
    public double Scale;
}

[StructLayout(LayoutKind.Sequential)]
internal struct WeightsParameters
{
    public View Query, Key;
    public View Weights;
    public nint Maximum, Sum;
    public int Batch, Heads, Group;
    public int QueryLength, KeyLength;
    public int Diagonal;
    public int HeadDim;
    public float ScaleLog2;
    public double Scale;
}
