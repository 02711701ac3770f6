using System.Reflection;
using System.Reflection.Emit;
using System.Runtime.Intrinsics;
using TorchFlash.Kernels.Scores;
using static System.Reflection.Emit.OpCodes;

namespace TorchFlash.Kernels.Cpu.Scores;

/// <summary>
/// A plan as machine code: one method with the loops of the tile. Operations are calls of the methods of Vector512, Vector256 or Vector128
/// by name, and of <see cref="TileMemory"/>, which the JIT makes instructions of as in any other method.
/// </summary>
internal sealed unsafe class Emitter
{
    private readonly Plan _plan;
    private readonly ILGenerator _il;

    /// <summary>The class of the operations; a number, an integer as wide, and registers of them (of integers also truth values: all bits or none).</summary>
    private readonly Type _vectors, _t, _i, _real, _whole;

    private readonly int _size, _count;

    /// <summary>How often a value is pushed, and how deep in the loops.</summary>
    private readonly Dictionary<Node, (int Uses, int Level)> _uses = [];
    private readonly Dictionary<Node, LocalBuilder> _values = [], _addresses = [];
    private readonly Dictionary<Sink, LocalBuilder> _places = [], _sums = [];
    private readonly LocalBuilder _row, _x, _left, _mask, _lane, _raw, _scores, _gradients;

    private Emitter(Plan plan, ILGenerator il, int bits, bool isDouble)
    {
        (_plan, _il) = (plan, il);
        (_vectors, Type open) = bits switch
        {
            512 => (typeof(Vector512), typeof(Vector512<>)),
            256 => (typeof(Vector256), typeof(Vector256<>)),
            _ => (typeof(Vector128), typeof(Vector128<>)),
        };
        (_t, _i, _size) = isDouble ? (typeof(double), typeof(long), sizeof(double)) : (typeof(float), typeof(int), sizeof(float));
        (_real, _whole, _count) = (open.MakeGenericType(_t), open.MakeGenericType(_i), bits / 8 / _size);
        (_row, _left, _mask, _lane) = (il.DeclareLocal(typeof(int)), il.DeclareLocal(typeof(int)), il.DeclareLocal(_whole), il.DeclareLocal(_whole));
        (_x, _raw, _scores, _gradients) = (Pointer(), Pointer(), Pointer(), Pointer());
    }

    public static TileCode Compile(Plan plan, int bits, bool isDouble)
    {
        var method = new DynamicMethod("ScoreProgram", typeof(void), [typeof(TileArguments*)], typeof(Emitter).Module, skipVisibility: true) { InitLocals = false };
        new Emitter(plan, method.GetILGenerator(), bits, isDouble).Tile();
        return method.CreateDelegate<TileCode>();
    }

    /// <summary>Values of level 0; for each row those of level 1; for each register those of level 2, and once more for what is left of a row.</summary>
    private void Tile()
    {
        foreach (Sink sink in _plan.Sinks)
        {
            Use(sink.Value, 2);
            if (sink.Place != null)
                UseIndices(sink.Place);
        }
        bool hasTail = _plan.Sinks.Exists(sink => sink.Target == Target.Captured) || _plan.Nodes.Exists(node => node.Op is Op.LoadAscending or Op.LoadDescending or Op.LoadGather);
        if (hasTail)
        {
            Field(nameof(TileArguments.Lanes)).Number(_count).Do(Rem).Set(_left);
            Iota().Local(_left).Broadcast(ScoreKind.Int).Call("LessThan", _whole, _whole).Set(_mask);
        }
        bool usesLane = _uses.Keys.Any(IsLane);
        Field(nameof(TileArguments.Raw)).Set(_raw).Field(nameof(TileArguments.Scores)).Set(_scores).Field(nameof(TileArguments.Gradients)).Set(_gradients);
        Enter(0);
        Number(0).Set(_row);
        Loop(() => Local(_row).Field(nameof(TileArguments.Rows)), () =>
        {
            Enter(1);
            if (usesLane)
                Field(nameof(TileArguments.FirstLane)).Broadcast(ScoreKind.Int).Iota().Call("Add", _whole, _whole).Set(_lane);
            Number(0).Do(Conv_I).Set(_x);
            Loop(() => (hasTail ? Local(_x).Number(_count).Do(Add) : Local(_x)).Field(nameof(TileArguments.Lanes)).Number(hasTail ? 1 : 0).Do(Add).Do(Conv_I), () =>
            {
                Registers(tail: false);
                Local(_x).Number(_count).Do(Add).Set(_x);
                if (usesLane)
                    Local(_lane).Number(_count).Broadcast(ScoreKind.Int).Call("Add", _whole, _whole).Set(_lane);
            });
            if (hasTail)
            {
                Label whole = _il.DefineLabel();
                Local(_left)._il.Emit(Brfalse, whole);
                Registers(tail: true);
                _il.MarkLabel(whole);
            }
            Leave(1);
            foreach ((LocalBuilder p, string stride) in ((LocalBuilder, string)[])[(_raw, nameof(TileArguments.RawStride)), (_scores, nameof(TileArguments.ScoresStride)), (_gradients, nameof(TileArguments.GradientsStride))])
                Local(p).Field(stride).Times(_size).Do(Add).Set(p);
            Local(_row).Number(1).Do(Add).Set(_row);
        });
        Leave(0);
        Do(Ret);
    }

