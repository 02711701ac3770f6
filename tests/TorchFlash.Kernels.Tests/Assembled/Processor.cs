using Iced.Intel;

namespace TorchFlash.Kernels.Tests.Assembled;

/// <summary>
/// A processor in software for the instructions of the assembled tiles, as Iced decodes them from their bytes: registers, a flag, and memory
/// of which it knows what may be read and written. Whatever else is met, the stack included, is an error.
/// </summary>
internal sealed unsafe class Processor
{
    private const int Words = 16;

    private readonly List<(nint Start, nint Bytes, bool Write)> _memory;
    private readonly ulong[] _general = new ulong[16];
    private readonly uint[][] _vectors = [.. Enumerable.Range(0, 32).Select(_ => new uint[Words])];
    private bool _zero;

    /// <param name="memory">What may be read, and what may be written.</param>
    public Processor(IEnumerable<(nint Start, nint Bytes, bool Write)> memory)
    {
        _memory = [.. memory];
        var random = new Random(1);
        for (int i = 0; i < _general.Length; i++)
            _general[i] = (ulong)random.NextInt64() << 16 | 8; // no address of a process
        foreach (uint[] vector in _vectors)
        {
            for (int i = 0; i < Words; i++)
                vector[i] = (uint)random.Next();
        }
    }

    /// <summary>Instructions executed.</summary>
    public long Count { get; private set; }

    /// <summary>The instructions from the first byte to the last.</summary>
    public static Instruction[] Decode(byte[] code)
    {
        var decoder = Decoder.Create(64, new ByteArrayCodeReader(code));
        var list = new List<Instruction>();
        while (decoder.IP < (ulong)code.Length)
            list.Add(decoder.Decode());
        return [.. list];
    }

    /// <summary>Calls the code with one argument, and checks that it gives the caller back what the convention says.</summary>
    public void Call(byte[] code, nint argument, bool windows)
    {
        _general[Number(windows ? Register.RCX : Register.RDI)] = (ulong)argument;
        ulong[] before = [.. _general];
        uint[][] vectors = [.. _vectors.Select(v => v[..4])];

        Dictionary<ulong, Instruction> at = Decode(code).ToDictionary(i => i.IP);
        ulong next = 0;
        while (at.TryGetValue(next, out Instruction instruction) && instruction.Mnemonic != Mnemonic.Ret)
        {
            next = instruction.NextIP;
            Execute(instruction, ref next);
            Count++;
        }
        Assert.True(at.ContainsKey(next), $"control goes to {next}");

        Register[] kept = [Register.RBX, Register.RBP, Register.RSP, Register.R12, Register.R13, Register.R14, Register.R15, .. windows ? new[] { Register.RSI, Register.RDI } : []];
        Assert.All(kept, r => Assert.Equal(before[Number(r)], _general[Number(r)]));
        for (int i = 6; windows && i < 16; i++)
            Assert.Equal(vectors[i], _vectors[i][..4]);
        Assert.All(_vectors[..16], v => Assert.All(v[4..], word => Assert.Equal(0u, word))); // or the caller's SSE code is slow
    }

