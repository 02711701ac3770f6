// Scores in the exact kernels: the factor of their exponents, rows of nothing, derivatives between S and dP.
#pragma once
#include "exact_work.cuh"
#include "scores.cuh"

/// The factor of the exponents of 2. A program that modifies scores has the scale in them.
template <class Parameters> DEVICE Real factor_of_scores(const Parameters &p) {
  if constexpr (score::MODIFIES) return Real(1.4426950408889634073599);
  else return exponent_factor(p);
}

/// 1 / l. A row without keys, or with none but scores of -inf, has m = -inf and l = 0: it gets P = exp2(-inf - 0) 0.
DEVICE Real inverse_of_sum(Real l, Real &m) {
  if (l != 0) return 1 / l;
  return m = 0;
}

/// The derivatives of a thread's modified scores, from the time they are modified until dS is known; nothing where they are all 1.
template <int R, int C, bool = score::BENDS> struct Slopes {
  Real x[R][C];
  DEVICE Real *at(int r, int c) { return &x[r][c]; }
  /// Where a pair does not exist ds is 0, and its derivative may be infinite or NaN.
  DEVICE void apply(Real &ds, int r, int c) const { if (ds != 0) ds *= x[r][c]; }
};
template <int R, int C> struct Slopes<R, C, false> {
  DEVICE Real *at(int, int) { return nullptr; }
  DEVICE void apply(Real &, int, int) const {}
};