    /// <summary>While the first of the two numbers is less.</summary>
    private void Loop(Action compared, Action body)
    {
        Label next = _il.DefineLabel(), done = _il.DefineLabel();
        _il.MarkLabel(next);
        compared();
        _il.Emit(Bge, done);
        body();
        _il.Emit(Br, next);
        _il.MarkLabel(done);
    }

    private void Use(Node node, int level)
    {
        bool isNew = !_uses.TryGetValue(node, out (int Uses, int Level) use);
        _uses[node] = (use.Uses + 1, Math.Max(use.Level, level));
        if (isNew && IsLoad(node))
            UseIndices(node);
        else if (isNew)
            Array.ForEach(node.Arguments, argument => Use(argument, _plan.Level(node)));
    }

    /// <summary>What the address of a load needs in registers: offsets, and of indices what <see cref="Scalar"/> does not compute itself.</summary>
    private void UseIndices(Node load)
    {
        if (load.Op == Op.LoadGather)
            Use(load.Arguments[0], 2);
        Array.ForEach(Indices(load), Visit);

        void Visit(Node index)
        {
            if (IsScalar(index))
                Array.ForEach(index.Arguments, Visit);
            else
                Use(index, _plan.Level(index));
        }
    }

    private static bool IsLoad(Node node) => node.Op is >= Op.LoadUniform and <= Op.LoadGather;

    private static Node[] Indices(Node load) => load.Op == Op.LoadGather ? load.Arguments[1..] : load.Arguments;

    private bool IsLane(Node node) => node.Op is Op.Query or Op.Key && !_plan.IsRow(node.Op);

    private static bool IsScalar(Node node)
        => node.Op is Op.Constant or Op.Parameter or Op.Batch or Op.Head or Op.Query or Op.Key or Op.FirstRow or Op.FirstLane or Op.Add or Op.Subtract or Op.Multiply or Op.Negate;

    /// <summary>Level of the loop in which the address of a load's first lane is known.</summary>
    private int AddressLevel(Node load) => Indices(load).Select(_plan.Level).DefaultIfEmpty().Max();

    private void Enter(int level)
    {
        foreach (Node node in _plan.Nodes)
        {
            if (IsLoad(node) && _uses.ContainsKey(node) && AddressLevel(node) == level)
            {
                Address(node, nameof(CapturedTensor.Data), nameof(CapturedTensor.Stride0)).Set(_addresses[node] = Pointer());
                if (node.Op == Op.LoadStaged)
                    Stage(node);
            }
            if (_plan.Level(node) == level)
                Keep(node, tail: false);
        }
        foreach (Sink sink in _plan.Sinks.Where(sink => sink.Place != null && AddressLevel(sink.Place) == level))
            Address(sink.Place!, nameof(CapturedTensor.Gradient), nameof(CapturedTensor.GradientStride0)).Set(_places[sink] = Pointer());
        foreach (Sink sink in Sums(level))
            Property("get_Zero", _real).Set(_sums[sink] = _il.DeclareLocal(_real));
    }

