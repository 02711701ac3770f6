// The arithmetic of the exact kernels: every product is a fused multiply-add of the operands' own type, float or double. No TF32.
#pragma once
#include "device.cuh"

#if K_TYPE == 3
using Real = double;
DEVICE double exp2_of(double x) { return exp2(x); }
DEVICE double larger_of(double a, double b) { return fmax(a, b); }
DEVICE double fused(double a, double b, double c) { return fma(a, b, c); }
#else
using Real = float;
// CUDA's exp2f is this instruction behind a scaling that saves subnormal results. Both are right to 2 ulp; what is lost here, a
// probability below 2^-126 of the largest one, is below the rounding of any sum it could enter.
DEVICE float exp2_of(float x) { return ex2(x); }
DEVICE float larger_of(float a, float b) { return fmaxf(a, b); }
DEVICE float fused(float a, float b, float c) { return fmaf(a, b, c); }
#endif

/// What the operands are made of. (Only the averaged weights take 16-bit types; they are converted on their way to shared memory.)
#if K_TYPE < 2
using Element = u16;
DEVICE Real to_real(u16 x) { return to_float<K_TYPE == 1>(x); }
DEVICE u16 to_element(Real x) { return from_float<K_TYPE == 1>(x); }
#else
using Element = Real;
DEVICE Real to_real(Real x) { return x; }
DEVICE Real to_element(Real x) { return x; }
#endif

/// Elements in 16 bytes of Real, the widest access to shared and global memory.
static constexpr int VECTOR = 16 / (int)sizeof(Real);

/// WIDTH neighbouring elements of shared memory, at an address aligned to them (16 bytes at most).
template <int WIDTH> DEVICE void load_shared(Real (&x)[WIDTH], u32 address) {
#if K_TYPE == 3
  if constexpr (WIDTH == 2) {
    const D2 g = lds<D2>(address);
    x[0] = g.x, x[1] = g.y;
    return;
  }
#endif
  struct alignas(WIDTH * sizeof(Real)) Group { Real x[WIDTH]; };
  const Group g = lds<Group>(address);
  UNROLL for (int i = 0; i < WIDTH; i++) x[i] = g.x[i];
}
template <int WIDTH> DEVICE void store_shared(u32 address, const Real *x) {
  struct alignas(WIDTH * sizeof(Real)) Group { Real x[WIDTH]; } g;
  UNROLL for (int i = 0; i < WIDTH; i++) g.x[i] = x[i];
  sts<Group>(address, g);
}

/// The factor of the exponents of 2: exp(|scale| x) = 2^(x exponent_factor).
template <class Parameters> DEVICE Real exponent_factor(const Parameters &p) {
#if K_TYPE == 3
  return (p.scale < 0 ? -p.scale : p.scale) * 1.4426950408889634073599;
#else
  return p.scale_log2;
#endif
}
