using System.Text.Json;
using System.Text.Json.Serialization;

namespace TorchFlash.Gpu.Report;

/// <summary>What a part of the GPU run found: on the screen for people, and as PART.json in the output folder.</summary>
/// <param name="Part">The verb.</param>
/// <param name="Passed">Whether all of it was as it must be.</param>
/// <param name="Device">What it ran on.</param>
/// <param name="IsEmulated">Whether that was the emulated GPU, whose times mean nothing.</param>
/// <param name="Checks">How many things were checked or measured.</param>
/// <param name="Failures">What was not as it must be, one line each.</param>
/// <param name="Details">The numbers.</param>
internal sealed record PartReport(string Part, bool Passed, string Device, bool IsEmulated, int Checks, IReadOnlyList<string> Failures, object? Details)
{
    private static readonly JsonSerializerOptions Json = new()
    {
        WriteIndented = true,
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
        Converters = { new JsonStringEnumConverter() },
    };

    /// <summary>When it ran.</summary>
    public DateTime Time { get; init; } = DateTime.UtcNow;

    /// <summary>Seconds that it took.</summary>
    public double Seconds { get; init; }

    /// <summary>Writes the report and returns the exit code.</summary>
    /// <param name="folder">Where to.</param>
    /// <param name="quiet">Into the file only.</param>
    public int Write(DirectoryInfo folder, bool quiet = false)
    {
        folder.Create();
        File.WriteAllText(Path.Combine(folder.FullName, Part + ".json"), JsonSerializer.Serialize(this, Json));
        if (quiet)
            return Passed ? ExitCode.Passed : ExitCode.Failed;
        Console.WriteLine();
        foreach (string failure in Failures.Take(40))
            Console.WriteLine($"FAILED  {failure}");
        if (Failures.Count > 40)
            Console.WriteLine($"        and {Failures.Count - 40} more, see {Part}.json");
        Console.WriteLine($"{Part}: {(Passed ? "PASSED" : "FAILED")}, {Checks} checked, {Failures.Count} failed, {Seconds:F1} s, on {Device}{(IsEmulated ? " (EMULATED: no hardware ran)" : "")}");
        return Passed ? ExitCode.Passed : ExitCode.Failed;
    }

    /// <summary>The numbers of a report that was read.</summary>
    public T? DetailsAs<T>() => ((JsonElement)Details!).Deserialize<T>(Json);

    /// <summary>Reads what <see cref="Write"/> wrote; null where there is none.</summary>
    public static PartReport? Read(DirectoryInfo folder, string part)
    {
        string path = Path.Combine(folder.FullName, part + ".json");
        return File.Exists(path) ? JsonSerializer.Deserialize<PartReport>(File.ReadAllText(path), Json) : null;
    }
}

/// <summary>What the program's end tells its caller.</summary>
internal static class ExitCode
{
    public const int Passed = 0, Failed = 1, NoGpu = 3;
}
