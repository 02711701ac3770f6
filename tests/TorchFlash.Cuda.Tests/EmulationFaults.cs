namespace TorchFlash.Cuda.Tests;

/// <summary>
/// Small kernels, each with a fault that is there where WRONG and not in its twin. Every kernel runs as run&lt;WRONG&gt;(p) in a block of 64
/// threads with 4096 bytes of shared memory. The fault must be reported at a line marked HERE, in the words of <see cref="Expected"/>.
/// </summary>
/// <param name="Name">What is wrong.</param>
/// <param name="Expected">A part of the message.</param>
/// <param name="Body">Body of run(). p.in: 256 floats; p.out: 256 floats; p.gap: 64 floats, of which 32 to 47 are a gap; p.fresh: 128 floats that
/// nobody wrote; p.sum: 64 zeros.</param>
/// <param name="Blocks">Blocks of the grid.</param>
internal sealed record EmulationFault(string Name, string Expected, string Body, int Blocks = 1)
{
    public override string ToString() => Name;

    private const string Header = """
        #include "device.cuh"
        struct Parameters { const float* in; float* out; const float* gap; float* fresh; float* sum; };
        template <bool WRONG> DEVICE void run(const Parameters& p) {
          const u32 sm = shared_base();
          const int t = thread_id(), lane = t & 31, warp = t >> 5, block = block_id();
          (void)sm; (void)lane; (void)warp; (void)block; (void)p;

        """;

    private const string Footer = """

        }
        KERNEL(right, 64, 1, PARAMETER(Parameters) p) { run<false>(p); }
        KERNEL(wrong, 64, 1, PARAMETER(Parameters) p) { run<true>(p); }
        KERNEL_SHAPE(64, 4096);
        """;

    /// <summary>The program: kernels "right" and "wrong".</summary>
    public string Source => Header + Body + Footer;

    /// <summary>Lines of the program at which the fault may be reported, beginning with 1.</summary>
    public IEnumerable<int> Lines =>
        Source.Split('\n').Select((line, i) => (line, i)).Where(l => l.line.Contains("HERE", StringComparison.Ordinal)).Select(l => l.i + 1);

    public static IReadOnlyList<EmulationFault> SharedMemory { get; } =
    [
        new("no barrier between a write and another thread's read", "race: ", """
              sts<float>(sm + t * 4, 0.f);
              sync_threads();
              sts<float>(sm + t * 4, 1.f);        // HERE
              if (!WRONG) sync_threads();
              stg(p.out + t, lds<float>(sm + (63 - t) * 4));   // HERE
            """),
        new("no barrier between a read and another thread's write", "race: ", """
              sts<float>(sm + t * 4, 0.f);
              sync_threads();
              const float x = lds<float>(sm + (63 - t) * 4);   // HERE
              if (!WRONG) sync_threads();
              sts<float>(sm + t * 4, x + 1.f);    // HERE
            """),
        new("a race of two lanes of a warp", "race: ", """
              sts<float>(sm + t * 4, 0.f);
              sync_threads();
              sts<float>(sm + t * 4, 1.f);        // HERE
              if (!WRONG) sync_warp();
              stg(p.out + t, lds<float>(sm + (t ^ 1) * 4));    // HERE
            """),
        new("a barrier of the warp where one of the block is needed", "race: ", """
              sts<float>(sm + t * 4, 0.f);
              sync_threads();
              sts<float>(sm + t * 4, 1.f);        // HERE
              if (WRONG) sync_warp(); else sync_threads();
              stg(p.out + t, lds<float>(sm + (t ^ 32) * 4));   // HERE
            """),
        new("a shuffle taken for a barrier", "race: ", """
              sts<float>(sm + t * 4, 0.f);
              sync_threads();
              sts<float>(sm + t * 4, 1.f);        // HERE
              const float x = shuffle_xor(1.f, 1);
              if (!WRONG) sync_warp();
              stg(p.out + t, x + lds<float>(sm + (t ^ 1) * 4));   // HERE
            """),
        new("two threads write one word", "race: ", """
              sts<float>(sm + (WRONG ? t / 2 : t) * 4, 1.f);   // HERE
            """),
        new("two threads write one half of a word", "race: ", """
              sts<u16>(sm + (WRONG ? t & ~1 : t) * 2, (u16)t);   // HERE
            """),
        new("a whole word read whose halves others wrote", "race: ", """
              sts<u16>(sm + t * 2, (u16)0);
              sync_threads();
              sts<u16>(sm + t * 2, (u16)t);       // HERE
              if (!WRONG) sync_threads();
              if (t < 32) stg(p.out + t, as_float(lds<u32>(sm + t * 4)));   // HERE
            """),
        new("half a word read that was never written", "never written", """
              if (t < 32) sts<u16>(sm + t * 4, (u16)t);
              sync_threads();
              if (t < 32) stg(p.out + t, (float)lds<u16>(sm + t * 4 + (WRONG ? 2 : 0)));   // HERE
            """),
        new("a word read that was never written", "never written", """
              sts<float>(sm + t * 4, 1.f);
              sync_threads();
              stg(p.out + t, lds<float>(sm + (t + (WRONG ? 1 : 0)) * 4));   // HERE
            """),
        new("16 bytes read of which 4 were never written", "never written", """
              if (!WRONG || t != 63) sts<float>(sm + t * 4, 1.f);
              sync_threads();
              if (t < 16) stg(p.out + t, as_float(lds<V4>(sm + t * 16).w));   // HERE
            """),
        new("beyond the end of shared memory", "shared memory out of bounds", """
              sts<double>(sm + 4096 - 512 + t * 8 + (WRONG ? 8 : 0), 1.0);   // HERE
            """),
        new("shared_base forgotten", "shared memory out of bounds", """
              sts<float>((WRONG ? 0 : sm) + t * 4, 1.f);   // HERE
            """),
        new("a misaligned 16-byte access to shared memory", "not aligned to 16", """
              sts<V4>(sm + t * 16 + (WRONG ? 8 : 0), V4{0, 0, 0, 0});   // HERE
            """),
        new("a misaligned double in shared memory", "not aligned to 8", """
              sts<double>(sm + t * 8 + (WRONG ? 4 : 0), 1.0);   // HERE
            """),
        new("a bank conflict of ldmatrix", "bank conflict", """
              for (int i = 0; i < 8; i++) sts<V4>(sm + (i * 64 + t) % 256 * 16, V4{0, 0, 0, 0});
              sync_threads();
              u32 r[4];
              ldmatrix4(r, sm + lane * (WRONG ? 128 : 16));   // HERE
              stg(p.out + t, as_float(r[0]));
            """),
        new("a row of ldmatrix beyond the end", "shared memory out of bounds", """
              for (int i = 0; i < 4; i++) sts<V4>(sm + (i * 64 + t) * 16, V4{0, 0, 0, 0});
              sync_threads();
              u32 r[2];
              ldmatrix2_trans(r, sm + 4096 - 256 + lane % 16 * 16 + (WRONG && lane == 15 ? 16 : 0));   // HERE
              stg(p.out + t, as_float(r[0]));
            """),
    ];

