using System.Xml;
using System.Xml.Linq;

namespace TorchFlash.Build;

/// <summary>One run of one test project, as its TRX file tells it.</summary>
/// <param name="Name">What the run is called in the summary.</param>
/// <param name="Passed">How many tests passed.</param>
/// <param name="Skipped">Why each skipped test was.</param>
/// <param name="Failures">The tests that failed, and what else went wrong.</param>
internal sealed record TestReport(string Name, int Passed, IReadOnlyList<string> Skipped, IReadOnlyList<TestFailure> Failures)
{
    /// <summary>Reads a run's result file.</summary>
    /// <param name="name">What the run is called in the summary.</param>
    /// <param name="trxPath">The TRX file, which a crashed test host leaves incomplete or does not leave at all.</param>
    /// <param name="exitCode">The test command's exit code: a run that ended badly without a failed test counts as one failure.</param>
    /// <param name="errors">What the command wrote to its standard error: how a test host died stands only there.</param>
    public static TestReport Read(string name, string trxPath, int exitCode, string errors)
    {
        string ending = (exitCode == Executable.TimedOut ? "stopped at the time limit" : $"exit code {exitCode}") + Excerpt(errors);
        if (!File.Exists(trxPath))
        {
            return new TestReport(name, 0, [], [new TestFailure(name, $"the run left no result file ({ending})")]);
        }

        XNamespace ns = "http://microsoft.com/schemas/VisualStudio/TeamTest/2010";
        List<XElement> results;
        try
        {
            results = [.. XDocument.Load(trxPath).Descendants(ns + "UnitTestResult")];
        }
        catch (XmlException e)
        {
            return new TestReport(name, 0, [], [new TestFailure(name, $"the run left a broken result file: {e.Message} ({ending})")]);
        }

        var failures = results.Where(r => Outcome(r) is not ("Passed" or "NotExecuted")).Select(Failure).ToList();
        bool aborted = errors.Contains("test run was aborted", StringComparison.OrdinalIgnoreCase);
        if (aborted || (failures.Count == 0 && exitCode != 0))
        {
            failures.Add(new TestFailure(name, $"the run did not end properly ({ending})"));
        }
        else if (results.Count == 0)
        {
            failures.Add(new TestFailure(name, "no test ran"));
        }

        var skipped = results.Where(r => Outcome(r) == "NotExecuted").Select(r => Text(r, "Message") ?? "no reason given").ToList();
        return new TestReport(name, results.Count(r => Outcome(r) == "Passed"), skipped, failures);

        TestFailure Failure(XElement result) =>
            new((string)result.Attribute("testName")!, Text(result, "Message") ?? Outcome(result), Text(result, "StackTrace"));

        string? Text(XElement result, string element) => result.Descendants(ns + element).FirstOrDefault()?.Value.Trim();

        static string Outcome(XElement result) => (string?)result.Attribute("outcome") ?? "without outcome";
    }

    public override string ToString() => $"{Passed} passed, {Failures.Count} failed" + (Skipped.Count > 0 ? $", {Skipped.Count} skipped" : "");

    /// <summary>Writes what was skipped and why, and the sums; the last line is exactly <c>N passed, N failed</c>.</summary>
    public static void WriteTotals(IReadOnlyCollection<TestReport> reports, TextWriter writer)
    {
        foreach (var (name, _, skipped, _) in reports)
        {
            foreach (var (reason, count) in skipped.CountBy(reason => reason))
            {
                writer.WriteLine($"skipped: {count} of {name}: {reason}");
            }
        }

        writer.WriteLine($"{reports.Sum(r => r.Passed)} passed, {reports.Sum(r => r.Failures.Count)} failed");
    }

    /// <summary>Writes each failure with its message and where it happened.</summary>
    public void WriteFailures(TextWriter writer)
    {
        foreach (var (test, message, stackTrace) in Failures)
        {
            writer.WriteLine($"\nfailed: {test} [{Name}]");
            writer.WriteLine("    " + message.ReplaceLineEndings("\n    "));
            if (stackTrace is not null)
            {
                writer.WriteLine("    " + string.Join("\n    ", stackTrace.Split('\n', StringSplitOptions.TrimEntries).Take(6)));
            }
        }
    }

    // The beginning tells what happened; xunit's own lines repeat the result file.
    private static string Excerpt(string errors) =>
        string.Concat(errors.Split('\n').Where(line => line.Trim().Length > 0 && !line.StartsWith("[xUnit.net", StringComparison.Ordinal)).Take(30).Select(line => "\n" + line.TrimEnd()));
}

/// <summary>A test that did not pass, and what it said.</summary>
internal sealed record TestFailure(string Test, string Message, string? StackTrace = null);
