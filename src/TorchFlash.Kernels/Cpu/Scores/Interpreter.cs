using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using TorchFlash.Kernels.Scores;

namespace TorchFlash.Kernels.Cpu.Scores;

/// <summary>
/// A plan (not lowered) without machine code of its own, for where none can be made: value after value, for all lanes of a row. Real numbers
/// are rounded as the compiled code rounds them; integers and truth values (0, 1) are doubles.
/// </summary>
internal static unsafe class Interpreter
{
    public static TileCode Of(Plan plan, bool isDouble) => isDouble ? new Rows<double>(plan).Run : new Rows<float>(plan).Run;

    private sealed class Rows<T>(Plan plan) where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        private readonly Dictionary<Node, int> _at = plan.Nodes.Select((node, k) => (node, k)).ToDictionary(x => x.node, x => x.k);

        public void Run(TileArguments* t)
        {
            // Of every value one for each lane, whatever its level.
            var values = new double[plan.Nodes.Count * t->Lanes];
            for (int row = 0; row < t->Rows; row++)
            {
                foreach (Node node in plan.Nodes)
                {
                    int level = plan.Level(node);
                    Span<double> y = Of(node);
                    if (level == 2 || row == 0 || level == 1)
                        Evaluate(node, y);
                }
                foreach (Sink sink in plan.Sinks)
                    Write(sink);

                Span<double> Of(Node node) => values.AsSpan(_at[node] * t->Lanes, t->Lanes);

                void Evaluate(Node node, Span<double> y)
                {
                    Node[] arguments = node.Arguments;
                    ReadOnlySpan<double> a = arguments.Length > 0 ? Of(arguments[0]) : y, b = arguments.Length > 1 ? Of(arguments[1]) : a, c = arguments.Length > 2 ? Of(arguments[2]) : a;
                    ScoreKind kind = arguments.Length > 0 ? arguments[0].Kind : node.Kind;
                    for (int x = 0; x < y.Length; x++)
                    {
                        double value = node.Op switch
                        {
                            Op.Score => double.CreateChecked(((T*)t->Raw)[row * t->RawStride + x]) * (plan.ScalesScores ? t->Scale : 1),
                            Op.Gradient => double.CreateChecked(((T*)t->Gradients)[row * t->GradientsStride + x]),
                            Op.Batch => t->Batch,
                            Op.Head => t->Head,
                            Op.Query or Op.Key => plan.IsRow(node.Op) ? t->FirstRow + row : t->FirstLane + x,
                            Op.Constant => node.Value,
                            Op.Parameter => t->Parameters[(int)node.Value],
                            Op.Load => Read(node, x),
                            _ => Meaning.Of(node.Op, kind, a[x], b[x], c[x]),
                        };
                        y[x] = node.Kind == ScoreKind.Real ? double.CreateChecked(T.CreateChecked(value)) : value;
                    }
                }

                double Read(Node load, int x)
                {
                    CapturedTensor* tensor = t->Tensors + (int)load.Tag!;
                    nint at = Offset(load, x, &tensor->Stride0);
                    return load.Kind switch
                    {
                        ScoreKind.Real => double.CreateChecked(((T*)tensor->Data)[at]),
                        ScoreKind.Bool => ((byte*)tensor->Data)[at],
                        _ => sizeof(T) == 4 ? ((int*)tensor->Data)[at] : ((long*)tensor->Data)[at],
                    };
                }

                nint Offset(Node load, int x, nint* strides)
                {
                    nint offset = 0;
                    for (int k = 0; k < load.Arguments.Length; k++)
                        offset += (nint)Of(load.Arguments[k])[x] * strides[k];
                    return offset;
                }

                void Write(Sink sink)
                {
                    Span<double> value = Of(sink.Value);
                    T* to = sink.Target switch
                    {
                        Target.Raw => (T*)t->Raw + row * t->RawStride,
                        Target.Scores => (T*)t->Scores + row * t->ScoresStride,
                        Target.Gradients => (T*)t->Gradients + row * t->GradientsStride,
                        _ => (T*)t->Tensors[(int)sink.Place!.Tag!].Gradient,
                    };
                    for (int x = 0; x < value.Length; x++)
                    {
                        if (sink.Place == null)
                            to[x] = T.CreateChecked(value[x]);
                        else
                            to[Offset(sink.Place, x, &t->Tensors[(int)sink.Place.Tag!].GradientStride0)] += T.CreateChecked(value[x]);
                    }
                }
            }
        }
    }
}
