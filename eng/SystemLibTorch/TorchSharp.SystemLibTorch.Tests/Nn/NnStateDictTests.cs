using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace TorchSharpTests;

public sealed class NnStateDictTests
{
    private static Sequential Model() => Sequential(("embed", Embedding(5, 4)), ("norm", LayerNorm(4)), ("head", Linear(4, 3)));

    private static byte[] Saved(Module module)
    {
        using var stream = new MemoryStream();
        module.save(stream);
        return stream.ToArray();
    }

    [Fact]
    public void TheFileHasTorchSharpsFormat()
    {
        using var layer = Linear(Parameter(tensor(new[] { 1f, 2f }, [1, 2])));
        using var expected = new MemoryStream();
        using (var writer = new BinaryWriter(expected))
        {
            writer.Write((byte)1); // entries
            writer.Write("weight");
            writer.Write((byte)ScalarType.Float32);
            writer.Write((byte)2); // dimensions
            writer.Write((byte)1);
            writer.Write((byte)2);
            writer.Write(1f);
            writer.Write(2f);
        }

        Assert.Equal(expected.ToArray(), Saved(layer));
    }

    [Fact]
    public void SizesAbove127TakeSeveralBytes()
    {
        using var table = Embedding(300, 1);
        var bytes = Saved(table);
        Assert.Equal([0xAC, 0x02], bytes[10..12]); // 300 = 0b10_0101100
        Assert.Equal(13 + (300 * sizeof(float)), bytes.Length);
    }

    [Fact]
    public void ASavedModelLoadsBitByBit()
    {
        using var model = Model();
        using var other = Model();
        var bytes = Saved(model);
        Assert.NotEqual(bytes, Saved(other));
        Dictionary<string, bool> loaded = [];
        Assert.Same(other, other.load(new MemoryStream(bytes), loadedParameters: loaded));
        Assert.Equal(bytes, Saved(other));
        Assert.Equal(model.state_dict().Keys.Order(), loaded.Keys.Order());
        Assert.All(loaded.Values, Assert.True);
    }

    [Fact]
    public void AFileRoundTripRestoresEveryElementType()
    {
        var path = Path.GetTempFileName();
        try
        {
            foreach (var type in new[] { ScalarType.Float64, ScalarType.Float16, ScalarType.BFloat16 })
            {
                using var model = Model().to(type);
                using var other = Model().to(type);
                model.save(path);
                other.load(path);
                Assert.Equal(Saved(model), Saved(other));
            }
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void LoadingRefusesWhatDoesNotMatch()
    {
        using var model = Model();
        var bytes = Saved(model);
        using var longer = Sequential(("embed", Embedding(5, 4)), ("norm", LayerNorm(4)), ("head", Linear(4, 3)), ("more", Linear(1, 1)));
        Assert.Contains("sizes", Assert.Throws<ArgumentException>(() => longer.load(new MemoryStream(bytes))).Message);
        using var renamed = Sequential(("embed", Embedding(5, 4)), ("norm", LayerNorm(4)), ("tail", Linear(4, 3)));
        Assert.Contains("head", Assert.Throws<ArgumentException>(() => renamed.load(new MemoryStream(bytes))).Message);
        using var wider = Sequential(("embed", Embedding(6, 4)), ("norm", LayerNorm(4)), ("head", Linear(4, 3)));
        Assert.Contains("(6, 4)", Assert.Throws<ArgumentException>(() => wider.load(new MemoryStream(bytes))).Message);
        using var wide = Model().to(ScalarType.Float64);
        Assert.Contains("Float64", Assert.Throws<ArgumentException>(() => wide.load(new MemoryStream(bytes))).Message);
        Assert.Throws<EndOfStreamException>(() => model.load(new MemoryStream(bytes[..^1])));
        Assert.Throws<FileNotFoundException>(() => model.load(Path.Combine(Path.GetTempPath(), Path.GetRandomFileName())));
    }

    [Fact]
    public void LoadingLenientlyTakesWhatItKnowsAndSkipsWhatItIsTold()
    {
        using var model = Model();
        using var part = Sequential(("norm", LayerNorm(4)), ("head", Linear(4, 3)));
        var before = part.get_parameter("head.bias")!.data<float>().ToArray();
        part.load(new MemoryStream(Saved(model)), strict: false, skip: ["head.bias"]);
        Assert.Equal(model.get_parameter("head.weight")!.data<float>().ToArray(), part.get_parameter("head.weight")!.data<float>().ToArray());
        Assert.Equal(before, part.get_parameter("head.bias")!.data<float>().ToArray());
    }

    [Fact]
    public void AStateDictionaryIsCopiedAndDifferencesReported()
    {
        using var model = Model();
        using var other = Model();
        other.load_state_dict(model.state_dict());
        Assert.Equal(Saved(model), Saved(other));

        var partial = model.state_dict();
        partial.Remove("head.bias");
        partial["extra"] = partial["head.weight"];
        var error = Assert.Throws<InvalidOperationException>(() => other.load_state_dict(partial));
        Assert.Contains("head.bias", error.Message);
        Assert.Contains("extra", error.Message);
        var (missing, unexpected) = other.load_state_dict(partial, strict: false);
        Assert.Equal(["head.bias"], missing);
        Assert.Equal(["extra"], unexpected);
        other.load_state_dict(partial, skip: ["head.bias", "extra"]);
    }

    [Fact]
    public void TensorsSaveAndLoadAlone()
    {
        using var strided = arange(6).view(2, 3).t();
        using var stream = new MemoryStream();
        strided.Save(new BinaryWriter(stream));
        stream.Position = 0;
        using var loaded = TensorExtensionMethods.Load(new BinaryReader(stream));
        Assert.True(strided.Equals(loaded));

        stream.Position = 0;
        using var target = zeros([2, 3], ScalarType.Int64).t();
        target.Load(new BinaryReader(stream));
        Assert.True(strided.Equals(target));
    }
}
