using System.Reflection;

namespace TorchFlash.Cuda.Tests;

/// <summary>The CUDA sources travel inside the assembly.</summary>
public class SourceTests
{
    [Fact]
    public void EverySourceIsEmbedded()
    {
        string folder = Path.Combine(Repository.Root, "native", "cuda");
        string[] files = [.. Directory.EnumerateFiles(folder, "*.cu*").Select(f => Path.GetFileName(f)!).Order(StringComparer.Ordinal)];
        Assembly assembly = typeof(TorchFlash.Kernels.IAttentionEngine).Assembly;
        string[] resources = [.. assembly.GetManifestResourceNames().Where(n => n.Contains(".cu", StringComparison.Ordinal)).Order(StringComparer.Ordinal)];
        Assert.Equal(files, resources);
        foreach (string file in files)
        {
            using Stream stream = assembly.GetManifestResourceStream(file)!;
            using var reader = new StreamReader(stream);
            Assert.Equal(File.ReadAllText(Path.Combine(folder, file)), reader.ReadToEnd());
        }
    }
}
