using System.Globalization;
using System.Text;

namespace Gpt2.Text;

/// <summary>
/// Cuts a text into the words that GPT-2 encodes one by one, as the pattern
/// <c>'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+</c> over Unicode code points does.
/// It reads UTF-8, of which a .NET regular expression knows nothing; bytes that are none count as symbols.
/// </summary>
public static class WordSplitter
{
    private static readonly CharacterClass[] Ascii = [.. Enumerable.Range(0, 128).Select(c => Classify(new Rune(c)))];

    private enum CharacterClass : byte
    {
        Space,
        Letter,
        Number,
        Other,
    }

    /// <summary>Length in bytes of the word at the start of <paramref name="text"/>, which is not empty. All words joined are the text.</summary>
    public static int FirstWord(ReadOnlySpan<byte> text)
    {
        if (Contraction(text) is > 0 and var length) return length;

        // One space may lead a word.
        int first = text[0] == ' ' && text.Length > 1 ? 1 : 0;
        CharacterClass kind = ClassAt(text, first, out _);
        if (kind != CharacterClass.Space) return EndOfRun(text, first, kind, out _);

        // Of white space before a word the last character stays out: it may be the space that leads that word.
        int end = EndOfRun(text, 0, CharacterClass.Space, out int last);
        return end < text.Length && last > 0 ? last : end;
    }

    private static int Contraction(ReadOnlySpan<byte> text)
    {
        if (text[0] != '\'' || text.Length < 2) return 0;
        if (text[1] is (byte)'s' or (byte)'t' or (byte)'m' or (byte)'d') return 2;
        ReadOnlySpan<byte> rest = text[1..];
        return rest.StartsWith("re"u8) || rest.StartsWith("ve"u8) || rest.StartsWith("ll"u8) ? 3 : 0;
    }

    // last: where the run's last character begins
    private static int EndOfRun(ReadOnlySpan<byte> text, int index, CharacterClass kind, out int last)
    {
        last = index;
        while (index < text.Length && ClassAt(text, index, out int length) == kind)
        {
            last = index;
            index += length;
        }

        return index;
    }

    private static CharacterClass ClassAt(ReadOnlySpan<byte> text, int index, out int length)
    {
        length = 1;
        if (text[index] < 128) return Ascii[text[index]];
        bool isCharacter = Rune.DecodeFromUtf8(text[index..], out Rune rune, out length) == System.Buffers.OperationStatus.Done;
        return isCharacter ? Classify(rune) : CharacterClass.Other;
    }

    private static CharacterClass Classify(Rune rune) => Rune.IsWhiteSpace(rune) ? CharacterClass.Space : Rune.GetUnicodeCategory(rune) switch
    {
        UnicodeCategory.UppercaseLetter or UnicodeCategory.LowercaseLetter or UnicodeCategory.TitlecaseLetter
            or UnicodeCategory.ModifierLetter or UnicodeCategory.OtherLetter => CharacterClass.Letter,
        UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.OtherNumber => CharacterClass.Number,
        _ => CharacterClass.Other,
    };
}
