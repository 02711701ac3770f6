namespace TorchFlash.Kernels.Cuda;

/// <summary>A call of the CUDA driver, or of its run-time compiler NVRTC, failed.</summary>
public class CudaException : Exception
{
    internal CudaException(string function, int code, string name, string message)
        : base(message)
    {
        Function = function;
        Code = code;
        ErrorName = name;
    }

    /// <summary>The function that failed, as in "cuLaunchKernel".</summary>
    public string Function { get; }

    /// <summary>What it returned, a CUresult or an nvrtcResult.</summary>
    public int Code { get; }

    /// <summary>The name of <see cref="Code"/>, as in "CUDA_ERROR_LAUNCH_FAILED".</summary>
    public string ErrorName { get; }
}

/// <summary>A kernel did not compile.</summary>
public sealed class CudaCompilationException : CudaException
{
    internal CudaCompilationException(string kernel, int code, string name, string log)
        : base("nvrtcCompileProgram", code, name, $"{kernel} did not compile: nvrtcCompileProgram returned {code} ({name}).{Environment.NewLine}{log}")
    {
        Kernel = kernel;
        Log = log;
    }

    /// <summary>The kernel and what it was specialised for.</summary>
    public string Kernel { get; }

    /// <summary>What the compiler said.</summary>
    public string Log { get; }
}
