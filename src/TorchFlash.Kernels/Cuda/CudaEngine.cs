using System.Collections.Concurrent;
using System.Globalization;
using System.Runtime.InteropServices;
using TorchFlash.Kernels.Scores;

namespace TorchFlash.Kernels.Cuda;

/// <summary>
/// The engine for NVIDIA GPUs of compute capability 8.0 and later. Its kernels are compiled by NVRTC when they are first needed, for the very
/// head dimension, type and mask, and kept on disk. Operands lie in the memory of the device; a call returns when its kernels are enqueued
/// on the stream. Safe for use from several threads at once.
/// </summary>
public sealed unsafe partial class CudaEngine : IAttentionEngine
{
    /// <summary>The least queries or keys of a unit of work of any kernel; with it the number of blocks is bounded before anything is compiled.</summary>
    private const int ShortestUnit = 16;

    private readonly CudaDevice _device;
    private readonly KernelCompiler _compiler;
    private readonly KernelChoice _choice;
    private readonly ConcurrentDictionary<string, byte> _layoutNotes = new();

    internal CudaEngine(CudaDevice device, KernelCompiler compiler, KernelTuning tuning)
    {
        _device = device;
        _compiler = compiler;
        Modules = new KernelModules(device, compiler);
        _choice = new KernelChoice(device.Target(compiler.Nvrtc), tuning);
    }

