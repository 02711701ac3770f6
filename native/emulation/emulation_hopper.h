// The primitives of hopper.cuh on a CPU; see emulation.h. What they check stands in hopper_*.cpp.
#pragma once
#include "emulation.h"

/// Filled by the emulation's cuTensorMapEncodeTiled (tensor_map.h).
struct alignas(64) TensorMap { u64 opaque[16]; };

namespace emulation {
void mbarrier_init(u32 bar, u32 arrivals, Where where);
void mbarrier_fence_init();
void mbarrier_arrive(u32 bar, bool expect, u32 bytes, Where where);
bool mbarrier_try_wait(u32 bar, u32 parity, Where where);
void mbarrier_wait(u32 bar, u32 parity, Where where);
void named_barrier(u32 id, u32 threads, bool wait, Where where);
void registers_change(u32 count, bool increase, Where where);
void fence_async();
void tensor_load(u32 to, const TensorMap* map, u32 bar, const int (&at)[4], Where where);
void tensor_store(const TensorMap* map, u32 from, const int (&at)[4], Where where);
void tensor_prefetch(const TensorMap* map, Where where);
void bulk_load(u32 to, const void* from, u32 bytes, u32 bar, Where where);
void bulk_add(float* to, u32 from, u32 bytes, Where where);
void bulk_commit();
void bulk_wait(u32 groups, bool only_reads, Where where);
void matrix_store(u32 address, const u32 (&fragments)[4], bool transpose, Where where);
void warpgroup_fence(Where where);
void warpgroup_commit(Where where);
void warpgroup_wait(u32 groups, Where where);
/// One wgmma of m64 n k16. A in registers (a) or by descriptor (a null).
struct WarpgroupMultiply {
  float* d;
  const u32* a;
  u64 a_descriptor, b_descriptor;
  u32 n;
  bool bfloat16, transpose_a, transpose_b, accumulate;
};
void warpgroup_multiply(const WarpgroupMultiply& multiply, Where where);
}  // namespace emulation

// ---- barriers
DEVICE void mbarrier_init(u32 bar, u32 arrivals, WHERE) { emulation::mbarrier_init(bar, arrivals, where); }
DEVICE void mbarrier_fence_init() { emulation::mbarrier_fence_init(); }
DEVICE void mbarrier_arrive(u32 bar, WHERE) { emulation::mbarrier_arrive(bar, false, 0, where); }
DEVICE void mbarrier_expect(u32 bar, u32 bytes, WHERE) { emulation::mbarrier_arrive(bar, true, bytes, where); }
DEVICE bool mbarrier_try_wait(u32 bar, u32 parity, WHERE) { return emulation::mbarrier_try_wait(bar, parity, where); }
DEVICE void mbarrier_wait(u32 bar, u32 parity, WHERE) { emulation::mbarrier_wait(bar, parity, where); }
DEVICE void named_sync(u32 id, u32 threads, WHERE) { emulation::named_barrier(id, threads, true, where); }
DEVICE void named_arrive(u32 id, u32 threads, WHERE) { emulation::named_barrier(id, threads, false, where); }
template <int N> DEVICE void registers_increase(WHERE) { emulation::registers_change(N, true, where); }
template <int N> DEVICE void registers_decrease(WHERE) { emulation::registers_change(N, false, where); }
DEVICE void fence_async() { emulation::fence_async(); }

// ---- bulk copies
DEVICE void tma_prefetch(const TensorMap* map, WHERE) { emulation::tensor_prefetch(map, where); }
DEVICE void tma_load(u32 to, const TensorMap* map, u32 bar, int c0, int c1, int c2, int c3, WHERE) {
  emulation::tensor_load(to, map, bar, {c0, c1, c2, c3}, where);
}
DEVICE void tma_store(const TensorMap* map, u32 from, int c0, int c1, int c2, int c3, WHERE) {
  emulation::tensor_store(map, from, {c0, c1, c2, c3}, where);
}
DEVICE void bulk_load(u32 to, const void* from, u32 bytes, u32 bar, WHERE) { emulation::bulk_load(to, from, bytes, bar, where); }
DEVICE void bulk_add(float* to, u32 from, u32 bytes, WHERE) { emulation::bulk_add(to, from, bytes, where); }
DEVICE void bulk_commit() { emulation::bulk_commit(); }
template <int N> DEVICE void bulk_wait_read(WHERE) { emulation::bulk_wait(N, true, where); }
template <int N> DEVICE void bulk_wait(WHERE) { emulation::bulk_wait(N, false, where); }

// ---- matrices
DEVICE void stmatrix4(u32 a, u32 r0, u32 r1, u32 r2, u32 r3, WHERE) { emulation::matrix_store(a, {r0, r1, r2, r3}, false, where); }
DEVICE void stmatrix4_trans(u32 a, u32 r0, u32 r1, u32 r2, u32 r3, WHERE) { emulation::matrix_store(a, {r0, r1, r2, r3}, true, where); }
DEVICE void wgmma_fence(WHERE) { emulation::warpgroup_fence(where); }
DEVICE void wgmma_commit(WHERE) { emulation::warpgroup_commit(where); }
template <int N> DEVICE void wgmma_wait(WHERE) { emulation::warpgroup_wait(N, where); }
template <int R> DEVICE void wgmma_pin(float (&d)[R]) { asm volatile("" ::"r"(&d[0]) : "memory"); }   // only the compiler is held back
DEVICE u64 wgmma_advance(u64 descriptor, u32 by) { return descriptor >> 32 << 32 | (u32)(descriptor + by); }
template <int N, bool BF, bool TA, bool TB> DEVICE void wgmma_ss(float (&d)[N / 2], u64 a, u64 b, bool accumulate, WHERE) {
  static_assert(N % 16 == 0 && N >= 16 && N <= 256);
  emulation::warpgroup_multiply({d, nullptr, a, b, N, BF, TA, TB, accumulate}, where);
}
template <int N, bool BF, bool TB> DEVICE void wgmma_rs(float (&d)[N / 2], const u32 (&a)[4], u64 b, bool accumulate, WHERE) {
  static_assert(N % 16 == 0 && N >= 16 && N <= 256);
  emulation::warpgroup_multiply({d, a, 0, b, N, BF, false, TB, accumulate}, where);
}
