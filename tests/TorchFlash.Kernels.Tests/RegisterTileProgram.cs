using System.Numerics;
using System.Runtime.Intrinsics;
using TorchFlash.Kernels.Cpu;
using TorchFlash.Kernels.Cpu.Lanes;
using TorchFlash.Kernels.Cpu.Tiles;

namespace TorchFlash.Kernels.Tests;

/// <summary>This assembly as a program: it runs every register tile and strip that this machine's engine can use once, so that the JIT lists it.</summary>
public static unsafe class RegisterTileProgram
{
    /// <summary>Runs the tiles of all widths; what the child process of <see cref="RegisterTileTests"/> does.</summary>
    public static void Main()
    {
        int widest = VectorWidth.Supported.First();
        if (widest >= 512)
            Run<Lanes512<float>, Vector512<float>, float, Lanes512<double>, Vector512<double>, double>();
        if (widest >= 256)
            Run<Lanes256<float>, Vector256<float>, float, Lanes256<double>, Vector256<double>, double>();
        if (widest >= 128)
            Run<Lanes128<float>, Vector128<float>, float, Lanes128<double>, Vector128<double>, double>();
        Run<Lanes1<float>, float, float, Lanes1<double>, double, double>();
    }

    private static void Run<L1, V1, T1, L2, V2, T2>()
        where L1 : struct, ILanes<V1, T1>
        where V1 : struct
        where T1 : unmanaged, IBinaryFloatingPointIeee754<T1>
        where L2 : struct, ILanes<V2, T2>
        where V2 : struct
        where T2 : unmanaged, IBinaryFloatingPointIeee754<T2>
    {
        Run<L1, V1, T1>();
        Run<L2, V2, T2>();
    }

    private static void Run<L, V, T>()
        where L : struct, ILanes<V, T>
        where V : struct
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        const int length = 16 * 64;
        T* a = stackalloc T[length], b = stackalloc T[length], c = stackalloc T[length];
        for (int columns = L.Count; columns <= Product<L, V, T>.Width; columns += L.Count)
        {
            Product<L, V, T>.Panel(columns, new(a, 2), b, new(c, 64), 2, 1);
            Product<L, V, T>.Add(columns, a, 2, 1, new(b, 64), new(c, 64), 2, 1);
        }
        Strip<L, V, T>.Softmax(new(c, 64), 2, L.Count, new(a, a, a, a), T.One);
        Strip<L, V, T>.Probabilities(new(c, 64), 2, L.Count, a, a, T.One);
        Strip<L, V, T>.ScoreGradients(new(c, 64), new(b, 64), 2, L.Count, a);
    }
}