    /// <summary>
    /// The engine of a device. The first call, and none before, looks for the CUDA driver and NVRTC and loads them.
    /// </summary>
    /// <param name="device">Ordinal of the device, as in "cuda:0".</param>
    /// <param name="engine">The engine.</param>
    /// <param name="reason">Why there is none; else empty.</param>
    public static bool TryGet(int device, [System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out CudaEngine? engine, out string reason)
    {
        engine = CudaRuntime.Instance.Engine(device, out reason);
        return engine is not null;
    }

    /// <summary>
    /// Lines for people: driver, devices, where NVRTC was found, the cache, what was compiled, or why there is no engine. Looks for the
    /// libraries and loads them.
    /// </summary>
    public static string DescribeAll() => CudaRuntime.Instance.Describe();

    /// <inheritdoc/>
    public string Name => "cuda";

    /// <summary>Ordinal of the device.</summary>
    public int Device => _device.Ordinal;

    internal KernelModules Modules { get; }

    /// <summary>What about operands has kept calls from the fastest kernels.</summary>
    internal IEnumerable<string> LayoutNotes => _layoutNotes.Keys.Order(StringComparer.Ordinal);

    /// <inheritdoc/>
    public string Describe() => string.Create(CultureInfo.InvariantCulture,
        $"cuda:{Device}: {CudaRuntime.Describe(_device)}, NVRTC {_compiler.Nvrtc.Version}, {Modules.Variants.Count} kernels loaded{string.Concat(LayoutNotes.Select(note => $"; {note}"))}");

    /// <inheritdoc/>
    public string? Refusal(in AttentionProblem problem)
    {
        if (problem.HeadDim > KernelChoice.MaxHeadDim)
            return $"HeadDim is {problem.HeadDim}; on a GPU it may be {KernelChoice.MaxHeadDim} at most.";
        if (problem.ValueDim > KernelChoice.MaxHeadDim)
            return $"ValueDim is {problem.ValueDim}; on a GPU it may be {KernelChoice.MaxHeadDim} at most.";
        if (problem.HasScoreGradients)
            return "the cuda engine has no gradients of the tensors that a score program captured.";
        if (problem.HasHeadWeights)
            return "the cuda engine has no weights of single heads.";
        if (problem.HasSinks && problem.Scale == 0)
            return "the cuda engine takes no attention sinks beside a Scale of 0.";
        if (ScoreText.Of(problem.Score) is { } score && score.CaptureBytes > ScoreText.MaxCaptureBytes)
            return $"the score program captures {score.CaptureBytes} bytes of numbers and descriptions of tensors; a kernel takes {ScoreText.MaxCaptureBytes}.";
        Int128 units = (Int128)problem.Batch * problem.Heads * Units(Math.Max(problem.QueryLength, problem.KeyLength), ShortestUnit);
        return units <= int.MaxValue ? null
            : $"Batch x Heads x {Math.Max(problem.QueryLength, problem.KeyLength)} rows make more blocks than a GPU takes at once.";
    }

    /// <inheritdoc/>
    public long BackwardWorkspace(in AttentionProblem problem, in ExecutionOptions options = default)
    {
        problem.Validate();
        Validation.Check(this, problem);
        return new WorkspaceLayout(problem, options.Deterministic).Bytes;
    }

    /// <inheritdoc/>
    /// <exception cref="CudaException">The driver or the compiler failed.</exception>
    public void Forward(in AttentionProblem problem, in ForwardArguments arguments, in ExecutionOptions options = default)
    {
        problem.Validate();
        Validation.Check(this, problem);
        Validation.Check(problem, arguments, options);
        if (Validation.Rows(problem) == 0)
            return;
        SizedView query = Query(problem, arguments.Query), key = Key(problem, arguments.Key), value = Value(problem, arguments.Value);
        SizedView output = Output(problem, arguments.Output);
        var parameters = new ForwardParameters
        {
            Query = query.View,
            Key = key.View,
            Value = value.View,
            Output = output.View,
            Maximum = arguments.Statistics.Max,
            Sum = arguments.Statistics.Sum,
            Batch = problem.Batch,
            Heads = problem.Heads,
            Group = problem.Group,
            QueryLength = problem.QueryLength,
            KeyLength = problem.KeyLength,
            Diagonal = problem.DiagonalOffset,
            HeadDim = problem.HeadDim,
            ValueDim = problem.ValueDim,
            ScaleLog2 = ScaleLog2(problem),
            Scale = problem.Scale,
        };
        MappedView[] mapped = [MappedView.OfQueries("Q", query), MappedView.OfKeys("K", key), MappedView.OfKeys("V", value)];
        bool mappable = AreMappable(problem, mapped);
        byte[] captures = Captures(problem, arguments.ScoreTensors, problem.HasSinks ? arguments.Sinks : 0);
        LoadedKernel kernel = Modules[_choice.Forward(problem, _choice.IsAligned(problem.HeadDim, problem.ValueDim, query, key, value, output), mappable)];
        using CudaDevice.Scope scope = _device.Enter();
        Launch(kernel, QueryUnits(problem, kernel), options.Stream, parameters, captures, problem.ElementType, mapped);
    }

    /// <inheritdoc/>
    /// <exception cref="CudaException">The driver or the compiler failed.</exception>
    public void Backward(in AttentionProblem problem, in BackwardArguments arguments, in ExecutionOptions options = default)
    {
        problem.Validate();
        Validation.Check(this, problem);
        Validation.Check(problem, arguments, options);
        var layout = new WorkspaceLayout(problem, options.Deterministic);
        Validation.CheckWorkspace(arguments.Workspace, layout.Bytes, WorkspaceLayout.Alignment);
        if ((long)problem.Batch * problem.Heads > 0 || arguments.SinkGradient != 0)
            Backward(problem, arguments, options, layout);
    }

    /// <inheritdoc/>
    /// <exception cref="CudaException">The driver or the compiler failed.</exception>
    public void Weights(in AttentionProblem problem, in WeightsArguments arguments, in ExecutionOptions options = default)
    {
        problem.Validate();
        Validation.Check(this, problem);
        Validation.Check(problem, arguments, options);
        if (arguments.PerHead)
            throw new NotSupportedException("The cuda engine has no weights of single heads, only their average.");
        if (Validation.Rows(problem) == 0 || problem.KeyLength == 0)
            return;
        SizedView query = Query(problem, arguments.Query), key = Key(problem, arguments.Key);
        var weights = new SizedView(arguments.Weights, problem.Batch, 1, problem.QueryLength, problem.KeyLength);
        var parameters = new WeightsParameters
        {
            Query = query.View,
            Key = key.View,
            Weights = weights.View,
            Maximum = arguments.Statistics.Max,
            Sum = arguments.Statistics.Sum,
            Batch = problem.Batch,
            Heads = problem.Heads,
            Group = problem.Group,
            QueryLength = problem.QueryLength,
            KeyLength = problem.KeyLength,
            Diagonal = problem.DiagonalOffset,
            HeadDim = problem.HeadDim,
            ScaleLog2 = ScaleLog2(problem),
            Scale = problem.Scale,
        };
        byte[] captures = Captures(problem, arguments.ScoreTensors);
        LoadedKernel kernel = Modules[_choice.Weights(problem, _choice.IsAligned(problem.HeadDim, problem.HeadDim, query, key))];
        long units = problem.Batch * Units(problem.QueryLength, kernel.Shape.UnitLength) * Units(problem.KeyLength, kernel.Shape.UnitKeys);
        using CudaDevice.Scope scope = _device.Enter();
        Launch(kernel, units, options.Stream, parameters, captures);
    }

    /// <summary>Whether tensor maps can describe the operands. On a GPU with kernels that need them, why not is remembered.</summary>
    private bool AreMappable(in AttentionProblem problem, ReadOnlySpan<MappedView> operands)
    {
        bool all = true;
        foreach (MappedView operand in operands)
        {
            if (operand.View.WhyNotMappable is not { } reason)
                continue;
            all = false;
            if (_choice.TakesHopper(problem) && problem.KeyLength > 0 && problem.QueryLength > 0 && problem.HeadDim % 8 == 0 && problem.ValueDim % 8 == 0)
                _layoutNotes.TryAdd($"{operand.Name} had {reason}: such calls take the slower kernels with mma.sync; a contiguous copy would not", 0);
        }
        return all;
    }

    /// <summary>What follows a kernel's parameters (Scored in scores.cuh): those of dropout, the sinks of a forward pass, what the score program captured.</summary>
    private static byte[] Captures(in AttentionProblem problem, CapturedView[]? tensors, nint sinks = 0)
    {
        long[] words =
        [
            .. problem.Dropout == 0 ? [] : new long[] { (long)problem.DropoutSeed, Dropout.Threshold(problem.Dropout), BitConverter.DoubleToInt64Bits(Dropout.Factor(problem.Dropout)) },
            .. sinks == 0 ? [] : new long[] { sinks },
        ];
        return [.. MemoryMarshal.AsBytes(words.AsSpan()), .. ScoreText.Of(problem.Score)?.Captures(problem.ElementType, tensors) ?? []];
    }

    private static SizedView Query(in AttentionProblem problem, in TensorView view) => new(view, problem.Batch, problem.Heads, problem.QueryLength, problem.HeadDim);

    private static SizedView Key(in AttentionProblem problem, in TensorView view) => new(view, problem.Batch, problem.KeyHeadCount, problem.KeyLength, problem.HeadDim);

    private static SizedView Value(in AttentionProblem problem, in TensorView view) => new(view, problem.Batch, problem.KeyHeadCount, problem.KeyLength, problem.ValueDim);

    private static SizedView Output(in AttentionProblem problem, in TensorView view) => new(view, problem.Batch, problem.Heads, problem.QueryLength, problem.ValueDim);

    /// <summary>The factor of the exponents of 2; a program that modifies scores has the scale in them.</summary>
    private static float ScaleLog2(in AttentionProblem problem) =>
        (float)((problem.Score is { OnlyHides: false } ? 1 : Math.Abs(problem.Scale)) * double.Log2(Math.E));

    /// <summary>ceil(length / unitLength).</summary>
    private static long Units(int length, int unitLength) => (length + (long)unitLength - 1) / unitLength;

    private static long QueryUnits(in AttentionProblem problem, LoadedKernel kernel) =>
        (long)problem.Batch * problem.Heads * Units(problem.QueryLength, kernel.Shape.UnitLength);

    private static long KeyUnits(in AttentionProblem problem, LoadedKernel kernel) =>
        (long)problem.Batch * problem.KeyHeadCount * Units(problem.KeyLength, kernel.Shape.UnitLength);

    /// <summary>
    /// Enqueues a kernel for so many units of work. The captures of a score program follow its parameters; a Hopper kernel gets tensor maps after them.
    /// </summary>
    private void Launch<T>(LoadedKernel kernel, long units, nint stream, in T parameters, ReadOnlySpan<byte> captures = default,
        ElementType type = default, ReadOnlySpan<MappedView> operands = default) where T : unmanaged
    {
        if (units == 0)
            return;
        KernelShape shape = kernel.Shape;
        if (units > int.MaxValue)
            throw new InvalidOperationException($"{kernel.Variant}: {units} units of work are more than a grid has blocks.");
        byte* memory = stackalloc byte[TensorMap.Bytes * operands.Length + TensorMap.Alignment];
        var maps = (TensorMap*)(((nint)memory + TensorMap.Alignment - 1) / TensorMap.Alignment * TensorMap.Alignment);
        void** pointers = stackalloc void*[1 + operands.Length];
        byte* first = stackalloc byte[sizeof(T) + captures.Length];
        *(T*)first = parameters;
        captures.CopyTo(new Span<byte>(first + sizeof(T), captures.Length));
        pointers[0] = first;
        for (int i = 0; shape.HasTensorMaps && i < operands.Length; i++)
        {
            operands[i].View.Encode(_device.Driver, maps + i, type, shape.BoxColumns, operands[i].IsOfKeys ? shape.BoxKeys : shape.BoxQueries);
            pointers[1 + i] = maps + i;
        }
        uint blocks = (uint)shape.Blocks(units, _device.Multiprocessors);
        _device.Driver.Launch(kernel.Function, blocks, shape.Threads, shape.SharedBytes, stream, pointers, kernel.Variant.ToString());
    }
}
