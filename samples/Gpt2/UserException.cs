namespace Gpt2;

/// <summary>Something the user can put right. The message, one line, says what; the program prints it without a stack trace.</summary>
public sealed class UserException(string message, Exception? inner = null) : Exception(OneLine(message), inner)
{
    private const int MaximumLength = 5000; // a path has up to 4096

    /// <summary>The text without line breaks and control characters: a damaged file's content must not command the terminal.</summary>
    public static string OneLine(string text)
    {
        string start = text.Length <= MaximumLength ? text : text[..MaximumLength] + "...";
        return string.Concat(start.Select(c => char.IsControl(c) || c is '\u2028' or '\u2029' ? ' ' : c));
    }
}