    /// <summary>What was summed over a row or over the tile goes where it belongs.</summary>
    private void Leave(int level)
    {
        foreach (Sink sink in Sums(level))
        {
            Local(_places[sink]).Local(_places[sink])._il.Emit(Ldobj, _t);
            Local(_sums[sink]).Call("Sum", _real).Do(Add)._il.Emit(Stobj, _t);
        }
    }

    private IEnumerable<Sink> Sums(int level) => _plan.Sinks.Where(sink => sink.Place?.Op == Op.LoadUniform && AddressLevel(sink.Place) == level);

    private void Registers(bool tail)
    {
        foreach (Node node in _plan.Nodes.Where(node => _plan.Level(node) == 2))
            Keep(node, tail);
        foreach (Sink sink in _plan.Sinks)
            Write(sink, tail);
    }

    /// <summary>A value that is used twice, in an inner loop or after its source was written over gets a local variable; others are computed where they are used.</summary>
    private void Keep(Node node, bool tail)
    {
        if (node.Op == Op.Constant || !_uses.TryGetValue(node, out (int Uses, int Level) use))
            return;
        if (use.Uses > 1 || use.Level > _plan.Level(node) || node.Op is Op.Score or Op.Gradient || IsLoad(node))
        {
            Value(node, tail);
            if (!_values.TryGetValue(node, out LocalBuilder? local))
                _values.Add(node, local = _il.DeclareLocal(TypeOf(node)));
            Set(local);
        }
    }

    private Emitter Push(Node node)
    {
        if (_values.TryGetValue(node, out LocalBuilder? local))
            return Local(local);
        Value(node, tail: false);
        return this;
    }

    private Emitter Push(Node[] nodes)
    {
        foreach (Node node in nodes)
            Push(node);
        return this;
    }

    private void Value(Node node, bool tail)
    {
        Node[] a = node.Arguments;
        bool isBool = node.Kind == ScoreKind.Bool;
        Type type = TypeOf(node), of = a.Length > 0 ? TypeOf(a[^1]) : type;
        switch (node.Op)
        {
            case Op.Score: At(_raw, 1).Load(_t); break;
            case Op.Gradient: At(_gradients, 1).Load(_t); break;
            case Op.Constant: Constant(node).Broadcast(node.Kind); break;
            case Op.Scale: Field(nameof(TileArguments.Scale)).Broadcast(node.Kind); break;
            case Op.Stride: Capture(node, nameof(CapturedTensor.Stride0), (int)node.Value).Broadcast(node.Kind); break;
            case Op.Query or Op.Key when IsLane(node): Local(_lane); break;
            case Op.Parameter or Op.Batch or Op.Head or Op.Query or Op.Key or Op.FirstRow or Op.FirstLane: Scalar(node).Broadcast(node.Kind); break;
            case Op.LoadUniform:
                Local(_addresses[node])._il.Emit(Ldobj, isBool ? typeof(byte) : node.Kind == ScoreKind.Int ? _i : _t);
                Broadcast(node.Kind);
                break;
            case Op.LoadAscending when tail: At(_addresses[node], 1, isBool).Elements(node, 1); break;
            case Op.LoadDescending when tail || isBool: At(_addresses[node], -1, isBool).Elements(node, -1, tail); break;
            case Op.LoadAscending when isBool: Prefetch(node, _addresses[node]).At(_addresses[node], 1, isBool).Helper("Widen", _whole, _i).IsTrue(); break;
            case Op.LoadAscending: Prefetch(node, _addresses[node]).At(_addresses[node], 1).Load(Element(node)); break;
            case Op.LoadDescending:
                Down(_addresses[node]).Load(Element(node)).Reverse(type);
                break;
            case Op.LoadStaged:
                Local(_row).Do(Conv_I).Field(nameof(TileArguments.StagedStride)).Do(Mul).Local(_x).Do(Add);
                Times(isBool ? 1 : _size).Local(_addresses[node]).Do(Add);
                if (isBool)
                    Helper("Widen", _whole, _i).IsTrue();
                else
                    Load(Element(node));
                break;
            case Op.LoadGather:
                Local(_addresses[node]).Offset(a[0], tail);
                if (isBool)
                    Helper("GatherElements", _whole, _whole, _i, typeof(byte)).IsTrue();
                else
                    Helper("Gather", type, _whole, _i);
                break;
            case Op.MultiplyAdd: Push(a).Call("MultiplyAddEstimate", type, type, type); break;
            case Op.PowerOfTwo: Push(a).As(_real, _whole).Number(_size == 4 ? 23 : 52).CallExact("ShiftLeft", _whole, typeof(int)).As(_whole, _real); break;
            case Op.Quotient when _real == typeof(Vector512<float>): Push(a).Helper("Quotient"); break;
            case Op.Quotient: Push(a).Call("Divide", type, type); break;
            case Op.Divide when node.Kind == ScoreKind.Int: Push(a).Helper("Divide", _whole, _i); break;
            case Op.Remainder: Push(a[0]).Push(a[0]).Push(a[1]).Helper("Divide", _whole, _i).Push(a[1]).Call("Multiply", type, type).Call("Subtract", type, type); break;
            case Op.ToReal: Push(a).CallExact(_size == 4 ? "ConvertToSingle" : "ConvertToDouble", _whole); break;
            case Op.Log: Push(a).CallExact("Log", _real); break;
            case Op.Select:
                Push(a[0]);
                if (type == _real)
                    As(_whole, _real);
                Push(a[1]).Push(a[2]).Call("ConditionalSelect", type, type, type);
                break;
            case Op.Less or Op.LessOrEqual or Op.Equal:
                Push(a).Call(node.Op switch { Op.Less => "LessThan", Op.LessOrEqual => "LessThanOrEqual", _ => "Equals" }, of, of);
                if (of == _real)
                    As(_real, _whole);
                break;
            case Op.And: Push(a).Call("BitwiseAnd", type, type); break;
            case Op.Or: Push(a).Call("BitwiseOr", type, type); break;
            case Op.Not: Push(a).Call("OnesComplement", type); break;
            default: Push(a).Call(node.Op.ToString(), [.. a.Select(TypeOf)]); break; // Add, Subtract, Multiply, Divide, Negate, Abs, Min, Max, Sqrt, MinNative, MaxNative
        }
    }

