using System.Collections;
using System.Diagnostics;
using System.Globalization;
using System.Reflection;
using System.Runtime.InteropServices;
using TorchSharp;
using TorchSharp.Utils;
using static TorchSharp.torch;

namespace TorchSharpTests;

/// <summary>
/// Disposed, null and absurd arguments for every import of the bridge and every public member: any exception will do, the
/// end of the process will not. Each kind runs in a process of its own with little memory, which names the call it is in.
/// </summary>
public class FuzzTests
{
    [Fact]
    public void NoImportEndsTheProcess() => Survives(Fuzz.Imports);

    [Fact]
    public void NoMemberEndsTheProcess() => Survives(Fuzz.Members);

    private static void Survives(Action action)
    {
        Child child = Child.Run(action);
        Assert.True(child.ExitCode == 0, $"exit code {child.ExitCode}\n{child.Output[^Math.Min(child.Output.Length, 4000)..]}");
    }
}

internal sealed partial class Fuzz
{
    // They start as many threads as they are told to, which the process has no memory for: ProcessSetupTests.
    private static readonly string[] Apart = [nameof(Bridge.SetThreads), nameof(set_num_threads)];

    // They end the process on purpose: AutogradFunctionTests.TheProcessEnds, GeneratorTests.
    private static readonly string[] Fatal = ["grad", "matmul", nameof(Generator.set_state), nameof(set_rng_state)];

    private static readonly TimeSpan Budget = TimeSpan.FromSeconds(10);

    private static readonly long[] Integers = [0, 1, 2, 3, -1, -2, 7, 64, 1000, int.MaxValue, int.MinValue, 1L << 40, long.MaxValue, long.MinValue];
    private static readonly double[] Reals = [0, 1, -1, 0.5, 1e-320, double.MaxValue, double.NaN, double.PositiveInfinity, double.NegativeInfinity];
    private static readonly string?[] Texts = [null, "", "mean", "absurd", "aten::add", "Tensor", "no/such/folder", "\0"];

    private readonly Random _random;
    private readonly Dictionary<Type, List<object>> _seen = [];

    private Fuzz(int seed) => _random = new Random(seed);

    /// <summary>All pointers null, all numbers absurd.</summary>
    internal static void Imports() => new Fuzz(1).Call([.. BridgeTests.Imports], 200);

    internal static void Members()
    {
        const BindingFlags all = BindingFlags.Public | BindingFlags.Static | BindingFlags.Instance | BindingFlags.DeclaredOnly;
        MethodBase[] members = [.. typeof(torch).Assembly.GetTypes().Where(type => type.IsVisible)
            .SelectMany(type => type.GetMembers(all)).OfType<MethodBase>()
            .Where(method => !Delegate(method.DeclaringType!))];
        new Fuzz(2).Call(members, 20);

        static bool Delegate(Type type) => type.IsSubclassOf(typeof(Delegate));
    }

    private void Call(MethodBase[] methods, int rounds)
    {
        using var log = new StreamWriter(Console.OpenStandardError()) { AutoFlush = true };
        set_num_threads(1);
        linalg.det(rand(64, 64).mm(rand(64, 64))); // OpenBLAS tries for ever to get its buffers where there is no memory
        LimitMemory();
        var watch = Stopwatch.StartNew();
        int calls = 0;
        // Once round in any case: without it a result would say nothing.
        for (int round = 0; round < rounds && (round == 0 || watch.Elapsed < Budget); round++)
        {
            foreach (MethodBase declared in methods.Where(method => !Apart.Contains(method.Name) && !Fatal.Contains(method.Name)))
            {
                if (Closed(declared) is not { } method || method.GetParameters().Any(parameter => parameter.ParameterType.IsByRefLike))
                {
                    continue;
                }
                object? self = method.IsStatic || method.IsConstructor ? null : Make(method.DeclaringType!);
                if (self is null && !method.IsStatic && !method.IsConstructor)
                {
                    continue;
                }
                object?[] arguments = [.. method.GetParameters().Select(parameter => Make(parameter.ParameterType))];
                log.WriteLine($"{method.DeclaringType}.{method}: {Text(self)}({string.Join(", ", arguments.Select(Text))})");
                Keep(Invoke(method, self, arguments));
                set_default_dtype(ScalarType.Float32); // which the next arguments are made with
                set_default_device(CPU);
                calls++;
            }
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }
        Assert.True(calls > methods.Length / 2, $"{calls} calls of {methods.Length} methods mean nothing");
    }

