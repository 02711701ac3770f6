namespace Gpt2.Text;

/// <summary>
/// GPT-2's alphabet: a printable, non-space character for each of the 256 bytes. The printable characters of Latin-1 stand
/// for themselves, the other bytes take, in order, the characters from U+0100 on.
/// </summary>
public static class ByteAlphabet
{
    private static readonly char[] Letters = CreateLetters();
    private static readonly Dictionary<char, byte> BytesByLetter =
        Letters.Select((letter, b) => (letter, b)).ToDictionary(x => x.letter, x => (byte)x.b);

    /// <summary>The character that stands for <paramref name="b"/>.</summary>
    public static char Letter(byte b) => Letters[b];

    /// <summary>The bytes that the characters stand for, or null if one of them stands for none.</summary>
    public static byte[]? Decode(string letters)
    {
        var bytes = new byte[letters.Length];
        for (int i = 0; i < letters.Length; i++)
        {
            if (!BytesByLetter.TryGetValue(letters[i], out bytes[i])) return null;
        }

        return bytes;
    }

    private static char[] CreateLetters()
    {
        var letters = new char[256];
        char next = '\u0100';
        for (int b = 0; b < 256; b++)
        {
            bool isPrintable = b is (>= '!' and <= '~') or (>= 0xA1 and <= 0xAC) or (>= 0xAE and <= 0xFF);
            letters[b] = isPrintable ? (char)b : next++;
        }

        return letters;
    }
}
