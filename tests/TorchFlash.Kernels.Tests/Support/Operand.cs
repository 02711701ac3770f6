using System.Numerics;
using System.Runtime.InteropServices;

namespace TorchFlash.Kernels.Tests.Support;

/// <summary>
/// An operand in native memory of its own. Everything that is not an element of it (guard zones at the ends, padding
/// between rows) holds a NaN of a known payload, and so do the elements until they are filled: a value read from outside
/// shows up in the result, a value written outside shows up in <see cref="AssertOnlyElementsWritten"/>.
/// </summary>
internal sealed unsafe class Operand<T> : IDisposable where T : unmanaged, IBinaryFloatingPointIeee754<T>
{
    private const int GuardElements = 64;

    private readonly Shape _shape;
    private readonly FencedPages _pages;
    private readonly T[] _snapshot;
    private readonly long _first;

    public Operand(Shape shape, Layout layout = Layout.Contiguous)
    {
        _shape = shape;
        (long batch, long head, long row) = shape.Strides(layout);
        long first = 0, last = shape.Width;
        foreach ((int size, long stride) in new[] { (shape.Batch, batch), (shape.Heads, head), (shape.Rows, row) })
        {
            first += Math.Max(0, size - 1) * Math.Min(0, stride);
            last += Math.Max(0, size - 1) * Math.Max(0, stride);
        }
        _pages = new FencedPages((nint)((last - first + 2 * GuardElements) * sizeof(T)));
        _snapshot = new T[_pages.Bytes / sizeof(T)];
        _first = layout switch
        {
            Layout.PageStart => 0,
            Layout.PageEnd => _snapshot.Length - (last - first),
            Layout.Misaligned => GuardElements + 1,
            _ => GuardElements,
        };
        View = new TensorView((nint)((T*)_pages.Start + _first - first), batch, head, row);
        Poison();
    }

    /// <summary>The operand as the engines take it.</summary>
    public TensorView View { get; }

    /// <summary>Element (b, h, n, x).</summary>
    public ref T this[int b, int h, int n, int x] => ref *Address(b, h, n, x);

    private Span<T> Block => new(_pages.Start, _snapshot.Length);

    private static T Canary => typeof(T) == typeof(float)
        ? T.CreateTruncating(BitConverter.UInt32BitsToSingle(0x7FC0BEEF))
        : T.CreateTruncating(BitConverter.UInt64BitsToDouble(0x7FF80000DEADBEEF));

    /// <summary>Overwrites everything, elements included, with the canary NaN.</summary>
    public void Poison()
    {
        Block.Fill(Canary);
        Block.CopyTo(_snapshot);
    }

    /// <summary>Sets every element, in logical order.</summary>
    public Operand<T> Fill(Func<double> next) => Fill((_, _, _, _) => next());

    /// <summary>Sets every element from its position (b, h, n, x).</summary>
    public Operand<T> Fill(Func<int, int, int, int, double> value)
    {
        ForEach((b, h, n, x) => this[b, h, n, x] = T.CreateSaturating(value(b, h, n, x)));
        Block.CopyTo(_snapshot);
        return this;
    }

    /// <summary>Sets one element of an input.</summary>
    public void Set(int b, int h, int n, int x, double value)
    {
        this[b, h, n, x] = T.CreateSaturating(value);
        Block.CopyTo(_snapshot);
    }

    /// <summary>The elements in dense order, as <typeparamref name="TTo"/>.</summary>
    public TTo[] ToArray<TTo>() where TTo : unmanaged, IBinaryFloatingPointIeee754<TTo>
    {
        var result = new TTo[_shape.Count];
        long at = 0;
        ForEach((b, h, n, x) => result[at++] = TTo.CreateSaturating(this[b, h, n, x]));
        return result;
    }

    /// <summary>The elements in dense order.</summary>
    public T[] ToArray() => ToArray<T>();

    /// <summary>An input must be, bit for bit, what it was when it was filled.</summary>
    public void AssertUnchanged(string name) => AssertEqualsSnapshot(name, "was written although it is an input or refused");

    /// <summary>Around the elements of an output the canaries must still be there.</summary>
    public void AssertOnlyElementsWritten(string name)
    {
        ForEach((b, h, n, x) =>
        {
            T* element = Address(b, h, n, x);
            _snapshot[element - (T*)_pages.Start] = *element;
        });
        AssertEqualsSnapshot(name, "was written outside its elements");
    }

    public void Dispose() => _pages.Dispose();

    private T* Address(int b, int h, int n, int x) => (T*)View.Data + b * View.BatchStride + h * View.HeadStride + n * View.RowStride + x;

    private void AssertEqualsSnapshot(string name, string complaint)
    {
        int same = MemoryMarshal.AsBytes(Block).CommonPrefixLength(MemoryMarshal.AsBytes(_snapshot.AsSpan()));
        if (same != _pages.Bytes)
            Assert.Fail($"{name} {complaint}: element {same / sizeof(T) - _first} from its lowest address.");
    }

    private void ForEach(Action<int, int, int, int> action)
    {
        for (int b = 0; b < _shape.Batch; b++)
            for (int h = 0; h < _shape.Heads; h++)
                for (int n = 0; n < _shape.Rows; n++)
                    for (int x = 0; x < _shape.Width; x++)
                        action(b, h, n, x);
    }
}
