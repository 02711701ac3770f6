using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
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

    /// <summary>
    /// Written by the code: where the tile's part of a matrix that lies across the lanes begins, bytes from one lane to the next, and from one
    /// row to the next; null where there is none.
    /// </summary>
    public byte* StagedFrom;

    public nint StagedFromStride;
    public int StagedFromSize;
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
    /// <summary>Structures whose code is kept; of programs made without end the oldest gives way.</summary>
    internal const int MaxCached = 256;

    private static readonly Lock s_lock = new();
    private static readonly Dictionary<string, (Plan Plan, TileCode Code)> s_cache = [];
    private static readonly Queue<string> s_oldest = [];

    private readonly Plan _plan;
    private readonly double[] _parameters;

    private TileProgram(Plan plan, TileCode code, double[] parameters) => (_plan, Code, _parameters) = (plan, code, parameters);

    /// <param name="output">The modified score.</param>
    /// <param name="where">Which pairs exist; the others get -inf, and a gradient of 0. Constant true: all.</param>
    /// <param name="pass">What is wanted.</param>
    /// <param name="tensors">The program's tensors.</param>
    /// <param name="wantsGradient">Which of them get a gradient (<see cref="ScorePass.Gradient"/>).</param>
    /// <param name="vectorBits">512, 256, 128; 0 as 128.</param>
    /// <param name="isDouble">Whether the compute type is double, else float.</param>
    /// <param name="interpret">Also where code could be made.</param>
    public static TileProgram Of(
        Node output, Node where, ScorePass pass, IReadOnlyList<ScoreTensor> tensors, ReadOnlySpan<bool> wantsGradient, int vectorBits, bool isDouble, bool interpret = false)
    {
        interpret |= !RuntimeFeature.IsDynamicCodeSupported;
        var graph = new Graph();
        var parameters = new List<Node>();
        (output, where) = (Anonymous(output), Anonymous(where));
        vectorBits = Math.Max(vectorBits, 128);
        var key = new StringBuilder($"{pass} {(interpret ? "interpreted" : vectorBits)} {isDouble}");
        foreach (bool wants in pass == ScorePass.Gradient ? wantsGradient : [])
            key.Append(wants ? " +" : " -");
        foreach (Node node in Graph.Order(output, where))
            key.Append($";{node.Id}={node.Op} {node.Kind} {node.Value:R} {node.Tag} {string.Join(',', node.Arguments.Select(x => x.Id))}");
        key.Append($";{output.Id} {where.Id}");
        string structure = key.ToString();
        lock (s_lock)
        {
            if (!s_cache.TryGetValue(structure, out (Plan Plan, TileCode Code) known))
            {
                var plan = new Plan(graph, output, where, pass, wantsGradient, isDouble, lower: !interpret);
                known = (plan, !interpret ? Emitter.Compile(plan, vectorBits, isDouble) : isDouble ? new Interpreter<double>(plan).Run : new Interpreter<float>(plan).Run);
                s_cache.Add(structure, known);
                s_oldest.Enqueue(structure);
                if (s_oldest.Count > MaxCached)
                    s_cache.Remove(s_oldest.Dequeue());
            }
            return new TileProgram(known.Plan, known.Code, [.. parameters.Select(node => node.Value)]);
        }

        // Numbers and tensors by their place: what is kept holds nothing of the caller's and serves any other.
        Node Anonymous(Node root) => graph.Rewrite(root, (node, arguments) => node.Op switch
        {
            Op.Parameter => graph.Parameter(node.Kind, Place(node), ""),
            Op.Load => graph.Intern(Op.Load, node.Kind, 0, Enumerable.Range(0, tensors.Count).First(k => tensors[k] == node.Tensor), arguments),
            _ => null,
        });

        int Place(Node parameter)
        {
            if (!parameters.Contains(parameter))
                parameters.Add(parameter);
            return parameters.IndexOf(parameter);
        }
    }

    /// <summary>Structures whose code is kept now.</summary>
    internal static int Cached => s_cache.Count;

    /// <summary>The code: the same for all programs of a structure.</summary>
    internal TileCode Code { get; }

    /// <summary>Tiles of scratch memory that the code needs (<see cref="TileArguments.Staged"/>).</summary>
    public int StagedTiles => _plan.Staged.Count;

    /// <summary>Whether it does anything at all.</summary>
    public bool HasWork => _plan.Sinks.Count > 0;

    /// <summary>Whether it reads <see cref="TileArguments.Raw"/>: the gradient of what is only added to a score does not.</summary>
    public bool ReadsRaw => _plan.Nodes.Exists(node => node.Op == Op.Score);

    /// <summary>Whether it writes <see cref="TileArguments.Gradients"/>: not where the derivative is 1 and no pair is hidden.</summary>
    public bool WritesGradients => _plan.Sinks.Exists(sink => sink.Target == Target.Gradients);

    /// <summary>Runs it; Parameters is filled in here.</summary>
    public void Run(ref TileArguments arguments)
    {
        fixed (double* parameters = _parameters)
        fixed (TileArguments* t = &arguments)
        {
            t->Parameters = parameters;
            Code(t);
        }
    }
}
