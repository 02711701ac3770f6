using System.Runtime.InteropServices;
using System.Text.RegularExpressions;
using TorchFlash.Kernels.Cuda;

namespace TorchFlash.Cuda.Tests;

/// <summary>
/// Sources/hopper_faults.cu on the emulation: small programs with TMA, mbarriers, wgmma, named barriers and bulk copies that are right, and the
/// faults planted in them, each of which must be found under every schedule.
/// </summary>
public sealed unsafe partial class EmulationHopperTests
{
    private const int Seeds = 4, Rows = 512, Columns = 64, OutputLength = 64 * 64 + 4, StoredRows = 256;

    private static readonly Lazy<FaultyPrograms> Programs = new(() => new FaultyPrograms());

    [EmulatedTheory]
    [InlineData("PIPELINE")]
    [InlineData("ELECTED")]
    [InlineData("REGISTERS")]
    [InlineData("STAGED")]
    [InlineData("STORE")]
    [InlineData("BARRIERS")]
    [InlineData("POOL")]
    [InlineData("BULK")]
    public void A_right_program_passes(string scenario) => Assert.All(Programs.Value.Run(scenario, "NONE"), outcome => Assert.Equal("", outcome));

    // "wrong result": the emulation goes on, with poison or with what the hardware would read.
    [EmulatedTheory]
    [InlineData("NO_INIT_FENCE", "no mbarrier_fence_init followed its initialisation")]
    [InlineData("INIT_FENCE_BEFORE_INIT", "no mbarrier_fence_init followed its initialisation")]
    [InlineData("NO_BARRIER_AFTER_INIT", "race: an mbarrier is used with no barrier after its initialisation|no mbarrier at shared byte")]
    [InlineData("NO_FULL_WAIT", "a wait is missing")]
    [InlineData("ONE_LANE_WAITS", "whose copy this warp has not waited for|a wait is missing")]
    [InlineData("CONSTANT_PARITY", "a wait is missing|deadlock: 128 threads .* at an mbarrier")]
    [InlineData("OTHER_PARITY", "a wait is missing")]
    [InlineData("NO_EMPTY_WAIT", "more arrivals in a phase than the mbarrier's 1")]
    [InlineData("EARLY_EMPTY_PARITY", "more arrivals in a phase than the mbarrier's 1")]
    [InlineData("LATE_EMPTY_PARITY", "deadlock: 128 threads .* at an mbarrier .* 1 threads .* at an mbarrier")]
    [InlineData("EXPECT_TOO_FEW", "a wait is missing")]
    [InlineData("EXPECT_TOO_MANY", "deadlock")]
    [InlineData("LOAD_NOT_EXPECTED", "while an asynchronous|a wait is missing|race: writes shared byte 0")]
    [InlineData("MISALIGNED_DESTINATION", "tma_load: shared address 1152 is not aligned to 1024 bytes")]
    [InlineData("MISALIGNED_BARRIER", "no mbarrier at shared byte")]
    [InlineData("LOAD_INTO_USED_STAGE", "writes shared byte 0 while an asynchronous copy into it is under way")]
    [InlineData("NO_WGMMA_FENCE", "without a wgmma_fence")]
    [InlineData("NO_WGMMA_COMMIT", "while an asynchronous operation still reads it")]
    [InlineData("NO_WGMMA_WAIT", "while an asynchronous operation still reads it")]
    [InlineData("WAIT_FOR_ALL_BUT_ONE", "while an asynchronous operation still reads it")]
    [InlineData("RELEASE_BEFORE_WAIT", "race: writes shared byte 0, read by warp|while an asynchronous operation still reads it")]
    [InlineData("ALL_LANES_RELEASE", "deadlock|more arrivals in a phase")]
    [InlineData("NOBODY_RELEASES", "deadlock")]
    [InlineData("SCALE_AFTER_FENCE", "accumulators of thread . of the warpgroup were written between wgmma_fence and this wgmma")]
    [InlineData("WRITE_ACCUMULATOR", "accumulator 5 of thread 3 of the warpgroup was written while")]
    [InlineData("READ_ACCUMULATOR", "wrong result")]
    [InlineData("OTHER_SHAPE_IN_FLIGHT", "a wgmma on accumulators of another shape")]
    [InlineData("ONE_WARP_SKIPS", "different descriptors|diverged")]
    [InlineData("SWIZZLE_OF_DESCRIPTOR", "wrong result")]
    [InlineData("STRIDE_OF_DESCRIPTOR", "the stride 512 is not a multiple of the pattern's 1024")]
    [InlineData("K_STEP_OF_DESCRIPTOR", "wrong result")]
    [InlineData("MAJOR_OF_DESCRIPTOR", "wrong result")]
    [InlineData("DESCRIPTORS_DIFFER", "different descriptors")]
    [InlineData("BARRIER_OVERWRITTEN", "part of an mbarrier")]
    [InlineData("INIT_TWICE", "is initialised again")]
    [InlineData("ARRIVE_AT_NOTHING", "no mbarrier at shared byte")]
    [InlineData("NO_SYNC_AFTER_WAIT", "whose copy this warp has not waited for|a wait is missing", "ELECTED")]
    [InlineData("A_AFTER_FENCE", "A registers of thread .* of the warpgroup were written between wgmma_fence and this wgmma", "REGISTERS")]
    [InlineData("A_CHANGED", "the A registers of thread 0 of the warpgroup were changed while", "REGISTERS")]
    [InlineData("A_STEP_REUSED", "A registers of thread 0 of the warpgroup were written between wgmma_fence and this wgmma", "REGISTERS")]
    [InlineData("NO_PROXY_FENCE", "without a fence_async before the barrier between", "STAGED")]
    [InlineData("PROXY_FENCE_AFTER_BARRIER", "without a fence_async before the barrier between", "STAGED")]
    [InlineData("PROXY_FENCE_BY_ONE", "without a fence_async before the barrier between", "STAGED")]
    [InlineData("NO_BARRIER_AFTER_STORES", "race: an asynchronous operation of warp . reads shared byte", "STAGED")]
    [InlineData("UNWRITTEN_OPERAND", "that was never written", "STAGED")]
    [InlineData("STORE_NO_PROXY_FENCE", "without a fence_async before the barrier between", "STORE")]
    [InlineData("STORE_NO_BARRIER", "race: an asynchronous operation|that was never written", "STORE")]
    [InlineData("NO_WAIT_READ", "while an asynchronous operation still reads it", "STORE")]
    [InlineData("NO_BULK_COMMIT", "while an asynchronous operation still reads it", "STORE")]
    [InlineData("NO_BARRIER_AFTER_WAIT", "race: ", "STORE")]
    [InlineData("WAIT_BY_ANOTHER_THREAD", "while an asynchronous operation still reads it", "STORE")]
    [InlineData("RETURN_WITHOUT_WAIT", "returned with 1 bulk stores", "STORE")]
    [InlineData("STORE_TWICE", "is stored by two threads", "STORE")]
    [InlineData("MISALIGNED_SOURCE", "tma_store: shared address 1280 is not aligned to 1024 bytes", "STORE")]
    [InlineData("COUNT_TOO_LARGE", "deadlock: .* at a named barrier", "BARRIERS")]
    [InlineData("COUNTS_DIFFER", "named barrier 1: this warp says", "BARRIERS")]
    [InlineData("NO_ARRIVAL", "deadlock: .* at a named barrier", "BARRIERS")]
    [InlineData("ARRIVE_TWICE", "arrives twice before it completes", "BARRIERS")]
    [InlineData("NO_NAMED_SYNC", "race: reads shared byte|that was never written", "BARRIERS")]
    [InlineData("COUNT_NOT_OF_WARPS", "100 threads", "BARRIERS")]
    [InlineData("ID_TOO_LARGE", "named barrier 16", "BARRIERS")]
    [InlineData("LANES_DIFFER", "the lanes of a warp are at different named barriers", "BARRIERS")]
    [InlineData("TAKE_TOO_MANY", "deadlock: .* at registers_increase", "POOL")]
    [InlineData("HALF_A_WARPGROUP", "others of its warpgroup are at registers_decrease", "POOL")]
    [InlineData("INCREASE_TO_FEWER", "registers_increase from 168 to 160 registers", "POOL")]
    [InlineData("ODD_REGISTERS", "236 registers", "POOL")]
    [InlineData("SUM_NO_PROXY_FENCE", "without a fence_async before the barrier between", "BULK")]
    [InlineData("SUM_NO_WAIT", "returned with 1 bulk stores", "BULK")]
    [InlineData("LOAD_OVER_STORES", "a bulk copy overwrites shared byte 0, stored by thread 0 without a fence_async", "BULK")]
    [InlineData("LOAD_PAST_THE_END", "out of bounds", "BULK")]
    [InlineData("BYTES_NOT_OF_16", "1000 bytes, not a multiple of 16", "BULK")]
    [InlineData("GLOBAL_MISALIGNED", "not aligned to 16 bytes", "BULK")]
    [InlineData("READ_BEFORE_ARRIVAL", "a wait is missing|never written", "BULK")]
    [InlineData("LOAD_UNAWAITED", "the block ended with 1 bulk loads under way", "BULK")]
    [InlineData("EXPECT_WITHOUT_LOAD", "the block ended with an mbarrier that is 16 bytes short", "BULK")]
    public void A_planted_fault_is_found(string fault, string finding, string scenario = "PIPELINE")
    {
        Assert.All(Programs.Value.Run(scenario, fault), outcome => Assert.Matches(finding, outcome));
    }

