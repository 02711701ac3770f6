using System.Numerics;
using System.Runtime.InteropServices;
using TorchFlash.Kernels.Scores;
using Reals = System.Numerics.Vector<double>;

namespace TorchFlash.Kernels.Cpu.Scores;

/// <summary>
/// A plan (not lowered) without machine code of its own, for where none can be made: value after value, for all lanes of a row. Every value
/// is a double, integers whole and truth values 0 or 1; real numbers are rounded to <typeparamref name="T"/> at every step, as in compiled code.
/// </summary>
internal sealed unsafe class Interpreter<T>(Plan plan) where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private readonly Dictionary<Node, int> _at = plan.Nodes.Select((node, k) => (node, k)).ToDictionary(x => x.node, x => x.k);

    public void Run(TileArguments* t)
    {
        int step = 2 * Reals.Count, width = (t->Lanes + step - 1) / step * step;
        var values = new double[(plan.Nodes.Count + 1) * width]; // Of every node one for each lane, whatever its level; then offsets.
        for (int row = 0; row < t->Rows; row++)
        {
            foreach (Node node in plan.Nodes)
            {
                if (row == 0 || plan.Level(node) > 0)
                    Evaluate(node, values, width, t, row);
            }
            foreach (Sink sink in plan.Sinks)
                Write(sink, values, width, t, row);
        }
    }

    private Span<double> Of(Node node, double[] values, int width) => values.AsSpan(_at[node] * width, width);

    private void Evaluate(Node node, double[] values, int width, TileArguments* t, int row)
    {
        Span<double> y = Of(node, values, width);
        switch (node.Op)
        {
            case Op.Score: Read((T*)t->Raw + row * t->RawStride, y[..t->Lanes], plan.ScalesScores ? t->Scale : 1); break;
            case Op.Gradient: Read((T*)t->Gradients + row * t->GradientsStride, y[..t->Lanes], 1); break;
            case Op.Batch: y.Fill(t->Batch); break;
            case Op.Head: y.Fill(t->Head); break;
            case Op.Query or Op.Key when plan.IsRow(node.Op): y.Fill(t->FirstRow + row); break;
            case Op.Query or Op.Key:
                for (int x = 0; x < t->Lanes; x++)
                    y[x] = t->FirstLane + x;
                break;
            case Op.Constant or Op.Parameter:
                double number = node.Op == Op.Constant ? node.Value : t->Parameters[(int)node.Value];
                y.Fill(node.Kind == ScoreKind.Real ? double.CreateChecked(T.CreateChecked(number)) : number);
                break;
            case Op.Load: Load(node, y[..t->Lanes], values, width, t); break;
            default:
                Node[] a = node.Arguments;
                Operate(node, Of(a[0], values, width), Of(a[Math.Min(1, a.Length - 1)], values, width), Of(a[^1], values, width), y);
                break;
        }
    }

    private static void Read(T* from, Span<double> y, double scale)
    {
        for (int x = 0; x < y.Length; x++)
            y[x] = double.CreateChecked(from[x] * T.CreateChecked(scale));
    }

    private void Load(Node load, Span<double> y, double[] values, int width, TileArguments* t)
    {
        CapturedTensor* tensor = t->Tensors + (int)load.Tag!;
        Span<double> offsets = Offsets(load, &tensor->Stride0, values, width);
        for (int x = 0; x < y.Length; x++)
        {
            nint at = (nint)offsets[x];
            y[x] = load.Kind switch
            {
                ScoreKind.Real => double.CreateChecked(((T*)tensor->Data)[at]),
                ScoreKind.Bool => ((byte*)tensor->Data)[at],
                _ => sizeof(T) == 4 ? ((int*)tensor->Data)[at] : ((long*)tensor->Data)[at],
            };
        }
    }

    private Span<double> Offsets(Node load, nint* strides, double[] values, int width)
    {
        Span<double> offsets = values.AsSpan(plan.Nodes.Count * width, width);
        offsets.Clear();
        for (int k = 0; k < load.Arguments.Length; k++)
        {
            ReadOnlySpan<double> index = Of(load.Arguments[k], values, width);
            for (int x = 0; x < offsets.Length; x++)
                offsets[x] += index[x] * strides[k];
        }
        return offsets;
    }

    private static void Operate(Node node, ReadOnlySpan<double> a, ReadOnlySpan<double> b, ReadOnlySpan<double> c, Span<double> y)
    {
        ScoreKind kind = node.Arguments[0].Kind;
        bool rounds = node.Kind == ScoreKind.Real && sizeof(T) == sizeof(float);
        if (Operation(node.Op, kind) is not { } operation)
        {
            for (int x = 0; x < y.Length; x++)
                y[x] = rounds ? (float)Meaning.Of(node.Op, kind, a[x], b[x], c[x]) : Meaning.Of(node.Op, kind, a[x], b[x], c[x]);
            return;
        }
        ReadOnlySpan<Reals> p = MemoryMarshal.Cast<double, Reals>(a), q = MemoryMarshal.Cast<double, Reals>(b), r = MemoryMarshal.Cast<double, Reals>(c);
        Span<Reals> to = MemoryMarshal.Cast<double, Reals>(y);
        for (int x = 0; x < to.Length; x += 2)
        {
            (to[x], to[x + 1]) = (operation(p[x], q[x], r[x]), operation(p[x + 1], q[x + 1], r[x + 1]));
            if (rounds)
                Vector.Widen(Vector.Narrow(to[x], to[x + 1]), out to[x], out to[x + 1]);
        }
    }

    /// <summary>What registers can do themselves; null: one lane after the other.</summary>
    private static Func<Reals, Reals, Reals, Reals>? Operation(Op op, ScoreKind kind) => op switch
    {
        Op.Add => (a, b, _) => a + b,
        Op.Subtract => (a, b, _) => a - b,
        Op.Multiply or Op.And => (a, b, _) => a * b,
        Op.Divide when kind == ScoreKind.Real => (a, b, _) => a / b,
        Op.Divide => (a, b, _) => Vector.Truncate(a / b),
        Op.Negate => (a, _, _) => -a,
        Op.Abs => (a, _, _) => Vector.Abs(a),
        Op.Min => (a, b, _) => Vector.Min(a, b),
        Op.Max or Op.Or => (a, b, _) => Vector.Max(a, b),
        Op.Exp => (a, _, _) => Vector.Exp(a),
        Op.Sigmoid => (a, _, _) => Reals.One / (Reals.One + Vector.Exp(-a)),
        Op.Sqrt => (a, _, _) => Vector.SquareRoot(a),
        Op.ToReal => (a, _, _) => a,
        Op.Less => (a, b, _) => Vector.AsVectorDouble(Vector.LessThan(a, b)) & Reals.One,
        Op.LessOrEqual => (a, b, _) => Vector.AsVectorDouble(Vector.LessThanOrEqual(a, b)) & Reals.One,
        Op.Equal => (a, b, _) => Vector.AsVectorDouble(Vector.Equals(a, b)) & Reals.One,
        Op.Not => (a, _, _) => Reals.One - a,
        Op.Select => (a, b, c) => Vector.ConditionalSelect(Vector.AsVectorDouble(Vector.Equals(a, Reals.Zero)), c, b),
        _ => null,
    };

    private void Write(Sink sink, double[] values, int width, TileArguments* t, int row)
    {
        Span<double> value = Of(sink.Value, values, width)[..t->Lanes];
        CapturedTensor* tensor = t->Tensors + (sink.Place is { } place ? (int)place.Tag! : 0);
        T* to = sink.Target switch
        {
            Target.Raw => (T*)t->Raw + row * t->RawStride,
            Target.Scores => (T*)t->Scores + row * t->ScoresStride,
            Target.Gradients => (T*)t->Gradients + row * t->GradientsStride,
            _ => (T*)tensor->Gradient,
        };
        Span<double> offsets = sink.Place == null ? [] : Offsets(sink.Place, &tensor->GradientStride0, values, width);
        for (int x = 0; x < value.Length; x++)
        {
            if (sink.Place == null)
                to[x] = T.CreateChecked(value[x]);
            else
                to[(nint)offsets[x]] += T.CreateChecked(value[x]);
        }
    }
}
