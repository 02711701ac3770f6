using System.Collections.Concurrent;

namespace TorchFlash;

/// <summary>What a user sets through <see cref="flash"/> for the whole process, where everything below it can look.</summary>
internal static class Settings
{
    private static readonly ConcurrentDictionary<string, bool> s_said = new();

    /// <summary>Receives what must not go unnoticed; a new receiver has not been told anything.</summary>
    public static Action<string> Warn
    {
        get;
        set
        {
            field = value;
            s_said.Clear();
        }
    } = Console.Error.WriteLine;

    /// <summary>What must be the same whenever it is repeated.</summary>
    public static Determinism Determinism { get; set; } = new(false, false);

    /// <summary>Says, once, what is done instead of a fused pass over the operands as they are, and why.</summary>
    public static void Announce(string instead, string reason)
    {
        string message = $"TorchFlash: {instead}, because {reason.TrimEnd('.')}.";
        if (s_said.TryAdd(message, true))
            Warn(message);
    }
}

/// <summary>See <see cref="flash.use_deterministic_algorithms"/>; a class, so that both are read at once.</summary>
/// <param name="Required">Whether equal calls must give equal bits.</param>
/// <param name="WarnOnly">Whether what cannot do so warns instead of refusing.</param>
internal sealed record Determinism(bool Required, bool WarnOnly);
