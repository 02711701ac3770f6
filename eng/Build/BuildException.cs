namespace TorchFlash.Build;

/// <summary>A verb cannot go on; the message is all the user needs to see.</summary>
internal sealed class BuildException(string message, Exception? inner = null) : Exception(message, inner);