    [EmulatedFact]
    public void Every_fault_of_the_source_is_tested()
    {
        var tested = typeof(EmulationHopperTests).GetMethod(nameof(A_planted_fault_is_found))!.GetCustomAttributesData()
            .Where(a => a.AttributeType == typeof(InlineDataAttribute))
            .Select(a => (string)((IReadOnlyList<System.Reflection.CustomAttributeTypedArgument>)a.ConstructorArguments[0].Value!)[0].Value!);
        Assert.Equal(Programs.Value.Faults.Keys.Where(f => f != "NONE").Order(StringComparer.Ordinal), tested.Order(StringComparer.Ordinal));
    }

    /// <summary>struct Program of the source.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct ProgramParameters
    {
        public nint Input, Output, Stored;
        public int Scenario, Fault;
    }

    /// <summary>The compiled source, its input and the right results.</summary>
    private sealed partial class FaultyPrograms
    {
        private const string Name = "hopper_faults";
        private const int Hopper = 1; // the emulated device
        private readonly nint _function;
        private readonly KernelShape _shape;
        private readonly ushort[] _input = [.. Enumerable.Range(0, Rows * Columns).Select(i => BFloat16(Number((uint)i)))];
        private readonly Lock _lock = new();

        public FaultyPrograms()
        {
            string source = File.ReadAllText(Path.Combine(Repository.Root, "tests", "TorchFlash.Cuda.Tests", "Sources", Name + ".cu"));
            using EmulatedGpu.Current current = EmulatedGpu.Use(Hopper);
            byte[] image = EmulatedGpu.Compile(Name + ".cu", source, "sm_90a", "K_SHARED_LIMIT=232448");
            nint module = EmulatedGpu.Driver.LoadModule(image);
            _function = EmulatedGpu.Driver.Function(module, "torchflash_" + Name);
            _shape = KernelShape.Of(EmulatedGpu.Driver, module, image);
            EmulatedGpu.Driver.AllowSharedMemory(_function, _shape.SharedBytes);
            Scenarios = Enumerators(source, "Scenario");
            Faults = Enumerators(source, "Fault");
        }

