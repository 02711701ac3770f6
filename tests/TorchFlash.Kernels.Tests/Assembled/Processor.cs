using Iced.Intel;

namespace TorchFlash.Kernels.Tests.Assembled;

/// <summary>
/// A processor in software for the instructions of the assembled tiles, as Iced decodes them from their bytes: registers, a flag, and memory
/// of which it knows what may be read and written. Whatever else is met, the stack included, is an error.
/// </summary>
internal sealed unsafe class Processor
{
    private const int Words = 16, TileRows = 16;

    private readonly List<(nint Start, nint Bytes, bool Write)> _memory;
    private readonly ulong[] _general = new ulong[16];
    private readonly uint[][] _vectors = [.. Enumerable.Range(0, 32).Select(_ => new uint[Words])];
    private readonly uint[][] _tiles = [.. Enumerable.Range(0, 8).Select(_ => new uint[TileRows * Words])];
    private readonly (int Rows, int Words)[] _shapes = new (int, int)[8];
    private bool _zero, _configured;
    private byte[] _code = [];

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

    /// <summary>The instructions from the first byte to the return, which is the last one.</summary>
    public static Instruction[] Decode(byte[] code)
    {
        var decoder = Decoder.Create(64, new ByteArrayCodeReader(code));
        var list = new List<Instruction>();
        do
        {
            list.Add(decoder.Decode());
        }
        while (list[^1].Mnemonic is not (Mnemonic.Ret or Mnemonic.INVALID));
        return [.. list];
    }

    /// <summary>Calls the code with one argument, and checks that it gives the caller back what the convention says.</summary>
    public void Call(byte[] code, nint argument, bool windows)
    {
        _general[Number(windows ? Register.RCX : Register.RDI)] = (ulong)argument;
        ulong[] before = [.. _general];
        uint[][] vectors = [.. _vectors.Select(v => v[..])];
        _code = code;

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
            Assert.Equal(vectors[i][..4], _vectors[i][..4]);
        // Or the caller's SSE code is slow, and every switch of threads saves tiles.
        Assert.All(_vectors[..16].Zip(vectors), v => Assert.True(v.First[4..].All(word => word == 0) || v.First.SequenceEqual(v.Second)));
        Assert.False(_configured);
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
            case Mnemonic.Sub:
                Write(i, Read(i, 0) - Read(i, 1), flag: true);
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
            case Mnemonic.Ldtilecfg:
                Configure(_code.AsSpan((int)i.IPRelativeMemoryAddress, 64));
                break;
            case Mnemonic.Tilerelease:
                _configured = false;
                break;
            case Mnemonic.Tilezero:
                Tile(i.Op0Register, out _).Clear();
                break;
            case Mnemonic.Tileloadd:
                Span<uint> loaded = Tile(i.Op0Register, out (int Rows, int Words) shape);
                loaded.Clear();
                for (int r = 0; r < shape.Rows; r++)
                    new Span<uint>(Access(i, 4 * shape.Words, false, r), shape.Words).CopyTo(loaded[(Words * r)..]);
                break;
            case Mnemonic.Tilestored:
                Span<uint> stored = Tile(i.Op1Register, out shape);
                for (int r = 0; r < shape.Rows; r++)
                    stored.Slice(Words * r, shape.Words).CopyTo(new Span<uint>(Access(i, 4 * shape.Words, true, r), shape.Words));
                break;
            case Mnemonic.Tdpbf16ps:
                MultiplyTiles(i);
                break;
            default:
                Assert.Fail($"{i} at {i.IP} is not an instruction of a tile");
                break;
        }
    }

    private void Configure(ReadOnlySpan<byte> bytes)
    {
        Assert.Equal(1, bytes[0]);
        Assert.Equal(-1, bytes[1..16].IndexOfAnyExcept((byte)0));
        for (int tile = 0; tile < 8; tile++)
        {
            _shapes[tile] = (bytes[48 + tile], bytes[16 + 2 * tile] / sizeof(uint));
            Assert.True(_shapes[tile] is ( >= 1 and <= TileRows, >= 1 and <= Words) && bytes[16 + 2 * tile] % sizeof(uint) == 0 && bytes[17 + 2 * tile] == 0);
            _tiles[tile].AsSpan().Clear();
        }
        Assert.Equal(-1, bytes[32..48].IndexOfAnyExcept((byte)0));
        Assert.Equal(-1, bytes[56..].IndexOfAnyExcept((byte)0));
        _configured = true;
    }

    /// <summary>Low and high elements are summed apart over the pairs of the tile, from zero; then both, and what was there.</summary>
    private void MultiplyTiles(in Instruction i)
    {
        Span<uint> c = Tile(i.Op0Register, out (int Rows, int Words) ofC), a = Tile(i.Op1Register, out (int Rows, int Words) ofA), b = Tile(i.Op2Register, out (int Rows, int Words) ofB);
        Assert.Equal((ofA.Rows, ofB.Words, ofB.Rows), (ofC.Rows, ofC.Words, ofA.Words));
        Assert.Equal(3, new[] { i.Op0Register, i.Op1Register, i.Op2Register }.Distinct().Count());
        for (int m = 0; m < ofC.Rows; m++)
        {
            for (int n = 0; n < ofC.Words; n++)
            {
                float low = 0, high = 0;
                for (int k = 0; k < ofA.Words; k++)
                {
                    (uint x, uint y) = (a[m * Words + k], b[k * Words + n]);
                    low = PairArithmetic.MultiplyAdd(PairArithmetic.Low(x), PairArithmetic.Low(y), low);
                    high = PairArithmetic.MultiplyAdd(PairArithmetic.High(x), PairArithmetic.High(y), high);
                }
                ref uint sum = ref c[m * Words + n];
                sum = Bits(PairArithmetic.Add(Float(sum), PairArithmetic.Add(low, high)));
            }
        }
    }

    private Span<uint> Tile(Register register, out (int Rows, int Words) shape)
    {
        Assert.True(_configured, "tiles are not configured");
        int number = register - Register.TMM0;
        shape = _shapes[number];
        return _tiles[number];
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

    /// <param name="i">An instruction with an operand in memory.</param>
    /// <param name="bytes">Its length.</param>
    /// <param name="write">Whether it is written.</param>
    /// <param name="row">Of a tile: its row, to which the index leads.</param>
    private byte* Access(in Instruction i, int bytes, bool write, int row = 1)
    {
        nint address = Address(i, row);
        Assert.True(_memory.Any(m => (m.Write || !write) && m.Start <= address && address + bytes <= m.Start + m.Bytes),
            $"{i.Mnemonic} at {i.IP} {(write ? "writes" : "reads")} {bytes} bytes outside");
        return (byte*)address;
    }

    private nint Address(in Instruction i, int row = 1)
    {
        ulong index = i.MemoryIndex == Register.None ? 0 : _general[Number(i.MemoryIndex)] * (ulong)i.MemoryIndexScale;
        return (nint)(_general[Number(i.MemoryBase)] + (ulong)row * index + i.MemoryDisplacement64);
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
