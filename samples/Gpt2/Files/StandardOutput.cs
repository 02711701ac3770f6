using System.Runtime.InteropServices;
using System.Text;

namespace Gpt2.Files;

/// <summary>Nobody reads the pipe any more: <c>train | head</c>.</summary>
internal sealed class ClosedPipeException() : IOException("standard output: the pipe is closed.");

/// <summary>
/// Standard output on Unix that says when nobody takes it any more; the console's own goes on into a closed pipe for ever.
/// <see cref="Flush"/> says so even when there is nothing to write.
/// </summary>
internal sealed class StandardOutput : Stream
{
    private const int Descriptor = 1;

    private StandardOutput()
    {
    }

    public override bool CanRead => false;

    public override bool CanSeek => false;

    public override bool CanWrite => true;

    public override long Length => throw new NotSupportedException();

    public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

    /// <summary>Makes this the console's output, except on Windows.</summary>
    /// <exception cref="IOException">The process was started with its output closed.</exception>
    internal static void Install()
    {
        if (OperatingSystem.IsWindows()) return;

        // An inherited descriptor does not close on exec. One that does is a file of the runtime's own, which got the free number.
        const int GetFlags = 1;
        if (fcntl(Descriptor, GetFlags) != 0) throw new IOException("standard output is closed.");
        Console.SetOut(new StreamWriter(new StandardOutput(), new UTF8Encoding(encoderShouldEmitUTF8Identifier: false)) { AutoFlush = true });
    }

    public override void Write(byte[] buffer, int offset, int count)
    {
        while (count > 0)
        {
            nint written = write(Descriptor, ref buffer[offset], (nuint)count);
            if (written >= 0) (offset, count) = (offset + (int)written, count - (int)written);
            else WaitOrThrow(Marshal.GetLastPInvokeError());
        }
    }

    public override void Flush()
    {
        const short Error = 8, HungUp = 16;
        if ((Poll(wanted: 0, milliseconds: 0) & (Error | HungUp)) != 0) throw new ClosedPipeException();
    }

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    // A pipe that another process has made non-blocking is only full for now.
    private static void WaitOrThrow(int error)
    {
        const int Interrupted = 4, BrokenPipe = 32;
        const short Writable = 4;
        int tryAgain = OperatingSystem.IsMacOS() ? 35 : 11;
        if (error == BrokenPipe) throw new ClosedPipeException();
        if (error == tryAgain) Poll(Writable, milliseconds: 1000);
        else if (error != Interrupted) throw new IOException($"standard output: {Marshal.GetPInvokeErrorMessage(error)}.");
    }

    private static short Poll(short wanted, int milliseconds)
    {
        var descriptor = new PollDescriptor { Descriptor = Descriptor, Wanted = wanted };
        return poll(ref descriptor, 1, milliseconds) > 0 ? descriptor.Returned : (short)0;
    }

    private struct PollDescriptor
    {
        internal int Descriptor;
        internal short Wanted;
        internal short Returned;
    }

    [DllImport("libc", SetLastError = true)]
    private static extern nint write(int descriptor, ref byte buffer, nuint count);

    [DllImport("libc", SetLastError = true)]
    private static extern int poll(ref PollDescriptor descriptors, nuint count, int milliseconds);

    [DllImport("libc", SetLastError = true)]
    private static extern int fcntl(int descriptor, int command);
}
