using System.Runtime.Intrinsics.X86;

namespace TorchFlash.Kernels.Cpu;

/// <summary>Sizes of this processor's caches in bytes.</summary>
internal static class CacheSizes
{
    private const int Fallback = 512 * 1024;

    /// <summary>The second-level data cache of one core; 512 KiB where the machine does not tell.</summary>
    public static int SecondLevel { get; } = Find(2);

    private static int Find(int level)
    {
        int size = X86Base.IsSupported ? FromCpuId(level) : FromSysfs(level);
        return size > 0 ? size : Fallback;
    }

    /// <summary>Deterministic cache parameters: leaf 4 (Intel), leaf 0x8000001D (AMD), the same layout.</summary>
    private static int FromCpuId(int level)
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
                    return checked(((ebx >>> 22) + 1) * ((ebx >>> 12 & 0x3FF) + 1) * ((ebx & 0xFFF) + 1) * (ecx + 1));
            }
        }
        return 0;
    }

    private static int FromSysfs(int level)
    {
        for (int index = 0; index < 8; index++)
        {
            string folder = $"/sys/devices/system/cpu/cpu0/cache/index{index}";
            try
            {
                if (!Directory.Exists(folder))
                    break;
                if (File.ReadAllText($"{folder}/level").Trim() == level.ToString() && File.ReadAllText($"{folder}/type").Trim() != "Instruction"
                    && int.TryParse(File.ReadAllText($"{folder}/size").Trim().TrimEnd('K'), out int kilobytes))
                    return kilobytes * 1024;
            }
            catch (IOException)
            {
                break;
            }
            catch (UnauthorizedAccessException)
            {
                break;
            }
        }
        return 0;
    }
}
