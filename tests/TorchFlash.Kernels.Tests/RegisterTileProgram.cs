using System.Numerics;
using System.Runtime.Intrinsics;
using TorchFlash.Kernels.Cpu;
using TorchFlash.Kernels.Cpu.Lanes;
using TorchFlash.Kernels.Cpu.Tiles;
using TorchFlash.Kernels.Scores;
using TorchFlash.Kernels.Tests.Support;

namespace TorchFlash.Kernels.Tests;

/// <summary>This assembly as a program: it runs every loop of the engine over registers of some widths once, so that the JIT lists it.</summary>
public static unsafe class RegisterTileProgram
{
    /// <summary>Runs the widths (in bits) that it is given; what the child process of <see cref="RegisterTileTests"/> does.</summary>
    public static void Main(string[] widths)
    {
        foreach (string width in widths)
        {
            int bits = int.Parse(width);
            switch (bits)
            {
                case 512: Tiles<Lanes512<float>, Vector512<float>, float, Lanes512<double>, Vector512<double>, double>(); break;
                case 256: Tiles<Lanes256<float>, Vector256<float>, float, Lanes256<double>, Vector256<double>, double>(); break;
                case 128: Tiles<Lanes128<float>, Vector128<float>, float, Lanes128<double>, Vector128<double>, double>(); break;
                default: Tiles<Lanes1<float>, float, float, Lanes1<double>, double, double>(); break;
            }
            Passes<float>(new CpuEngine(bits));
            Passes<double>(new CpuEngine(bits));
        }
    }

    private static void Tiles<L1, V1, T1, L2, V2, T2>()
        where L1 : struct, ILanes<V1, T1>
        where V1 : struct
        where T1 : unmanaged, IBinaryFloatingPointIeee754<T1>
        where L2 : struct, ILanes<V2, T2>
        where V2 : struct
        where T2 : unmanaged, IBinaryFloatingPointIeee754<T2>
    {
        Tiles<L1, V1, T1>();
        Tiles<L2, V2, T2>();
    }

    private static void Tiles<L, V, T>()
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
    }

    /// <summary>All passes with and without dropout, with a program that is a product, and with one that adds, hides and captures.</summary>
    private static void Passes<T>(CpuEngine engine)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        const int queries = 37, keys = 53;
        RealTensor bias = new(null, 1, 1, queries, keys) { Name = "bias" }, slopes = new(null, 2) { Name = "slopes" };
        BoolTensor mask = new(null, queries, keys) { Name = "mask" };
        ScoreProgram softcap = ScoreProgram.Build(
            g => g.Apply(Op.Multiply, g.Real(20), g.Apply(Op.Tanh, g.Apply(Op.Multiply, g.Real(0.05), g.Leaf(Op.Score)))), _ => null);
        ScoreProgram learned = ScoreProgram.Build(
            g => g.Apply(Op.Add, g.Apply(Op.Add, g.Leaf(Op.Score), g.Load(bias, g.Int(0), g.Int(0), g.Leaf(Op.Query), g.Leaf(Op.Key))),
                g.Apply(Op.Multiply, g.Load(slopes, g.Leaf(Op.Head)), g.Apply(Op.ToReal, g.Apply(Op.Subtract, g.Leaf(Op.Key), g.Leaf(Op.Query))))),
            g => g.Load(mask, g.Leaf(Op.Query), g.Leaf(Op.Key)));
        foreach (ScoreProgram? program in (ScoreProgram?[])[null, softcap, learned])
        {
            foreach (double dropout in (double[])[0, 0.2])
            {
                using var attention = new AttentionCase<T>(new AttentionProblem
                {
                    Batch = 1,
                    Heads = 2,
                    QueryLength = queries,
                    KeyLength = keys,
                    HeadDim = 24,
                    ValueDim = 24,
                    Scale = 0.2,
                    Causal = CausalMask.TopLeft,
                    Dropout = dropout,
                    Score = program,
                });
                attention.Run(1, engine).RunWeights(1, engine);
            }
        }
    }
}
