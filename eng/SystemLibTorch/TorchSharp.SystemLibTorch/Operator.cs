using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using System.Text;
using static TorchSharp.torch;

namespace TorchSharp;

/// <summary>
/// Boxed calls of libtorch operators by name: <c>Operator.Call("linear", "", input, weight, bias)</c> is
/// <c>aten::linear</c>. Arguments come in the order of the operator's schema; trailing ones left out take the schema's
/// defaults. An argument is null, a <see cref="Tensor"/>, <see cref="Undefined"/>, a <see cref="Scalar"/>, integer, floating-point number, bool,
/// string, <see cref="ScalarType"/>, <see cref="Device"/>, <see cref="Generator"/>, <c>long[]</c>, <c>double[]</c>, <c>bool[]</c>, a list
/// of tensors, or <see cref="OptionalTensors"/> for a <c>Tensor?[]</c> parameter. A parameter of type <c>float</c> takes
/// only a floating-point number.
/// </summary>
internal static unsafe class Operator
{
    /// <summary>A list of tensors some of which may be null, for parameters of type <c>Tensor?[]</c>.</summary>
    internal sealed record OptionalTensors(IReadOnlyList<Tensor?> Items);

    /// <summary>The undefined tensor, as a result and as an argument of type <c>Tensor</c>; for <c>Tensor?</c> null does as well.</summary>
    internal static readonly object Undefined = new();

    private static readonly ConcurrentDictionary<(string Name, string Overload), IntPtr> Handles = new();

    private static readonly ConcurrentDictionary<(string Name, string Overload), bool> Known = new();

    static Operator() => LinearAlgebraLibrary.WarnWhenSlow();

    /// <summary>Calls an operator that returns one tensor.</summary>
    /// <exception cref="ExternalException">libtorch refused the call; the message is libtorch's.</exception>
    internal static Tensor Call(string name, string overload, params ReadOnlySpan<object?> arguments)
    {
        Bridge.Value* results;
        long count;
        Invoke(name, overload, arguments, &results, &count);
        return count == 1 && results[0].Tag == Bridge.Tag.Tensor
            ? ToTensor(results[0])
            : throw new InvalidOperationException($"{name} did not return one tensor");
    }

    /// <summary>Calls an operator that returns several tensors or a list of them.</summary>
    /// <exception cref="ExternalException">libtorch refused the call.</exception>
    internal static Tensor[] CallMany(string name, string overload, params ReadOnlySpan<object?> arguments)
    {
        Bridge.Value* results;
        long count;
        Invoke(name, overload, arguments, &results, &count);
        var tensors = new Tensor[count];
        for (long i = 0; i < count; i++)
        {
            tensors[i] = ToTensor(results[i]);
        }
        return tensors;
    }

    /// <summary>
    /// Calls an operator that returns values of several kinds: a <see cref="Tensor"/>, <see cref="Undefined"/>, a long, a double or a bool
    /// each.
    /// </summary>
    /// <exception cref="ExternalException">libtorch refused the call.</exception>
    internal static object[] CallMixed(string name, string overload, params ReadOnlySpan<object?> arguments)
    {
        Bridge.Value* results;
        long count;
        Invoke(name, overload, arguments, &results, &count);
        var values = new object[count];
        for (long i = 0; i < count; i++)
        {
            values[i] = results[i].Tag != Bridge.Tag.Tensor ? ToNumber(results[i]) : results[i].Payload == 0 ? Undefined : ToTensor(results[i]);
        }
        return values;
    }

    /// <summary>Calls an operator for its effect (in-place ones); what it returns is dropped.</summary>
    /// <exception cref="ExternalException">libtorch refused the call.</exception>
    internal static void CallVoid(string name, string overload, params ReadOnlySpan<object?> arguments) =>
        Invoke(name, overload, arguments, null, null);

    /// <summary>Calls an operator that returns a bool.</summary>
    /// <exception cref="ExternalException">libtorch refused the call.</exception>
    internal static bool CallBoolean(string name, string overload, params ReadOnlySpan<object?> arguments) =>
        CallValue(name, overload, arguments).Payload != 0;

    /// <summary>Calls an operator that returns a number: a long, a double or a bool.</summary>
    /// <exception cref="ExternalException">libtorch refused the call.</exception>
    internal static object CallNumber(string name, string overload, params ReadOnlySpan<object?> arguments) =>
        ToNumber(CallValue(name, overload, arguments));

    /// <summary>Whether this libtorch has the operator.</summary>
    internal static bool Exists(string name, string overload) =>
        Known.GetOrAdd((name, overload), static key =>
        {
            try
            {
                return Handle(key.Name, key.Overload) != IntPtr.Zero;
            }
            catch (ExternalException)
            {
                return false;
            }
        });

    private static string Qualified(string name) => name.Contains("::", StringComparison.Ordinal) ? name : "aten::" + name;

    private static object ToNumber(Bridge.Value value) => value.Tag switch
    {
        Bridge.Tag.Real => BitConverter.Int64BitsToDouble(value.Payload),
        Bridge.Tag.Boolean => value.Payload != 0,
        _ => value.Payload,
    };

    private static Tensor ToTensor(Bridge.Value value) => new((IntPtr)value.Payload);

