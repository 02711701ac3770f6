using System.Globalization;
using System.Text;

namespace Gpt2.Text;

/// <summary>
/// Cuts a text into the words that GPT-2 encodes one by one, as the pattern
/// <c>'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+</c> over Unicode code points does.
/// A .NET regular expression sees UTF-16 units and would part letters outside the basic plane from their neighbours.
/// </summary>
public static class WordSplitter
{
    private static readonly string[] Contractions = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];

    private enum CharacterClass
    {
        Space,
        Letter,
        Number,
        Other,
    }

    /// <summary>The words of <paramref name="text"/> in order; joined they give it back.</summary>
    public static IEnumerable<string> Split(string text)
    {
        for (int start = 0; start < text.Length;)
        {
            int end = EndOfWord(text, start);
            yield return text[start..end];
            start = end;
        }
    }

    private static int EndOfWord(string text, int start)
    {
        foreach (string contraction in Contractions)
        {
            if (string.CompareOrdinal(text, start, contraction, 0, contraction.Length) == 0) return start + contraction.Length;
        }

        // One space may lead a word.
        int first = text[start] == ' ' && start + 1 < text.Length ? start + 1 : start;
        (CharacterClass kind, _) = ClassAt(text, first);
        if (kind != CharacterClass.Space) return EndOfRun(text, first, kind);

        // Of white space before a word the last character stays out: it may be the space that leads that word.
        int end = EndOfRun(text, start, CharacterClass.Space);
        return end < text.Length && end - start > 1 ? end - 1 : end;
    }

    private static int EndOfRun(string text, int index, CharacterClass kind)
    {
        while (index < text.Length && ClassAt(text, index) is var (next, length) && next == kind) index += length;
        return index;
    }

    private static (CharacterClass Kind, int Length) ClassAt(string text, int index)
    {
        Rune.DecodeFromUtf16(text.AsSpan(index), out Rune rune, out int length);
        if (Rune.IsWhiteSpace(rune)) return (CharacterClass.Space, length);
        CharacterClass kind = Rune.GetUnicodeCategory(rune) switch
        {
            UnicodeCategory.UppercaseLetter or UnicodeCategory.LowercaseLetter or UnicodeCategory.TitlecaseLetter
                or UnicodeCategory.ModifierLetter or UnicodeCategory.OtherLetter => CharacterClass.Letter,
            UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.OtherNumber => CharacterClass.Number,
            _ => CharacterClass.Other,
        };
        return (kind, length);
    }
}
