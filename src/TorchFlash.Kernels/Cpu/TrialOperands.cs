namespace TorchFlash.Kernels.Cpu;

/// <summary>Operands to try the engine on: Q, K, V and dO of numbers between -1 and 1, the same ones every time, and room for all results.</summary>
internal sealed unsafe class TrialOperands : IDisposable
{
    private readonly Scratch _block;

    public TrialOperands(AttentionProblem problem)
    {
        (int heads, int queries, int keys) = (problem.Heads, problem.QueryLength, problem.KeyLength);
        TensorView query = default, key = default, value = default, outputGradient = default, output = default, queryGradient = default, keyGradient = default, valueGradient = default;
        RowStatistics statistics = default;
        _block = Scratch.Rent(cursor =>
        {
            query = View(heads, queries, problem.HeadDim);
            key = View(problem.KeyHeadCount, keys, problem.HeadDim);
            value = View(problem.KeyHeadCount, keys, problem.ValueDim);
            outputGradient = View(heads, queries, problem.ValueDim);
            output = View(heads, queries, problem.ValueDim);
            queryGradient = View(heads, queries, problem.HeadDim);
            keyGradient = View(problem.KeyHeadCount, keys, problem.HeadDim);
            valueGradient = View(problem.KeyHeadCount, keys, problem.ValueDim);
            statistics = new(Statistic(), Statistic());

            TensorView View(int heads, int rows, int width) => new(
                (nint)cursor.Take<byte>((long)problem.Batch * heads * rows * width * problem.ElementType.Size()), (long)heads * rows * width, (long)rows * width, width);

            nint Statistic() => (nint)cursor.Take<byte>((long)problem.Batch * heads * queries * problem.ElementType.ComputeSize());
        });
        var random = new Random(1);
        foreach (TensorView view in (TensorView[])[query, key, value, outputGradient])
            Fill(problem.ElementType, view.Data, problem.Batch * view.BatchStride, random);
        Forward = new() { Query = query, Key = key, Value = value, Output = output, Statistics = statistics };
        Backward = new()
        {
            Query = query,
            Key = key,
            Value = value,
            Output = output,
            OutputGradient = outputGradient,
            Statistics = statistics,
            QueryGradient = queryGradient,
            KeyGradient = keyGradient,
            ValueGradient = valueGradient,
        };
    }

    public ForwardArguments Forward { get; }

    public BackwardArguments Backward { get; }

    public void Dispose() => _block.Dispose();

    private static void Fill(ElementType type, nint data, long count, Random random)
    {
        for (long i = 0; i < count; i++)
        {
            float x = 2 * random.NextSingle() - 1;
            switch (type)
            {
                case ElementType.Float64:
                    ((double*)data)[i] = x;
                    break;
                case ElementType.Float32:
                    ((float*)data)[i] = x;
                    break;
                case ElementType.Float16:
                    ((Half*)data)[i] = (Half)x;
                    break;
                default: // the upper half of a binary32, cut off: any number in range will do
                    ((ushort*)data)[i] = (ushort)(BitConverter.SingleToUInt32Bits(x) >> 16);
                    break;
            }
        }
    }
}
