using System.Collections;

namespace TorchSharp.Utils;

/// <summary>The elements of a tensor on the CPU as .NET values, in row-major order, read and written in place.</summary>
public sealed unsafe class TensorAccessor<T> : IDisposable, IEnumerable<T>
    where T : unmanaged
{
    private readonly T* _first;
    private readonly long[] _sizes;
    private readonly long[] _strides;
    private torch.Tensor? _tensor;

    internal TensorAccessor(torch.Tensor tensor)
    {
        _tensor = tensor;
        _first = (T*)Bridge.Data(tensor.Handle);
        _sizes = tensor.shape;
        _strides = tensor.stride();
        Count = tensor.NumberOfElements;
    }

    /// <summary>Number of elements.</summary>
    public long Count { get; }

    /// <summary>False.</summary>
    public bool IsReadOnly => false;

    /// <summary>The element at the indices; a single one counts through the tensor in row-major order.</summary>
    /// <exception cref="IndexOutOfRangeException">An index is outside the tensor.</exception>
    public T this[params long[] indices]
    {
        get => *Address(indices);
        set => *Address(indices) = value;
    }

    /// <summary>Copies the elements to a new array.</summary>
    public T[] ToArray()
    {
        var array = new T[Count];
        CopyTo(array);
        return array;
    }

    /// <summary>Copies elements from <paramref name="tensorIndex"/> on, as many as the array has room for.</summary>
    public void CopyTo(T[] array, int arrayIndex = 0, long tensorIndex = 0) => CopyTo(array.AsSpan(), arrayIndex, tensorIndex);

    /// <summary>Copies elements from <paramref name="tensorIndex"/> on, as many as the span has room for.</summary>
    public void CopyTo(Span<T> array, int arrayIndex = 0, long tensorIndex = 0)
    {
        Span<T> target = array[arrayIndex..];
        int count = (int)Math.Min(target.Length, Count - tensorIndex);
        if (Live.is_contiguous())
        {
            new ReadOnlySpan<T>(_first + tensorIndex, count).CopyTo(target);
        }
        else
        {
            for (int i = 0; i < count; i++)
            {
                target[i] = _first[Offset(tensorIndex + i)];
            }
        }
        GC.KeepAlive(_tensor);
    }

    /// <summary>Overwrites elements from <paramref name="tensorIndex"/> on.</summary>
    public void CopyFrom(T[] array, int arrayIndex = 0, long tensorIndex = 0) =>
        CopyFrom((ReadOnlySpan<T>)array, arrayIndex, tensorIndex);

    /// <summary>Overwrites elements from <paramref name="tensorIndex"/> on.</summary>
    public void CopyFrom(ReadOnlySpan<T> array, int arrayIndex = 0, long tensorIndex = 0)
    {
        _ = Live;
        ReadOnlySpan<T> source = array[arrayIndex..];
        int count = (int)Math.Min(source.Length, Count - tensorIndex);
        for (int i = 0; i < count; i++)
        {
            _first[Offset(tensorIndex + i)] = source[i];
        }
        GC.KeepAlive(_tensor);
    }

    /// <inheritdoc/>
    public IEnumerator<T> GetEnumerator()
    {
        for (long i = 0; i < Count; i++)
        {
            yield return this[i];
        }
    }

    /// <inheritdoc/>
    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    /// <inheritdoc/>
    public void Dispose() => _tensor = null;

    private torch.Tensor Live => _tensor ?? throw new ObjectDisposedException(nameof(TensorAccessor<T>));

    private T* Address(long[] indices)
    {
        _ = Live;
        if (indices.Length == 1 && _sizes.Length != 1)
        {
            return (ulong)indices[0] < (ulong)Count ? _first + Offset(indices[0]) : throw new IndexOutOfRangeException();
        }
        if (indices.Length != _sizes.Length)
        {
            throw new IndexOutOfRangeException($"{indices.Length} indices for a tensor of {_sizes.Length} dimensions");
        }
        long offset = 0;
        for (int d = 0; d < indices.Length; d++)
        {
            if ((ulong)indices[d] >= (ulong)_sizes[d])
            {
                throw new IndexOutOfRangeException();
            }
            offset += indices[d] * _strides[d];
        }
        return _first + offset;
    }

    private long Offset(long index)
    {
        long offset = 0;
        for (int d = _sizes.Length - 1; d >= 0; d--)
        {
            (index, long position) = Math.DivRem(index, _sizes[d]);
            offset += position * _strides[d];
        }
        return offset;
    }
}