    private void Execute(in Instruction i, ref ulong next)
    {
        switch (i.Mnemonic)
        {
            case Mnemonic.Mov:
                Write(i, Read(i, 1));
                break;
            case Mnemonic.Lea:
                Write(i, (ulong)Address(i));
                break;
            case Mnemonic.Add:
                Write(i, Read(i, 0) + Read(i, 1), flag: true);
                break;
            case Mnemonic.Dec:
                Write(i, Read(i, 0) - 1, flag: true);
                break;
            case Mnemonic.Cmp:
                _zero = Read(i, 0) == Read(i, 1);
                break;
            case Mnemonic.Test:
                _zero = (Read(i, 0) & Read(i, 1)) == 0;
                break;
            case Mnemonic.Je:
                next = _zero ? i.NearBranchTarget : next;
                break;
            case Mnemonic.Jne:
                next = _zero ? next : i.NearBranchTarget;
                break;
            case Mnemonic.Vmovups when i.Op0Kind == OpKind.Memory:
                Vector(i.Op1Register).AsSpan(0, Length(i.Op1Register)).CopyTo(new Span<uint>(Access(i, 4 * Length(i.Op1Register), true), Words));
                break;
            case Mnemonic.Vmovups:
                SetVector(i, Operand(i, 1));
                break;
            case Mnemonic.Vpbroadcastd:
                SetVector(i, [.. Enumerable.Repeat(*(uint*)Access(i, 4, false), Length(i.Op0Register))]);
                break;
            case Mnemonic.Vpxord:
                SetVector(i, Elementwise(Operand(i, 1), Operand(i, 2), (x, y) => x ^ y));
                break;
            case Mnemonic.Vaddps:
                SetVector(i, Elementwise(Operand(i, 1), Operand(i, 2), (x, y) => Bits(Float(x) + Float(y))));
                break;
            case Mnemonic.Vdpbf16ps:
                uint[] first = Operand(i, 1), second = Operand(i, 2), sum = Operand(i, 0);
                SetVector(i, [.. sum.Select((s, n) => Bits(PairArithmetic.DotProduct(Float(s), first[n], second[n])))]);
                break;
            case Mnemonic.Vzeroupper:
                foreach (uint[] vector in _vectors[..16])
                    vector.AsSpan(4).Clear();
                break;
            default:
                Assert.Fail($"{i} at {i.IP} is not an instruction of a tile");
                break;
        }
    }

    private ulong Read(in Instruction i, int operand) => i.GetOpKind(operand) switch
    {
        OpKind.Register => _general[Number(i.GetOpRegister(operand))],
        OpKind.Memory => *(ulong*)Access(i, sizeof(ulong), false),
        _ => i.GetImmediate(operand),
    };

    private void Write(in Instruction i, ulong value, bool flag = false)
    {
        if (flag)
            _zero = value == 0;
        if (i.Op0Kind == OpKind.Register)
            _general[Number(i.Op0Register)] = value;
        else
            *(ulong*)Access(i, sizeof(ulong), true) = value;
    }

    private uint[] Operand(in Instruction i, int operand)
    {
        int length = Length(i.Op0Register);
        if (i.GetOpKind(operand) == OpKind.Register)
            return Vector(i.GetOpRegister(operand))[..length];
        return i.IsBroadcast
            ? [.. Enumerable.Repeat(*(uint*)Access(i, sizeof(uint), false), length)]
            : new Span<uint>(Access(i, sizeof(uint) * length, false), length).ToArray();
    }

    /// <summary>An instruction of AVX writes the whole register: zeros above its own length.</summary>
    private void SetVector(in Instruction i, uint[] value)
    {
        Assert.False(i.HasOpMask, $"{i} is masked");
        uint[] vector = Vector(i.Op0Register);
        value.CopyTo(vector, 0);
        vector.AsSpan(value.Length).Clear();
    }

    private byte* Access(in Instruction i, int bytes, bool write)
    {
        nint address = Address(i);
        Assert.True(_memory.Any(m => (m.Write || !write) && m.Start <= address && address + bytes <= m.Start + m.Bytes),
            $"{i} at {i.IP} {(write ? "writes" : "reads")} {bytes} bytes outside");
        return (byte*)address;
    }

    private nint Address(in Instruction i)
    {
        ulong index = i.MemoryIndex == Register.None ? 0 : _general[Number(i.MemoryIndex)] * (ulong)i.MemoryIndexScale;
        return (nint)(_general[Number(i.MemoryBase)] + index + i.MemoryDisplacement64);
    }

    private uint[] Vector(Register register) => _vectors[register.GetNumber()];

    private static int Length(Register register) => register.GetSize() / sizeof(uint);

    private static int Number(Register register)
    {
        Assert.True(register.IsGPR64(), $"{register} is not a 64-bit register");
        return register.GetNumber();
    }

    private static uint[] Elementwise(uint[] x, uint[] y, Func<uint, uint, uint> f) => [.. x.Zip(y, f)];

    private static float Float(uint bits) => BitConverter.UInt32BitsToSingle(bits);

    private static uint Bits(float value) => BitConverter.SingleToUInt32Bits(value);
}
