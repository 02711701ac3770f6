// Every primitive that a kernel uses of device.cuh and hopper.cuh (K_HOPPER=1) on small integers, which floats hold exactly whatever the order of a sum. The
// words it writes must be the same, bit for bit, from a GPU and from the emulation: that pins the emulation, on which all kernels are tested,
// to the hardware. Conformance.cs launches it: its list of sections is the enum below.
#include "hopper.cuh"

enum Section {
  SHARED_ACCESS, GLOBAL_LOAD, GLOBAL_STORE, CP_ASYNC, LDMATRIX4, LDMATRIX4_TRANS, MMA_HALF, MMA_BFLOAT16,
  SHUFFLE, EX2, LG2, PACK_HALF, PACK_BFLOAT16, TO_FLOAT, ATOMIC_ADD, ATOMIC_ADD4, CORE_SECTIONS,
  MBARRIER = CORE_SECTIONS, NAMED_BARRIER, STMATRIX4, TMA_LOAD_SWIZZLE_128, TMA_LOAD_SWIZZLE_64, TMA_LOAD_SWIZZLE_32, BULK_LOAD, BULK_ADD,
  WGMMA_N16, WGMMA_N32, WGMMA_N48, WGMMA_N64, WGMMA_N80, WGMMA_N96, WGMMA_N112, WGMMA_N128,
  WGMMA_N144, WGMMA_N160, WGMMA_N176, WGMMA_N192, WGMMA_N208, WGMMA_N224, WGMMA_N240, WGMMA_N256,
  WGMMA_SWIZZLE_32_KK, WGMMA_SWIZZLE_32_KN, WGMMA_SWIZZLE_32_MN, WGMMA_SWIZZLE_64_KK, WGMMA_SWIZZLE_64_KN, WGMMA_SWIZZLE_64_MN,
  WGMMA_SWIZZLE_128_KK, WGMMA_SWIZZLE_128_KN, WGMMA_SWIZZLE_128_MN,
  WGMMA_HALF, WGMMA_REGISTERS, WGMMA_REGISTERS_HALF, WGMMA_GROUPS, SECTIONS
};

// Words of the output: where each section is (first word, number of words), then what is written in place, then what is recorded.
constexpr u32 SUMS = 256, STORED = SUMS + 128, RECORDED = STORED + 1024;
// Shared memory.
constexpr u32 DATA = 65536, SHARED_BYTES = DATA + 1024;   // mbarriers behind the data
constexpr int WORKERS = 128, THREADS = K_HOPPER ? 3 * WORKERS : WORKERS;
KERNEL_SHAPE(THREADS, (int)SHARED_BYTES, 0, 0, 0, 1);

/// in: 65536 numbers of 16 bits, the i-th (40503 i) % 65536; out: zeros.
struct ConformanceParameters { const u16* in; u32* out; };

/// A small integer, -3 .. 3, that looks random.
DEVICE float number(u32 i) { return (float)((int)((i * 2654435761u >> 13) % 7) - 3); }
/// The threads that work.
DEVICE void barrier() {
#if K_HOPPER
  named_sync(1, WORKERS);
#else
  sync_threads();
#endif
}

/// Word i of thread t at first + 128 i + t.
struct Recorder {
  const ConformanceParameters& p;
  u32 shared;
  int t, lane, warp;
  u32 first, next;

  DEVICE Recorder(const ConformanceParameters& parameters)
      : p(parameters), shared(shared_base()), t(thread_id()), lane(t % 32), warp(t / 32), first(RECORDED), next(RECORDED) { }
  DEVICE void put(u32 x) {
    stg(p.out + next + t, x);
    next += WORKERS;
  }
  DEVICE void put_integer(float x) { put((u32)(int)x); }
  DEVICE void place(int section, u32 begin, u32 words) const {
    if (t == 0) {
      stg(p.out + 2 * section, begin);
      stg(p.out + 2 * section + 1, words);
    }
  }
  /// Ends the section; the next one begins.
  DEVICE void end(int section) {
    place(section, first, next - first);
    first = next;
    barrier();
  }
  /// Small integers all over the shared memory, as bfloat16 or half.
  template <bool BF> DEVICE void fill(u32 seed) {
    barrier();
    for (u32 i = t; i < DATA / 4; i += WORKERS) sts<u32>(shared + 4 * i, pack2<BF>(number(2 * i + seed), number(2 * i + 1 + seed)));
#if K_HOPPER
    fence_async();
#endif
    barrier();
  }
};

