// Hopper primitives (sm_90a): mbarriers, the tensor memory accelerator (TMA), warpgroup matrix products, named
// barriers.
#pragma once
#include "device.cuh"
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
/// CUtensorMap, made on the host by cuTensorMapEncodeTiled; a kernel parameter PARAMETER(TensorMap).
struct alignas(64) TensorMap { u64 opaque[16]; };

// ---- mbarriers: 8 bytes of shared memory each
DEVICE void mbarrier_init(u32 bar, u32 arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0],%1;" ::"r"(bar), "r"(arrivals) : "memory");
}
/// After the inits, before the barrier that lets other threads (and the copy engine) use them.
DEVICE void mbarrier_fence_init() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
DEVICE void mbarrier_arrive(u32 bar) { asm volatile("mbarrier.arrive.shared::cta.b64 _,[%0];" ::"r"(bar) : "memory"); }
/// Arrives, and makes the phase wait for that many bytes of asynchronous copies besides.
DEVICE void mbarrier_expect(u32 bar, u32 bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _,[%0],%1;" ::"r"(bar), "r"(bytes) : "memory");
}
DEVICE bool mbarrier_try_wait(u32 bar, u32 parity) {
  u32 done;
  asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p,[%1],%2; selp.u32 %0,1,0,p; }"
               : "=r"(done) : "r"(bar), "r"(parity) : "memory");
  return done;
}
/// Waits until the phase of this parity (0 for the first) has completed.
DEVICE void mbarrier_wait(u32 bar, u32 parity) { while (!mbarrier_try_wait(bar, parity)) { } }

// ---- named barriers 1 .. 15 (0 is sync_threads): threads is a multiple of 32, arrivals and waits counted together
DEVICE void named_sync(u32 id, u32 threads) { asm volatile("bar.sync %0,%1;" ::"r"(id), "r"(threads) : "memory"); }
DEVICE void named_arrive(u32 id, u32 threads) { asm volatile("bar.arrive %0,%1;" ::"r"(id), "r"(threads) : "memory"); }

// ---- registers of a warpgroup (a multiple of 8, by all its warps; needs the third argument of KERNEL)
template <int N> DEVICE void registers_increase() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N)); }
template <int N> DEVICE void registers_decrease() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N)); }

/// Makes this thread's ordinary writes to shared memory visible to the copy engine and to wgmma (after a barrier,
/// everybody's).
DEVICE void fence_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// ---- TMA, by one thread. Coordinates are those of the map's dimensions, innermost first.
DEVICE void tma_prefetch(const TensorMap* map) { asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory"); }
DEVICE void tma_load(u32 to, const TensorMap* map, u32 bar, int c0, int c1, int c2, int c3) {
  asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes "
               "[%0],[%1,{%3,%4,%5,%6}],[%2];"
               ::"r"(to), "l"(map), "r"(bar), "r"(c0), "r"(c1), "r"(c2), "r"(c3) : "memory");
}
DEVICE void tma_store(const TensorMap* map, u32 from, int c0, int c1, int c2, int c3) {
  asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0,{%2,%3,%4,%5}],[%1];"
               ::"l"(map), "r"(from), "r"(c0), "r"(c1), "r"(c2), "r"(c3) : "memory");
}
/// bytes (a multiple of 16) of contiguous memory, both addresses 16-byte aligned.
DEVICE void bulk_load(u32 to, const void* from, u32 bytes, u32 bar) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0],[%1],%2,[%3];"
               ::"r"(to), "l"(__cvta_generic_to_global(from)), "r"(bytes), "r"(bar) : "memory");
}
/// Adds floats in shared memory to contiguous floats in global memory.
DEVICE void bulk_add(float* to, u32 from, u32 bytes) {
  asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0],[%1],%2;"
               ::"l"(__cvta_generic_to_global(to)), "r"(from), "r"(bytes) : "memory");
}
DEVICE void bulk_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
/// Until at most N groups of stores of this thread still have to read their shared memory.
template <int N> DEVICE void bulk_wait_read() { asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(N) : "memory"); }
/// Until at most N groups of stores of this thread are unfinished.
template <int N> DEVICE void bulk_wait() { asm volatile("cp.async.bulk.wait_group %0;" ::"n"(N) : "memory"); }

