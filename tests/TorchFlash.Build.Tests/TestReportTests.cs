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
            <UnitTestResult testName="A.Left" outcome="NotExecuted" />
            <UnitTestResult testName="A.Bad" outcome="Failed"><Output><ErrorInfo><Message> expected 1 </Message><StackTrace>at A.Bad()</StackTrace></ErrorInfo></Output></UnitTestResult>
            """);

        Assert.Equal((1, 1), (report.Passed, report.Skipped));
        Assert.Equal([new TestFailure("A.Bad", "expected 1", "at A.Bad()")], report.Failures);
        Assert.Equal("1 passed, 1 failed, 1 skipped", report.ToString());
    }

    [Theory]
    [InlineData(0, "7 passed, 1 failed\n")]
    [InlineData(2, "2 skipped\n7 passed, 1 failed\n")]
    public void TotalsEndWithPassedAndFailedAlone(int skipped, string totals)
    {
        TestReport[] reports = [new("A", 3, 0, []), new("B", 4, skipped, [new("B.Bad", "no")])];
        var writer = new StringWriter { NewLine = "\n" };

        TestReport.WriteTotals(reports, writer);

        Assert.Equal(totals, writer.ToString());
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
