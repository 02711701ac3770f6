using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using AttentionBench.Measuring;

namespace AttentionBench.Output;

/// <summary>A column of a table.</summary>
/// <param name="Name">Heading; key in JSON and CSV.</param>
/// <param name="Format">Of its numbers; empty: text.</param>
/// <param name="Unit">Behind every number, such as x.</param>
internal sealed record Column(string Name, string Format = "", string Unit = "");

/// <summary>
/// Numbers as they were measured, to be shown as Markdown and kept as JSON and CSV. Cells are texts, numbers, spreads, or null where there is nothing.
/// </summary>
/// <param name="key">Name in files.</param>
/// <param name="title">A sentence above it.</param>
/// <param name="columns">The columns.</param>
internal sealed class Table(string key, string title, params IReadOnlyList<Column> columns)
{
    private readonly List<object?[]> _rows = [];

    public string Key => key;

    public string Title => title;

    public IReadOnlyList<Column> Columns => columns;

    public IReadOnlyList<object?[]> Rows => _rows;

    /// <exception cref="ArgumentException">There are more or fewer cells than columns.</exception>
    public void Add(params object?[] cells)
    {
        if (cells.Length != columns.Count)
            throw new ArgumentException($"{cells.Length} cells for {columns.Count} columns of '{key}'.", nameof(cells));
        _rows.Add(cells);
    }

    /// <summary>The two lines above the rows.</summary>
    public IEnumerable<string> MarkdownHead =>
    [
        $"| {string.Join(" | ", columns.Select(c => c.Name))} |",
        $"|{string.Concat(columns.Select(c => c.Format.Length > 0 ? " ---: |" : " --- |"))}",
    ];

    public string MarkdownRow(object?[] cells) => $"| {string.Join(" | ", Texts(cells).Select(text => text.Replace("|", "\\|", StringComparison.Ordinal)))} |";

    /// <summary>The whole table below its title.</summary>
    public string Markdown => string.Concat(((string[])[title, "", .. MarkdownHead, .. _rows.Select(MarkdownRow)]).Select(line => line + "\n"));

    /// <summary>What people read in the cells of a row.</summary>
    public IEnumerable<string> Texts(object?[] cells) => cells.Select((cell, c) =>
    {
        return cell switch
        {
            null => "-",
            string text => text,
            Spread s => $"{Number(s.Median)}{columns[c].Unit} ({Number(s.Lower)}-{Number(s.Upper)})",
            IFormattable number => Number(number) + columns[c].Unit,
            _ => throw new ArgumentException($"'{columns[c].Name}' has a cell of type {cell.GetType().Name}.", nameof(cells)),
        };

        string Number(IFormattable value) => value.ToString(columns[c].Format, CultureInfo.InvariantCulture);
    });

    /// <summary>An object a row; a spread is an object of median, lower and upper.</summary>
    public JsonArray Json => [.. _rows.Select(cells => new JsonObject(columns.Select((column, c) => KeyValuePair.Create(column.Name, cells[c] switch
    {
        null => null,
        string text => JsonValue.Create(text),
        Spread s => new JsonObject { ["median"] = s.Median, ["lower"] = s.Lower, ["upper"] = s.Upper },
        int number => JsonValue.Create(number),
        long number => JsonValue.Create(number),
        var number => (JsonNode?)JsonValue.Create(Convert.ToDouble(number, CultureInfo.InvariantCulture)),
    }))))];

    /// <summary>Cells of a row as <see cref="Json"/> has it.</summary>
    public object?[] Cells(JsonNode row) => [.. columns.Select(column => row[column.Name] switch
    {
        null => null,
        JsonObject s => new Spread((double)s["median"]!, (double)s["lower"]!, (double)s["upper"]!),
        JsonNode cell when cell.GetValueKind() == JsonValueKind.String => (string)cell!,
        JsonNode cell => (object)cell.Deserialize<double>(),
    })];

    /// <summary>
    /// Lines for programs: the columns of all tables behind one that says which table a row is of. A column with spreads is followed by its quartiles.
    /// </summary>
    public static string Csv(params IEnumerable<Table> tables)
    {
        Table[] all = [.. tables];
        (string Name, bool HasSpread)[] heads = [.. all.SelectMany(t => t.Columns.Select((column, c) => (column.Name, HasSpread: t.Rows.Any(r => r[c] is Spread))))
            .GroupBy(c => c.Name).Select(g => (g.Key, g.Any(c => c.HasSpread)))];
        var text = new StringBuilder();
        Line(["table", .. heads.SelectMany(h => h.HasSpread ? new[] { h.Name, h.Name + " lower quartile", h.Name + " upper quartile" } : [h.Name])]);
        foreach (Table table in all)
        {
            int[] at = [.. heads.Select(h => table.Columns.ToList().FindIndex(c => c.Name == h.Name))];
            foreach (object?[] row in table.Rows)
                Line([table.Key, .. heads.SelectMany((h, i) => Fields(at[i] < 0 ? null : row[at[i]], h.HasSpread))]);
        }
        return text.ToString();

        void Line(IEnumerable<string> fields) => text.AppendJoin(',', fields.Select(Quoted)).Append('\n');

        static IEnumerable<string> Fields(object? cell, bool hasSpread) => (cell, hasSpread) switch
        {
            (Spread s, _) => [Plain(s.Median), Plain(s.Lower), Plain(s.Upper)],
            (_, true) => [Plain(cell), "", ""],
            _ => [Plain(cell)],
        };

        static string Plain(object? cell) => Convert.ToString(cell, CultureInfo.InvariantCulture) ?? "";

        static string Quoted(string field) => field.AsSpan().ContainsAny(",\"\r\n") ? $"\"{field.Replace("\"", "\"\"", StringComparison.Ordinal)}\"" : field;
    }
}
