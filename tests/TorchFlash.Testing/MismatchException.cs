namespace TorchFlash.Testing;

/// <summary>Something is not what a test expects of it.</summary>
internal sealed class MismatchException(string message) : Exception(message);