// ---- memory
DEVICE void shared_access(Recorder& r) {
  const u32 a = r.shared + 64 * r.t, x = 0x01020304u * (u32)(r.t + 1);
  sts<u16>(a, (u16)x);
  sts<u16>(a + 2, (u16)(x >> 3));
  sts<u32>(a + 4, x ^ 0x5555u);
  sts<float>(a + 8, (float)r.t);
  sts<u32>(a + 12, 7u);
  sts<double>(a + 16, (double)r.t * 0.5);
  sts<V2>(a + 24, V2{x, ~x});
  sts<V4>(a + 32, V4{x + 1, x + 2, x + 3, x + 4});
  barrier();
  const u32 b = r.shared + 64 * ((r.t + 33) % WORKERS);
  r.put(lds<u16>(b));
  r.put(lds<u16>(b + 2));
  r.put(lds<u32>(b + 4));
  r.put_integer(lds<float>(b + 8));
  r.put_integer((float)(2. * lds<double>(b + 16)));
  const V2 v = lds<V2>(b + 24);
  const V4 w = lds<V4>(b + 32);
  r.put(v.x), r.put(v.y), r.put(w.x), r.put(w.y), r.put(w.z), r.put(w.w);
  r.end(SHARED_ACCESS);
}

DEVICE void global_access(Recorder& r) {
  const u16* from = r.p.in + 8 * ((r.t * 37) % 1000);
  r.put(ldg(from + 3));
  r.put(ldg((const u32*)from + 2));
  r.put(as_u32(ldg((const float*)from + 1)));
  const V2 v = ldg((const V2*)from);
  const V4 w = ldg((const V4*)from);
  r.put(v.x), r.put(v.y), r.put(w.x), r.put(w.y), r.put(w.z), r.put(w.w);
  r.end(GLOBAL_LOAD);
  u32* to = r.p.out + STORED + 8 * r.t;
  stg((V4*)to, V4{w.w, w.z, w.y, w.x});
  stg((V2*)(to + 4), V2{v.y, v.x});
  stg((float*)(to + 6), (float)r.t);
  stg((u16*)(to + 7), (u16)(r.t + 5));
  stg((u16*)(to + 7) + 1, (u16)(3 * r.t));
  r.place(GLOBAL_STORE, STORED, 8 * WORKERS);
}

DEVICE void copies(Recorder& r) {
  barrier();
  for (int g = 0; g < 3; g++) {
    for (int i = r.t; i < 256; i += WORKERS) cp_async16(r.shared + 4096 * g + 16 * (i ^ g), r.p.in + 8 * (i + 300 * g), i % 37 != 5 + g);
    cp_async_commit();
  }
  cp_async_wait<1>();
  barrier();
  for (int i = 0; i < 8; i++) r.put(lds<u32>(r.shared + 4096 * (i / 4) + 4 * ((r.t + 50) % WORKERS + WORKERS * (i % 4))));
  cp_async_wait<0>();
  barrier();
  for (int i = 0; i < 4; i++) r.put(lds<u32>(r.shared + 8192 + 4 * (r.t + WORKERS * i)));
  r.end(CP_ASYNC);
}

// ---- matrices within a warp
DEVICE void matrices(Recorder& r) {
  barrier();
  for (u32 i = r.t; i < 4096; i += WORKERS) sts<u32>(r.shared + 4 * i, i * 0x00010003u + 0x80010000u);
  barrier();
  u32 four[4];
  ldmatrix4(four, r.shared + r.warp * 1024 + (r.lane * 5 % 32) * 16 + 2048);   // rows in another order than lanes, and no bank twice in eight
  for (u32 x : four) r.put(x);
  r.end(LDMATRIX4);
  ldmatrix4_trans(four, r.shared + r.warp * 512 + (r.lane ^ 3) * 16);
  for (u32 x : four) r.put(x);
  r.end(LDMATRIX4_TRANS);
}