    private static object? Invoke(MethodBase method, object? self, object?[] arguments)
    {
        try
        {
            return method is ConstructorInfo constructor ? constructor.Invoke(arguments) : method.Invoke(self, arguments);
        }
        catch (Exception)
        {
            return null;
        }
    }

    // What calls return is what later calls are made on and given, some of it disposed of.
    private void Keep(object? result)
    {
        if (result is not null && result is not Tensor && result.GetType().Assembly == typeof(torch).Assembly)
        {
            if (!_seen.TryGetValue(result.GetType(), out List<object>? list))
            {
                _seen[result.GetType()] = list = [];
            }
            if (list.Count < 8)
            {
                list.Add(result);
            }
            else
            {
                list[_random.Next(8)] = result;
            }
        }
    }

    private MethodBase? Closed(MethodBase method)
    {
        try
        {
            if (method.DeclaringType!.IsGenericTypeDefinition)
            {
                Type type = method.DeclaringType.MakeGenericType([.. method.DeclaringType.GetGenericArguments().Select(_ => typeof(float))]);
                method = MethodBase.GetMethodFromHandle(method.MethodHandle, type.TypeHandle)!;
            }
            return method.IsGenericMethodDefinition
                ? ((MethodInfo)method).MakeGenericMethod([.. method.GetGenericArguments().Select(_ => Pick<Type>([typeof(float), typeof(long), typeof(Tensor)]))])
                : method;
        }
        catch (ArgumentException)
        {
            return null; // a constraint that no such type meets
        }
    }

    private T Pick<T>(T[] from) => from[_random.Next(from.Length)];

    private object? Make(Type type)
    {
        if (type.IsByRef || type.IsPointer || type == typeof(IntPtr))
        {
            return type == typeof(IntPtr) ? IntPtr.Zero : null;
        }
        if (Nullable.GetUnderlyingType(type) is { } underlying)
        {
            return _random.Next(3) == 0 ? null : Make(underlying);
        }
        if (type.IsEnum)
        {
            return Enum.ToObject(type, (int)Pick(Integers) % 100);
        }
        if (type.IsArray && type.GetElementType() is { } element)
        {
            return _random.Next(8) == 0 ? null : Filled(Array.CreateInstance(element, [.. Enumerable.Range(0, type.GetArrayRank()).Select(_ => _random.Next(4))]), element);
        }
        if (type == typeof(Array))
        {
            return new float[,] { { 1, 2 }, { 3, 4 } };
        }
        if (type == typeof(string))
        {
            return Pick(Texts);
        }
        if (type == typeof(bool))
        {
            return _random.Next(2) == 0;
        }
        if (type == typeof(double))
        {
            return Pick(Reals);
        }
        if (type == typeof(float))
        {
            return (float)Pick(Reals);
        }
        if (type == typeof(Half))
        {
            return (Half)Pick(Reals);
        }
        if (type.IsPrimitive)
        {
            return Number(type);
        }
        if (type == typeof(Scalar))
        {
            return _random.Next(2) == 0 ? Pick(Integers).ToScalar() : Pick(Reals).ToScalar();
        }
        if (type == typeof(Device))
        {
            return Pick<Func<Device?>>([() => null, () => CPU, () => new Device(DeviceType.CUDA, 3), () => new Device((DeviceType)99, 0), () => new Device(DeviceType.CPU, 1000)])();
        }
        if (type == typeof(Generator))
        {
            return Pick<Func<Generator?>>([() => null, () => new Generator(1), () => Disposed(new Generator(1))])();
        }
        if (type == typeof(Stream))
        {
            return Pick<Func<Stream?>>([() => null, () => new MemoryStream(new byte[100]), () => new MemoryStream()])();
        }
        if (type == typeof(BinaryReader))
        {
            return new BinaryReader(new MemoryStream([.. Enumerable.Range(0, 100).Select(_ => (byte)_random.Next(256))]));
        }
        if (type == typeof(BinaryWriter))
        {
            return new BinaryWriter(new MemoryStream());
        }
        if (type == typeof(TorchSharp.Modules.Parameter))
        {
            return new TorchSharp.Modules.Parameter(rand(2, 3), _random.Next(2) == 0);
        }
        if (type == typeof(TensorAccessor<float>))
        {
            return _random.Next(3) == 0 ? Disposed(rand(2, 3).data<float>()) : rand(2, 3).data<float>();
        }
        if (type == typeof(NativeModule))
        {
            return null;
        }
        if (type == typeof(object))
        {
            return _random.Next(2) == 0 ? Some() : 1.5;
        }
        if (type.IsAssignableFrom(typeof(Tensor)))
        {
            return Some();
        }
        if (type.IsGenericType && type.IsAssignableTo(typeof(IEnumerable)) && type.GetGenericArguments() is [var item]
            && Filled(Array.CreateInstance(item, _random.Next(3)), item) is var array && type.IsInstanceOfType(array))
        {
            return array;
        }
        if (type == typeof(List<Tensor>))
        {
            return Enumerable.Range(0, _random.Next(3)).Select(_ => Some()).ToList();
        }
        object[] known = [.. _seen.Where(pair => type.IsAssignableFrom(pair.Key)).SelectMany(pair => pair.Value)];
        return known.Length == 0 || _random.Next(8) == 0
            ? type.IsValueType ? Activator.CreateInstance(type) : null
            : _random.Next(6) == 0 ? Disposed(Pick(known)) : Pick(known);
    }

