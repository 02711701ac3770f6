using System.Text;
using System.Text.RegularExpressions;
using Gpt2.Text;

namespace Gpt2.Tests;

public class WordSplitterTests
{
    // GPT-2's pattern as published. Equal to the splitter on the basic plane, where a UTF-16 unit is a code point.
    private const string Pattern = @"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    [Theory]
    [InlineData("Hello world", "Hello| world")]
    [InlineData("it's we'll they'd've", "it|'s| we|'ll| they|'d|'ve")]
    [InlineData("a  b", "a| | b")]
    [InlineData("a   b", "a|  | b")]
    [InlineData("a\n\nb", "a|\n|\n|b")]
    [InlineData("end  ", "end|  ")]
    [InlineData("x = 42, y2!?", "x| =| 42|,| y|2|!?")]
    [InlineData(" 's", " '|s")]
    [InlineData("I'M", "I|'|M")]
    [InlineData("naïve Übung", "naïve| Übung")]
    [InlineData("\tx", "\t|x")]
    [InlineData("", "")]
    public void Splits_as_gpt2_does(string text, string words)
    {
        Assert.Equal(words.Length == 0 ? [] : words.Split('|'), Split(text));
    }

    [Fact]
    public void Letters_outside_the_basic_plane_are_letters()
    {
        Assert.Equal(["a\U00020000b", " \U0001D7D8", "\U0001F600"], Split("a\U00020000b \U0001D7D8\U0001F600"));
    }

    [Fact]
    public void Equals_the_published_pattern_on_random_text()
    {
        const string Alphabet = "ab Z  19\n\t.,'strevmld!ÄßжЖ中½²\u00A0\u0301\u2003";
        var random = new Random(1);
        for (int i = 0; i < 3000; i++)
        {
            string text = new(random.GetItems<char>(Alphabet, random.Next(1, 40)));
            Assert.Equal(Regex.Matches(text, Pattern).Select(match => match.Value), Split(text));
        }
    }

    [Fact]
    public void White_space_of_several_bytes_stays_whole()
    {
        Assert.Equal(["a", "\u3000\u2003", "\u00A0", "b"], Split("a\u3000\u2003\u00A0b"));
        Assert.Equal(["a", "\u00A0\u3000"], Split("a\u00A0\u3000"));
    }

    [Fact]
    public void Bytes_that_are_no_text_are_symbols()
    {
        byte[] bytes = [(byte)'a', 0xFF, 0xC3, (byte)' ', 0xE2, 0x82, (byte)'b', 0xF0];
        int[] lengths = [1, 2, 3, 1, 1];
        int start = 0;
        foreach (int length in lengths)
        {
            Assert.Equal(length, WordSplitter.FirstWord(bytes.AsSpan(start)));
            start += length;
        }

        Assert.Equal(bytes.Length, start);
    }

    private static List<string> Split(string text)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        var words = new List<string>();
        for (int start = 0, length; start < bytes.Length; start += length)
        {
            length = WordSplitter.FirstWord(bytes.AsSpan(start));
            words.Add(Encoding.UTF8.GetString(bytes, start, length));
        }

        return words;
    }
}
