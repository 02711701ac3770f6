// Small Hopper programs, right with fault 0 (NONE), each with faults that the emulation must find: EmulationHopperTests.cs.
#include "hopper.cuh"

enum Scenario { PIPELINE, ELECTED, REGISTERS, STAGED, STORE, BARRIERS, POOL, BULK };
enum Fault {
  NONE,
  // PIPELINE: C = sum over four tiles of A Bᵀ; a thread loads them into a ring of two stages, a warpgroup multiplies
  NO_INIT_FENCE, INIT_FENCE_BEFORE_INIT, NO_BARRIER_AFTER_INIT, NO_FULL_WAIT, ONE_LANE_WAITS, CONSTANT_PARITY, OTHER_PARITY,
  NO_EMPTY_WAIT, EARLY_EMPTY_PARITY, LATE_EMPTY_PARITY, EXPECT_TOO_FEW, EXPECT_TOO_MANY, LOAD_NOT_EXPECTED,
  MISALIGNED_DESTINATION, MISALIGNED_BARRIER, LOAD_INTO_USED_STAGE,
  NO_WGMMA_FENCE, NO_WGMMA_COMMIT, NO_WGMMA_WAIT, WAIT_FOR_ALL_BUT_ONE, RELEASE_BEFORE_WAIT, ALL_LANES_RELEASE, NOBODY_RELEASES,
  SCALE_AFTER_FENCE, WRITE_ACCUMULATOR, READ_ACCUMULATOR, OTHER_SHAPE_IN_FLIGHT, ONE_WARP_SKIPS,
  SWIZZLE_OF_DESCRIPTOR, STRIDE_OF_DESCRIPTOR, K_STEP_OF_DESCRIPTOR,
  MAJOR_OF_DESCRIPTOR, DESCRIPTORS_DIFFER, BARRIER_OVERWRITTEN, INIT_TWICE, ARRIVE_AT_NOTHING,
  // ELECTED: the same, one lane of each warp waits
  NO_SYNC_AFTER_WAIT,
  // REGISTERS: A from registers
  A_AFTER_FENCE, A_CHANGED, A_STEP_REUSED,
  // STAGED: an operand written by ordinary stores
  NO_PROXY_FENCE, PROXY_FENCE_AFTER_BARRIER, PROXY_FENCE_BY_ONE, NO_BARRIER_AFTER_STORES, UNWRITTEN_OPERAND,
  // STORE: tiles to global memory by TMA, from one staging buffer
  STORE_NO_PROXY_FENCE, STORE_NO_BARRIER, NO_WAIT_READ, NO_BULK_COMMIT, NO_BARRIER_AFTER_WAIT, WAIT_BY_ANOTHER_THREAD,
  RETURN_WITHOUT_WAIT, STORE_TWICE, MISALIGNED_SOURCE,
  // BARRIERS: producer and consumer warps
  COUNT_TOO_LARGE, COUNTS_DIFFER, NO_ARRIVAL, ARRIVE_TWICE, NO_NAMED_SYNC, COUNT_NOT_OF_WARPS, ID_TOO_LARGE, LANES_DIFFER,
  // POOL: registers moved between warpgroups
  TAKE_TOO_MANY, HALF_A_WARPGROUP, INCREASE_TO_FEWER, ODD_REGISTERS,
  // BULK: contiguous loads and sums
  SUM_NO_PROXY_FENCE, SUM_NO_WAIT, LOAD_OVER_STORES, LOAD_PAST_THE_END, BYTES_NOT_OF_16, GLOBAL_MISALIGNED, READ_BEFORE_ARRIVAL, LOAD_UNAWAITED,
  EXPECT_WITHOUT_LOAD
};

struct Program { const u16* in; float* out; u16* stored; int scenario, fault; };

constexpr int GROUP = 128, THREADS = 384, TILES = 4;
constexpr u32 TILE = 64 * 128, BARRIER_AREA = 5 * TILE, SHARED_BYTES = BARRIER_AREA + 1024;
KERNEL_SHAPE(THREADS, (int)SHARED_BYTES);

DEVICE u32 swizzled(u32 a) { return a ^ (a >> 7 & 7) << 4; }
DEVICE u64 tile_descriptor(u32 base, int k) { return wgmma_descriptor(base + 32 * k, 16, 1024); }

DEVICE void write_result(const Program& p, const float (&d)[32]) {
  const int t = thread_id();
  for (int j = 0; j < 8; j++) for (int i = 0; i < 4; i++)
    stg(p.out + (t / 32 * 16 + t % 32 / 4 + i / 2 * 8) * 64 + j * 8 + t % 4 * 2 + i % 2, d[4 * j + i]);
}

