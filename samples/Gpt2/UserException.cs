namespace Gpt2;

/// <summary>Something the user can put right. The message says what; the program prints it without a stack trace.</summary>
public sealed class UserException(string message, Exception? inner = null) : Exception(message, inner);