    private void Write(Sink sink, bool tail)
    {
        if (sink.Place is not { } place)
        {
            Push(sink.Value).At(sink.Target switch { Target.Raw => _raw, Target.Scores => _scores, _ => _gradients }, 1).Store();
            return;
        }
        LocalBuilder p = _places[sink];
        switch (place.Op)
        {
            case Op.LoadUniform:
                Push(sink.Value);
                if (tail)
                    Local(_mask).As(_whole, _real).Call("BitwiseAnd", _real, _real);
                Local(_sums[sink]).Call("Add", _real, _real).Set(_sums[sink]);
                break;
            case Op.LoadAscending when !tail:
                Prefetch(place, p).At(p, 1).Load(_t).Push(sink.Value).Call("Add", _real, _real).At(p, 1).Store();
                break;
            case Op.LoadDescending when !tail:
                Down(p).Load(_t).Push(sink.Value).Reverse(_real).Call("Add", _real, _real).Down(p).Store();
                break;
            case Op.LoadGather:
                Push(sink.Value).Local(p).Offset(place.Arguments[0], tail).Lanes(tail).Helper("Scatter", _real, _whole, _t, _i);
                break;
            case Op.LoadStaged:
                Push(sink.Value).Local(p).Local(_row).Do(Conv_I).Capture(place, nameof(CapturedTensor.GradientStride0), place.Arguments.Length - 1).Do(Mul);
                Local(_x).Capture(place, nameof(CapturedTensor.GradientStride0), (int)place.Value).Do(Mul).Do(Add).Times(_size).Do(Add);
                Capture(place, nameof(CapturedTensor.GradientStride0), (int)place.Value).Lanes(tail).Helper("Add", _real, _t);
                break;
            default:
                int step = place.Op == Op.LoadDescending ? -1 : 1;
                Push(sink.Value).At(p, step).Number(step).Do(Conv_I).Lanes(tail).Helper("Add", _real, _t);
                break;
        }
    }

    /// <summary>Where the first lane of a load lies (of a staged one: of the tile; of a gather: what its offsets are added to).</summary>
    private Emitter Address(Node load, string field, string stride0)
    {
        Capture(load, field);
        Node[] indices = Indices(load);
        for (int k = 0; k < indices.Length; k++)
            Scalar(indices[k]).Do(Conv_I).Capture(load, stride0, k).Do(Mul).Times(load.Kind == ScoreKind.Bool ? 1 : _size).Do(Add);
        return this;
    }