template <bool BF> DEVICE void product(Recorder& r) {
  u32 a[4];
  float d[4];
  for (int i = 0; i < 4; i++) {
    a[i] = pack2<BF>(number(r.t * 16 + i), number(r.t * 16 + i + 400));
    d[i] = number(r.t * 4 + i + 100) * 5.f;
  }
  mma<BF>(d, a, pack2<BF>(number(r.t + 7), number(r.t + 77)), pack2<BF>(number(r.t + 777), number(r.t + 7777)));
  mma<BF>(d, a, pack2<BF>(number(r.t + 8), number(r.t + 88)), pack2<BF>(number(r.t + 888), number(r.t + 8888)));
  for (float x : d) r.put_integer(x);
  r.end(BF ? MMA_BFLOAT16 : MMA_HALF);
}

DEVICE void shuffles(Recorder& r) {
  for (int mask = 1; mask < 32; mask *= 2) {
    r.put_integer(shuffle_xor((float)(r.t * 3), mask));
    r.put(shuffle_xor((u32)r.t * 5u, mask + 1));
    r.put_integer((float)((shuffle_xor((double)r.t * 0.25 + 1e9, mask) - 1e9) * 4.));
  }
  r.put_integer(shuffle((float)r.t, 7));
  r.put(shuffle((u32)r.t, (r.lane * 11 + 3) % 32));
  r.put(any_in_warp(r.t == 40));
  r.end(SHUFFLE);
}

// ---- arithmetic
DEVICE void functions(Recorder& r) {
  const float inf = infinity(), nan = as_float(0x7fc00000u);
  r.put_integer(ex2((float)(r.t % 21)) + 0.5f);                       // approximate: rounded
  r.put_integer(ex2((float)(r.t % 21 - 20)) * 1048576.f + 0.5f);
  r.put(as_u32(ex2(-inf))), r.put(as_u32(ex2(inf))), r.put(as_u32(ex2(-127.5f - (float)r.t))), r.put(ex2(nan) != ex2(nan));
  r.end(EX2);
  r.put_integer(lg2(as_float((u32)(r.t + 1) << 23)) * 256.f + (r.t < 126 ? -0.5f : 0.5f));
  r.put(as_u32(lg2(0.f))), r.put(as_u32(lg2(inf))), r.put(lg2(-1.f) != lg2(-1.f)), r.put(as_u32(lg2(as_float(1u))));   // a subnormal is 0
  r.end(LG2);
}

template <bool BF> DEVICE void packs(Recorder& r) {
  const u32 specials[16] = {0u, 0x80000000u, 0x7f800000u, 0xff800000u, 0x7f7fffffu, 0x477fdfffu, 0x477ff000u, 0x477fefffu,
                            0x33800000u, 0x33000000u, 0x33c00000u, 0x33000001u, 0x7fc00000u, 0x00000001u, 0x3f808000u, 0x3f818000u};
  const float lo = as_float(0x3f800000u + (u32)r.t * 0x800u), hi = as_float(0xc7001000u + (u32)r.t * 0x1800u);   // ties to even among them
  r.put(pack2<BF>(lo, hi));
  r.put(pack2<BF>(as_float(0x33000000u + (u32)r.t * 0x2000u), as_float(specials[r.t % 16])));
  r.put(from_float<BF>(hi));
  r.end(BF ? PACK_BFLOAT16 : PACK_HALF);
}

DEVICE void unpacks(Recorder& r) {
  for (u32 i = 0; i < 8; i++) {
    const u16 x = (u16)((u32)r.t * 512u + i * 61u);
    const bool nan = (x & 0x7c00) == 0x7c00 && (x & 0x3ff);
    r.put(nan ? 0u : as_u32(to_float<false>(x)));
    r.put(as_u32(to_float<true>(x)));
  }
  r.end(TO_FLOAT);
}

DEVICE void sums(Recorder& r) {
  float* to = (float*)(r.p.out + SUMS);
  atomic_add(to + r.t % 32, (float)r.t);
  atomic_add(to + r.t % 32, -1.f);
  atomic_add4(to + 32 + 4 * (r.t % 8), (float)r.t, 1.f, (float)(-r.t), 2.f);
  r.place(ATOMIC_ADD, SUMS, 32);
  r.place(ATOMIC_ADD4, SUMS + 32, 32);
}

