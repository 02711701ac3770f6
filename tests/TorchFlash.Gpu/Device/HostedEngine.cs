using TorchFlash.Kernels;
using TorchFlash.Kernels.Scores;

namespace TorchFlash.Gpu.Device;

/// <summary>
/// An engine whose operands lie in the host's memory: every call copies them to the GPU, runs the engine there, and copies the results
/// back. With it tensors of the CPU exercise all that lies above the launch of a kernel, on a GPU or on the emulated one.
/// </summary>
internal sealed class HostedEngine(IAttentionEngine inner, GpuDriver gpu) : IAttentionEngine
{
    public string Name => inner.Name;

    public string Describe() => $"{inner.Describe()}, through copies of the host's memory";

    public string? Refusal(in AttentionProblem problem) => inner.Refusal(problem);

    public long BackwardWorkspace(in AttentionProblem problem, in ExecutionOptions options = default) => inner.BackwardWorkspace(problem, options);

    public void Forward(in AttentionProblem problem, in ForwardArguments arguments, in ExecutionOptions options = default)
    {
        using var copies = new Copies(gpu, problem);
        inner.Forward(problem, new ForwardArguments
        {
            Query = copies.Query(arguments.Query),
            Key = copies.Key(arguments.Key),
            Value = copies.Value(arguments.Value),
            Output = copies.Output(arguments.Output, isWritten: true),
            Statistics = copies.Statistics(arguments.Statistics, isWritten: true),
            ScoreTensors = copies.ScoreTensors(arguments.ScoreTensors),
            Sinks = copies.OfHeads(arguments.Sinks),
        }, options);
        copies.Return();
    }

    public void Backward(in AttentionProblem problem, in BackwardArguments arguments, in ExecutionOptions options = default)
    {
        using var copies = new Copies(gpu, problem);
        inner.Backward(problem, new BackwardArguments
        {
            Query = copies.Query(arguments.Query),
            Key = copies.Key(arguments.Key),
            Value = copies.Value(arguments.Value),
            Output = copies.Output(arguments.Output),
            OutputGradient = copies.Output(arguments.OutputGradient),
            Statistics = copies.Statistics(arguments.Statistics),
            QueryGradient = copies.Query(arguments.QueryGradient, isWritten: true),
            KeyGradient = copies.Key(arguments.KeyGradient, isWritten: true),
            ValueGradient = copies.Value(arguments.ValueGradient, isWritten: true),
            ScoreTensors = copies.ScoreTensors(arguments.ScoreTensors),
            ScoreTensorGradients = arguments.ScoreTensorGradients,
            Sinks = copies.OfHeads(arguments.Sinks),
            SinkGradient = copies.OfHeads(arguments.SinkGradient, isWritten: true),
            LogSumExpGradient = copies.LogSumExpGradient(arguments.LogSumExpGradient),
            Workspace = copies.Workspace(arguments.Workspace, inner.BackwardWorkspace(problem, options)),
        }, options);
        copies.Return();
    }

    public void Weights(in AttentionProblem problem, in WeightsArguments arguments, in ExecutionOptions options = default)
    {
        using var copies = new Copies(gpu, problem);
        inner.Weights(problem, new WeightsArguments
        {
            Query = copies.Query(arguments.Query),
            Key = copies.Key(arguments.Key),
            Statistics = copies.Statistics(arguments.Statistics),
            Weights = copies.Weights(arguments.Weights),
            PerHead = arguments.PerHead,
            ScoreTensors = copies.ScoreTensors(arguments.ScoreTensors),
        }, options);
        copies.Return();
    }

    /// <summary>The operands of one call on the GPU, laid out as on the host.</summary>
    private sealed unsafe class Copies : IDisposable
    {
        private readonly GpuDriver _gpu;
        private readonly AttentionProblem _problem;
        private readonly List<nint> _memory = [];
        private readonly List<Action> _returns = [];

        public Copies(GpuDriver gpu, AttentionProblem problem)
        {
            (_gpu, _problem) = (gpu, problem);
            gpu.Enter();
        }

        private int KeyHeads => _problem.KeyHeads == 0 ? _problem.Heads : _problem.KeyHeads;

        public TensorView Query(TensorView view, bool isWritten = false) => Copy(view, _problem.Heads, _problem.QueryLength, _problem.HeadDim, isWritten);

        public TensorView Key(TensorView view, bool isWritten = false) => Copy(view, KeyHeads, _problem.KeyLength, _problem.HeadDim, isWritten);

        public TensorView Value(TensorView view, bool isWritten = false) => Copy(view, KeyHeads, _problem.KeyLength, _problem.ValueDim, isWritten);

        public TensorView Output(TensorView view, bool isWritten = false) => Copy(view, _problem.Heads, _problem.QueryLength, _problem.ValueDim, isWritten);

