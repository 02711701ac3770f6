using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace TorchSharpTests;

public partial class ProcessSetupTests
{
    private const string UcxSignals = "UCX_ERROR_SIGNALS";

    /// <summary>With libtorch 2.6 of Debian 13 the first dereference would end the process but for the variable.</summary>
    [Fact]
    public void ANullReferenceIsAnExceptionAfterLibtorchIsLoaded()
    {
        Child child = Child.Run(DereferenceNull, UcxSignals, null);
        Assert.Equal((0, "'' caught caught\n"), (child.ExitCode, child.Output));
    }

    [Fact]
    public void TheUsersOwnChoiceOfSignalsStays()
    {
        Child child = Child.Run(ShowSignals, UcxSignals, "SIGBUS");
        Assert.Equal((0, "'SIGBUS'"), (child.ExitCode, child.Output));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(-1)]
    [InlineData(100_000)]
    [InlineData(int.MaxValue)]
    public void AbsurdNumbersOfThreadsAreRefused(int count)
    {
        int before = get_num_threads();
        Assert.Throws<ExternalException>(() => set_num_threads(count));
        Assert.Equal(before, get_num_threads());
    }

    internal static void DereferenceNull()
    {
        _ = ones(1);
        ShowSignals();
        for (int i = 0; i < 2; i++)
        {
            try
            {
                _ = Nothing().Length;
            }
            catch (NullReferenceException)
            {
                Console.Write(" caught");
            }
        }
        Console.WriteLine();

        static string Nothing() => null!;
    }

    internal static void ShowSignals()
    {
        _ = ones(1);
        Console.Write($"'{Marshal.PtrToStringUTF8(Variable(UcxSignals))}'");
    }

    [LibraryImport("libc", EntryPoint = "getenv", StringMarshalling = StringMarshalling.Utf8)]
    private static partial IntPtr Variable(string name);
}