#if K_HOPPER
// ---- barriers
DEVICE void mbarriers(Recorder& r) {
  const u32 bar = r.shared + DATA;
  if (r.t == 0) {
    mbarrier_init(bar, 3);
    mbarrier_init(bar + 8, WORKERS);
    mbarrier_fence_init();
  }
  barrier();
  u32 seen = 0;
  if (r.t == 0) {
    for (int i = 0; i < 6; i++) {
      seen = seen * 4 + (u32)mbarrier_try_wait(bar, 0) + 2 * (u32)mbarrier_try_wait(bar, 1);
      mbarrier_arrive(bar);
    }
    seen = seen * 4 + (u32)mbarrier_try_wait(bar, 0) + 2 * (u32)mbarrier_try_wait(bar, 1);
  }
  r.put(seen);
  for (u32 phase = 0; phase < 4; phase++) {
    sts<u32>(r.shared + 4 * r.t, (u32)r.t * 10u + phase);
    mbarrier_arrive(bar + 8);
    mbarrier_wait(bar + 8, phase & 1);
    r.put(lds<u32>(r.shared + 4 * ((r.t + 45) % WORKERS)));
    barrier();
  }
  r.end(MBARRIER);
}

DEVICE void named_barriers(Recorder& r) {
  u32 x = 0;
  if (r.warp < 2) {
    sts<u32>(r.shared + 4 * r.t, (u32)r.t + 1000u);
    named_arrive(2, WORKERS);
    named_sync(3, WORKERS);
    x = lds<u32>(r.shared + 1024 + 4 * r.t);
  } else {
    named_sync(2, WORKERS);
    x = lds<u32>(r.shared + 4 * (r.t - 64));
    sts<u32>(r.shared + 1024 + 4 * (r.t - 64), x * 3);
    named_arrive(3, WORKERS);
  }
  r.put(x);
  if (r.warp < 3) {
    sts<u32>(r.shared + 2048 + 4 * r.t, (u32)r.t * 7u);
    named_sync(15, 96);
    x = lds<u32>(r.shared + 2048 + 4 * ((r.t + 40) % 96));
  }
  r.put(x);
  r.end(NAMED_BARRIER);
}

DEVICE void matrix_stores(Recorder& r) {
  const u32 x = (u32)r.t * 0x00020002u + 0x00010000u;
  stmatrix4(r.shared + r.warp * 512 + (r.lane ^ 5) * 16, x, x + 0x1000u, x + 0x2000u, x + 0x3000u);
  barrier();
  for (int i = 0; i < 4; i++) r.put(lds<u32>(r.shared + 4 * (r.t + WORKERS * i)));
  r.end(STMATRIX4);
}

// ---- bulk copies. The maps of the loads: 72 x 40 x 3 x 2 numbers of `in`, strides 88, 3608, 10832; boxes 64 x 16 x 1 x 1 (swizzle 128),
// 32 x 8 x 2 x 1 (64), 16 x 8 x 1 x 2 (32).
struct Loader {
  u32 bar, phase;
  DEVICE explicit Loader(Recorder& r) : bar(r.shared + DATA + 16), phase(0) {
    if (r.t == 0) {
      mbarrier_init(bar, 1);
      mbarrier_fence_init();
    }
    barrier();
  }
  DEVICE void poison(Recorder& r, u32 bytes) {
    barrier();
    for (u32 i = r.t; i < bytes / 4; i += WORKERS) sts<u32>(r.shared + 4 * i, 0xdeadbeefu);
    fence_async();
    barrier();
  }
  DEVICE void record(Recorder& r, u32 bytes) {
    mbarrier_wait(bar, phase & 1);
    phase++;
    for (u32 i = r.t; i < round_up((int)bytes / 4, WORKERS); i += WORKERS) r.put(4 * i < bytes ? lds<u32>(r.shared + 4 * i) : 0u);
  }
  DEVICE void box(Recorder& r, const TensorMap* map, u32 bytes, int c0, int c1, int c2, int c3) {
    poison(r, bytes);
    if (r.t == 0) {
      mbarrier_expect(bar, bytes);
      tma_load(r.shared, map, bar, c0, c1, c2, c3);
    }
    record(r, bytes);
  }
  /// Whole, over an upper end in each dimension, over a lower one, wholly outside.
  DEVICE void boxes(Recorder& r, const TensorMap* map, u32 bytes, int section) {
    box(r, map, bytes, 0, 0, 0, 0);
    box(r, map, bytes, 8, 11, 1, 1);
    box(r, map, bytes, 64, 33, 2, 1);
    box(r, map, bytes, -8, -3, 0, 0);
    box(r, map, bytes, 16, 5, -1, 1);
    box(r, map, bytes, 24, 20, 1, -1);
    box(r, map, bytes, 72, 0, 0, 0);
    r.end(section);
  }
};

