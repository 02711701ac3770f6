using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using AttentionBench.Cli;
using AttentionBench.Measuring;
using AttentionBench.Plots;
using Gpt2.Cli;
using Spectre.Console;
using TorchFlash.Kernels.Cpu;

namespace AttentionBench.Output;

/// <summary>
/// One run of a verb: shows its tables as they grow and how far it is, keeps them, and writes the files that were asked for. On a terminal there is a
/// progress bar and every table follows when it is whole; elsewhere there are lines of Markdown.
/// </summary>
internal sealed class Session
{
    private static readonly JsonSerializerOptions s_indented = new() { WriteIndented = true };

    private readonly ParseResult _parsed;
    private readonly TextWriter _output;
    private readonly IAnsiConsole? _terminal;
    private readonly ProgressTask? _progress;
    private readonly List<Table> _tables = [];
    private readonly List<(string Name, Chart Chart)> _charts = [];
    private readonly List<string> _notes = [];

    private Session(ParseResult parsed, Machine? machine, IAnsiConsole? terminal, ProgressTask? progress)
    {
        (_parsed, Machine, _terminal, _progress) = (parsed, machine, terminal, progress);
        _output = parsed.InvocationConfiguration.Output;
    }

    /// <summary>What it runs on; verbs without libtorch have none.</summary>
    public Machine? Machine { get; }

    public IReadOnlyList<Table> Tables => _tables;

    public IReadOnlyList<(string Name, Chart Chart)> Charts => _charts;

    public IReadOnlyList<string> Notes => _notes;

    /// <summary>Adds what every verb has to a command, and runs it.</summary>
    /// <param name="command">A command that has all its other options.</param>
    /// <param name="describesMachine">Whether it uses libtorch.</param>
    /// <param name="files">Options of files that it writes.</param>
    /// <param name="prepare">Checks its options, before anything is measured; what it returns is its work.</param>
    public static Command On(Command command, bool describesMachine, Option[] files, Func<ParseResult, Func<Session, int>> prepare)
    {
        foreach (Option file in files)
            command.Add(file);
        if (describesMachine)
            command.Add(Options.Threads);
        command.SetAction(parsed =>
        {
            if (describesMachine)
                CommonOptions.ApplyThreads(parsed.GetValue(Options.Threads));
            foreach (Option<FileInfo?> file in files.OfType<Option<FileInfo?>>())
                if (parsed.GetValue(file) is { } wanted)
                    OutputFile.Check(file.Name, wanted.FullName);
            Func<Session, int> work = prepare(parsed);
            return Start(parsed, describesMachine, session =>
            {
                int code = work(session);
                session.WriteFiles(files);
                return code;
            });
        });
        return command;
    }

    private static int Start(ParseResult parsed, bool describesMachine, Func<Session, int> run)
    {
        IAnsiConsole console = AnsiConsole.Console;
        bool isTerminal = ReferenceEquals(parsed.InvocationConfiguration.Output, Console.Out) && console.Profile.Capabilities is { Interactive: true, Ansi: true };
        return isTerminal
            ? console.Progress().AutoClear(true)
                .Columns(new SpinnerColumn(), new TaskDescriptionColumn { Alignment = Justify.Left }, new ProgressBarColumn(), new PercentageColumn(), new ElapsedTimeColumn())
                .Start(context => Run(console, context.AddTask("starting", maxValue: 1)))
            : Run(null, null);

        int Run(IAnsiConsole? terminal, ProgressTask? progress)
        {
            Machine? machine = describesMachine ? Machine.Describe() : null;
            var session = new Session(parsed, machine, terminal, progress);
            if (machine is not null)
            {
                foreach ((string name, string value) in machine.Properties)
                    session.Line($"{name}: {value}");
                foreach (string warning in Disturbance.AtStart(machine))
                    session.Note("Warning: " + warning);
                session.Line("");
            }
            return run(session);
        }
    }

    /// <summary>How many steps follow.</summary>
    public void Expect(int steps)
    {
        if (_progress is not null)
            (_progress.Value, _progress.MaxValue) = (0, steps + 1); // the last one begins before all is done
    }