        public IReadOnlyDictionary<string, int> Scenarios { get; }

        public IReadOnlyDictionary<string, int> Faults { get; }

        /// <summary>For each seed: the finding, "wrong result", or "" where all is well.</summary>
        public IReadOnlyList<string> Run(string scenario, string fault)
        {
            lock (_lock)
            {
                using EmulatedGpu.Current current = EmulatedGpu.Use(Hopper);
                string[] outcomes = new string[Seeds];
                for (int seed = 0; seed < Seeds; seed++)
                {
                    EmulatedGpu.Set("seed", seed);
                    outcomes[seed] = Run(scenario, Faults[fault]);
                }
                EmulatedGpu.Set("seed", 0);
                return outcomes;
            }
        }

        private string Run(string scenario, int fault)
        {
            using var input = EmulatedGpu.Memory<ushort>.Input(_input);
            using var output = new EmulatedGpu.Memory<float>(OutputLength);
            using var stored = new EmulatedGpu.Memory<ushort>(StoredRows * Columns);
            output.Write(new float[OutputLength]);
            var parameters = new ProgramParameters { Input = input.Address, Output = output.Address, Stored = stored.Address, Scenario = Scenarios[scenario], Fault = fault };
            if (Launch(parameters) is { } finding)
                return finding;
            float[] results = output.Read();
            ushort[] storedRows = stored.Read();
            return IsRight(scenario, results, storedRows) ? "" : "wrong result";
        }

