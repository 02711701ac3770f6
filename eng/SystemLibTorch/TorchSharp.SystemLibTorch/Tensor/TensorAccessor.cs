using System.Collections;

namespace TorchSharp.Utils;

/// <summary>
/// The elements of a tensor on the CPU as .NET values, in row-major order, read and written in place. Every access throws
/// <see cref="ObjectDisposedException"/> once the accessor is disposed of, and <see cref="InvalidOperationException"/> once
/// the tensor is, or has other memory than when the accessor was made.
/// </summary>
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
        _first = (T*)Bridge.Data(tensor);
        _sizes = tensor.shape;
        _strides = tensor.stride();
    }

    /// <summary>Number of elements, 0 once disposed of.</summary>
    public long Count => _tensor?.NumberOfElements ?? 0;

    /// <summary>False.</summary>
    public bool IsReadOnly => false;

    /// <summary>The element at the indices. A single one counts through the tensor in row-major order, for reading only.</summary>
    /// <exception cref="IndexOutOfRangeException">An index is outside the tensor, or there is not one for each dimension.</exception>
    /// <exception cref="ArgumentOutOfRangeException">A single index is negative.</exception>
    public T this[params long[] indices]
    {
        get
        {
            torch.Tensor tensor = Live();
            T value = _first[indices.Length == 1 ? Offset(tensor, indices[0]) : Offset(indices)];
            GC.KeepAlive(tensor);
            return value;
        }

        set
        {
            torch.Tensor tensor = Live();
            _first[_sizes.Length == 0 && indices is [0] ? 0 : Offset(indices)] = value;
            GC.KeepAlive(tensor);
        }
    }

    /// <summary>Copies the elements to a new array.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The tensor has no elements, and two or more dimensions.</exception>
    public T[] ToArray()
    {
        var array = new T[Live().NumberOfElements];
        if (array.Length > 0 || _sizes.Length > 1)
        {
            CopyTo(array);
        }
        return array;
    }

    /// <summary>Copies elements from <paramref name="tensorIndex"/> on, as many as the array has room for.</summary>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="tensorIndex"/> is outside the tensor.</exception>
    /// <exception cref="IndexOutOfRangeException"><paramref name="arrayIndex"/> is negative.</exception>
    public void CopyTo(T[] array, int arrayIndex = 0, long tensorIndex = 0) => CopyTo(array.AsSpan(), arrayIndex, tensorIndex);

    /// <inheritdoc cref="CopyTo(T[], int, long)"/>
    public void CopyTo(Span<T> array, int arrayIndex = 0, long tensorIndex = 0)
    {
        torch.Tensor tensor = Live();
        int count = Common(tensor, array.Length, arrayIndex, tensorIndex);
        if (count > 0 && tensor.is_contiguous())
        {
            new ReadOnlySpan<T>(_first + tensorIndex, count).CopyTo(array[arrayIndex..]);
        }
        else
        {
            for (int i = 0; i < count; i++)
            {
                array[arrayIndex + i] = _first[Offset(tensorIndex + i)];
            }
        }
        GC.KeepAlive(tensor);
    }

    /// <summary>Overwrites elements from <paramref name="tensorIndex"/> on, as many as the array has.</summary>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="tensorIndex"/> is outside the tensor.</exception>
    /// <exception cref="IndexOutOfRangeException"><paramref name="arrayIndex"/> is negative.</exception>
    public void CopyFrom(T[] array, int arrayIndex = 0, long tensorIndex = 0) =>
        CopyFrom((ReadOnlySpan<T>)array, arrayIndex, tensorIndex);

    /// <inheritdoc cref="CopyFrom(T[], int, long)"/>
    public void CopyFrom(ReadOnlySpan<T> array, int arrayIndex = 0, long tensorIndex = 0)
    {
        torch.Tensor tensor = Live();
        int count = Common(tensor, array.Length, arrayIndex, tensorIndex);
        for (int i = 0; i < count; i++)
        {
            _first[Offset(tensorIndex + i)] = array[arrayIndex + i];
        }
        GC.KeepAlive(tensor);
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

    private torch.Tensor Live()
    {
        torch.Tensor tensor = _tensor ?? throw new ObjectDisposedException(nameof(TensorAccessor<T>));
        return (T*)Bridge.Data(tensor) == _first && tensor.shape.AsSpan().SequenceEqual(_sizes)
            ? tensor
            : throw new InvalidOperationException("the tensor has other memory than when this accessor was made");
    }

    /// <summary>How many elements an array from an index on and the tensor from another on have in common.</summary>
    private static int Common(torch.Tensor tensor, int length, int arrayIndex, long tensorIndex)
    {
        long count = tensor.NumberOfElements;
        if (tensorIndex < 0 || tensorIndex >= count)
        {
            throw new ArgumentOutOfRangeException(nameof(tensorIndex), tensorIndex, $"the tensor has {count} elements");
        }
        if (arrayIndex < 0)
        {
            throw new IndexOutOfRangeException($"{nameof(arrayIndex)} is {arrayIndex}");
        }
        return (int)Math.Min(Math.Max(length - arrayIndex, 0), count - tensorIndex);
    }

    private long Offset(torch.Tensor tensor, long index)
    {
        if (index >= tensor.NumberOfElements)
        {
            throw new IndexOutOfRangeException();
        }
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        return Offset(index);
    }

    private long Offset(long[] indices)
    {
        if (indices.Length != _sizes.Length)
        {
            throw new IndexOutOfRangeException($"{indices.Length} indices for a tensor of {_sizes.Length} dimensions");
        }
        long offset = 0;
        for (int d = 0; d < indices.Length; d++)
        {
            if ((ulong)indices[d] >= (ulong)_sizes[d])
            {
                throw new IndexOutOfRangeException($"{indices[d]} in dimension {d} of {_sizes[d]}");
            }
            offset += indices[d] * _strides[d];
        }
        return offset;
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
