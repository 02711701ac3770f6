using System.Runtime.InteropServices;
using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Cuda.Tests;

/// <summary>
/// wgmma of the emulation against plain sums: each number of columns, each major order and swizzle of both operands, both types, A from shared
/// memory and from registers. The operands come by TMA, whose swizzles are so tested against those of the descriptors.
/// </summary>
public sealed unsafe class EmulationHopperProductTests
{
    private const string Name = "hopper_products";
    private const int Hopper = 1, Rows = 64, Depth = 64; // DEPTH in the source
    private static readonly int[] Swizzles = [16, 32, 64, 128];

    private static readonly Lazy<(nint Function, KernelShape Shape)> Kernel = new(Compile);

    [EmulatedFact]
    public void Every_number_of_columns()
    {
        for (int columns = 16; columns <= 256; columns += 16)
        {
            Check(new Choice { Columns = columns, SwizzleA = 128, SwizzleB = 128 });
            Check(new Choice { Columns = columns, SwizzleA = 128, SwizzleB = 128, FromRegisters = 1 });
        }
    }

    [EmulatedTheory]
    [InlineData(0, 0)]
    [InlineData(0, 1)]
    [InlineData(1, 0)]
    [InlineData(1, 1)]
    public void Every_layout(int majorA, int majorB)
    {
        foreach (int swizzleA in Swizzles)
        {
            foreach (int swizzleB in Swizzles)
            {
                for (int half = 0; half < 2; half++)
                {
                    for (int fromRegisters = 0; fromRegisters < 2 - majorA; fromRegisters++)
                    {
                        Check(new Choice
                        {
                            Columns = 64,
                            Half = half,
                            MajorA = majorA,
                            SwizzleA = swizzleA,
                            MajorB = majorB,
                            SwizzleB = swizzleB,
                            FromRegisters = fromRegisters,
                        });
                    }
                }
            }
        }
    }

    private static void Check(Choice choice)
    {
        using EmulatedGpu.Current current = EmulatedGpu.Use(Hopper);
        float[,] a = Numbers(Rows, 1), b = Numbers(choice.Columns, 2);
        using var memoryA = EmulatedGpu.Memory<ushort>.Input(Stored(a, choice.MajorA != 0, choice.Half != 0));
        using var memoryB = EmulatedGpu.Memory<ushort>.Input(Stored(b, choice.MajorB != 0, choice.Half != 0));
        using var result = new EmulatedGpu.Memory<float>(Rows * choice.Columns);
        choice.Result = result.Address;
        Assert.Null(Launch(choice, memoryA.Address, memoryB.Address));
        float[] c = result.Read();
        for (int i = 0; i < Rows; i++)
        {
            for (int j = 0; j < choice.Columns; j++)
            {
                float sum = 1;
                for (int k = 0; k < Depth; k++)
                    sum += a[i, k] * b[j, k];
                Assert.True(c[i * choice.Columns + j] == sum, $"{choice}: C[{i}, {j}] is {c[i * choice.Columns + j]}, expected {sum}.");
            }
        }
    }

    private static string? Launch(Choice choice, nint a, nint b)
    {
        var maps = (TensorMap*)NativeMemory.AlignedAlloc(2 * TensorMap.Bytes, TensorMap.Alignment);
        try
        {
            Encode(maps, a, Rows, choice.MajorA != 0, choice.SwizzleA);
            Encode(maps + 1, b, choice.Columns, choice.MajorB != 0, choice.SwizzleB);
            void** arguments = stackalloc void*[] { &choice, maps, maps + 1 };
            return EmulatedGpu.Launch(Kernel.Value.Function, 1, Kernel.Value.Shape.Threads, Kernel.Value.Shape.SharedBytes, arguments);
        }
        finally
        {
            NativeMemory.AlignedFree(maps);
        }
    }

    // The whole of the operand in boxes of one swizzled row's width.
    private static void Encode(TensorMap* map, nint address, int rows, bool isMnMajor, int swizzle)
    {
        const int bfloat16 = 9;
        ulong inner = (ulong)(isMnMajor ? rows : Depth), outer = (ulong)(isMnMajor ? Depth : rows);
        ulong* sizes = stackalloc ulong[4] { inner, outer, 1, 1 };
        ulong* strides = stackalloc ulong[3] { inner * 2, inner * outer * 2, inner * outer * 2 };
        uint* box = stackalloc uint[4] { (uint)swizzle / 2, (uint)outer, 1, 1 };
        EmulatedGpu.Driver.EncodeTiled(map, bfloat16, address, sizes, strides, box, Array.IndexOf(Swizzles, swizzle));
    }

    // Small integers: every sum is exact.
    private static float[,] Numbers(int rows, int seed)
    {
        var random = new Random(seed);
        var x = new float[rows, Depth];
        for (int i = 0; i < rows; i++)
        {
            for (int k = 0; k < Depth; k++)
                x[i, k] = random.Next(-4, 5);
        }
        return x;
    }

    private static ushort[] Stored(float[,] x, bool isMnMajor, bool isHalf)
    {
        int rows = x.GetLength(0);
        var stored = new ushort[x.Length];
        for (int i = 0; i < rows; i++)
        {
            for (int k = 0; k < Depth; k++)
                stored[isMnMajor ? k * rows + i : i * Depth + k] = isHalf ? BitConverter.HalfToUInt16Bits((Half)x[i, k]) : (ushort)(BitConverter.SingleToUInt32Bits(x[i, k]) >> 16);
        }
        return stored;
    }

    private static (nint Function, KernelShape Shape) Compile()
    {
        using EmulatedGpu.Current current = EmulatedGpu.Use(Hopper);
        string source = File.ReadAllText(Path.Combine(Repository.Root, "tests", "TorchFlash.Cuda.Tests", "Sources", Name + ".cu"));
        byte[] image = EmulatedGpu.Compile(Name + ".cu", source, "sm_90a", "K_SHARED_LIMIT=232448");
        nint module = EmulatedGpu.Driver.LoadModule(image);
        nint function = EmulatedGpu.Driver.Function(module, "torchflash_" + Name);
        KernelShape shape = KernelShape.Of(EmulatedGpu.Driver, module, image);
        EmulatedGpu.Driver.AllowSharedMemory(function, shape.SharedBytes);
        return (function, shape);
    }

    /// <summary>struct Choice of the source.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private record struct Choice
    {
        public nint Result;
        public int Columns, Half, MajorA, SwizzleA, MajorB, SwizzleB, FromRegisters;
    }
}
