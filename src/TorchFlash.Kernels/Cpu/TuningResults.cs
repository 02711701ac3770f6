using System.Globalization;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using System.Security.Cryptography;
using System.Text;
using TorchFlash.Kernels.Files;

namespace TorchFlash.Kernels.Cpu;

/// <summary>The fastest sizes of tiles that searches have found on a machine, by kind of problem. They are kept in the cache on disk.</summary>
internal sealed class TuningResults
{
    private readonly Dictionary<(bool IsBackward, ElementType Type, int Dim), TileSizes> _sizes;

    private TuningResults(Dictionary<(bool, ElementType, int), TileSizes> sizes) => _sizes = sizes;

    public static TuningResults None { get; } = new([]);

    /// <summary>The sizes for a kind of problem, if they have been looked for.</summary>
    public TileSizes? Find(in AttentionProblem problem, bool isBackward)
        => _sizes.TryGetValue((isBackward, problem.ElementType, DimOf(Math.Max(problem.HeadDim, problem.ValueDim))), out TileSizes sizes) ? sizes : null;

    /// <summary>These results and one more.</summary>
    public TuningResults With(bool isBackward, ElementType type, int headDim, TileSizes sizes)
        => new(new(_sizes) { [(isBackward, type, DimOf(headDim))] = sizes });

    /// <summary>What was kept for this machine; null where nothing was.</summary>
    public static TuningResults? Load(int vectorBits, DiskCache cache)
        => cache.Find(Key(vectorBits)) is { } kept ? Parse(Encoding.ASCII.GetString(kept)) : null;

    /// <summary>Keeps them for later processes. A line that says where, or why not.</summary>
    public string Keep(int vectorBits, DiskCache cache)
    {
        cache.Keep(Key(vectorBits), Encoding.ASCII.GetBytes(ToString()));
        return cache.Problem is { } problem ? $"not kept: {problem}" : $"kept in {cache.Folder}";
    }

    /// <summary>A line for each kind: pass, element type, head dimension, queries, keys.</summary>
    public override string ToString() => string.Concat(_sizes.Select(entry => string.Create(CultureInfo.InvariantCulture,
        $"{(entry.Key.IsBackward ? "backward" : "forward")} {entry.Key.Type} {entry.Key.Dim} {entry.Value.Queries} {entry.Value.Keys}\n")));

    /// <summary>The results in such a text; null where a line of it is none.</summary>
    public static TuningResults? Parse(string text)
    {
        Dictionary<(bool, ElementType, int), TileSizes> sizes = [];
        foreach (string line in text.Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            if (line.Split(' ') is not [("forward" or "backward") and var pass, var type, var dim, var queries, var keys]
                || !Enum.TryParse(type, out ElementType elementType) || !Enum.IsDefined(elementType)
                || !TryNumber(dim, AttentionProblem.MaxHeadDim, out int d) || !TryNumber(queries, Largest, out int q) || !TryNumber(keys, Largest, out int k))
            {
                return null;
            }
            sizes[(pass == "backward", elementType, d)] = new(q, k);
        }
        return new(sizes);

        static bool TryNumber(string text, int most, out int number) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out number) && number >= 1 && number <= most;
    }

    private static int Largest => TilePlan.StationarySizes[0];

    /// <summary>Head dimensions that round up to the same power of 2 are of one kind.</summary>
    private static int DimOf(int headDim) => (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)headDim);

    /// <summary>Names processor, caches and registers: results of another machine that shares the folder are not these.</summary>
    private static string Key(int vectorBits)
        => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes($"tile sizes 1\n{Processor()}\n{Caches.OfThisMachine}\n{vectorBits}")));

    private static string Processor()
    {
        if (!X86Base.IsSupported || (uint)X86Base.CpuId(unchecked((int)0x80000000), 0).Eax < 0x80000004)
            return $"{RuntimeInformation.OSDescription} {RuntimeInformation.ProcessArchitecture}";
        Span<int> brand = stackalloc int[12];
        for (int i = 0; i < 3; i++)
            (brand[4 * i], brand[4 * i + 1], brand[4 * i + 2], brand[4 * i + 3]) = X86Base.CpuId(unchecked((int)0x80000002) + i, 0);
        return $"{Encoding.ASCII.GetString(MemoryMarshal.AsBytes(brand)).TrimEnd('\0')} {X86Base.CpuId(1, 0).Eax}";
    }
}