        private string? Launch(ProgramParameters parameters)
        {
            var maps = (TensorMap*)NativeMemory.AlignedAlloc(2 * TensorMap.Bytes, TensorMap.Alignment);
            try
            {
                Encode(maps, parameters.Input, Rows);
                Encode(maps + 1, parameters.Stored, StoredRows);
                void** arguments = stackalloc void*[] { &parameters, maps, maps + 1 };
                return EmulatedGpu.Launch(_function, 1, _shape.Threads, _shape.SharedBytes, arguments);
            }
            finally
            {
                NativeMemory.AlignedFree(maps);
            }
        }

        private static void Encode(TensorMap* map, nint address, int rows)
        {
            const int bfloat16 = 9, swizzle128 = 3;
            ulong* sizes = stackalloc ulong[4] { Columns, (ulong)rows, 1, 1 };
            ulong* strides = stackalloc ulong[3] { Columns * 2, Columns * 2 * Rows, Columns * 2 * Rows };
            uint* box = stackalloc uint[4] { Columns, 64, 1, 1 };
            EmulatedGpu.Driver.EncodeTiled(map, bfloat16, address, sizes, strides, box, swizzle128);
        }

        private bool IsRight(string scenario, float[] results, ushort[] stored) => scenario switch
        {
            "PIPELINE" or "ELECTED" or "REGISTERS" => IsProduct(results, [0, 64, 128, 192], 256),
            "STAGED" => IsProduct(results, [0], 0),
            "STORE" => stored.AsSpan().SequenceEqual(_input.AsSpan(0, stored.Length)),
            "BARRIERS" => Enumerable.Range(0, 128).All(t => results[t] == (t < 64 ? 2f * (9 * t + 3) : 9 * (t - 64) + 3)),
            "POOL" => Enumerable.Range(0, 128).All(t => results[t] == t),
            "BULK" => Enumerable.Range(0, 256).All(i => results[i] == (_input[2 * i] & 255)),
            _ => throw new ArgumentOutOfRangeException(nameof(scenario)),
        };

        // The sum over tiles of A Bᵀ; A is 64 rows from each of `first`, B the same rows further on. What lies behind it is untouched.
        private static bool IsProduct(float[] results, int[] first, int further)
        {
            static float At(int row, int k) => Number((uint)(row * Columns + k));
            for (int r = 0; r < 64; r++)
            {
                for (int n = 0; n < 64; n++)
                {
                    float sum = first.Sum(f => Enumerable.Range(0, Columns).Sum(k => At(f + r, k) * At(f + further + n, k)));
                    if (results[r * 64 + n] != sum)
                        return false;
                }
            }
            return results[64 * 64] == 0;
        }

        /// <summary>A small integer, -3 to 3, that looks random.</summary>
        private static float Number(uint i) => (int)((i * 2654435761u >> 13) % 7) - 3;

        private static ushort BFloat16(float exact) => (ushort)(BitConverter.SingleToUInt32Bits(exact) >> 16);

        private static Dictionary<string, int> Enumerators(string source, string type)
        {
            string body = Comment().Replace(Regex.Match(source, $@"enum {type} \{{(?<names>[^}}]*)\}}").Groups["names"].Value, "");
            return body.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries).Select((name, i) => (name, i)).ToDictionary(x => x.name, x => x.i);
        }

        [GeneratedRegex("//[^\n]*")]
        private static partial Regex Comment();
    }
}