        public TensorView Weights(TensorView view) => Copy(view with { HeadStride = 0 }, 1, _problem.QueryLength, _problem.KeyLength, isWritten: true);

        public RowStatistics Statistics(RowStatistics host, bool isWritten = false)
        {
            long bytes = (long)_problem.Batch * _problem.Heads * _problem.QueryLength * _problem.ElementType.ComputeSize();
            return new RowStatistics(Copy(host.Max, bytes, isWritten), Copy(host.Sum, bytes, isWritten));
        }

        public nint OfHeads(nint host, bool isWritten = false) => host == 0 ? 0 : Copy(host, (long)_problem.Heads * _problem.ElementType.ComputeSize(), isWritten);

        public nint LogSumExpGradient(nint host) =>
            host == 0 ? 0 : Copy(host, (long)_problem.Batch * _problem.Heads * _problem.QueryLength * _problem.ElementType.ComputeSize(), isWritten: false);

        /// <summary>The tensors that the score program captured, gaps included.</summary>
        public CapturedView[]? ScoreTensors(CapturedView[]? views) => views?.Zip(_problem.Score!.Tensors, (view, tensor) =>
        {
            int size = tensor.Kind switch { ScoreKind.Real => _problem.ElementType.ComputeSize(), ScoreKind.Int => sizeof(long), _ => sizeof(bool) };
            long[] extents = [.. tensor.Shape.Zip((long[])[view.Stride0, view.Stride1, view.Stride2, view.Stride3], (length, stride) => (length - 1) * stride)];
            long first = extents.Sum(extent => Math.Min(extent, 0)) * size, last = extents.Sum(extent => Math.Max(extent, 0)) * size;
            return tensor.Shape.Contains(0) ? view : view with { Data = Copy(view.Data + (nint)first, last - first + size, isWritten: false) - (nint)first };
        }).ToArray();

        /// <summary>Memory of the same size; the host's must be as the engine asks, though it is not used.</summary>
        public nint Workspace(nint host, long bytes)
        {
            if (bytes == 0)
                return 0;
            if (host == 0 || host % 256 != 0)
                throw new ArgumentException($"The workspace of {bytes} bytes lies at {host}.");
            new Span<byte>((void*)host, checked((int)bytes)).Fill(0xFF); // all of it must be there
            return Allocate(bytes);
        }

        /// <summary>Copies the results back.</summary>
        public void Return()
        {
            _gpu.Synchronize();
            _returns.ForEach(copy => copy());
        }

        public void Dispose() => _memory.ForEach(_gpu.Free);

        private nint Copy(nint host, long bytes, bool isWritten)
        {
            if (host == 0 || bytes == 0)
                return host;
            nint device = Allocate(bytes);
            if (isWritten)
                _returns.Add(() => _gpu.Read(device, new Span<byte>((void*)host, checked((int)bytes))));
            else
                _gpu.Write(device, new ReadOnlySpan<byte>((void*)host, checked((int)bytes)));
            return device;
        }

        // The bytes between the first and the last element, with the gaps, so that an element lies where its strides say.
        private TensorView Copy(TensorView view, int heads, int rows, int width, bool isWritten)
        {
            if (view.Data == 0 || (long)_problem.Batch * heads * rows * width == 0)
                return view;
            int size = _problem.ElementType.Size();
            long first = 0, last = 0;
            foreach (long extent in (long[])[(_problem.Batch - 1) * view.BatchStride, (heads - 1) * view.HeadStride, (rows - 1) * view.RowStride])
            {
                first += Math.Min(extent, 0);
                last += Math.Max(extent, 0);
            }
            // The GPU's allocations are aligned to 256 bytes; the copy must be aligned as its original is.
            nint shift = (nint)((view.Data + first * size) & 15), begin = view.Data + (nint)(first * size);
            long bytes = (last - first + width) * size;
            nint device = Allocate(bytes + shift) + shift;
            ForEachRow(view, heads, rows, row =>
            {
                if (!isWritten)
                    _gpu.Write(device + (row - begin), new ReadOnlySpan<byte>((void*)row, width * size));
            });
            if (isWritten)
            {
                _returns.Add(() => ForEachRow(view, heads, rows, row => _gpu.Read(device + (row - begin), new Span<byte>((void*)row, width * size))));
            }
            return view with { Data = device + (view.Data - begin) };
        }

        private void ForEachRow(TensorView view, int heads, int rows, Action<nint> action)
        {
            int size = _problem.ElementType.Size();
            for (int b = 0; b < _problem.Batch; b++)
                for (int h = 0; h < heads; h++)
                    for (int n = 0; n < rows; n++)
                        action(view.Data + (nint)((b * view.BatchStride + h * view.HeadStride + n * view.RowStride) * size));
        }

        private nint Allocate(long bytes)
        {
            nint address = _gpu.Allocate(bytes);
            _memory.Add(address);
            return address;
        }
    }
}