// ---- PIPELINE, REGISTERS
DEVICE void init_ring(u32 full, u32 empty, int fault) {
  if (fault == INIT_FENCE_BEFORE_INIT) mbarrier_fence_init();
  for (int i = 0; i < 2; i++) {
    mbarrier_init(full + 8 * i, 1);
    mbarrier_init(empty + 8 * i, 4);
  }
  if (fault == INIT_TWICE) mbarrier_init(full, 1);
  if (fault != NO_INIT_FENCE && fault != INIT_FENCE_BEFORE_INIT) mbarrier_fence_init();
}

DEVICE void load_tiles(u32 s, u32 full, u32 empty, const TensorMap* map, int fault) {
  for (int tile = 0; tile < TILES; tile++) {
    const int stage = tile % 2, round = tile / 2;
    const u32 to = s + (fault == LOAD_INTO_USED_STAGE ? 0 : stage) * 2 * TILE + (fault == MISALIGNED_DESTINATION ? 128 : 0);
    const u32 bar = full + 8 * stage + (fault == MISALIGNED_BARRIER ? 4 : 0);
    if (round > 0 && fault != NO_EMPTY_WAIT) mbarrier_wait(empty + 8 * stage, (round - 1 + (fault == EARLY_EMPTY_PARITY)) & 1);
    if (round == 0 && fault == LATE_EMPTY_PARITY) mbarrier_wait(empty + 8 * stage, 0);
    if (fault == EXPECT_TOO_FEW) mbarrier_expect(bar, TILE);
    else if (fault == EXPECT_TOO_MANY) mbarrier_expect(bar, 2 * TILE + 16);
    else mbarrier_expect(bar, 2 * TILE);
    tma_load(to, map, bar, 0, 64 * tile, 0, 0);
    tma_load(to + TILE, map, bar, 0, 64 * (TILES + tile), 0, 0);
  }
  if (fault == LOAD_NOT_EXPECTED) tma_load(s, map, full, 0, 0, 0, 0);
}

DEVICE void multiply_tile(const Program& p, float (&d)[32], u32 a, u32 b, bool from_registers) {
  const int t = thread_id(), row = t / 32 * 16 + t % 32 / 4, fault = p.fault;
  u32 r[4][4];
  if (fault == A_AFTER_FENCE) wgmma_fence();
  if (from_registers) {
    for (int k = 0; k < 4; k++) for (int i = 0; i < 4; i++)
      r[k][i] = lds<u32>(swizzled(a + (row + i % 2 * 8) * 128 + k * 32 + i / 2 * 16 + t % 4 * 4));
  }
  if (fault != NO_WGMMA_FENCE && fault != A_AFTER_FENCE) wgmma_fence();
  if (fault == SCALE_AFTER_FENCE) for (float& x : d) x *= 2.f;
  for (int k = 0; k < 4; k++) {
    u64 da = tile_descriptor(a, k), db = tile_descriptor(b, k);
    if (fault == SWIZZLE_OF_DESCRIPTOR) db = wgmma_descriptor<SWIZZLE_64>(b + 32 * (k % 2), 16, 1024);
    if (fault == STRIDE_OF_DESCRIPTOR) db = wgmma_descriptor(b + 32 * k, 16, 512);
    if (fault == K_STEP_OF_DESCRIPTOR) db = wgmma_descriptor(b + 16 * k, 16, 1024);
    if (fault == DESCRIPTORS_DIFFER && t == 70) da = tile_descriptor(a, 0);
    if (from_registers) wgmma_rs<64, true, false>(d, r[fault == A_STEP_REUSED ? 0 : k], db, true);
    else if (fault == MAJOR_OF_DESCRIPTOR) wgmma_ss<64, true, false, true>(d, da, wgmma_descriptor(b + 2048 * k, 16, 1024), true);
    else wgmma_ss<64, true, false, false>(d, da, db, true);
    if (fault == A_STEP_REUSED && k < 3) for (int i = 0; i < 4; i++) r[0][i] = r[k + 1][i];
  }
  if (fault == OTHER_SHAPE_IN_FLIGHT) wgmma_ss<32, true, false, false>(*(float (*)[16])&d, tile_descriptor(a, 0), tile_descriptor(b, 0), true);
  if (fault != NO_WGMMA_COMMIT) wgmma_commit();
  if (fault == A_CHANGED) r[2][1]++;
  if (fault == WRITE_ACCUMULATOR && t == 3) d[5] = 0.f;
  if (fault == READ_ACCUMULATOR && t == 3) stg(p.out + 64 * 64, d[5]);
  if (fault == WAIT_FOR_ALL_BUT_ONE) wgmma_wait<1>();
  else if (fault != NO_WGMMA_WAIT && fault != RELEASE_BEFORE_WAIT) wgmma_wait<0>();
}

