using System.Buffers.Binary;
using System.Diagnostics;
using System.Text;
using System.Text.Json.Nodes;
using Gpt2.Text;
using Xunit.Abstractions;

namespace Gpt2.Tests;

/// <summary>Whatever has happened to a checkpoint, it loads or is refused in one line that names what is wrong.</summary>
public sealed class DamagedCheckpointTests : IDisposable
{
    private const string Weight = "transformer.wte.weight", Moment = "optimizer.exp_avg.transformer.wte.weight", Generator = "generator";

    private readonly TemporaryFolder _folder = new();
    private readonly ITestOutputHelper _output;
    private readonly byte[] _good;

    public DamagedCheckpointTests(ITestOutputHelper output)
    {
        _output = output;
        string path = _folder.File("good.safetensors");
        using Trainer trainer = TinyRun.Trainer(
            options: TinyRun.Options with { Steps = 3 }, config: new GptConfig(Layers: 1, Heads: 2, Width: 8, Context: 16, VocabularySize: 256));
        TinyRun.Train(trainer, 2);
        trainer.Validate();
        Checkpoint.Save(path, trainer, TinyRun.Description, AttentionKind.Flash);
        _good = File.ReadAllBytes(path);
        Assert.Null(Refusal(_good));
    }

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Each_damage_is_named()
    {
        Refuses("is longer than the file", WithHeaderLength(ulong.MaxValue), WithHeaderLength(99_999_999), WithHeaderLength((ulong)_good.Length));
        Refuses("is not a checkpoint, or is damaged", WithHeaderLength(0), WithHeaderLength(1), _good[..^1], _good[..200], _good[..8], _good[..3], []);
        Refuses("Duplicate", WithHeaderText(header => $"{{\"{Weight}\":{{}},{header[1..]}"));
        Refuses("Duplicate", WithStateText(state => state.Insert(1, "\"Step\":2,")));
        Refuses($"'{Weight}' is not described", WithHeader(header => header[Weight] = null), WithHeader(header => header[Weight] = 7));
        Refuses("'__metadata__' is not described", WithHeader(header => header["__metadata__"] = null));
        Refuses("'format' is null", WithHeader(header => header["__metadata__"]!["format"] = null));
        Refuses("is described wrongly", WithTensor(Weight, tensor => tensor["dtype"] = "F9"), WithTensor(Weight, tensor => tensor.Remove("shape")), WithTensor(Weight, tensor => tensor["data_offsets"]![0] = -4));
        Refuses("does not fit its shape", WithTensor(Weight, tensor => tensor["shape"]![0] = 257), WithTensor(Weight, tensor => tensor["shape"] = new JsonArray(long.MaxValue, long.MaxValue)));
        Refuses("overlaps the one before", WithTensor("transformer.ln_f.bias", tensor => Shift(tensor, -4)), WithTensor(Moment, tensor => Shift(tensor, -8192)));
        Refuses("follows a gap", WithTensor(Weight, tensor => Shift(tensor, 4)));
        Refuses("follows a gap", WithHeader(header => header.Remove(Weight)));
        Refuses("should have", [.. _good, 0], _good[..^1]);
        Refuses($"has no tensor '{Weight}'", WithHeader(header => Rename(header, Weight, "transformer.wtf.weight")));
        Refuses("the model has Float32 (256, 8)", WithTensor(Weight, tensor => tensor["shape"] = new JsonArray(8, 256)), WithTensor(Weight, tensor => (tensor["dtype"], tensor["shape"]) = ("I64", new JsonArray(128, 8))));
        Refuses($"'{Weight}' has values that are not finite", WithValue(Weight, float.NaN), WithValue(Weight, float.PositiveInfinity));
        Refuses($"'{Moment}' has values that are not finite", WithValue(Moment, float.NaN));
        Refuses($"'{Generator}' is not a state", WithGenerator(bytes => bytes.Clear()), WithGenerator(bytes => bytes.Fill(0xFF)), WithGenerator(bytes => bytes[17]++));
        Refuses("Config", WithState(state => state.Remove("Config")), WithState(state => state["Config"] = null));
        Refuses("Options", WithState(state => state.Remove("Options")), WithState(state => state["Options"] = null));
        Refuses("History", WithState(state => state.Remove("History")), WithState(state => state["History"] = null), WithState(state => state["History"]!["Training"]!.AsArray().Clear()));
        Refuses("Training", WithState(state => state["History"]!["Training"] = null));
        Refuses("Heads", WithState(state => state["Config"]!["Heads"] = 0));
        Refuses("heads", WithState(state => state["Config"]!["Heads"] = 3));
        Refuses("Config", WithState(state => state["Config"]!["Layers"] = int.MaxValue), WithState(state => state["Config"]!["Width"] = int.MaxValue - 1), WithState(state => state["Config"]!["VocabularySize"] = int.MaxValue));
        Refuses("BatchSize", WithState(state => state["Options"]!["BatchSize"] = 0));
        Refuses("--batch-size 2147483647", WithState(state => state["Options"]!["BatchSize"] = int.MaxValue));
        Refuses("ValidationWindows", WithState(state => state["Options"]!["ValidationWindows"] = int.MaxValue));
        Refuses("LearningRate", WithState(state => state["Options"]!["LearningRate"] = -1));
        Refuses("Step", WithState(state => state["Step"] = -1), WithState(state => state["Step"] = 4));
        Refuses("Attention", WithState(state => state["Attention"] = 17));
        Refuses("tokeniser", WithState(state => state["Corpus"]!["Tokenizer"]!["Kind"] = "words"), WithState(state => state["Corpus"]!["Tokenizer"]!["Kind"] = "bpe"));
        Refuses("Corpus", WithState(state => state["Corpus"]!["Files"] = new JsonArray(null, "a")));
    }

