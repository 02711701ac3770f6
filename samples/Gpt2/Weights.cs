using System.Text.Json;
using System.Text.Json.Nodes;
using Gpt2.Text;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Gpt2;

/// <summary>
/// A GPT-2 as Hugging Face's <c>transformers</c> publishes it: <c>config.json</c> and the weights, either in
/// <c>model.safetensors</c> or in several files that <c>model.safetensors.index.json</c> lists.
/// </summary>
public sealed class Weights : IDisposable
{
    /// <summary>The files' names.</summary>
    public const string ModelName = "model.safetensors", IndexName = "model.safetensors.index.json", ConfigName = "config.json";

    /// <summary>The names of the tokeniser's files beside them.</summary>
    public const string VocabularyName = "vocab.json", MergesName = "merges.txt";

    private const string What = "--weights", Prefix = "transformer.", Head = "lm_head.weight", TokenEmbedding = "transformer.wte.weight", PositionEmbedding = "transformer.wpe.weight";

    private readonly List<TensorFile> _files;

    // By the names that the model has, which are those of the files with the prefix that some of them leave out.
    private readonly Dictionary<string, (TensorFile File, string Name)> _tensors = [];

    private Weights(string folder, GptConfig config, List<TensorFile> files) => (Folder, Config, _files) = (folder, config, files);

    /// <summary>Where the files are.</summary>
    public string Folder { get; }

    /// <summary>The shape.</summary>
    public GptConfig Config { get; }

    /// <summary>Opens weights and checks them, tensor by tensor, against <c>config.json</c>; nothing is loaded yet.</summary>
    /// <param name="path">The folder, or the file of weights or the index in it.</param>
    /// <exception cref="UserException">A file is missing or damaged, or is not a GPT-2's that this model can be.</exception>
    public static Weights Open(string path)
    {
        string folder = Directory.Exists(path) ? path : Path.GetDirectoryName(Path.GetFullPath(path))!;
        string file = !Directory.Exists(path) ? path
            : File.Exists(Path.Combine(path, IndexName)) && !File.Exists(Path.Combine(path, ModelName)) ? Path.Combine(path, IndexName)
            : Path.Combine(path, ModelName);
        GptConfig config = ReadConfig(Path.Combine(folder, ConfigName));
        var weights = new Weights(folder, config, []);
        try
        {
            if (file.EndsWith(".json", StringComparison.OrdinalIgnoreCase)) weights.AddShards(file);
            else weights.Add(file, null);
            weights.CheckShapes();
            return weights;
        }
        catch
        {
            weights.Dispose();
            throw;
        }
    }

    /// <summary>Writes a model so that <c>GPT2LMHeadModel.from_pretrained(folder)</c> reads it. Files that are there are not replaced.</summary>
    /// <param name="folder">The folder; it is made.</param>
    /// <param name="model">The model.</param>
    /// <param name="type">Element type of the weights: Float32, Float16 or BFloat16.</param>
    /// <param name="tokenizer">Its <c>vocab.json</c> and <c>merges.txt</c> are written too.</param>
    /// <exception cref="UserException">There is such a file already, or it cannot be written.</exception>
    public static void Write(string folder, GptModel model, ScalarType type, BytePairTokenizer? tokenizer)
    {
        const string Option = "--output";
        List<(string Name, Action<Stream> Write)> files = [(ConfigName, stream => stream.Write(JsonSerializer.SerializeToUtf8Bytes(ToJson(model.Config, type, tokenizer?.EndOfText), Indented)))];
        if (tokenizer is not null) files.AddRange([(VocabularyName, tokenizer.WriteVocabulary), (MergesName, tokenizer.WriteMerges)]);
        files.Add((ModelName, stream =>
        {
            using IDisposable noGradient = no_grad();
            using DisposeScope scope = NewDisposeScope();
            TensorFile.Write(
                stream, new Dictionary<string, string> { ["format"] = "pt" },
                [.. model.named_parameters().Select(p => (p.name, IsTransposed(p.name) ? p.parameter.t().to(type) : p.parameter.to(type)))]);
        }
        ));
        foreach ((string name, _) in files) OwnFile.Exists(Path.Combine(folder, name), Refuse, Option);
        foreach ((string name, Action<Stream> write) in files) OwnFile.Write(Path.Combine(folder, name), Refuse, write, what: Option);

        static void Refuse(string path) => throw new UserException($"{Option}: {path} exists.");
    }

