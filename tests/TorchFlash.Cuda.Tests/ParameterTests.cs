using System.Reflection;
using System.Runtime.InteropServices;
using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Cuda.Tests;

/// <summary>The structs that C# passes to kernels lie in memory as those of native/cuda/parameters.cuh.</summary>
public unsafe class ParameterTests
{
    public static TheoryData<string> Structs => ["View", "ForwardParameters", "BackwardParameters", "WeightsParameters"];

    [EmulatedTheory]
    [MemberData(nameof(Structs))]
    public void SizeAndOffsetsAgree(string name)
    {
        Type type = typeof(CudaEngine).Assembly.GetType($"TorchFlash.Kernels.Cuda.{name}", throwOnError: true)!;
        FieldInfo[] fields = type.GetFields(BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic);
        int[] offsets = [.. fields.Select(f => (int)Marshal.OffsetOf(type, f.Name)), Marshal.SizeOf(type)];
        Assert.Equal(offsets, OffsetsInKernel(name, [.. fields.Select(f => SnakeCase(f.Name))]));
    }

    /// <summary>What the compiler of the kernels says: the offset of every field, then the size.</summary>
    private static int[] OffsetsInKernel(string name, string[] fields)
    {
        string writes = string.Concat(fields.Select((field, i) => $"stg(out + {i}, (int)__builtin_offsetof({name}, {field}));\n"));
        string source = $$"""
            #include "parameters.cuh"
            struct Output { int* data; };
            KERNEL(offsets, 32, 1, PARAMETER(Output) output) {
              if (thread_id() != 0) return;
              int* out = output.data;
              {{writes}}stg(out + {{fields.Length}}, (int)sizeof({{name}}));
            }
            KERNEL_SHAPE(32, 0, 1);
            """;
        using var current = EmulatedGpu.Use(0);
        nint module = EmulatedGpu.Driver.LoadModule(EmulatedGpu.Compile("offsets.cu", source, "sm_80", "K_SHARED_LIMIT=166912"));
        using var output = new EmulatedGpu.Memory<int>(fields.Length + 1);
        nint address = output.Address;
        void* parameter = &address;
        Assert.Null(EmulatedGpu.Launch(EmulatedGpu.Driver.Function(module, "offsets"), 1, 32, 0, &parameter));
        return output.Read();
    }

    /// <summary>ScaleLog2 -> scale_log2.</summary>
    private static string SnakeCase(string name) =>
        string.Concat(name.Select((c, i) => char.IsUpper(c) ? (i > 0 ? "_" : "") + char.ToLowerInvariant(c) : c.ToString()));
}