DEVICE void bulk_copies(Recorder& r, Loader& loader) {
  loader.poison(r, 1024);
  if (r.t == 0) {
    mbarrier_expect(loader.bar, 512 + 48);
    bulk_load(r.shared + 256, r.p.in + 264, 512, loader.bar);
    bulk_load(r.shared + 16, r.p.in + 80, 48, loader.bar);
  }
  loader.record(r, 1024);
  r.end(BULK_LOAD);
  for (u32 i = r.t; i < 64; i += WORKERS) sts<float>(r.shared + 4 * i, number(i));
  fence_async();
  barrier();
  if (r.t == 0) {
    float* to = (float*)(r.p.out + SUMS + 64);
    bulk_add(to, r.shared, 256);
    bulk_add(to + 16, r.shared + 64, 128);
    bulk_commit();
    bulk_wait_read<0>();
  }
  r.place(BULK_ADD, SUMS + 64, 64);
  barrier();
}

// ---- wgmma
template <int N> DEVICE void begin_accumulators(const Recorder& r, float (&d)[N], int section) {
  UNROLL for (int i = 0; i < N; i++) d[i] = number((u32)(r.t * 131 + i + 1000 * section)) * 3.f;   // others in each section: none kept in registers
}
template <int N> DEVICE void record_accumulators(Recorder& r, float (&d)[N], int section) {
  wgmma_commit();
  wgmma_wait<0>();
  wgmma_pin(d);
  UNROLL for (int i = 0; i < N; i++) r.put_integer(d[i]);
  r.end(section);
}

/// Both operands K-major with the widest swizzle: two steps of k within the swizzled row.
template <int N> DEVICE void shapes(Recorder& r) {
  float d[N / 2];
  begin_accumulators(r, d, WGMMA_N16 + N / 16 - 1);
  wgmma_fence();
  wgmma_ss<N, true, false, false>(d, wgmma_descriptor(r.shared, 16, 1024), wgmma_descriptor(r.shared + 8192, 16, 1024), true);
  wgmma_ss<N, true, false, false>(d, wgmma_descriptor(r.shared + 96, 16, 1024), wgmma_descriptor(r.shared + 8192 + 32, 16, 1024), true);
  record_accumulators(r, d, WGMMA_N16 + N / 16 - 1);
  if constexpr (N < 256) shapes<N + 16>(r);
}

/// An operand of 64 rows, 32 of k, in either order; panels of it 8192 bytes apart. See matrix layouts in wgmma_descriptor.
template <int S, bool MN> DEVICE u64 operand(u32 base, int k) {
  constexpr Swizzle W = (Swizzle)S;
  if constexpr (MN) return wgmma_descriptor<W>(base + k * S, 8192, 8 * S);
  else return wgmma_descriptor<W>(base + k * 2 / S * 8192 + k * 2 % S, 16, 8 * S);
}
template <int S, bool TA, bool TB, bool BF> DEVICE void layout(Recorder& r, int section) {
  float d[32];
  begin_accumulators(r, d, section);
  wgmma_fence();
  wgmma_ss<64, BF, TA, TB>(d, operand<S, TA>(r.shared, 0), operand<S, TB>(r.shared + 32768, 0), false);
  wgmma_ss<64, BF, TA, TB>(d, operand<S, TA>(r.shared, 16), operand<S, TB>(r.shared + 32768, 16), true);
  record_accumulators(r, d, section);
}
template <int S> DEVICE void layouts(Recorder& r, int section) {
  layout<S, false, false, true>(r, section);
  layout<S, false, true, true>(r, section + 1);
  layout<S, true, true, true>(r, section + 2);
}