    public static IReadOnlyList<EmulationFault> Copies { get; } =
    [
        new("a copy that nobody waits for before reading it", "under way", """
              cp_async16(sm + t * 16, p.in + t * 4, true);
              cp_async_commit();
              if (!WRONG) cp_async_wait<0>();
              const float x = lds<float>(sm + t * 16);   // HERE
              cp_async_wait<0>();
              stg(p.out + t, x);
            """),
        new("a wait that leaves the group that is needed", "under way", """
              cp_async16(sm + t * 16, p.in + t * 4, true);
              cp_async_commit();
              cp_async16(sm + 1024 + t * 16, p.in + t * 4, true);
              cp_async_commit();
              cp_async_wait<WRONG ? 2 : 1>();
              const float x = lds<float>(sm + t * 16);   // HERE
              cp_async_wait<0>();
              stg(p.out + t, x);
            """),
        new("a copy that no group holds", "under way", """
              cp_async16(sm + t * 16, p.in + t * 4, true);
              if (!WRONG) cp_async_commit();
              cp_async_wait<0>();
              const float x = lds<float>(sm + t * 16);   // HERE
              cp_async_commit();
              cp_async_wait<0>();
              stg(p.out + t, x);
            """),
        new("a wait without a barrier before others read", "race: |never written", """
              cp_async16(sm + t * 16, p.in + t * 4, true);
              cp_async_commit();
              cp_async_wait<0>();
              if (!WRONG) sync_threads();
              stg(p.out + t, lds<float>(sm + (63 - t) * 16));   // HERE
              if (WRONG) sync_threads();
            """),
        new("a copy into what others still read", "race: |under way", """
              sts<V4>(sm + t * 16, V4{0, 0, 0, 0});
              sync_threads();
              const float x = lds<float>(sm + (63 - t) * 16);   // HERE
              if (!WRONG) sync_threads();
              cp_async16(sm + t * 16, p.in + t * 4, true);      // HERE
              cp_async_commit();
              cp_async_wait<0>();
              stg(p.out + t, x);
            """),
        new("a copy under way at the end", "not waited for", """
              cp_async16(sm + t * 16, p.in + t * 4, true);   // HERE
              cp_async_commit();
              if (!WRONG) cp_async_wait<0>();
            """),
        new("a copy from a misaligned address, though it reads nothing", "not aligned to 16", """
              cp_async16(sm + t * 16, p.in + (WRONG ? 1 : 0), false);   // HERE
              cp_async_commit();
              cp_async_wait<0>();
            """),
        new("a copy from beyond the end", "out of bounds", """
              cp_async16(sm + t * 16, p.in + 256 * (WRONG ? 1 : 0) + t * 4, true);   // HERE
              cp_async_commit();
              cp_async_wait<0>();
            """),
    ];

