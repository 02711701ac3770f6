using System.Globalization;

namespace AttentionBench.IoModel;

/// <summary>Sizes of the data caches of one processor, from the first level on, as Linux tells them.</summary>
internal static class MachineCaches
{
    private const string Folder = "/sys/devices/system/cpu/cpu0/cache";

    /// <summary>Bytes, the first level first.</summary>
    /// <exception cref="PlatformNotSupportedException">The system does not tell.</exception>
    public static double[] Find()
    {
        try
        {
            if (Directory.Exists(Folder))
            {
                double[] sizes = [.. Directory.GetDirectories(Folder, "index*")
                    .Where(index => Read(index, "type") != "Instruction")
                    .Select(index => (Level: int.Parse(Read(index, "level"), CultureInfo.InvariantCulture), Size: Parse(Read(index, "size"))))
                    .OrderBy(cache => cache.Level).Select(cache => cache.Size)];
                if (sizes.Length >= 2)
                    return sizes;
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or FormatException)
        {
            throw new PlatformNotSupportedException($"The sizes of the caches cannot be read from {Folder} ({e.Message}); give them: --caches 48K,1M,32M.", e);
        }
        throw new PlatformNotSupportedException($"This system does not tell the sizes of its caches in {Folder}; give them: --caches 48K,1M,32M.");
    }

    private static string Read(string folder, string name) => File.ReadAllText(Path.Combine(folder, name)).Trim();

    /// <summary>A size such as 48K, 1M, 1.5M or 4096.</summary>
    /// <exception cref="FormatException">It is no size above 0.</exception>
    public static double Parse(string text)
    {
        double unit = text.Length == 0 ? 1 : char.ToUpperInvariant(text[^1]) switch { 'K' => 1 << 10, 'M' => 1 << 20, 'G' => 1 << 30, _ => 1 };
        return double.TryParse(unit == 1 ? text : text[..^1], NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double number) && number > 0 && double.IsFinite(number * unit)
            ? number * unit
            : throw new FormatException($"'{text}' is no size such as 48K, 1M or 65536.");
    }
}