    private object Number(Type type)
    {
        long value = Pick(Integers);
        return type == typeof(long) ? value
            : type == typeof(ulong) ? (ulong)value
            : type == typeof(int) ? (int)Math.Clamp(value, int.MinValue, int.MaxValue)
            : type == typeof(char) ? 'x'
            : Convert.ChangeType((byte)(value & 127), type, CultureInfo.InvariantCulture);
    }

    private Array Filled(Array array, Type element)
    {
        foreach (int[] index in array.Rank == 1 ? Enumerable.Range(0, array.Length).Select(i => new[] { i }) : [])
        {
            array.SetValue(Make(element), index);
        }
        return array;
    }

    private Tensor? Some() => _random.Next(12) switch
    {
        0 => null,
        1 => Disposed(rand(2)),
        2 => new Tensor(IntPtr.Zero),
        3 => rand(2, 3).t(),
        4 => zeros(0, 3),
        5 => tensor(3L),
        6 => arange(6).view(2, 3),
        7 => ones(2, 3, dtype: ScalarType.Bool),
        8 => rand(2, 3, dtype: ScalarType.Float64, requires_grad: true),
        9 => rand([1, 2, 2, 3]),
        10 => tensor([1000L, -5, long.MaxValue]),
        _ => rand(3, 3),
    };

    private static T Disposed<T>(T value)
    {
        (value as IDisposable)?.Dispose();
        return value;
    }

    private static string Text(object? value) => value switch
    {
        null => "null",
        Tensor { IsInvalid: true } => "invalid",
        Tensor tensor => $"{tensor.dtype}{Text(tensor.shape)}",
        Scalar scalar => $"{scalar.Value}",
        string text => $"\"{text}\"",
        Array array => $"[{string.Join(", ", array.Cast<object?>().Select(Text))}]",
        IFormattable number => number.ToString(null, CultureInfo.InvariantCulture),
        _ => value.GetType().Name,
    };

    // 1 GiB more than now: what absurd sizes ask for is refused.
    private static void LimitMemory()
    {
        ulong pages = ulong.Parse(File.ReadAllText("/proc/self/statm").Split(' ')[0], CultureInfo.InvariantCulture);
        const int addressSpace = 9;
        ulong limit = pages * (ulong)Environment.SystemPageSize + (1UL << 30);
        Assert.Equal(0, SetLimit(addressSpace, [limit, limit]));
    }

    [LibraryImport("libc", EntryPoint = "setrlimit")]
    private static partial int SetLimit(int resource, ulong[] limits);
}
