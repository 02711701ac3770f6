using System.Collections.Concurrent;

namespace TorchFlash.Attention;

/// <summary>Tells the receiver of <see cref="flash.warn"/>, once for each message, that no engine takes a call.</summary>
internal static class FallBack
{
    private static readonly ConcurrentDictionary<string, bool> s_said = new();

    /// <summary>Says what is done instead of a fused pass, and why.</summary>
    public static void Announce(string instead, string reason)
    {
        string message = $"TorchFlash: {instead}, because {reason.TrimEnd('.')}.";
        if (s_said.TryAdd(message, true))
            flash.warn(message);
    }

    /// <summary>There is a new receiver, who has not been told anything.</summary>
    public static void StartOver() => s_said.Clear();
}