    private void Stage(Node node)
    {
        int size = node.Kind == ScoreKind.Bool ? 1 : _size;
        Keep(nameof(TileArguments.StagedFrom), () => Local(_addresses[node]));
        Keep(nameof(TileArguments.StagedFromStride), () => Capture(node, nameof(CapturedTensor.Stride0), (int)node.Value).Times(size));
        Keep(nameof(TileArguments.StagedFromSize), () => Number(size));
        LocalBuilder to = Pointer();
        Field(nameof(TileArguments.Staged)).Field(nameof(TileArguments.StagedStride)).Field(nameof(TileArguments.Rows)).Do(Conv_I).Do(Mul).Times(_size * _plan.Staged.IndexOf(node)).Do(Add).Set(to);
        Local(_addresses[node]).Capture(node, nameof(CapturedTensor.Stride0), (int)node.Value).Local(to).Field(nameof(TileArguments.StagedStride));
        Field(nameof(TileArguments.Rows)).Field(nameof(TileArguments.Lanes));
        if (node.Kind == ScoreKind.Bool)
            Helper(nameof(TileMemory.StageBytes));
        else
            Helper(nameof(TileMemory.Stage), Element(node));
        Local(to).Set(_addresses[node]);

        void Keep(string field, Action value)
        {
            _il.Emit(Ldarg_0);
            value();
            _il.Emit(Stfld, typeof(TileArguments).GetField(field)!);
        }
    }

    /// <summary>A number that is the same in all lanes, as one; what <see cref="IsScalar"/> does not know comes from a register.</summary>
    private Emitter Scalar(Node node)
    {
        switch (node.Op)
        {
            case Op.Constant: return Constant(node);
            case Op.Batch: return Field(nameof(TileArguments.Batch));
            case Op.Head: return Field(nameof(TileArguments.Head));
            case Op.FirstRow: return Field(nameof(TileArguments.FirstRow));
            case Op.FirstLane: return Field(nameof(TileArguments.FirstLane));
            case Op.Query or Op.Key: return Field(nameof(TileArguments.FirstRow)).Local(_row).Do(Add);
            case Op.Parameter:
                Field(nameof(TileArguments.Parameters)).Number((int)node.Value * sizeof(double)).Do(Add).Do(Ldind_R8);
                return node.Kind == ScoreKind.Real ? this : Do(Conv_I4);
            case Op.Negate: return Scalar(node.Arguments[0]).Do(Neg);
            case Op.Add or Op.Subtract or Op.Multiply:
                return Scalar(node.Arguments[0]).Scalar(node.Arguments[1]).Do(node.Op == Op.Add ? Add : node.Op == Op.Subtract ? Sub : Mul);
            default: return Push(node).Call("ToScalar", _whole).Do(Conv_I4);
        }
    }

    // ---- Words of a stack machine's program.
    private Emitter Emit(Action word)
    {
        word();
        return this;
    }

    private Emitter Call(MethodInfo method) => Emit(() => _il.Emit(OpCodes.Call, method));

    private Emitter Do(OpCode code) => Emit(() => _il.Emit(code));

    private Emitter Number(int x) => Emit(() => _il.Emit(Ldc_I4, x));

    /// <summary>Times a number, as a pointer is.</summary>
    private Emitter Times(int x) => Number(x).Do(Conv_I).Do(Mul);

    private Emitter Constant(Node node) => node.Kind == ScoreKind.Real ? Emit(() => _il.Emit(Ldc_R8, node.Value)) : Number((int)node.Value);

    private Emitter Local(LocalBuilder local) => Emit(() => _il.Emit(Ldloc, local));

    private Emitter Set(LocalBuilder local) => Emit(() => _il.Emit(Stloc, local));

    private Emitter Field(string name) => Do(Ldarg_0).Emit(() => _il.Emit(Ldfld, typeof(TileArguments).GetField(name)!));

    /// <summary>A field of the tensor of a load; the k-th stride after the first.</summary>
    private Emitter Capture(Node load, string name, int k = 0)
        => Field(nameof(TileArguments.Tensors)).Number((int)load.Tag! * sizeof(CapturedTensor) + k * sizeof(nint)).Do(Add).Emit(() => _il.Emit(Ldfld, typeof(CapturedTensor).GetField(name)!));