DEVICE void pipeline(const Program& p, const TensorMap* map, bool from_registers) {
  const int t = thread_id(), fault = p.fault;
  const u32 s = shared_base(), full = s + BARRIER_AREA, empty = full + 16;
  if (t >= GROUP + 32) return;
  if (t == 0) init_ring(full, empty, fault);
  if (fault == BARRIER_OVERWRITTEN && t == 0) sts<u32>(full + 4, 0u);
  if (fault != NO_BARRIER_AFTER_INIT) sync_threads();
  if (t >= GROUP) {
    if (t == GROUP) load_tiles(s, full, empty, map, fault);
    return;
  }
  float d[32];
  for (float& x : d) x = 0.f;
  for (int tile = 0; tile < TILES; tile++) {
    const int stage = tile % 2, parity = fault == CONSTANT_PARITY ? 0 : (tile / 2 + (fault == OTHER_PARITY)) & 1;
    const bool elected = p.scenario == ELECTED || fault == ONE_LANE_WAITS;
    if (fault != NO_FULL_WAIT && (!elected || t % 32 == 0)) mbarrier_wait(full + 8 * stage, parity);
    if (elected && fault != ONE_LANE_WAITS && fault != NO_SYNC_AFTER_WAIT) sync_warp();
    if (fault == ONE_WARP_SKIPS && t < 32 && tile == 2) continue;
    const u32 a = s + stage * 2 * TILE;
    multiply_tile(p, d, a, a + TILE, from_registers);
    sync_warp();
    const u32 released = fault == ARRIVE_AT_NOTHING ? empty + 32 : empty + 8 * stage;
    if (fault != NOBODY_RELEASES && (t % 32 == 0 || fault == ALL_LANES_RELEASE)) mbarrier_arrive(released);
    if (fault == RELEASE_BEFORE_WAIT) wgmma_wait<0>();
  }
  wgmma_wait<0>();
  wgmma_pin(d);
  write_result(p, d);
}

// ---- STAGED: out = A Aᵀ, A written with ordinary stores
DEVICE void staged(const Program& p) {
  const int t = thread_id(), fault = p.fault;
  const u32 s = shared_base();
  if (t >= GROUP) return;
  for (int i = t; i < 512; i += GROUP)
    if (fault != UNWRITTEN_OPERAND || i != 300) sts<V4>(swizzled(s + 16 * i), ldg((const V4*)p.in + i));
  if (fault != NO_PROXY_FENCE && fault != PROXY_FENCE_AFTER_BARRIER && (fault != PROXY_FENCE_BY_ONE || t == 0)) fence_async();
  if (fault != NO_BARRIER_AFTER_STORES) sync_threads();
  if (fault == PROXY_FENCE_AFTER_BARRIER && t != 5) fence_async();
  float d[32];
  for (float& x : d) x = 0.f;
  wgmma_fence();
  for (int k = 0; k < 4; k++) wgmma_ss<64, true, false, false>(d, tile_descriptor(s, k), tile_descriptor(s, k), true);
  wgmma_commit();
  wgmma_wait<0>();
  wgmma_pin(d);
  write_result(p, d);
}

// ---- STORE: four tiles through one buffer
DEVICE void store_tiles(const Program& p, const TensorMap* map) {
  const int t = thread_id(), fault = p.fault;
  const u32 s = shared_base();
  if (t >= GROUP) return;
  for (int tile = 0; tile < TILES; tile++) {
    for (int i = t; i < 512; i += GROUP) sts<V4>(swizzled(s + 16 * i), ldg((const V4*)p.in + 512 * tile + i));
    if (fault != STORE_NO_PROXY_FENCE) fence_async();
    if (fault != STORE_NO_BARRIER) sync_threads();
    if (t == 0) {
      tma_store(map, fault == MISALIGNED_SOURCE ? s + 256 : s, 0, 64 * tile, 0, 0);
      if (fault != NO_BULK_COMMIT) bulk_commit();
      if (fault != NO_WAIT_READ && fault != WAIT_BY_ANOTHER_THREAD && (fault != RETURN_WITHOUT_WAIT || tile < TILES - 1)) bulk_wait_read<0>();
    }
    if (fault == STORE_TWICE && t == 1) {
      tma_store(map, s, 0, 64 * tile, 0, 0);
      bulk_commit();
      bulk_wait_read<0>();
    }
    if (fault == WAIT_BY_ANOTHER_THREAD && t == 1) bulk_wait_read<0>();
    if (fault != NO_BARRIER_AFTER_WAIT) sync_threads();
  }
  if (t == 0 && fault == NO_WAIT_READ) bulk_wait<0>();
}