    /// <summary>One of them begins.</summary>
    public void Step(string description)
    {
        if (_progress is null)
            return;
        _progress.Description = Markup.Escape(description);
        _progress.Increment(1);
    }

    /// <summary>A line for the person in front of it.</summary>
    public void Line(string text)
    {
        if (_terminal is not null)
            _terminal.WriteLine(text);
        else
            _output.WriteLine(text);
    }

    /// <summary>A line that also goes into the files.</summary>
    public void Note(string text)
    {
        _notes.Add(text);
        Line(text);
    }

    /// <summary>A new table, whose rows are to be given to <see cref="Row"/>.</summary>
    public Table Begin(Table table)
    {
        _tables.Add(table);
        if (_terminal is not null)
            return table;
        Line("");
        Line(table.Title);
        Line("");
        foreach (string line in table.MarkdownHead)
            Line(line);
        return table;
    }

    public void Row(Table table, params object?[] cells)
    {
        table.Add(cells);
        if (_terminal is null)
            Line(table.MarkdownRow(cells));
    }

    /// <summary>The table has all its rows.</summary>
    public void End(Table table)
    {
        if (_terminal is null)
            return;
        var drawn = new Spectre.Console.Table().Border(TableBorder.Rounded).Title(Markup.Escape(table.Title));
        foreach (Column column in table.Columns)
            drawn.AddColumn(new TableColumn(Markup.Escape(column.Name)) { Alignment = column.Format.Length > 0 ? Justify.Right : Justify.Left });
        foreach (object?[] row in table.Rows)
            drawn.AddRow([.. table.Texts(row).Select(Markup.Escape)]);
        _terminal.Write(drawn);
    }

    /// <summary>A picture of results, for <c>--svg</c>.</summary>
    public void Picture(string name, Chart chart) => _charts.Add((name, Machine is null ? chart : chart with { Source = Machine.Summary }));

    /// <summary>Everything for programs.</summary>
    public JsonObject Json()
    {
        var settings = new JsonObject(_parsed.CommandResult.Command.Options.Where(o => o is not System.CommandLine.Help.HelpOption && _parsed.GetResult(o) is not null)
            .Select(o => KeyValuePair.Create(o.Name, (JsonNode?)JsonValue.Create(string.Join(' ', _parsed.GetResult(o)!.Tokens.Select(t => t.Value)) is { Length: > 0 } given ? given : "default"))));
        return new JsonObject
        {
            ["verb"] = _parsed.CommandResult.Command.Name,
            ["settings"] = settings,
            ["engine"] = CpuEngine.Instance.Describe(),
            ["machine"] = JsonSerializer.SerializeToNode(Machine),
            ["notes"] = new JsonArray([.. _notes.Select(n => JsonValue.Create(n))]),
            ["tables"] = new JsonObject(_tables.Select(t => KeyValuePair.Create(t.Key, (JsonNode?)t.Json))),
        };
    }

    public string JsonText => Json().ToJsonString(s_indented) + "\n";

    private void WriteFiles(Option[] files)
    {
        if (files.Contains(Options.Json) && _parsed.GetValue(Options.Json) is { } json)
            OutputFile.Write(Options.Json.Name, json.FullName, JsonText);
        if (files.Contains(Options.Csv) && _parsed.GetValue(Options.Csv) is { } csv)
            OutputFile.Write(Options.Csv.Name, csv.FullName, Table.Csv(_tables));
        if (files.Contains(Options.Svg) && _parsed.GetValue(Options.Svg) is { } svg)
            WritePictures(Options.Svg.Name, svg.FullName);
    }

    /// <summary>Every picture for light and for dark backgrounds.</summary>
    public void WritePictures(string option, string folder)
    {
        foreach ((string name, Chart chart) in _charts)
            foreach (Theme theme in new[] { Theme.Light, Theme.Dark })
                OutputFile.Write(option, Path.Combine(folder, $"{name}-{theme.Name}.svg"), SvgPlot.Render(chart, theme));
    }
}
