using System.Collections.Concurrent;

namespace TorchFlash.Attention;

/// <summary>Tells the receiver of <see cref="flash.warn"/>, once for each message, that no engine takes a call.</summary>
internal static class FallBack
{
    private static readonly ConcurrentDictionary<string, bool> s_said = new();

    /// <summary>Says what is done instead.</summary>
    public static void Announce(AttentionCall call, string instead)
    {
        string message = $"TorchFlash: no engine for {call.Query.dtype} tensors on {call.Query.device_type} yet; {instead}.";
        if (s_said.TryAdd(message, true))
            flash.warn(message);
    }

    /// <summary>There is a new receiver, who has not been told anything.</summary>
    public static void StartOver() => s_said.Clear();
}
