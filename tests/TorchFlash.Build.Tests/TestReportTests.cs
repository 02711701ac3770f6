namespace TorchFlash.Build.Tests;

public sealed class TestReportTests : IDisposable
{
    private readonly string _trx = Path.GetTempFileName();

    public void Dispose() => File.Delete(_trx);

    [Fact]
    public void CountsOutcomesAndKeepsMessages()
    {
        var report = Read(0, """
            <UnitTestResult testName="A.Good" outcome="Passed" />
            <UnitTestResult testName="A.Left" outcome="NotExecuted"><Output><ErrorInfo><Message>no GPU</Message></ErrorInfo></Output></UnitTestResult>
            <UnitTestResult testName="A.Bad" outcome="Failed"><Output><ErrorInfo><Message> expected 1 </Message><StackTrace>at A.Bad()</StackTrace></ErrorInfo></Output></UnitTestResult>
            """);

        Assert.Equal(1, report.Passed);
        Assert.Equal(["no GPU"], report.Skipped);
        Assert.Equal([new TestFailure("A.Bad", "expected 1", "at A.Bad()")], report.Failures);
        Assert.Equal("1 passed, 1 failed, 1 skipped", report.ToString());
    }

    [Fact]
    public void TotalsSayWhatWasSkippedAndEndWithPassedAndFailedAlone()
    {
        TestReport[] reports = [new("A", 3, [], []), new("B", 4, ["no GPU", "no time", "no GPU"], [new("B.Bad", "no")])];
        var writer = new StringWriter { NewLine = "\n" };

        TestReport.WriteTotals(reports, writer);

        Assert.Equal("skipped: 2 of B: no GPU\nskipped: 1 of B: no time\n7 passed, 1 failed\n", writer.ToString());
    }

    [Theory]
    [InlineData(1, "the run did not end properly (exit code 1)")]
    [InlineData(Executable.TimedOut, "the run did not end properly (stopped at the time limit)")]
    public void RunThatEndsBadlyWithoutAFailedTestIsAFailure(int exitCode, string message)
    {
        var report = Read(exitCode, """<UnitTestResult testName="A.Good" outcome="Passed" />""");

        Assert.Equal([new TestFailure("run", message)], report.Failures);
    }

    [Fact]
    public void TellsHowATestHostDied()
    {
        var report = Read(1, """<UnitTestResult testName="A.Bad" outcome="Failed" />""", "[xUnit.net 00:00:01]  A.Bad [FAIL]\nThe active test run was aborted.\n");

        Assert.Equal(new TestFailure("run", "the run did not end properly (exit code 1\nThe active test run was aborted.)"), report.Failures[^1]);
    }

    [Fact]
    public void RunWithoutTestsIsAFailure() =>
        Assert.Equal([new TestFailure("run", "no test ran")], Read(0, "").Failures);

    [Fact]
    public void MissingResultFileIsAFailure()
    {
        var report = TestReport.Read("run", _trx + ".none", 134, "");

        Assert.Equal([new TestFailure("run", "the run left no result file (exit code 134)")], report.Failures);
    }

    [Fact]
    public void BrokenResultFileIsAFailure()
    {
        File.WriteAllText(_trx, "<TestRun><Results>");

        var failure = Assert.Single(TestReport.Read("run", _trx, 134, "").Failures);

        Assert.StartsWith("the run left a broken result file", failure.Message, StringComparison.Ordinal);
    }

    private TestReport Read(int exitCode, string results, string errors = "")
    {
        File.WriteAllText(_trx, $"""<TestRun xmlns="http://microsoft.com/schemas/VisualStudio/TeamTest/2010"><Results>{results}</Results></TestRun>""");
        return TestReport.Read("run", _trx, exitCode, errors);
    }
}