// ---- BARRIERS: warps 0, 1 write, warps 2, 3 read and answer
DEVICE void barriers(const Program& p) {
  const int t = thread_id(), fault = p.fault;
  const u32 s = shared_base(), count = fault == COUNT_TOO_LARGE ? 160 : fault == COUNT_NOT_OF_WARPS ? 100 : 128;
  if (t >= GROUP) return;
  float sum = 0.f;
  for (int round = 0; round < 3; round++) {
    if (t < 64) {
      sts<float>(s + 4 * t, (float)(t * 3 + round));
      if (fault != NO_ARRIVAL || t >= 32) named_arrive(fault == ID_TOO_LARGE ? 16 : fault == LANES_DIFFER && t % 32 == 9 ? 3 : 1, count);
      if (fault == ARRIVE_TWICE && t < 32) named_arrive(1, count);
      named_sync(2, 128);
      sum += lds<float>(s + 1024 + 4 * t);
    } else {
      if (fault != NO_NAMED_SYNC) named_sync(1, fault == COUNTS_DIFFER ? 96 : count);
      const float x = lds<float>(s + 4 * (t ^ 64));
      sts<float>(s + 1024 + 4 * (t ^ 64), 2.f * x);
      named_arrive(2, 128);
      sum += x;
    }
    named_sync(4, 128);
  }
  stg(p.out + t, sum);
}

// ---- POOL
DEVICE void pool(const Program& p) {
  const int t = thread_id(), fault = p.fault;
  if (t >= GROUP) {
    if (fault == TAKE_TOO_MANY) registers_decrease<136>();
    else if (fault != HALF_A_WARPGROUP || t % 128 < 64) registers_decrease<40>();
    return;
  }
  if (fault == INCREASE_TO_FEWER) registers_increase<160>();
  if (fault == ODD_REGISTERS) registers_increase<236>();
  registers_increase<240>();
  stg(p.out + t, (float)t);
}

// ---- BULK: load 256 floats, double them, add them to out twice
DEVICE void bulk(const Program& p) {
  const int t = thread_id(), fault = p.fault;
  const u32 s = shared_base(), bar = s + BARRIER_AREA;
  if (t >= GROUP) return;
  if (fault == LOAD_OVER_STORES) for (int i = t; i < 256; i += GROUP) sts<float>(s + 4 * i, 0.f);
  if (t == 0) {
    mbarrier_init(bar, 1);
    mbarrier_fence_init();
  }
  sync_threads();
  if (t == 0) {
    const u32 bytes = fault == BYTES_NOT_OF_16 ? 1000 : 1024;
    mbarrier_expect(bar, bytes);
    bulk_load(s, p.in + (fault == GLOBAL_MISALIGNED ? 4 : fault == LOAD_PAST_THE_END ? 512 * 64 - 8 : 0), bytes, bar);
  }
  if (fault == LOAD_UNAWAITED) return;
  if (fault != READ_BEFORE_ARRIVAL) mbarrier_wait(bar, 0);
  if (fault == EXPECT_WITHOUT_LOAD && t == 0) mbarrier_expect(bar, 16);
  for (int i = t; i < 256; i += GROUP) sts<float>(s + 1024 + 4 * i, (float)(lds<u32>(s + 4 * i) & 255u));
  if (fault != SUM_NO_PROXY_FENCE) fence_async();
  sync_threads();
  if (t == 0) {
    bulk_add(p.out, s + 1024, 1024);
    bulk_commit();
    if (fault != SUM_NO_WAIT) bulk_wait_read<0>();
  }
}

KERNEL(torchflash_hopper_faults, THREADS, 1, PARAMETER(Program) p, PARAMETER(TensorMap) load, PARAMETER(TensorMap) store) {
  switch (p.scenario) {
    case PIPELINE: case ELECTED: pipeline(p, &load, false); break;
    case REGISTERS: pipeline(p, &load, true); break;
    case STAGED: staged(p); break;
    case STORE: store_tiles(p, &store); break;
    case BARRIERS: barriers(p); break;
    case POOL: pool(p); break;
    default: bulk(p); break;
  }
}
