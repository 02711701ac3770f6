// The primitives of device.cuh on a CPU: one fiber for each CUDA thread, and every access checked. Only what a kernel needs
// is declared here, so that a kernel compiles fast; the machinery is libtorchflash-emulation.so (machine.h tells how it works).
//   A kernel file becomes a module: g++ -std=c++20 -shared -fPIC ... kernel.cu libtorchflash-emulation.so (see nvrtc.cpp).
//   In a C++ program: include host.h, then the kernel file, and link that library (see host.h).
#pragma once
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;
#define DEVICE inline
#define UNROLL
#define NO_UNROLL

struct alignas(8) V2 { u32 x, y; };
struct alignas(16) V4 { u32 x, y, z, w; };

namespace emulation {
/// Where in the kernel's source: the caller of the function that has it as a default argument.
struct Where {
  const char* file;
  int line;
  static constexpr Where here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }
};
#define WHERE emulation::Where where = emulation::Where::here()

int thread_id();
int block_id();
int grid_size();
void sync_threads(Where where);
void sync_warp(Where where);
void shared_read(u32 address, void* to, u32 bytes, Where where);
void shared_write(u32 address, const void* from, u32 bytes, Where where);
void global_read(const void* address, void* to, u32 bytes, Where where);
void global_write(void* address, const void* from, u32 bytes, Where where);
void global_add(float* address, const float* values, u32 count, Where where);
void copy_async(u32 to, const void* from, bool ok, Where where);
void copy_commit();
void copy_wait(u32 groups, Where where);
void matrix_load(u32* fragments, u32 address, u32 count, bool transpose, Where where);
void matrix_multiply(float* d, const u32* a, u32 b0, u32 b1, bool bfloat16, Where where);
/// The value of lane `lane`, or of this lane's number xor `lane`.
void shuffle(void* value, u32 bytes, int lane, bool exclusive_or, Where where);
u16 to_half(float x);
u16 to_bfloat16(float x);
float from_half(u16 x);

/// What a launch must know of a kernel; KERNEL(name, ...) exports one as name_kernel.
struct Kernel {
  void (*entry)(void (*body)(), void** parameters);
  void (*body)();
  u32 threads, blocks;   // launch bounds
  u32 parameters, sizes[12], alignments[12];
};
template <class T> struct Plain { using Type = T; };
template <class T> struct Plain<const T&> { using Type = const T; };
template <int...> struct Indices { };
template <class... P, int... I> void unpack(void (*body)(P...), void** parameters, Indices<I...>) {
  body(*(typename Plain<P>::Type*)parameters[I]...);
}
template <class... P> Kernel describe(void (*body)(P...), u32 threads, u32 blocks) {
  auto entry = [](void (*erased)(), void** parameters) { unpack((void (*)(P...))erased, parameters, Indices<__integer_pack(sizeof...(P))...>{}); };
  return {entry, (void (*)())body, threads, blocks, sizeof...(P), {sizeof(typename Plain<P>::Type)...}, {alignof(typename Plain<P>::Type)...}};
}
constexpr u32 SHARED_BASE = 1024;   // not 0, so that a forgotten shared_base() is out of bounds
}  // namespace emulation