// ---- registers -> 8x8 matrices in shared memory (the inverse of ldmatrix)
DEVICE void stmatrix4(u32 a, u32 r0, u32 r1, u32 r2, u32 r3) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0],{%1,%2,%3,%4};"
               ::"r"(a), "r"(r0), "r"(r1), "r"(r2), "r"(r3) : "memory");
}
DEVICE void stmatrix4_trans(u32 a, u32 r0, u32 r1, u32 r2, u32 r3) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0],{%1,%2,%3,%4};"
               ::"r"(a), "r"(r0), "r"(r1), "r"(r2), "r"(r3) : "memory");
}

// ---- warpgroup matrix products, by the 128 threads of a warpgroup
/// Before the first wgmma, and whenever registers that a wgmma uses were touched.
DEVICE void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEVICE void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N> DEVICE void wgmma_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory"); }
/// Keeps the compiler from moving uses of accumulators over a wait.
template <int R> DEVICE void wgmma_pin(float (&d)[R]) {
  UNROLL for (int i = 0; i < R; i++) asm volatile("" : "+f"(d[i])::"memory");
}

#include "hopper_wgmma_shapes.cuh"
/// The descriptor of an operand that many 16 bytes further on. Only the low word counts (addresses are below 2^18: no
/// carry leaves their field); as a sum of 64 bits it would take an ordinary register and two R2UR for each product.
DEVICE u64 wgmma_advance(u64 descriptor, u32 by) {
  u64 result;
  asm("{ .reg .b32 l,h; mov.b64 {l,h},%1; add.u32 l,l,%2; mov.b64 %0,{l,h}; }" : "=l"(result) : "l"(descriptor),
      "r"(by));
  return result;
}
/// D(64 x N, float) = A(64x16) B(16xN) [+ D]. A and B by descriptor: K-major, or MN-major where TA / TB. Thread t of
/// the warpgroup holds d[4 j + 2 r + c] = D(16 (t / 32) + 8 r + t % 32 / 4, 8 j + 2 (t % 4) + c).
template <int N, bool BF, bool TA, bool TB> DEVICE void wgmma_ss(float (&d)[N / 2], u64 a, u64 b, bool accumulate) {
  Wgmma<N>::template ss<BF, TA, TB>(d, a, b, accumulate);
}
/// The same with A in registers, as the four of an mma of this warp's 16 rows.
template <int N, bool BF, bool TB> DEVICE void wgmma_rs(float (&d)[N / 2], const u32 (&a)[4], u64 b, bool accumulate) {
  Wgmma<N>::template rs<BF, TB>(d, a, b, accumulate);
}
#else
#include "emulation_hopper.h"
#endif

/// Swizzle of a shared tile: bytes in a row of it. An address a of a tile is a ^ ((a >> 7) % (bytes / 16)) << 4 of the
/// unswizzled one.
enum Swizzle { SWIZZLE_NONE = 16, SWIZZLE_32 = 32, SWIZZLE_64 = 64, SWIZZLE_128 = 128 };

/// Descriptor of an operand tile: 16 of k by M or N, `address` where its first 16 bytes are but for the swizzle.
/// Swizzled: groups of 8 rows of `swizzle` bytes, groups aligned to their size (8 * swizzle).
///   K-major (rows of M or N, along k): stride = bytes from one group to the next, leading is not used (16). A step of
///   16 in k within the swizzled row: address + 32.
///   MN-major (rows of k, along M or N): stride = bytes from 8 k's to the next 8, leading = bytes from one panel of
///   `swizzle` bytes along M or N to the next.
/// SWIZZLE_NONE: groups of 8 rows of 16 bytes, 128 bytes without a gap. In either order leading = bytes to the next 8
/// of k, stride = to the next 8 of M or N.
template <int SWIZZLE = SWIZZLE_128> DEVICE u64 wgmma_descriptor(u32 address, u32 leading, u32 stride) {
  constexpr u64 mode = SWIZZLE == 128 ? 1 : SWIZZLE == 64 ? 2 : SWIZZLE == 32 ? 3 : 0;
  const auto field = [](u32 bytes) { return (u64)((bytes & 0x3ffff) >> 4); };
  return field(address) | field(leading) << 16 | field(stride) << 32 | mode << 62;
}
