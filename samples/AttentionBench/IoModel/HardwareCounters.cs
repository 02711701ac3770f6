using System.Runtime.InteropServices;

namespace AttentionBench.IoModel;

/// <summary>Counters of the processor and the system around a piece of work of the calling thread, by Linux's perf_event_open.</summary>
internal static partial class HardwareCounters
{
    private const ulong ReadMiss = 0 | 0 << 8 | 1 << 16, ReadAccess = 0; // PERF_COUNT_HW_CACHE_OP_READ, ..._RESULT_MISS and _ACCESS

    /// <summary>Type and number of an event in linux/perf_event.h, and what it counts.</summary>
    public static IReadOnlyList<Event> All { get; } =
    [
        new("cache references", 0, 2),
        new("cache misses", 0, 3),
        new("L1 data loads", 3, 0 | ReadAccess),
        new("L1 data load misses", 3, 0 | ReadMiss),
        new("last-level load misses", 3, 2 | ReadMiss),
        new("page faults", 1, 2), // Counted by the system: says whether it is the processor or the right to count that is missing.
    ];

    internal sealed record Event(string Name, uint Type, ulong Number);

    /// <summary>What an event came to.</summary>
    /// <param name="Name">The event.</param>
    /// <param name="Count">How often; null where it was not counted.</param>
    /// <param name="Reason">Why not; or that the counter was shared and so the count is an estimate.</param>
    internal sealed record Reading(string Name, double? Count, string Reason);

    /// <summary>Runs the work once for every event and counts it.</summary>
    public static IReadOnlyList<Reading> Count(Action work)
    {
        if (!OperatingSystem.IsLinux())
            return [.. All.Select(e => new Reading(e.Name, null, "counters are read by Linux's perf_event_open, and this is another system"))];
        if (SyscallNumber is not { } number)
            return [.. All.Select(e => new Reading(e.Name, null, $"the number of perf_event_open on {RuntimeInformation.ProcessArchitecture} is not known here"))];
        return [.. All.Select(e => Count(e, number, work))];
    }

    private static long? SyscallNumber => RuntimeInformation.ProcessArchitecture switch { Architecture.X64 => 298, Architecture.Arm64 => 241, _ => null };

    private static unsafe Reading Count(Event what, long number, Action work)
    {
        const ulong enable = 0x2400, disable = 0x2401, reset = 0x2403; // PERF_EVENT_IOC_*
        var attributes = new Attributes
        {
            Type = what.Type,
            Size = (uint)sizeof(Attributes),
            Config = what.Number,
            ReadFormat = 1 | 2, // PERF_FORMAT_TOTAL_TIME_ENABLED, PERF_FORMAT_TOTAL_TIME_RUNNING
            Flags = 1 | 1 << 5 | 1 << 6, // disabled, exclude_kernel, exclude_hv
        };
        int file = (int)Syscall(number, &attributes, 0, -1, -1, 0);
        if (file < 0)
            return new(what.Name, null, Explain(Marshal.GetLastPInvokeError()));
        try
        {
            if (Control(file, reset, 0) < 0 || Control(file, enable, 0) < 0)
                return new(what.Name, null, "cannot be started: " + Marshal.GetLastPInvokeErrorMessage());
            work();
            ulong* values = stackalloc ulong[3];
            if (Control(file, disable, 0) < 0 || Read(file, values, 3 * sizeof(ulong)) != 3 * sizeof(ulong))
                return new(what.Name, null, "cannot be read: " + Marshal.GetLastPInvokeErrorMessage());
            (ulong count, ulong enabled, ulong running) = (values[0], values[1], values[2]);
            return running == 0 ? new(what.Name, null, "the system had no free counter while the work ran")
                : running < enabled ? new(what.Name, (double)count * enabled / running, "estimate: counted " + (100.0 * running / enabled).ToString("f0", System.Globalization.CultureInfo.InvariantCulture) + " % of the time")
                : new(what.Name, count, "");
        }
        finally
        {
            _ = Close(file);
        }
    }

    /// <summary>What the system's refusal means.</summary>
    internal static string Explain(int errno)
    {
        string message = $"refused: {Marshal.GetPInvokeErrorMessage(errno)} (errno {errno})";
        return errno switch
        {
            2 or 19 or 95 => message + "; the processor has no such counter, or the virtual machine hides it", // ENOENT, ENODEV, EOPNOTSUPP
            1 or 13 => message + $"; /proc/sys/kernel/perf_event_paranoid is {Paranoia()}: up to 2 lets a program count itself, unless a container forbids the call", // EPERM, EACCES
            38 => message + "; the kernel is built without perf_event_open, or a sandbox hides it", // ENOSYS
            _ => message,
        };

        static string Paranoia()
        {
            try
            {
                return File.ReadAllText("/proc/sys/kernel/perf_event_paranoid").Trim();
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                return "not readable";
            }
        }
    }

    /// <summary>struct perf_event_attr in its first version.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct Attributes
    {
        public uint Type, Size;
        public ulong Config, SamplePeriod, SampleType, ReadFormat, Flags;
        public uint WakeUp, BreakpointType;
        public ulong Config1;
    }

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static unsafe partial long Syscall(long number, Attributes* attributes, int process, int processor, int group, ulong flags);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    private static partial int Control(int file, ulong request, nint argument);

    [LibraryImport("libc", EntryPoint = "read", SetLastError = true)]
    private static unsafe partial nint Read(int file, void* to, nint bytes);

    [LibraryImport("libc", EntryPoint = "close", SetLastError = true)]
    private static partial int Close(int file);
}