    /// <summary>The model, in float32.</summary>
    /// <exception cref="UserException">A tensor cannot be read, or has values that are not finite.</exception>
    public GptModel LoadModel(AttentionKind attention)
    {
        var model = new GptModel(Config, attention);
        try
        {
            CopyTo(model);
            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>Copies all weights into a model of this shape, whose context may be shorter.</summary>
    /// <exception cref="UserException">A tensor cannot be read, has values that are not finite, or the head is not the token embedding.</exception>
    public void CopyTo(GptModel model)
    {
        using IDisposable noGradient = no_grad();
        foreach ((string name, Parameter parameter) in model.named_parameters())
        {
            using DisposeScope scope = NewDisposeScope();
            Tensor stored = Read(name);
            if (IsTransposed(name)) stored = stored.t();
            if (name == PositionEmbedding) stored = stored.narrow(0, 0, model.Config.Context);
            parameter.copy_(stored);
            if (name == TokenEmbedding && _tensors.ContainsKey(Head) && !Read(Head).to(stored.dtype).Equals(stored))
                throw new UserException($"{What}: '{Head}' in {Folder} is not the token embedding; only models whose head is tied to it are supported.");
        }
    }

    /// <summary>The tokeniser beside the weights; a model of 256 tokens without one is a model of bytes.</summary>
    /// <exception cref="UserException">There is none, or it is not the model's.</exception>
    public TokenizerDescription Tokenizer()
    {
        string vocabulary = Path.Combine(Folder, VocabularyName), merges = Path.Combine(Folder, MergesName);
        return File.Exists(vocabulary) && File.Exists(merges) ? new TokenizerDescription(BytePairTokenizer.Kind, vocabulary, merges)
            : Config.VocabularySize == 256 ? new TokenizerDescription(ByteTokenizer.Kind)
            : throw new UserException($"{What}: {Folder} has no {VocabularyName} and {MergesName}; name them with --vocab and --merges.");
    }

    /// <summary>The tokeniser, if it is one of the model's size.</summary>
    /// <exception cref="UserException">It is not.</exception>
    public ITokenizer Checked(ITokenizer tokenizer) => tokenizer.VocabularySize == Config.VocabularySize
        ? tokenizer
        : throw new UserException($"The tokeniser has {tokenizer.VocabularySize:N0} tokens, the model {Config.VocabularySize:N0}.");

    /// <inheritdoc/>
    public void Dispose() => _files.ForEach(file => file.Dispose());

    private static readonly JsonSerializerOptions Indented = new() { WriteIndented = true };

    // The published model keeps the matrices of its four projections (in, out), as its framework's one-dimensional convolutions did.
    private static bool IsTransposed(string name) =>
        name.EndsWith("c_attn.weight", StringComparison.Ordinal) || name.EndsWith("c_proj.weight", StringComparison.Ordinal) || name.EndsWith("c_fc.weight", StringComparison.Ordinal);

    // The causal masks that some versions stored as if they were weights.
    private static bool IsMask(string name) =>
        name.StartsWith(Prefix + "h.", StringComparison.Ordinal)
        && (name.EndsWith(".attn.bias", StringComparison.Ordinal) || name.EndsWith(".attn.masked_bias", StringComparison.Ordinal));

    private Tensor Read(string name)
    {
        (TensorFile file, string stored) = _tensors[name];
        return file.Read(stored);
    }

    private TensorFile Add(string path, HashSet<string>? expected)
    {
        TensorFile file = TensorFile.Open(path, What, "file of weights");
        _files.Add(file);
        foreach (string stored in file.Entries.Keys)
        {
            if (expected is not null && !expected.Contains(stored)) throw new UserException($"{What}: {path} has the tensor '{stored}', which the index does not place there.");
            string name = stored == Head || stored.StartsWith(Prefix, StringComparison.Ordinal) ? stored : Prefix + stored;
            if (!IsMask(name) && !_tensors.TryAdd(name, (file, stored))) throw new UserException($"{What}: {path} has the tensor '{stored}' a second time.");
        }

        return file;
    }

    private void AddShards(string path)
    {
        JsonObject index = ReadJson(path);
        if (index["weight_map"] is not JsonObject map || map.Count == 0) throw new UserException($"{What}: {path} has no 'weight_map'.");
        var shards = new SortedDictionary<string, HashSet<string>>(StringComparer.Ordinal);
        foreach ((string tensor, JsonNode? node) in map)
        {
            // A plain name: the index may not point out of its folder.
            string? shard = node is JsonValue value && value.TryGetValue(out string? text) ? text : null;
            if (string.IsNullOrEmpty(shard) || shard != Path.GetFileName(shard) || !shard.EndsWith(".safetensors", StringComparison.Ordinal))
                throw new UserException($"{What}: {path} places the tensor '{tensor}' in '{shard}', which is not the name of a file beside it.");
            if (!shards.TryGetValue(shard, out HashSet<string>? tensors)) shards.Add(shard, tensors = []);
            tensors.Add(tensor);
        }

        foreach ((string shard, HashSet<string> tensors) in shards)
        {
            TensorFile file = Add(Path.Combine(Folder, shard), tensors);
            if (tensors.FirstOrDefault(tensor => !file.Entries.ContainsKey(tensor)) is { } missing)
                throw new UserException($"{What}: {file.Path} lacks the tensor '{missing}', which the index places there.");
        }
    }

    // Before any memory is taken: the tensors must be those of the shape that the configuration describes, no more, no fewer.
    private void CheckShapes()
    {
        var left = _tensors.Keys.ToHashSet();
        void Check(string name, params long[] shape)
        {
            left.Remove(name);
            if (!_tensors.TryGetValue(name, out (TensorFile File, string Name) tensor)) throw new UserException($"{What}: {Folder} lacks the tensor '{name}'.");
            TensorFile.Entry entry = tensor.File.Entries[tensor.Name];
            if (!entry.Shape.AsSpan().SequenceEqual(shape) || !is_floating_point(entry.Type))
                throw new UserException($"{What}: {tensor.File.Path}: '{tensor.Name}' is {entry}; by {ConfigName} it should be floating-point numbers ({string.Join(", ", shape)}).");
        }

        long c = Config.Width;
        Check(TokenEmbedding, Config.VocabularySize, c);
        Check(PositionEmbedding, Config.Context, c);
        if (_tensors.ContainsKey(Head)) Check(Head, Config.VocabularySize, c);
        for (int layer = 0; layer < Config.Layers; layer++)
        {
            foreach ((string name, long[] weight) in ((string, long[])[])
                [("ln_1", [c]), ("attn.c_attn", [c, 3 * c]), ("attn.c_proj", [c, c]), ("ln_2", [c]), ("mlp.c_fc", [c, 4 * c]), ("mlp.c_proj", [4 * c, c])])
            {
                Check($"{Prefix}h.{layer}.{name}.weight", weight);
                Check($"{Prefix}h.{layer}.{name}.bias", weight[^1]);
            }
        }

        Check(Prefix + "ln_f.weight", c);
        Check(Prefix + "ln_f.bias", c);
        if (left.Count > 0) throw new UserException($"{What}: {Folder} has the tensor '{left.Order(StringComparer.Ordinal).First()}', which is no part of a GPT-2 of {Config.Layers} layers.");
    }

    private static GptConfig ReadConfig(string path)
    {
        JsonObject json = ReadJson(path);
        Require("model_type", "gpt2");
        Require("activation_function", "gelu_new");
        Require("layer_norm_epsilon", 1e-5);
        Require("tie_word_embeddings", true);
        Require("scale_attn_weights", true);
        Require("scale_attn_by_inverse_layer_idx", false);
        Require("add_cross_attention", false);
        var config = new GptConfig(Size("n_layer"), Size("n_head"), Size("n_embd"), Size("n_positions"), Size("vocab_size"));
        if (json["n_inner"] is { } inner && !JsonNode.DeepEquals(inner, JsonValue.Create(4 * config.Width))) throw new UserException($"{What}: {path}: 'n_inner' is {inner.ToJsonString()}; only {4 * config.Width}, four times 'n_embd', is supported.");
        if (config.Width % config.Heads != 0) throw new UserException($"{What}: {path}: 'n_embd' {config.Width} is not a multiple of 'n_head' {config.Heads}.");
        return config;

        // Largest sizes far beyond any GPT-2, whose products do not overflow.
        int Size(string name) =>
            json[name] is JsonValue value && value.TryGetValue(out int size) && size is > 0 and <= 1 << 24 ? size
                : throw new UserException($"{What}: {path}: '{name}' must be a whole number from 1 to {1 << 24}, but is {json[name]?.ToJsonString() ?? "missing"}.");

        // What is missing has the value that transformers gives it, which is the one required.
        void Require<T>(string name, T wanted)
        {
            if (json[name] is not { } node) return;
            bool equals = node is JsonValue value && value.TryGetValue(out T? given) && Equals(given, wanted);
            if (!equals) throw new UserException($"{What}: {path}: '{name}' is {node.ToJsonString()}; only {JsonSerializer.Serialize(wanted)} is supported.");
        }
    }

    private static JsonObject ToJson(GptConfig config, ScalarType type, int? endOfText) => new()
    {
        ["architectures"] = new JsonArray("GPT2LMHeadModel"),
        ["model_type"] = "gpt2",
        ["activation_function"] = "gelu_new",
        ["layer_norm_epsilon"] = 1e-5,
        ["n_layer"] = config.Layers,
        ["n_head"] = config.Heads,
        ["n_embd"] = config.Width,
        ["n_positions"] = config.Context,
        ["n_ctx"] = config.Context,
        ["vocab_size"] = config.VocabularySize,
        ["attn_pdrop"] = config.Dropout,
        ["embd_pdrop"] = config.Dropout,
        ["resid_pdrop"] = config.Dropout,
        ["bos_token_id"] = endOfText,
        ["eos_token_id"] = endOfText,
        ["tie_word_embeddings"] = true,
        ["torch_dtype"] = type.ToString().ToLowerInvariant(),
    };

    private static JsonObject ReadJson(string path)
    {
        const int MaximumLength = 100_000_000;
        try
        {
            using FileStream stream = RegularFile.OpenRead(path, What);
            if (stream.Length > MaximumLength) throw new UserException($"{What}: {path} has {stream.Length:N0} bytes, which no such file has.");
            return JsonNode.Parse(stream, documentOptions: new JsonDocumentOptions { AllowDuplicateProperties = false }) as JsonObject
                ?? throw new UserException($"{What}: {path} is not a JSON object.");
        }
        catch (Exception e) when (e is JsonException or IOException)
        {
            throw new UserException($"{What}: {path} is not a JSON object, or is damaged: {e.Message}", e);
        }
    }
}