    [Fact]
    public void No_damage_crashes_or_takes_much_memory()
    {
        byte[][] cases = [.. DamagedValues(), .. DamagedBytes()];
        long peak = Peak();
        int refused = cases.Count(content => Refusal(content) is not null);
        _output.WriteLine($"{refused} of {cases.Length} refused");
        Assert.InRange(cases.Length, 500, 10_000);
        Assert.InRange(refused, cases.Length / 2, cases.Length);
        Assert.True(Peak() - peak < 256 << 20, $"{(Peak() - peak) >> 20} MiB");

        static long Peak()
        {
            using var process = Process.GetCurrentProcess();
            return process.PeakWorkingSet64;
        }
    }

    // Every value in the state and in the description of three tensors, replaced by each of some others or removed.
    private IEnumerable<byte[]> DamagedValues()
    {
        string[] values = ["null", "-1", "0", "1", "2147483647", "9223372036854775807", "1e300", "true", "\"x\"", "[]", "{}", "[null]"];
        foreach (string path in Paths(State(Header())))
        {
            foreach (string? value in values.Append(null)) yield return WithState(state => Replace(state, path, value));
        }

        foreach (string name in (string[])[Weight, Moment, Generator])
        {
            foreach (string path in Paths(Header()[name]!))
            {
                foreach (string? value in values.Append(null)) yield return WithTensor(name, tensor => Replace(tensor, path, value));
            }
        }
    }

    private IEnumerable<byte[]> DamagedBytes()
    {
        var random = new Random(5);
        int headerEnd = HeaderEnd(_good);
        for (int i = 0; i < 300; i++)
        {
            byte[] damaged = [.. _good];
            int from = i % 3 == 0 ? 0 : headerEnd, to = i % 3 == 0 ? headerEnd : _good.Length;
            for (int change = random.Next(1, 4); change > 0; change--) damaged[random.Next(from, to)] = (byte)random.Next(256);
            yield return damaged;
        }

        for (int i = 0; i < 60; i++) yield return _good[..random.Next(_good.Length)];
        for (int i = 0; i < 30; i++)
        {
            int start = random.Next(headerEnd), length = random.Next(1, 50);
            yield return [.. _good[..start], .. _good[(start + length)..]];
            yield return [.. _good[..start], .. _good[start..(start + length)], .. _good[start..]];
        }

        // A header's length that fits whatever the header then is.
        yield return WithHeaderText(_ => new string('[', 100_000));
        yield return WithHeaderText(_ => "null");
        yield return WithHeaderText(_ => "{}");
        yield return WithHeaderText(_ => "");
        yield return WithHeaderText(header => "\uFEFF" + header);
        yield return WithHeaderText(header => header.Replace(Weight, "a\\nb\\u001b[31m", StringComparison.Ordinal));
        yield return WithStateText(_ => new string('[', 100_000));
        yield return WithStateText(_ => "null");
        yield return WithGenerator(random.NextBytes);
    }

    private void Refuses(string reason, params byte[][] contents)
    {
        foreach (byte[] content in contents)
        {
            string? refusal = Refusal(content);
            Assert.True(refusal?.Contains(reason, StringComparison.Ordinal), $"'{reason}' expected, but {refusal ?? "it loads"}");
        }
    }

