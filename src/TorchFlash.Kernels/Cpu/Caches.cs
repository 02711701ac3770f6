using System.Globalization;
using System.Runtime.Intrinsics.X86;

namespace TorchFlash.Kernels.Cpu;

/// <summary>The data caches of a core: what tile sizes depend on.</summary>
/// <param name="FirstLevel">Bytes of the first-level data cache.</param>
/// <param name="FirstLevelThreads">Hardware threads that share it.</param>
/// <param name="SecondLevel">Bytes of the second-level cache.</param>
/// <param name="SecondLevelThreads">Hardware threads that share it.</param>
internal sealed record Caches(int FirstLevel, int FirstLevelThreads, int SecondLevel, int SecondLevelThreads)
{
    /// <summary>Those of this machine; where it does not tell, what the smallest processors have.</summary>
    public static Caches OfThisMachine { get; } = Find();

    /// <summary>What a hardware thread has of the first level when the others work, too: the processors of a cloud machine mostly are threads.</summary>
    public int FirstLevelShare => FirstLevel / FirstLevelThreads;

    /// <summary>What a hardware thread has of the second level when the others work, too.</summary>
    public int SecondLevelShare => SecondLevel / SecondLevelThreads;

    /// <summary>
    /// Whether the operands of a pass come from further away than the second level, so that it pays to ask for them ahead of time: Q, K, V, O
    /// and what is as large as they are. Where much of them is at hand asking costs as much as it brings.
    /// </summary>
    public bool AreFar(in AttentionProblem problem)
    {
        double queries = (double)problem.Heads * problem.QueryLength, keys = (double)problem.KeyHeadCount * problem.KeyLength;
        return problem.Batch * (queries + keys) * (problem.HeadDim + problem.ValueDim) * problem.ElementType.Size() > 4.0 * SecondLevelShare;
    }

    /// <inheritdoc/>
    public override string ToString() => $"caches of {Level(FirstLevel, FirstLevelThreads)} and {Level(SecondLevel, SecondLevelThreads)}";

    private static string Level(int bytes, int threads) => $"{bytes / 1024} KiB{(threads > 1 ? $" for {threads} threads" : "")}";

    private static Caches Find()
    {
        (int first, int firstThreads) = Level(1) ?? (32 * 1024, 1);
        (int second, int secondThreads) = Level(2) ?? (512 * 1024, 1);
        return new(first, firstThreads, second, secondThreads);

        static (int Bytes, int Threads)? Level(int level) => FromSysfs(level) ?? (X86Base.IsSupported ? FromCpuId(level) : null);
    }

    /// <summary>Deterministic cache parameters: leaf 4 (Intel), leaf 0x8000001D (AMD), the same layout.</summary>
    private static (int Bytes, int Threads)? FromCpuId(int level)
    {
        int highest = X86Base.CpuId(0, 0).Eax, highestExtended = X86Base.CpuId(unchecked((int)0x80000000), 0).Eax;
        foreach (int leaf in (ReadOnlySpan<int>)[4, unchecked((int)0x8000001D)])
        {
            if ((uint)leaf > (uint)(leaf > 0 ? highest : highestExtended))
                continue;
            for (int index = 0; index < 16; index++)
            {
                (int eax, int ebx, int ecx, _) = X86Base.CpuId(leaf, index);
                int type = eax & 31; // 0: no more, 1: data, 2: instructions, 3: unified
                if (type == 0)
                    break;
                if (type != 2 && (eax >> 5 & 7) == level)
                    return (checked(((ebx >>> 22) + 1) * ((ebx >>> 12 & 0x3FF) + 1) * ((ebx & 0xFFF) + 1) * (ecx + 1)), Math.Min((eax >>> 14 & 0xFFF) + 1, Environment.ProcessorCount));
            }
        }
        return null;
    }

    /// <summary>What Linux tells, which also knows threads that are switched off.</summary>
    private static (int Bytes, int Threads)? FromSysfs(int level)
    {
        try
        {
            for (int index = 0; Directory.Exists(Path(index)); index++)
            {
                if (Read(index, "level") == level.ToString(CultureInfo.InvariantCulture) && Read(index, "type") != "Instruction"
                    && int.TryParse(Read(index, "size").TrimEnd('K'), NumberStyles.None, CultureInfo.InvariantCulture, out int kibibytes) && kibibytes is > 0 and < 1 << 20)
                {
                    return (kibibytes * 1024, Math.Max(1, Members(Read(index, "shared_cpu_list"))));
                }
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
        }
        return null;

        static string Path(int index) => $"/sys/devices/system/cpu/cpu0/cache/index{index}";
        static string Read(int index, string file) => File.ReadAllText($"{Path(index)}/{file}").Trim();
    }

    /// <summary>How many there are in a list such as 0-3,8.</summary>
    internal static int Members(string list) => list.Split(',').Sum(range
        => range.Split('-') is [string first, string last] && int.TryParse(first, out int from) && int.TryParse(last, out int to) ? Math.Max(0, to - from + 1) : 1);
}