    private static Bridge.Value CallValue(string name, string overload, ReadOnlySpan<object?> arguments)
    {
        Bridge.Value* results;
        long count;
        Invoke(name, overload, arguments, &results, &count);
        return count == 1 ? results[0] : throw new InvalidOperationException($"{name} did not return one value");
    }

    private static IntPtr Handle(string name, string overload)
    {
        if (!Handles.TryGetValue((name, overload), out IntPtr handle))
        {
            Bridge.Find(Qualified(name), overload, out handle);
            Handles[(name, overload)] = handle;
        }
        return handle;
    }

    private static void Invoke(
        string name, string overload, ReadOnlySpan<object?> arguments, Bridge.Value** results, long* resultCount)
    {
        IntPtr operation = Handle(name, overload);
        Bridge.Value* values = stackalloc Bridge.Value[arguments.Length];
        // Elements of list arguments and bytes of strings live in one block of 8-byte words.
        const int onStack = 64;
        long* scratch = stackalloc long[onStack];
        int needed = 0;
        foreach (object? argument in arguments)
        {
            needed += Words(argument);
        }
        long* block = needed <= onStack ? scratch : (long*)NativeMemory.Alloc((nuint)needed, sizeof(long));
        try
        {
            long* free = block;
            for (int i = 0; i < arguments.Length; i++)
            {
                values[i] = ToValue(arguments[i], ref free);
            }
            Bridge.Call(operation, values, arguments.Length, results, resultCount);
        }
        finally
        {
            if (block != scratch)
            {
                NativeMemory.Free(block);
            }
        }
        // Nothing an argument's handle belongs to may be finalised before the call has ended.
        foreach (object? argument in arguments)
        {
            GC.KeepAlive(argument);
        }
    }

    private static int Words(object? argument) => argument switch
    {
        long[] list => list.Length,
        double[] list => list.Length,
        bool[] list => (list.Length + sizeof(long) - 1) / sizeof(long),
        string text => Encoding.UTF8.GetByteCount(text) / sizeof(long) + 1,
        OptionalTensors list => list.Items.Count,
        IList<Tensor> list => list.Count,
        _ => 0,
    };

    private static Bridge.Value ToValue(object? argument, ref long* free)
    {
        switch (argument)
        {
            case null:
                return default;
            case Tensor tensor:
                return new Bridge.Value { Tag = Bridge.Tag.Tensor, Payload = tensor.Handle };
            case Scalar scalar:
                return ToValue(scalar.Value, ref free);
            case long integer:
                return new Bridge.Value { Tag = Bridge.Tag.Integer, Payload = integer };
            case int integer:
                return new Bridge.Value { Tag = Bridge.Tag.Integer, Payload = integer };
            case double real:
                return new Bridge.Value { Tag = Bridge.Tag.Real, Payload = BitConverter.DoubleToInt64Bits(real) };
            case float real:
                return new Bridge.Value { Tag = Bridge.Tag.Real, Payload = BitConverter.DoubleToInt64Bits(real) };
            case bool boolean:
                return new Bridge.Value { Tag = Bridge.Tag.Boolean, Payload = boolean ? 1 : 0 };
            case ScalarType type:
                return new Bridge.Value { Tag = Bridge.Tag.ScalarType, Payload = (long)type };
            case Device device:
                return new Bridge.Value { Tag = Bridge.Tag.Device, Payload = (long)device.type, Length = device.index };
            case Generator generator:
                return new Bridge.Value { Tag = Bridge.Tag.Generator, Payload = generator.LiveHandle };
            case long[] list:
                {
                    list.CopyTo(new Span<long>(free, list.Length));
                    return Block(Bridge.Tag.IntegerList, list.Length, list.Length, ref free);
                }
            case double[] list:
                {
                    list.CopyTo(new Span<double>(free, list.Length));
                    return Block(Bridge.Tag.RealList, list.Length, list.Length, ref free);
                }
            case bool[] list:
                {
                    list.CopyTo(new Span<bool>(free, list.Length));
                    return Block(Bridge.Tag.BooleanList, list.Length, Words(list), ref free);
                }
            case string text:
                {
                    int words = Words(text);
                    int bytes = Encoding.UTF8.GetBytes(text, new Span<byte>(free, words * sizeof(long)));
                    return Block(Bridge.Tag.String, bytes, words, ref free);
                }
            case OptionalTensors list:
                {
                    for (int i = 0; i < list.Items.Count; i++)
                    {
                        free[i] = list.Items[i]?.Handle ?? IntPtr.Zero;
                    }
                    return Block(Bridge.Tag.OptionalTensorList, list.Items.Count, list.Items.Count, ref free);
                }
            case IList<Tensor> list:
                {
                    for (int i = 0; i < list.Count; i++)
                    {
                        free[i] = list[i].Handle;
                    }
                    return Block(Bridge.Tag.TensorList, list.Count, list.Count, ref free);
                }
            case not null when ReferenceEquals(argument, Undefined):
                return new Bridge.Value { Tag = Bridge.Tag.Tensor };
            default:
                throw new ArgumentException($"an operator argument cannot be a {argument.GetType()}", nameof(argument));
        }
    }

    private static Bridge.Value Block(Bridge.Tag tag, int length, int words, ref long* free)
    {
        var value = new Bridge.Value { Tag = tag, Payload = (long)free, Length = length };
        free += words;
        return value;
    }
}