    /// <summary>p ± x</summary>
    private Emitter At(LocalBuilder p, int step, bool isBool = false) => Local(p).Local(_x).Times(step * (isBool ? 1 : _size)).Do(Add);

    /// <summary>Where rows lie apart: asks for what the next panel finds behind this one.</summary>
    private Emitter Prefetch(Node load, LocalBuilder p)
    {
        bool isBool = load.Kind == ScoreKind.Bool;
        return !load.Arguments.Any(x => _plan.Level(x) == 1) ? this
            : At(p, 1, isBool).Field(nameof(TileArguments.Lanes)).Number(isBool ? 1 : _size).Do(Mul).Do(Add).Helper(nameof(TileMemory.Prefetch));
    }

    /// <summary>p - x, where the last lane of the register lies.</summary>
    private Emitter Down(LocalBuilder p) => At(p, -1).Number((1 - _count) * _size).Do(Add);

    private Emitter Reverse(Type type)
        => Number(_count - 1).Broadcast(ScoreKind.Int).Iota().Call("Subtract", _whole, _whole).Call("Shuffle", type, _whole);

    private Emitter Lanes(bool tail) => tail ? Local(_left) : Number(_count);

    /// <summary>Of lanes that do not exist the offset is 0.</summary>
    private Emitter Offset(Node offset, bool tail) => tail ? Push(offset).Local(_mask).Call("BitwiseAnd", _whole, _whole) : Push(offset);

    private Emitter Elements(Node node, int stride, bool tail = true)
    {
        Number(stride).Do(Conv_I).Lanes(tail);
        return node.Kind == ScoreKind.Bool ? Helper("Elements", _whole, typeof(byte), _i).IsTrue() : Helper("Elements", TypeOf(node), Element(node), Element(node));
    }

    /// <summary>Integers as truth values.</summary>
    private Emitter IsTrue() => Property("get_Zero", _whole).Call("GreaterThan", _whole, _whole);

    private Emitter Iota() => Property("get_Indices", _whole);

    private Emitter Property(string property, Type register) => Call(register.GetMethod(property)!);

    /// <summary>A number as a register; of a truth value all bits or none.</summary>
    private Emitter Broadcast(ScoreKind kind)
    {
        if (kind == ScoreKind.Bool)
            Do(Neg);
        Do(kind == ScoreKind.Real ? _size == 4 ? Conv_R4 : Conv_R8 : _size == 4 ? Conv_I4 : Conv_I8);
        return CallExact("Create", kind == ScoreKind.Real ? _t : _i);
    }

    private Emitter Load(Type element) => Call(Method("Load", 1, element));

    private Emitter Store() => Call(Method("Store", 2, _t));

    private Emitter As(Type from, Type to) => Call(Method("As", 1, from.GenericTypeArguments[0], to.GenericTypeArguments[0]));

    /// <summary>An operation of the registers' class: the one for these very types, or the generic one.</summary>
    private Emitter Call(string name, params Type[] types)
    {
        if (_vectors.GetMethod(name, types) is { } exact)
            return Call(exact);
        Type open = types[0].GetGenericTypeDefinition().MakeGenericType(Type.MakeGenericMethodParameter(0));
        return Call(_vectors.GetMethod(name, 1, [.. types.Select(_ => open)])!.MakeGenericMethod(types[0].GenericTypeArguments[0]));
    }

    private Emitter CallExact(string name, params Type[] types) => Call(_vectors.GetMethod(name, types)!);

    private Emitter Helper(string name, params Type[] types)
    {
        MethodInfo method = typeof(TileMemory).GetMethod(name)!;
        return Call(types.Length == 0 ? method : method.MakeGenericMethod(types));
    }

    private MethodInfo Method(string name, int parameters, params Type[] types)
        => _vectors.GetMethods().Single(x => x.Name == name && x.GetParameters().Length == parameters).MakeGenericMethod(types);

    private LocalBuilder Pointer() => _il.DeclareLocal(typeof(nint));

    private Type TypeOf(Node node) => node.Kind == ScoreKind.Real ? _real : _whole;

    private Type Element(Node node) => node.Kind == ScoreKind.Real ? _t : _i;
}