template <bool BF> DEVICE void from_registers(Recorder& r, int section) {
  float d[32];
  u32 a[2][4];
  begin_accumulators(r, d, section);
  UNROLL for (int k = 0; k < 2; k++) UNROLL for (int i = 0; i < 4; i++)
    a[k][i] = pack2<BF>(number((u32)(r.t * 8 + k * 4 + i)), number((u32)(r.t * 9 + k * 5 + i)));
  wgmma_fence();
  wgmma_rs<64, BF, true>(d, a[0], operand<SWIZZLE_128, true>(r.shared, 0), true);
  wgmma_rs<64, BF, true>(d, a[1], wgmma_advance(operand<SWIZZLE_128, true>(r.shared, 0), 16 * SWIZZLE_128 / 16), true);
  record_accumulators(r, d, section);
}

/// Two groups in flight: the first one's result, then the second's.
DEVICE void groups(Recorder& r) {
  float d[8], e[16];
  begin_accumulators(r, d, WGMMA_GROUPS);
  begin_accumulators(r, e, SECTIONS);
  wgmma_fence();
  wgmma_ss<16, true, false, false>(d, operand<SWIZZLE_128, false>(r.shared, 0), operand<SWIZZLE_128, false>(r.shared + 8192, 0), true);
  wgmma_commit();
  wgmma_ss<32, true, false, true>(e, operand<SWIZZLE_128, false>(r.shared, 16), operand<SWIZZLE_128, true>(r.shared + 8192, 0), false);
  wgmma_commit();
  wgmma_wait<1>();
  wgmma_pin(d);
  UNROLL for (int i = 0; i < 8; i++) r.put_integer(d[i]);
  wgmma_wait<0>();
  wgmma_pin(e);
  UNROLL for (int i = 0; i < 16; i++) r.put_integer(e[i]);
  r.end(WGMMA_GROUPS);
}

DEVICE void products(Recorder& r) {
  r.fill<true>(5);
  shapes<16>(r);
  layouts<SWIZZLE_32>(r, WGMMA_SWIZZLE_32_KK);
  layouts<SWIZZLE_64>(r, WGMMA_SWIZZLE_64_KK);
  layouts<SWIZZLE_128>(r, WGMMA_SWIZZLE_128_KK);
  from_registers<true>(r, WGMMA_REGISTERS);
  groups(r);
  r.fill<false>(6);
  layout<SWIZZLE_128, false, true, false>(r, WGMMA_HALF);
  from_registers<false>(r, WGMMA_REGISTERS_HALF);
}
#endif

DEVICE void core(Recorder& r) {
  shared_access(r);
  global_access(r);
  copies(r);
  matrices(r);
  product<false>(r);
  product<true>(r);
  shuffles(r);
  functions(r);
  packs<false>(r);
  packs<true>(r);
  unpacks(r);
  sums(r);
}

#if K_HOPPER
KERNEL(torchflash_conformance, THREADS, 1, PARAMETER(ConformanceParameters) p, PARAMETER(TensorMap) load128, PARAMETER(TensorMap) load64,
       PARAMETER(TensorMap) load32) {
  if (thread_id() >= WORKERS) {   // they only give their registers away
    registers_decrease<24>();
    return;
  }
  registers_increase<240>();
  Recorder r(p);
  core(r);
  mbarriers(r);
  named_barriers(r);
  matrix_stores(r);
  tma_prefetch(&load128);
  Loader loader(r);
  loader.boxes(r, &load128, 2048, TMA_LOAD_SWIZZLE_128);
  loader.boxes(r, &load64, 1024, TMA_LOAD_SWIZZLE_64);
  loader.boxes(r, &load32, 512, TMA_LOAD_SWIZZLE_32);
  bulk_copies(r, loader);
  products(r);
}
#else
KERNEL(torchflash_conformance, THREADS, 1, PARAMETER(ConformanceParameters) p) {
  Recorder r(p);
  core(r);
}
#endif
