namespace TorchFlash.Testing;

/// <summary>What NVRTC and ptxas say.</summary>
internal static class CompilerLog
{
    /// <summary>
    /// The lines that must not be there: warnings, and advice that products of warpgroups are serialised or registers not handed over (C75xx),
    /// which costs a kernel its speed without an error.
    /// </summary>
    public static IEnumerable<string> Complaints(string log) => log.Split('\n').Where(line =>
        line.Contains("(C75", StringComparison.Ordinal) || line.Contains("serialized", StringComparison.Ordinal) || line.Contains("warning", StringComparison.OrdinalIgnoreCase))
        .Select(line => line.Trim());
}
