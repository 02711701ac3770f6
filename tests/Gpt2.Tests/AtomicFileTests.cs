using Gpt2.Training;

namespace Gpt2.Tests;

public sealed class AtomicFileTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Replaces_the_whole_file_and_makes_its_folder()
    {
        string path = _folder.File("new/file");
        AtomicFile.Write(path, stream => stream.Write("first content"u8));
        AtomicFile.Write(path, stream => stream.Write("second"u8));
        Assert.Equal("second", File.ReadAllText(path));
        Assert.Single(Directory.GetFiles(_folder.File("new")));
    }

    [Fact]
    public void A_failure_while_writing_leaves_the_old_file()
    {
        string path = _folder.Write("file", "old");
        Assert.Throws<InvalidOperationException>(() => AtomicFile.Write(path, stream =>
        {
            stream.Write("half of the n"u8);
            throw new InvalidOperationException("crash");
        }));
        Assert.Equal("old", File.ReadAllText(path));
        Assert.Single(Directory.GetFiles(_folder.ToString()));
    }

    [Fact]
    public void The_old_file_stays_readable_until_the_new_one_is_complete()
    {
        string path = _folder.Write("file", "old");
        AtomicFile.Write(path, stream =>
        {
            stream.Write("new"u8);
            stream.Flush();
            Assert.Equal("old", File.ReadAllText(path));
        });
        Assert.Equal("new", File.ReadAllText(path));
    }

    [Fact]
    public void A_leftover_of_a_killed_process_does_no_harm()
    {
        string path = _folder.Write("file", "old");
        _folder.Write("file.tmp", "a very long half-written leftover");
        AtomicFile.Write(path, stream => stream.Write("new"u8));
        Assert.Equal("new", File.ReadAllText(path));
    }
}
