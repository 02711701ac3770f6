using System.Diagnostics;

namespace Gpt2.Tests;

public sealed class OwnFileTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Replaces_the_whole_file_and_makes_its_folder()
    {
        string path = _folder.File("new/file");
        Write(path, "own: first content");
        Write(path, "own: 2");
        Assert.Equal("own: 2", File.ReadAllText(path));
        Assert.Single(Directory.GetFiles(_folder.File("new")));
    }

    [Fact]
    public void The_old_file_is_kept_if_asked_for()
    {
        string path = _folder.Write("file", "own: old"), kept = _folder.Write("kept", "own: older");
        OwnFile.Write(path, Recognise, stream => stream.Write("own: new"u8), kept);
        Assert.Equal(("own: new", "own: old"), (File.ReadAllText(path), File.ReadAllText(kept)));
    }

    [Fact]
    public void A_failure_while_writing_leaves_all_as_it_was()
    {
        string path = _folder.Write("file", "own: old"), kept = _folder.Write("kept", "own: older");
        Assert.Throws<InvalidOperationException>(() => OwnFile.Write(path, Recognise, Fail(new InvalidOperationException("crash")), kept));
        string message = Assert.Throws<UserException>(() => OwnFile.Write(path, Recognise, Fail(new IOException("disk full")), kept)).Message;
        Assert.Contains($"{path} cannot be written: disk full", message);
        Assert.Equal(("own: old", "own: older"), (File.ReadAllText(path), File.ReadAllText(kept)));
        Assert.Equal(2, Directory.GetFiles(_folder.ToString()).Length);

        static Action<Stream> Fail(Exception exception) => stream =>
        {
            stream.Write("half of the n"u8);
            throw exception;
        };
    }

    [Fact]
    public void The_old_file_stays_readable_until_the_new_one_is_complete()
    {
        string path = _folder.Write("file", "own: old");
        OwnFile.Write(path, Recognise, stream =>
        {
            stream.Write("own: new"u8);
            stream.Flush();
            Assert.Equal("own: old", File.ReadAllText(path));
        });
        Assert.Equal("own: new", File.ReadAllText(path));
    }

    [Fact]
    public void Neighbours_with_names_of_temporary_files_are_left_alone()
    {
        string path = _folder.Write("file", "own: old"), temporary = _folder.Write("file.tmp", "a document"), probe = _folder.Write("file.probe", "another");
        OwnFile.Probe(path);
        Write(path, "own: new");
        Assert.Equal(("a document", "another"), (File.ReadAllText(temporary), File.ReadAllText(probe)));
        Assert.Equal(3, Directory.GetFiles(_folder.ToString()).Length);
    }

    [Theory]
    [InlineData("document", "is a document")]
    [InlineData("folder", "is a folder")]
    [InlineData("link", "is a symbolic link")]
    [InlineData("dangling link", "is a symbolic link")]
    [InlineData("pipe", "is a pipe, a socket or a device")]
    public void What_is_not_ours_is_refused_by_name(string what, string message)
    {
        if (what == "pipe" && !OperatingSystem.IsLinux()) return; // elsewhere it cannot be told from a file
        string path = _folder.File("taken"), target = _folder.Write("target", "own: target");
        Make(what, path, target);
        string[] before = Directory.GetFileSystemEntries(_folder.ToString());

        foreach (Action attempt in (Action[])[() => OwnFile.Exists(path, Recognise), () => Write(path, "own: new"), () => WriteAndKeep(path)])
        {
            string refusal = Assert.Throws<UserException>(attempt).Message;
            Assert.Contains($"--checkpoint: {path} {message}", refusal);
            Assert.Contains("left as it is", refusal);
        }

        Assert.Equal("own: target", File.ReadAllText(target));
        Assert.Equal("own: current", File.ReadAllText(_folder.File("current")));
        Assert.Equal(before.Append(_folder.File("current")).Order(), Directory.GetFileSystemEntries(_folder.ToString()).Order());

        void WriteAndKeep(string kept) => OwnFile.Write(_folder.Write("current", "own: current"), Recognise, stream => stream.Write("own: new"u8), kept);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void What_comes_while_a_file_is_written_is_left_alone(bool replaces)
    {
        string path = replaces ? _folder.Write("file", "own: old") : _folder.File("file");
        Assert.Throws<UserException>(() => OwnFile.Write(path, Recognise, _ =>
        {
            File.Delete(path);
            File.WriteAllText(path, "a document");
        }));
        Assert.Equal("a document", File.ReadAllText(path));
        Assert.Single(Directory.GetFiles(_folder.ToString()));
    }

    [Fact]
    public void Another_name_of_the_same_file_keeps_the_old_content()
    {
        if (OperatingSystem.IsWindows()) return; // ln
        string path = _folder.Write("file", "own: old"), other = _folder.File("other");
        Shell($"ln '{path}' '{other}'");
        Write(path, "own: new");
        Assert.Equal(("own: new", "own: old"), (File.ReadAllText(path), File.ReadAllText(other)));
    }

    [Fact]
    public void A_folder_that_vanishes_or_cannot_be_written_is_named()
    {
        string path = _folder.Write("sub/file", "own: old");
        string message = Assert.Throws<UserException>(() => OwnFile.Write(path, Recognise, _ => Directory.Delete(_folder.File("sub"), recursive: true))).Message;
        Assert.Contains($"{path} cannot be written", message);
        Write(path, "own: new"); // made anew by the next save
        if (OperatingSystem.IsWindows()) return; // its read-only folders can be written

        // The folder of a process takes no file, not even root's.
        string locked = Environment.IsPrivilegedProcess ? "/proc/self" : Directory.CreateDirectory(_folder.File("locked"), UnixFileMode.UserRead | UnixFileMode.UserExecute).FullName;
        string unwritable = Path.Combine(locked, "file");
        Assert.Contains($"{unwritable} cannot be written", Assert.Throws<UserException>(() => OwnFile.Probe(unwritable)).Message);
        Assert.Contains($"{unwritable} cannot be written", Assert.Throws<UserException>(() => Write(unwritable, "own: new")).Message);
    }

    private static void Write(string path, string content) =>
        OwnFile.Write(path, Recognise, stream => stream.Write(System.Text.Encoding.UTF8.GetBytes(content)));

    private static void Recognise(string path)
    {
        if (!File.ReadAllText(path).StartsWith("own: ", StringComparison.Ordinal)) throw new UserException($"--checkpoint: {path} is a document.");
    }

    private static void Make(string what, string path, string target)
    {
        switch (what)
        {
            case "document": File.WriteAllText(path, "a document"); break;
            case "folder": Directory.CreateDirectory(path); break;
            case "link": File.CreateSymbolicLink(path, target); break;
            case "dangling link": File.CreateSymbolicLink(path, target + ".not"); break;
            case "pipe": Shell($"mkfifo '{path}'"); break;
            default: throw new ArgumentException(what, nameof(what));
        }
    }

    private static void Shell(string command)
    {
        using Process process = Process.Start("sh", ["-c", command]);
        process.WaitForExit();
        Assert.Equal(0, process.ExitCode);
    }
}
