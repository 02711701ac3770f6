using System.Buffers.Binary;
using System.Text;
using System.Text.Json.Nodes;
using Gpt2.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace Gpt2.Tests;

/// <summary>Published weights. The files are made here, byte by byte as the format is defined.</summary>
public sealed class WeightsTests : IDisposable
{
    private const string Configuration =
        """{"model_type":"gpt2","activation_function":"gelu_new","layer_norm_epsilon":1e-05,"n_layer":2,"n_head":2,"n_embd":4,"n_positions":6,"n_ctx":6,"vocab_size":256,"resid_pdrop":0.1}""";

    private static readonly GptConfig Config = new(Layers: 2, Heads: 2, Width: 4, Context: 6, VocabularySize: 256);

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("F32", false)]
    [InlineData("F32", true)]
    [InlineData("F16", false)]
    [InlineData("BF16", true)]
    public void Published_weights_are_read_value_by_value(string type, bool withPrefix)
    {
        using DisposeScope scope = NewDisposeScope();
        (string Name, long[] Shape)[] published = Published(withPrefix);
        Write(published, type);
        using Weights weights = Weights.Open(_folder.ToString());
        Assert.Equal(Config, weights.Config);
        using GptModel model = weights.LoadModel(AttentionKind.Flash);

        // Of 16-bit types the values are exact: small whole numbers and quarters.
        foreach ((string name, var parameter) in model.named_parameters())
        {
            string stored = withPrefix ? name : name["transformer.".Length..];
            int tensor = Array.FindIndex(published, p => p.Name == stored);
            long[] shape = published[tensor].Shape;
            float[] actual = parameter.data<float>().ToArray();
            if (shape.Length == 1 || name.Contains(".wte", StringComparison.Ordinal) || name.Contains(".wpe", StringComparison.Ordinal))
            {
                for (int i = 0; i < actual.Length; i++) Assert.Equal(Value(tensor, i), actual[i]);
                continue;
            }

            // (in, out) in the file, (out, in) in the model
            Assert.Equal((shape[1], shape[0]), (parameter.shape[0], parameter.shape[1]));
            for (int input = 0; input < shape[0]; input++)
                for (int output = 0; output < shape[1]; output++)
                    Assert.Equal(Value(tensor, (input * (int)shape[1]) + output), actual[(output * (int)shape[0]) + input]);
        }
    }

    [Fact]
    public void A_model_written_and_read_is_the_same()
    {
        using DisposeScope scope = NewDisposeScope();
        BytePairTokenizer tokenizer = BytePairTokenizer.FromMerges([("a", "b")]);
        using var model = new GptModel(TinyRun.Config with { VocabularySize = tokenizer.VocabularySize }, AttentionKind.Flash);
        string folder = _folder.File("exported");
        Weights.Write(folder, model, ScalarType.Float32, tokenizer);
        Assert.Equal(["config.json", "merges.txt", "model.safetensors", "vocab.json"], Directory.GetFiles(folder).Select(Path.GetFileName).Order());
        using Weights weights = Weights.Open(folder);
        using GptModel read = weights.LoadModel(AttentionKind.Flash);
        Assert.Equal(model.Config, read.Config);
        foreach (var (a, b) in model.named_parameters().Zip(read.named_parameters()))
        {
            Assert.Equal(a.name, b.name);
            Assert.True(a.parameter.Equals(b.parameter), a.name);
        }

        Assert.Equal(tokenizer.Encode("abab"), weights.Tokenizer().Load().Encode("abab"));

        // What is there is not replaced.
        Assert.Contains("exists", Assert.Throws<UserException>(() => Weights.Write(folder, model, ScalarType.Float32, null)).Message);
    }

    [Fact]
    public void The_file_written_is_the_format_byte_by_byte()
    {
        using DisposeScope scope = NewDisposeScope();
        string path = _folder.File("file");
        using (FileStream stream = File.Create(path))
        {
            TensorFile.Write(stream, new Dictionary<string, string> { ["format"] = "pt" },
                [("a", tensor(new float[] { 1, -2 })), ("b", tensor(new float[] { 0.5f }).to(ScalarType.BFloat16).view(1, 1)), ("c", tensor(new float[] { 1.5f }).to(ScalarType.Float16))]);
        }

        // The length of the header, the header with spaces up to a multiple of eight, and the elements, little-endian.
        string header = """{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[1,1],"data_offsets":[8,10]},"c":{"dtype":"F16","shape":[1],"data_offsets":[10,12]}}""";
        header = header.PadRight((header.Length + 7) / 8 * 8);
        byte[] length = BitConverter.GetBytes((ulong)header.Length);
        byte[] expected = [.. length, .. Encoding.ASCII.GetBytes(header), 0, 0, 0x80, 0x3F, 0, 0, 0, 0xC0, 0, 0x3F, 0, 0x3E];
        Assert.Equal(expected, File.ReadAllBytes(path));
    }

    [Theory]
    [InlineData(ScalarType.BFloat16)]
    [InlineData(ScalarType.Float16)]
    public void Sixteen_bit_exports_are_rounded_once(ScalarType type)
    {
        using DisposeScope scope = NewDisposeScope();
        using var model = new GptModel(TinyRun.Config, AttentionKind.Flash);
        Weights.Write(_folder.File("half"), model, type, null);
        using Weights weights = Weights.Open(_folder.File("half"));
        using GptModel read = weights.LoadModel(AttentionKind.Flash);
        foreach (var (a, b) in model.named_parameters().Zip(read.named_parameters())) Assert.True(a.parameter.to(type).to(ScalarType.Float32).Equals(b.parameter), a.name);
    }

    [Fact]
    public void Shards_are_joined_by_their_index()
    {
        (string Name, long[] Shape)[] published = Published(withPrefix: true);
        WriteShards(published);
        using (Weights weights = Weights.Open(_folder.ToString())) weights.LoadModel(AttentionKind.Flash).Dispose();
        using (Weights weights = Weights.Open(_folder.File(Weights.IndexName))) Assert.Equal(Config, weights.Config);

        RefusesIndex("has no 'weight_map'", index => index.Remove("weight_map"));
        RefusesIndex("which is not the name of a file beside it", index => index["weight_map"]![published[0].Name] = "../elsewhere.safetensors");
        RefusesIndex("which is not the name of a file beside it", index => index["weight_map"]![published[0].Name] = 7);
        RefusesIndex($"lacks the tensor 'more', which the index places there", index => index["weight_map"]!["more"] = "model-00001-of-00002.safetensors");
        RefusesIndex($"has the tensor '{published[0].Name}', which the index does not place there", index => index["weight_map"]!.AsObject().Remove(published[0].Name));
        RefusesIndex("there is no file", index => index["weight_map"]!["more"] = "model-00003-of-00002.safetensors");

        void RefusesIndex(string message, Action<JsonObject> change)
        {
            WriteShards(published);
            string path = _folder.File(Weights.IndexName);
            JsonObject index = JsonNode.Parse(File.ReadAllText(path))!.AsObject();
            change(index);
            File.WriteAllText(path, index.ToJsonString());
            Assert.Contains(message, Assert.Throws<UserException>(() => Weights.Open(_folder.ToString())).Message);
        }
    }

    [Fact]
    public void What_is_not_such_a_model_is_refused_by_name()
    {
        (string Name, long[] Shape)[] good = Published(withPrefix: false);
        Refuses("lacks the tensor 'transformer.h.1.mlp.c_proj.bias'", [.. good.Where(p => p.Name != "h.1.mlp.c_proj.bias")]);
        Refuses("has the tensor 'transformer.h.2.ln_1.bias', which is no part", [.. good, ("h.2.ln_1.bias", [4])]);
        Refuses("'wpe.weight' is Float32 (5, 4); by config.json it should be floating-point numbers (6, 4)", [.. good.Select(p => p.Name == "wpe.weight" ? (p.Name, [5, 4]) : p)]);
        Refuses("has the tensor 'transformer.wte.weight' a second time", [.. good, ("transformer.wte.weight", [256, 4])]);
        Refuses("should be floating-point numbers", good, type: "I32");

        foreach ((string name, string value, string message) in ((string, string, string)[])
            [
                ("model_type", "\"bert\"", "only \"gpt2\" is supported"), ("activation_function", "\"relu\"", "only \"gelu_new\""), ("layer_norm_epsilon", "1e-6", "'layer_norm_epsilon'"),
                ("tie_word_embeddings", "false", "'tie_word_embeddings'"), ("n_inner", "15", "'n_inner' is 15"), ("n_head", "3", "not a multiple of 'n_head'"),
                ("n_layer", "0", "'n_layer' must be"), ("n_embd", "null", "'n_embd' must be a whole number"), ("vocab_size", "99999999999", "'vocab_size' must be"), ("n_layer", "16777216", "lacks the tensor"),
                ("n_positions", "16777216", "'wpe.weight' is Float32 (6, 4)"), ("scale_attn_by_inverse_layer_idx", "true", "'scale_attn_by_inverse_layer_idx'"),
            ])
        {
            Write(good, "F32");
            JsonObject config = JsonNode.Parse(Configuration)!.AsObject();
            config[name] = JsonNode.Parse(value);
            _folder.Write(Weights.ConfigName, config.ToJsonString());
            Assert.Contains(message, Refusal());
        }

        Write(good, "F32");
        _folder.Write(Weights.ConfigName, "[]");
        Assert.Contains("is not a JSON object", Refusal());
        _folder.Write(Weights.ConfigName, Configuration.Replace("{", "{\"n_layer\":2,", StringComparison.Ordinal));
        Assert.Contains("uplicate", Refusal());
        File.Delete(_folder.File(Weights.ConfigName));
        Assert.Contains("--weights: there is no file", Refusal());

        void Refuses(string message, (string Name, long[] Shape)[] tensors, string type = "F32")
        {
            Write(tensors, type);
            Assert.Contains(message, Refusal());
        }
    }

    [Fact]
    public void A_head_must_be_the_token_embedding()
    {
        // Its values, those of the tensor with the same number, are the embedding's when it stands where that stands.
        (string Name, long[] Shape)[] tensors = [.. Published(withPrefix: true), ("lm_head.weight", [256, 4])];
        Write(tensors, "F32");
        using (Weights weights = Weights.Open(_folder.ToString()))
            Assert.Contains("is not the token embedding", Assert.Throws<UserException>(() => weights.LoadModel(AttentionKind.Flash)).Message);
        Write(tensors, "F32", numbers: [.. Enumerable.Range(0, tensors.Length - 1), Array.FindIndex(tensors, t => t.Name == "transformer.wte.weight")]);
        using (Weights weights = Weights.Open(_folder.ToString())) weights.LoadModel(AttentionKind.Flash).Dispose();
    }

    [Fact]
    public void Damaged_files_are_refused_and_take_no_memory()
    {
        Write(Published(withPrefix: false), "F32");
        byte[] good = File.ReadAllBytes(_folder.File(Weights.ModelName));
        var random = new Random(3);
        for (int i = 0; i < 300; i++)
        {
            byte[] damaged = [.. good];
            for (int change = random.Next(1, 4); change > 0; change--) damaged[random.Next(0, 3000)] = (byte)random.Next(256);
            if (i % 3 == 0) damaged = damaged[..random.Next(damaged.Length)];
            File.WriteAllBytes(_folder.File(Weights.ModelName), damaged);
            try
            {
                using Weights weights = Weights.Open(_folder.ToString());
                weights.LoadModel(AttentionKind.Flash).Dispose();
            }
            catch (UserException e)
            {
                Assert.DoesNotContain(e.Message, char.IsControl);
            }
        }

        byte[] huge = [.. good];
        BinaryPrimitives.WriteUInt64LittleEndian(huge, 1 << 26);
        File.WriteAllBytes(_folder.File(Weights.ModelName), huge);
        Assert.Contains("the header is longer than the file", Refusal());
    }

    [Fact]
    public void A_shorter_context_takes_the_first_positions()
    {
        using DisposeScope scope = NewDisposeScope();
        Write(Published(withPrefix: false), "F32");
        using Weights weights = Weights.Open(_folder.ToString());
        using GptModel whole = weights.LoadModel(AttentionKind.Flash);
        using var model = new GptModel(Config with { Context = 3 }, AttentionKind.Flash);
        weights.CopyTo(model);
        Assert.True(model.call(TinyRun.Tokens(1, 1, 2, 3)).Equals(whole.call(TinyRun.Tokens(1, 1, 2, 3))));
    }

    [Fact]
    public void The_tokeniser_lies_beside_the_weights()
    {
        Write(Published(withPrefix: false), "F32");
        using Weights weights = Weights.Open(_folder.ToString());
        Assert.Equal(ByteTokenizer.Kind, weights.Tokenizer().Kind);
        Assert.Contains("The tokeniser has 257 tokens, the model 256", Assert.Throws<UserException>(() => weights.Checked(BytePairTokenizer.FromMerges([]))).Message);
    }

    private string Refusal() => Assert.Throws<UserException>(() => Weights.Open(_folder.ToString()).Dispose()).Message;

    // GPT-2's tensors as published, the masks that count as weights there among them.
    private static (string Name, long[] Shape)[] Published(bool withPrefix)
    {
        string prefix = withPrefix ? "transformer." : "";
        IEnumerable<(string, long[])> Layer(int i) =>
        [
            ($"{prefix}h.{i}.attn.bias", [1, 1, 6, 6]), ($"{prefix}h.{i}.attn.c_attn.bias", [12]), ($"{prefix}h.{i}.attn.c_attn.weight", [4, 12]), ($"{prefix}h.{i}.attn.c_proj.bias", [4]),
            ($"{prefix}h.{i}.attn.c_proj.weight", [4, 4]), ($"{prefix}h.{i}.ln_1.bias", [4]), ($"{prefix}h.{i}.ln_1.weight", [4]), ($"{prefix}h.{i}.ln_2.bias", [4]),
            ($"{prefix}h.{i}.ln_2.weight", [4]), ($"{prefix}h.{i}.mlp.c_fc.bias", [16]), ($"{prefix}h.{i}.mlp.c_fc.weight", [4, 16]), ($"{prefix}h.{i}.mlp.c_proj.bias", [4]), ($"{prefix}h.{i}.mlp.c_proj.weight", [16, 4]),
        ];
        return [.. Layer(0), .. Layer(1), ($"{prefix}ln_f.bias", [4]), ($"{prefix}ln_f.weight", [4]), ($"{prefix}wpe.weight", [6, 4]), ($"{prefix}wte.weight", [256, 4])];
    }

    private static float Value(int tensor, int element) => (((tensor * 7) + (element * 3)) % 61 / 4f) - 5;

    private void WriteShards((string Name, long[] Shape)[] tensors)
    {
        _folder.Write(Weights.ConfigName, Configuration);
        int half = tensors.Length / 2;
        var map = new JsonObject();
        for (int i = 0; i < tensors.Length; i++) map[tensors[i].Name] = i < half ? "model-00001-of-00002.safetensors" : "model-00002-of-00002.safetensors";
        File.WriteAllBytes(_folder.File("model-00001-of-00002.safetensors"), Bytes(tensors[..half], "F32", [.. Enumerable.Range(0, half)]));
        File.WriteAllBytes(_folder.File("model-00002-of-00002.safetensors"), Bytes(tensors[half..], "F32", [.. Enumerable.Range(half, tensors.Length - half)]));
        _folder.Write(Weights.IndexName, new JsonObject { ["metadata"] = new JsonObject { ["total_size"] = 1 }, ["weight_map"] = map }.ToJsonString());
    }

    private void Write((string Name, long[] Shape)[] tensors, string type, int[]? numbers = null)
    {
        _folder.Write(Weights.ConfigName, Configuration);
        File.WriteAllBytes(_folder.File(Weights.ModelName), Bytes(tensors, type, numbers ?? [.. Enumerable.Range(0, tensors.Length)]));
    }

    private static byte[] Bytes((string Name, long[] Shape)[] tensors, string type, int[] numbers)
    {
        var data = new List<byte>();
        var header = new List<string> { "\"__metadata__\":{\"format\":\"pt\"}" };
        for (int t = 0; t < tensors.Length; t++)
        {
            int start = data.Count;
            long count = tensors[t].Shape.Aggregate(1L, (product, size) => product * size);
            for (int i = 0; i < count; i++) data.AddRange(Element(Value(numbers[t], i), type));
            header.Add($"\"{tensors[t].Name}\":{{\"dtype\":\"{type}\",\"shape\":[{string.Join(',', tensors[t].Shape)}],\"data_offsets\":[{start},{data.Count}]}}");
        }

        byte[] json = Encoding.UTF8.GetBytes($"{{{string.Join(',', header)}}}");
        return [.. BitConverter.GetBytes((ulong)json.Length), .. json, .. data];
    }

    // The upper half of a float32 is the bfloat16 of a number that needs no more bits.
    private static byte[] Element(float value, string type) => type switch
    {
        "F32" => BitConverter.GetBytes(value),
        "F16" => BitConverter.GetBytes((Half)value),
        "BF16" => BitConverter.GetBytes((ushort)(BitConverter.SingleToUInt32Bits(value) >> 16)),
        "I32" => BitConverter.GetBytes((int)value),
        _ => throw new ArgumentException(type, nameof(type)),
    };
}
