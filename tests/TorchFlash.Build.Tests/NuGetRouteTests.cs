using System.IO.Compression;
using System.Reflection;
using System.Xml.Linq;

namespace TorchFlash.Build.Tests;

/// <summary>TorchFlash as its users meet it: packages, restored and run outside this repository.</summary>
public sealed class NuGetRouteTests(PackageFeed feed) : IClassFixture<PackageFeed>
{
    [Fact]
    public void PackageOfTheLayerDependsOnTorchSharpAndTheKernels() =>
        Assert.Equal(
            [("TorchFlash.Kernels", TorchFlashVersion), ("TorchSharp", Repository.TorchSharpVersion)],
            Dependencies("TorchFlash"));

    [Fact]
    public void PackageOfTheKernelsDependsOnTheAssemblerAlone() => Assert.Equal(["Iced"], Dependencies("TorchFlash.Kernels").Select(dependency => dependency.Item1));

    [Fact]
    public void ConsumerRunsForwardAndBackward()
    {
        string project = feed.PathOf("consumer", "Consumer.csproj");
        Directory.CreateDirectory(Path.GetDirectoryName(project)!);
        File.WriteAllText(project, $"""
            <Project Sdk="Microsoft.NET.Sdk">
              <PropertyGroup>
                <OutputType>Exe</OutputType>
                <TargetFramework>net10.0</TargetFramework>
                <ImplicitUsings>enable</ImplicitUsings>
              </PropertyGroup>
              <ItemGroup>
                <PackageReference Include="TorchFlash" Version="{TorchFlashVersion}" />
                <PackageReference Include="TorchSharp-cpu" Version="{Repository.TorchSharpVersion}" />
              </ItemGroup>
            </Project>
            """);
        File.WriteAllText(Path.ChangeExtension(project, ".cs"), """
            using TorchFlash;
            using TorchSharp;
            using static TorchSharp.torch;

            manual_seed(1);
            var q = randn(2, 3, 17, 8, requires_grad: true);
            var k = randn(2, 3, 17, 8, requires_grad: true);
            var v = randn(2, 3, 17, 8, requires_grad: true);
            var o = flash.nn.functional.scaled_dot_product_attention(q, k, v, is_causal: true);
            o.sum().backward();

            // The first query sees the first key alone: its output is that key's value. Each row of P sums to 1: so does dV over the keys.
            Console.WriteLine($"first row {(o[0, 0, 0] - v[0, 0, 0]).abs().max().item<float>() < 1e-6f}");
            Console.WriteLine($"dV {(v.grad.sum(2) - 17).abs().max().item<float>() < 1e-4f}");
            Console.WriteLine($"dQ {q.grad.abs().max().item<float>() < 10} dK {k.grad.abs().max().item<float>() < 10}");
            """);

        string output = feed.Dotnet("run", "--project", project, "-c", "Release");

        Assert.Equal(["first row True", "dV True", "dQ True dK True"], output.Split('\n', StringSplitOptions.RemoveEmptyEntries).TakeLast(3));
    }

    [Fact]
    public void SampleTrainsAgainstThePackages()
    {
        string checkpoint = feed.PathOf("checkpoint");

        feed.Dotnet(
            "run", "--project", "samples/Gpt2", "-c", "Release", "--artifacts-path", feed.PathOf("artifacts"), "-p:TorchSharpProvider=NuGet",
            "--", "train", "--preset", "nano", "--context", "32", "--batch-size", "2", "--steps", "2", "--checkpoint", checkpoint);

        Assert.True(Path.Exists(checkpoint), "The run left no checkpoint.");
    }

    private static string TorchFlashVersion =>
        typeof(Repository).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!.InformationalVersion.Split('+')[0];

    private IEnumerable<(string Id, string Version)> Dependencies(string id)
    {
        using var package = ZipFile.OpenRead(Path.Combine(feed.Packages, $"{id}.{TorchFlashVersion}.nupkg"));
        using var nuspec = package.GetEntry($"{id}.nuspec")!.Open();
        return [.. XDocument.Load(nuspec).Descendants()
            .Where(e => e.Name.LocalName == "dependency")
            .Select(e => ((string)e.Attribute("id")!, (string)e.Attribute("version")!))
            .Order()];
    }
}