    public static IReadOnlyList<EmulationFault> GlobalMemory { get; } =
    [
        new("a load beyond the end", "global load out of bounds", """
              stg(p.out + t, ldg(p.in + 192 + t + (WRONG ? 1 : 0)));   // HERE
            """),
        new("a load before the beginning", "global load out of bounds", """
              stg(p.out + t, ldg(p.in + t - (WRONG ? 1 : 0)));   // HERE
            """),
        new("a load from a gap", "in a gap", """
              if (WRONG || t < 32 || t >= 48) stg(p.out + t, ldg(p.gap + t));   // HERE
            """),
        new("a load of what nobody wrote", "never written", """
              if (!WRONG) stg(p.fresh + t, 0.f);
              stg(p.out + t, ldg(p.fresh + t));   // HERE
            """),
        new("a misaligned load", "not aligned to 16", """
              if (t < 32) stg(p.out + t, as_float(ldg((const V4*)(p.in + t * 4 + (WRONG ? 2 : 0))).x));   // HERE
            """),
        new("a store beyond the end", "global store out of bounds", """
              stg(p.out + 192 + t + (WRONG ? 1 : 0), 1.f);   // HERE
            """),
        new("a store into an input", "into the input", """
              stg(WRONG ? (float*)p.in + t : p.out + t, 1.f);   // HERE
            """),
        new("two threads of a block store one element", "stored by two threads", """
              stg(p.out + (WRONG ? t / 2 : t), 1.f);   // HERE
            """),
        new("two blocks store one element", "stored by two threads", """
              stg(p.out + (WRONG ? 0 : block * 64) + t, 1.f);   // HERE
            """, Blocks: 3),
        new("two threads store one half of a word", "stored by two threads", """
              stg((u16*)p.out + (WRONG ? t & ~1 : t), (u16)t);   // HERE
            """),
        new("a sum and a store at one address", "added to atomically|atomic addition", """
              if (!WRONG || t < 63) atomic_add(p.sum + t % 8, 1.f);   // HERE
              else stg(p.sum, 0.f);   // HERE
            """),
        new("a read of what another block stores in the same launch", "stored by another thread|never written", """
              if (t < 16) stg(p.fresh + block * 16 + t, 1.f);
              if (t < 16) stg(p.out + block * 16 + t, ldg(p.fresh + (WRONG ? (block + 1) % 2 : block) * 16 + t));   // HERE
            """, Blocks: 2),
        new("a misaligned sum of four", "not aligned to 16", """
              atomic_add4(p.sum + t % 8 * 4 + (WRONG ? 1 : 0), 1.f, 1.f, 1.f, 1.f);   // HERE
            """),
        new("a pointer beyond the end, dereferenced as such", "access violation", """
              if (WRONG) *(volatile float*)(p.out + 256) = 1.f;
              else stg(p.out + t, 1.f);
            """),
    ];

    public static IReadOnlyList<EmulationFault> Control { get; } =
    [
        new("a shuffle by half of the lanes", "diverged", """
              float x = (float)t;
              if (!WRONG || lane < 16) x += shuffle_xor(x, 1);   // HERE
              stg(p.out + t, x);
              sync_warp();   // HERE
            """),
        new("lanes of a warp at two collectives", "diverged", """
              float x = (float)t;
              if (WRONG && lane % 2) x += shuffle_xor(x, 1);   // HERE
              else x += shuffle_xor(x, 1);                     // HERE
              stg(p.out + t, x);
            """),
        new("threads at two barriers", "different sync_threads", """
              if (WRONG && warp == 0) sync_threads();   // HERE
              else sync_threads();                      // HERE
            """),
        new("a barrier in half a warp", "diverged|returned", """
              if (!WRONG || lane < 16) sync_threads();   // HERE
            """),
        new("lanes return before their warp's barrier", "returned", """
              if (WRONG ? t >= 48 : t >= 32) return;
              sync_threads();   // HERE
            """),
        new("lanes return before their warp's shuffle", "returned", """
              if (WRONG && t >= 48) return;
              stg(p.out + t, shuffle(1.f, 0));   // HERE
            """),
        new("a barrier waits for lanes that wait for a barrier of the warp", "deadlock|diverged", """
              if (WRONG && t >= 48) sync_warp();   // HERE
              sync_threads();                      // HERE
              if (WRONG && t < 48) sync_warp();    // HERE
            """),
        new("more local memory than a thread has", "stack overflow", """
              if (WRONG) {
                volatile float x[1 << 17];
                x[0] = 1.f;
                stg(p.out + t, x[0]);
              }
            """),
    ];

    public static IEnumerable<EmulationFault> All => [.. SharedMemory, .. Copies, .. GlobalMemory, .. Control];
}