    /// <summary>Why a file with this content is refused by everything that reads checkpoints, or null.</summary>
    private string? Refusal(byte[] content)
    {
        string path = _folder.File("damaged.safetensors");
        File.WriteAllBytes(path, content);
        try
        {
            using Checkpoint checkpoint = Checkpoint.Open(path);
            Assert.Equal(256, checkpoint.LoadTokenizer().VocabularySize);
            checkpoint.LoadModel(AttentionKind.Flash).Dispose();
            checkpoint.Resume(TinyRun.Corpus, checkpoint.State.Options, checkpoint.State.Attention).Dispose();
            return null;
        }
        catch (UserException e)
        {
            Assert.InRange(e.Message.Length, 20, 5100);
            Assert.DoesNotContain(e.Message, char.IsControl);
            return e.Message;
        }
    }

    private static int HeaderEnd(byte[] file) => 8 + (int)BinaryPrimitives.ReadInt64LittleEndian(file);

    private string HeaderText() => Encoding.UTF8.GetString(_good, 8, HeaderEnd(_good) - 8);

    private JsonObject Header() => JsonNode.Parse(HeaderText())!.AsObject();

    private static JsonNode State(JsonObject header) => JsonNode.Parse(header["__metadata__"]!["state"]!.GetValue<string>())!;

    private byte[] WithHeaderLength(ulong length)
    {
        byte[] damaged = [.. _good];
        BinaryPrimitives.WriteUInt64LittleEndian(damaged, length);
        return damaged;
    }

    private byte[] WithHeaderText(Func<string, string> change)
    {
        byte[] header = Encoding.UTF8.GetBytes(change(HeaderText())), length = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(length, header.Length);
        return [.. length, .. header, .. _good[HeaderEnd(_good)..]];
    }

    private byte[] WithHeader(Action<JsonObject> change)
    {
        JsonObject header = Header();
        change(header);
        return WithHeaderText(_ => header.ToJsonString());
    }

    private byte[] WithTensor(string name, Action<JsonObject> change) => WithHeader(header => change(header[name]!.AsObject()));

    private byte[] WithStateText(Func<string, string> change) =>
        WithHeader(header => header["__metadata__"]!["state"] = change(header["__metadata__"]!["state"]!.GetValue<string>()));

    private byte[] WithState(Action<JsonObject> change)
    {
        JsonObject state = State(Header()).AsObject();
        change(state);
        return WithStateText(_ => state.ToJsonString());
    }

    private byte[] WithValue(string tensor, float value) => WithData(tensor, bytes => BinaryPrimitives.WriteSingleLittleEndian(bytes[40..], value));

    private byte[] WithGenerator(SpanAction change) => WithData(Generator, change);

    private byte[] WithData(string tensor, SpanAction change)
    {
        byte[] damaged = [.. _good];
        JsonNode range = Header()[tensor]!["data_offsets"]!;
        change(damaged.AsSpan(HeaderEnd(_good))[(int)range[0]!..(int)range[1]!]);
        return damaged;
    }

    private delegate void SpanAction(Span<byte> bytes);

    private static void Shift(JsonObject tensor, int by)
    {
        JsonNode range = tensor["data_offsets"]!;
        tensor["data_offsets"] = new JsonArray((int)range[0]! + by, (int)range[1]! + by);
    }

    private static void Rename(JsonObject header, string from, string to)
    {
        JsonNode node = header[from]!;
        header.Remove(from);
        header[to] = node;
    }

    // The places of all values below a node: names and indices with '/' between.
    private static IEnumerable<string> Paths(JsonNode node) => node switch
    {
        JsonObject o => o.SelectMany(member => Below(member.Key, member.Value)),
        JsonArray a => a.SelectMany((item, i) => Below($"{i}", item)),
        _ => [],
    };

    private static IEnumerable<string> Below(string name, JsonNode? node) =>
        (node is null ? [] : Paths(node)).Select(path => $"{name}/{path}").Prepend(name);

    private static void Replace(JsonObject root, string path, string? value)
    {
        string[] steps = path.Split('/');
        JsonNode parent = steps[..^1].Aggregate((JsonNode)root, (node, step) => node is JsonArray a ? a[int.Parse(step)]! : node[step]!);
        JsonNode? replacement = value is null ? null : JsonNode.Parse(value);
        if (parent is JsonArray array && value is null) array.RemoveAt(int.Parse(steps[^1]));
        else if (parent is JsonArray list) list[int.Parse(steps[^1])] = replacement;
        else if (value is null) parent.AsObject().Remove(steps[^1]);
        else parent[steps[^1]] = replacement;
    }
}
