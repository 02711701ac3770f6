// The device primitives that every kernel is written against.
//   NVRTC or nvcc: inline PTX, sm_80 and up.   A host compiler: the emulation (native/emulation), which runs the same source.
// A kernel touches shared memory only through 32-bit addresses (shared_base() + bytes), and global memory only through the
// functions below, so that the emulation sees every access.
#pragma once
struct alignas(16) D2 { double x, y; };

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;
#define DEVICE __device__ __forceinline__
#define UNROLL _Pragma("unroll")
#define NO_UNROLL _Pragma("unroll 1")

/// KERNEL(name, threads, blocks for each multiprocessor, parameters...) { body }; each parameter is PARAMETER(type) name.
#define KERNEL(name, threads, blocks, ...) extern "C" __global__ void __launch_bounds__(threads, blocks) name(__VA_ARGS__)
#define PARAMETER(type) const __grid_constant__ type

/// What the host must know to launch a kernel of this module; see KernelShape in KernelModules.cs for the fields.
#define KERNEL_SHAPE(...) extern "C" __constant__ int torchflash_shape[16] = {__VA_ARGS__}

struct alignas(8) V2 { u32 x, y; };
struct alignas(16) V4 { u32 x, y, z, w; };

DEVICE int thread_id() { return threadIdx.x; }
DEVICE int block_id() { return blockIdx.x; }     // the grid has one dimension
DEVICE int grid_size() { return gridDim.x; }
DEVICE void sync_threads() { __syncthreads(); }
DEVICE void sync_warp() { __syncwarp(); }
DEVICE u32 shared_base() {
  extern __shared__ __align__(1024) u8 shared_memory[];
  return (u32)__cvta_generic_to_shared(shared_memory);
}

DEVICE float as_float(u32 x) { return __uint_as_float(x); }
DEVICE u32 as_u32(float x) { return __float_as_uint(x); }

// ---- shared memory: T is u16, u32, float, double, V2, V4 or D2
template <class T> DEVICE T lds(u32 a) {
  T v;
  if constexpr (sizeof(T) == 2) asm volatile("ld.shared.u16 %0,[%1];" : "=h"(*(u16*)&v) : "r"(a) : "memory");
  else if constexpr (sizeof(T) == 4) asm volatile("ld.shared.b32 %0,[%1];" : "=r"(*(u32*)&v) : "r"(a) : "memory");
  else if constexpr (sizeof(T) == 8) asm volatile("ld.shared.v2.b32 {%0,%1},[%2];" : "=r"(((u32*)&v)[0]), "=r"(((u32*)&v)[1]) : "r"(a) : "memory");
  else asm volatile("ld.shared.v4.b32 {%0,%1,%2,%3},[%4];" : "=r"(((u32*)&v)[0]), "=r"(((u32*)&v)[1]), "=r"(((u32*)&v)[2]), "=r"(((u32*)&v)[3]) : "r"(a) : "memory");
  return v;
}
/// Two doubles: register pairs from the start, where those of the words above would be put together by moves.
template <> DEVICE D2 lds<D2>(u32 a) {
  D2 v;
  asm volatile("ld.shared.v2.f64 {%0,%1},[%2];" : "=d"(v.x), "=d"(v.y) : "r"(a) : "memory");
  return v;
}
template <class T> DEVICE void sts(u32 a, T v) {
  if constexpr (sizeof(T) == 2) asm volatile("st.shared.u16 [%0],%1;" ::"r"(a), "h"(*(const u16*)&v) : "memory");
  else if constexpr (sizeof(T) == 4) asm volatile("st.shared.b32 [%0],%1;" ::"r"(a), "r"(*(const u32*)&v) : "memory");
  else if constexpr (sizeof(T) == 8) asm volatile("st.shared.v2.b32 [%0],{%1,%2};" ::"r"(a), "r"(((const u32*)&v)[0]), "r"(((const u32*)&v)[1]) : "memory");
  else asm volatile("st.shared.v4.b32 [%0],{%1,%2,%3,%4};" ::"r"(a), "r"(((const u32*)&v)[0]), "r"(((const u32*)&v)[1]), "r"(((const u32*)&v)[2]), "r"(((const u32*)&v)[3]) : "memory");
}

// ---- global memory
template <class T> DEVICE T ldg(const T* p) { return *p; }
template <class T> DEVICE void stg(T* p, T v) { *p = v; }
DEVICE void atomic_add(float* p, float v) { atomicAdd(p, v); }   // the result is not used: a reduction
/// Four neighbouring sums at a 16-byte aligned address, each atomic by itself.
DEVICE void atomic_add4(float* p, float a, float b, float c, float d) {
#if __CUDA_ARCH__ >= 900
  asm volatile("red.global.add.v4.f32 [%0],{%1,%2,%3,%4};" ::"l"(__cvta_generic_to_global(p)), "f"(a), "f"(b), "f"(c), "f"(d) : "memory");
#else
  atomicAdd(p, a); atomicAdd(p + 1, b); atomicAdd(p + 2, c); atomicAdd(p + 3, d);
#endif
}