#define EMULATION_EXPORT __attribute__((visibility("default"), used))
#define KERNEL(name, threads, blocks, ...)                                                                       \
  static void name(__VA_ARGS__);                                                                                 \
  extern "C" { EMULATION_EXPORT emulation::Kernel name##_kernel = emulation::describe(name, threads, blocks); }  \
  static void name(__VA_ARGS__)
#define PARAMETER(type) const type&
#define KERNEL_SHAPE(...)                                                            \
  extern "C" {                                                                       \
  EMULATION_EXPORT int torchflash_shape[16] = {__VA_ARGS__};                         \
  EMULATION_EXPORT unsigned torchflash_shape_bytes = 64;                             \
  }                                                                                  \
  static_assert(sizeof torchflash_shape == 64)

DEVICE int thread_id() { return emulation::thread_id(); }
DEVICE int block_id() { return emulation::block_id(); }
DEVICE int grid_size() { return emulation::grid_size(); }
DEVICE void sync_threads(WHERE) { emulation::sync_threads(where); }
DEVICE void sync_warp(WHERE) { emulation::sync_warp(where); }
DEVICE u32 shared_base() { return emulation::SHARED_BASE; }

DEVICE float as_float(u32 x) { return __builtin_bit_cast(float, x); }
DEVICE u32 as_u32(float x) { return __builtin_bit_cast(u32, x); }

// ---- shared and global memory
template <class T> DEVICE T lds(u32 a, WHERE) {
  T v;
  emulation::shared_read(a, &v, sizeof(T), where);
  return v;
}
template <class T> DEVICE void sts(u32 a, T v, WHERE) { emulation::shared_write(a, &v, sizeof(T), where); }
template <class T> DEVICE T ldg(const T* p, WHERE) {
  T v;
  emulation::global_read(p, &v, sizeof(T), where);
  return v;
}
template <class T> DEVICE void stg(T* p, T v, WHERE) { emulation::global_write(p, &v, sizeof(T), where); }
DEVICE void atomic_add(float* p, float v, WHERE) { emulation::global_add(p, &v, 1, where); }
DEVICE void atomic_add4(float* p, float a, float b, float c, float d, WHERE) {
  const float v[4] = {a, b, c, d};
  emulation::global_add(p, v, 4, where);
}
DEVICE void cp_async16(u32 s, const void* p, bool ok, WHERE) { emulation::copy_async(s, p, ok, where); }
DEVICE void cp_async_commit() { emulation::copy_commit(); }
template <int N> DEVICE void cp_async_wait(WHERE) { emulation::copy_wait(N, where); }

// ---- within a warp
DEVICE void ldmatrix4(u32 (&r)[4], u32 a, WHERE) { emulation::matrix_load(r, a, 4, false, where); }
DEVICE void ldmatrix4_trans(u32 (&r)[4], u32 a, WHERE) { emulation::matrix_load(r, a, 4, true, where); }
DEVICE void ldmatrix2(u32 (&r)[2], u32 a, WHERE) { emulation::matrix_load(r, a, 2, false, where); }
DEVICE void ldmatrix2_trans(u32 (&r)[2], u32 a, WHERE) { emulation::matrix_load(r, a, 2, true, where); }
template <bool BF> DEVICE void mma(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1, WHERE) {
  emulation::matrix_multiply(d, a, b0, b1, BF, where);
}
template <class T> DEVICE T shuffle_xor(T v, int mask, WHERE) {
  emulation::shuffle(&v, sizeof(T), mask, true, where);
  return v;
}
template <class T> DEVICE T shuffle(T v, int lane, WHERE) {
  emulation::shuffle(&v, sizeof(T), lane, false, where);
  return v;
}

// ---- arithmetic
template <bool BF> DEVICE u16 from_float(float x) { return BF ? emulation::to_bfloat16(x) : emulation::to_half(x); }
template <bool BF> DEVICE u32 pack2(float lo, float hi) { return from_float<BF>(lo) | (u32)from_float<BF>(hi) << 16; }
template <bool BF> DEVICE float to_float(u16 x) { return BF ? as_float((u32)x << 16) : emulation::from_half(x); }

// The functions of CUDA's headers that kernels use. A module (EMULATION_MODULE, set by nvrtc.cpp) declares them itself: <math.h> costs
// as much time to compile as a kernel.
#ifndef EMULATION_MODULE
#include <math.h>
#else
extern "C" {
float fmaxf(float, float) noexcept;
float fminf(float, float) noexcept;
float fmaf(float, float, float) noexcept;
float fabsf(float) noexcept;
float sqrtf(float) noexcept;
float exp2f(float) noexcept;
float expf(float) noexcept;
float log2f(float) noexcept;
float logf(float) noexcept;
double fmax(double, double) noexcept;
double fmin(double, double) noexcept;
double fma(double, double, double) noexcept;
double fabs(double) noexcept;
double sqrt(double) noexcept;
double exp2(double) noexcept;
double exp(double) noexcept;
double log2(double) noexcept;
double log(double) noexcept;
}
DEVICE float fma(float a, float b, float c) { return fmaf(a, b, c); }
DEVICE float fmax(float a, float b) { return fmaxf(a, b); }
DEVICE float fmin(float a, float b) { return fminf(a, b); }
DEVICE float fabs(float x) { return fabsf(x); }
DEVICE float sqrt(float x) { return sqrtf(x); }
DEVICE float exp2(float x) { return exp2f(x); }
DEVICE float exp(float x) { return expf(x); }
DEVICE float log2(float x) { return log2f(x); }
DEVICE float log(float x) { return logf(x); }
#endif
namespace emulation {
/// .ftz: a subnormal number counts as zero.
DEVICE float flush(float x) { return __builtin_fabsf(x) < 1.17549435e-38f ? __builtin_copysignf(0.f, x) : x; }
}
DEVICE float ex2(float x) { return emulation::flush(exp2f(x)); }
DEVICE float lg2(float x) { return log2f(emulation::flush(x)); }
