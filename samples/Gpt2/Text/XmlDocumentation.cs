using System.Text;
using System.Xml;

namespace Gpt2.Text;

/// <summary>Reads the prose out of a .NET XML documentation file.</summary>
public static class XmlDocumentation
{
    /// <summary>
    /// The text of all members: one line for each summary, parameter, return value, remark or exception, and an empty line
    /// after each member. Tags are dropped, references become the name they refer to, white space runs become one space.
    /// </summary>
    /// <exception cref="XmlException">The file is not well-formed.</exception>
    public static string ReadText(Stream xml)
    {
        var text = new StringBuilder();
        var line = new StringBuilder();
        using XmlReader reader = XmlReader.Create(xml, new XmlReaderSettings { DtdProcessing = DtdProcessing.Prohibit });

        // <doc> <members> <member> <summary>...: a line is what stands below depth 3.
        const int MemberDepth = 2, LineDepth = 3;
        bool inMember = false;
        while (reader.Read())
        {
            switch (reader.NodeType)
            {
                case XmlNodeType.Element when reader.Depth == MemberDepth:
                    inMember = reader.Name == "member" && !reader.IsEmptyElement;
                    break;
                case XmlNodeType.Element when inMember && reader.Depth == LineDepth:
                    if (reader.Name is "param" or "typeparam") line.Append(reader.GetAttribute("name")).Append(": ");
                    if (reader.Name is "exception") line.Append(ReferredName(reader.GetAttribute("cref"))).Append(": ");
                    if (reader.IsEmptyElement) line.Clear();
                    break;
                case XmlNodeType.Element when inMember:
                    if (reader.IsEmptyElement) line.Append(Reference(reader));
                    if (SeparatesWords(reader.Name)) line.Append(' ');
                    break;
                case XmlNodeType.Text or XmlNodeType.CDATA or XmlNodeType.Whitespace or XmlNodeType.SignificantWhitespace
                    when inMember && reader.Depth > LineDepth:
                    line.Append(reader.Value);
                    break;
                case XmlNodeType.EndElement when inMember && reader.Depth == LineDepth:
                    AppendNormalised(text, line);
                    break;
                case XmlNodeType.EndElement when inMember && reader.Depth == MemberDepth:
                    if (text.Length > 0 && text[^1] == '\n' && !(text.Length > 1 && text[^2] == '\n')) text.Append('\n');
                    inMember = false;
                    break;
                case XmlNodeType.EndElement when inMember && SeparatesWords(reader.Name):
                    line.Append(' ');
                    break;
            }
        }

        return text.ToString();
    }

    /// <summary>The readable name in a documentation id: <c>M:System.IO.Stream.Read(System.Byte[])</c> is <c>Stream.Read</c>.</summary>
    public static string ReferredName(string? id)
    {
        if (string.IsNullOrEmpty(id)) return "";
        string kind = id is [_, ':', ..] ? id[..1] : "";
        string name = kind.Length == 0 ? id : id[2..];
        int parameters = name.IndexOf('(', StringComparison.Ordinal);
        if (parameters >= 0) name = name[..parameters];

        string[] parts = name.Split('.', StringSplitOptions.RemoveEmptyEntries);
        if (parts.Length == 0) return "";
        string last = WithoutArity(parts[^1]);
        return kind switch
        {
            "M" or "P" or "F" or "E" when parts.Length > 1 && last is "#ctor" or "#cctor" => WithoutArity(parts[^2]),
            "M" or "P" or "F" or "E" when parts.Length > 1 => $"{WithoutArity(parts[^2])}.{last}",
            "N" => name,
            _ => last,
        };
    }

    private static string WithoutArity(string name)
    {
        int arity = name.IndexOf('`', StringComparison.Ordinal);
        return arity < 0 ? name : name[..arity];
    }

    private static string Reference(XmlReader element) =>
        element.GetAttribute("name")
        ?? element.GetAttribute("langword")
        ?? (element.GetAttribute("cref") is { } cref ? ReferredName(cref) : null)
        ?? element.GetAttribute("href")
        ?? "";

    private static bool SeparatesWords(string element) =>
        element is "para" or "p" or "br" or "item" or "term" or "description" or "list" or "listheader" or "code" or "li" or "ul";

    private static void AppendNormalised(StringBuilder text, StringBuilder line)
    {
        int start = text.Length;
        foreach (char c in line.ToString())
        {
            if (!char.IsWhiteSpace(c)) text.Append(c);
            else if (text.Length > start && text[^1] != ' ') text.Append(' ');
        }

        if (text.Length > start && text[^1] == ' ') text.Length--;
        if (text.Length > start) text.Append('\n');
        line.Clear();
    }
}