// ---- asynchronous copies: 16 bytes global -> shared; !ok writes zeros and does not read p (which must still be 16-byte aligned)
DEVICE void cp_async16(u32 s, const void* p, bool ok) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0],[%1],16,%2;" ::"r"(s), "l"(__cvta_generic_to_global(p)), "r"(ok ? 16 : 0) : "memory");
}
DEVICE void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/// Waits until at most N of the committed groups of this thread are still under way.
template <int N> DEVICE void cp_async_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }

// ---- 8x8 matrices of 16-bit values: lane l addresses row l % 8 of matrix l / 8; lane l then holds of each matrix row l / 4, columns 2 (l % 4), + 1
DEVICE void ldmatrix4(u32 (&r)[4], u32 a) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3},[%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(a) : "memory");
}
DEVICE void ldmatrix4_trans(u32 (&r)[4], u32 a) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3},[%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(a) : "memory");
}
DEVICE void ldmatrix2(u32 (&r)[2], u32 a) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1},[%2];" : "=r"(r[0]), "=r"(r[1]) : "r"(a) : "memory");
}
DEVICE void ldmatrix2_trans(u32 (&r)[2], u32 a) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1},[%2];" : "=r"(r[0]), "=r"(r[1]) : "r"(a) : "memory");
}

/// D(16x8, float) += A(16x16) B(16x8), of bfloat16 (BF) or half.
/// With g = lane / 4, t = lane % 4: D holds (g, 2t), (g, 2t+1), (g+8, 2t), (g+8, 2t+1); A pairs (g, 2t), (g+8, 2t), (g, 2t+8), (g+8, 2t+8);
/// B pairs of k (2t, 2t+1) and (2t+8, 2t+9) in column g.
template <bool BF> DEVICE void mma(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  if constexpr (BF)
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// ---- within a warp (all lanes take part)
template <class T> DEVICE T shuffle_xor(T v, int mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }   // T: u32, float, double
template <class T> DEVICE T shuffle(T v, int lane) { return __shfl_sync(0xffffffffu, v, lane); }

// ---- arithmetic
/// 2^x to 2 ulp; a subnormal result is 0.
DEVICE float ex2(float x) { float y; asm("ex2.approx.ftz.f32 %0,%1;" : "=f"(y) : "f"(x)); return y; }
DEVICE float lg2(float x) { float y; asm("lg2.approx.ftz.f32 %0,%1;" : "=f"(y) : "f"(x)); return y; }
/// Two floats -> a pair of bfloat16 (BF) or half, lo in the low half, rounded to nearest even.
template <bool BF> DEVICE u32 pack2(float lo, float hi) {
  u32 r;
  if constexpr (BF) asm("cvt.rn.bf16x2.f32 %0,%1,%2;" : "=r"(r) : "f"(hi), "f"(lo));   // PTX takes the high half first
  else asm("cvt.rn.f16x2.f32 %0,%1,%2;" : "=r"(r) : "f"(hi), "f"(lo));
  return r;
}
template <bool BF> DEVICE float to_float(u16 x) {
  if constexpr (BF) return __uint_as_float((u32)x << 16);
  else { float y; asm("cvt.f32.f16 %0,%1;" : "=f"(y) : "h"(x)); return y; }
}
template <bool BF> DEVICE u16 from_float(float x) { return (u16)pack2<BF>(x, 0.f); }
#else
#include "emulation.h"
#endif

/// Whether atomic_add4 is one operation here (sm_90 and up).
#if defined(__CUDA_ARCH__)
static constexpr bool VECTOR_SUMS = __CUDA_ARCH__ >= 900;
#else
static constexpr bool VECTOR_SUMS = K_SHARED_LIMIT > 166912;   // the emulated sm_90
#endif

/// Whether it is true in some lane of the warp (all lanes take part).
DEVICE bool any_in_warp(bool x) {
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
  return __any_sync(0xffffffffu, x);
#else
  u32 any = x;
  for (int mask = 1; mask < 32; mask *= 2) any |= shuffle_xor(any, mask);
  return any != 0;
#endif
}

DEVICE float infinity() { return as_float(0x7f800000u); }
DEVICE int smaller(int a, int b) { return a < b ? a : b; }
DEVICE int larger(int a, int b) { return a > b ? a : b; }
DEVICE constexpr int round_up(int x, int to) { return (x + to - 1) / to * to; }
