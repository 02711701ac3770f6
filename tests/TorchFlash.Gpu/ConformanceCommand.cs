using System.CommandLine;
using System.Diagnostics;
using TorchFlash.Gpu.Report;
using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Gpu;

/// <summary>The <c>conformance</c> verb: every device primitive on exact integers; the words must be those that the emulation writes.</summary>
internal static class ConformanceCommand
{
    private const int WordsShown = 256;

    public static Command Create()
    {
        var command = new Command("conformance", "The primitives that the kernels are made of against the emulation, by hashes of exact results. To be run before anything else.");
        command.SetAction(parsed =>
        {
            if (GpuOptions.Engines(parsed) is not { } engines)
                return ExitCode.NoGpu;
            var clock = Stopwatch.StartNew();
            IReadOnlyList<ConformanceSection> sections = [];
            List<string> failures = [];
            try
            {
                var device = new CudaDevice(engines.Runtime.Driver!, parsed.GetValue(GpuOptions.Device));
                sections = Conformance.Run(device, engines.Runtime.Compiler!.Nvrtc, out IReadOnlyList<string> complaints);
                failures.AddRange(complaints);
            }
            catch (CudaException e)
            {
                failures.Add(e.Message);
            }
            foreach (ConformanceSection section in sections)
            {
                Console.WriteLine($"{(section.Conforms ? "ok    " : "FAILED")}  {section.Name,-22} {section.Hash:x16}{(section.Conforms ? "" : $", the emulation's is {section.Expected:x16}")}");
                if (!section.Conforms)
                    failures.Add($"{section.Name}: {section.Hash:x16} instead of {section.Expected:x16}");
            }
            if (sections.Count == 0)
                failures.Add("no primitive was run");
            // Of what differs the words too: which of them do tells a wrong lane from a wrong layout.
            var details = sections.Select(s => new
            {
                s.Name,
                Hash = s.Hash.ToString("x16", System.Globalization.CultureInfo.InvariantCulture),
                s.Conforms,
                Words = s.Conforms ? null : s.Words.Take(WordsShown).Select(w => w.ToString("x8", System.Globalization.CultureInfo.InvariantCulture)).ToArray(),
            });
            return new PartReport("conformance", failures.Count == 0, GpuOptions.Name(engines), engines.IsEmulated, sections.Count, failures, details)
            {
                Seconds = clock.Elapsed.TotalSeconds,
            }.Write(parsed.GetValue(GpuOptions.Out)!);
        });
        return command;
    }
}
