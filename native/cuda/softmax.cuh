// Online softmax over the rows of 16 x 8 accumulator blocks. In base 2: exp(|scale| x) = exp2(x scale_log2).
#pragma once
#include "masking.cuh"

/// |scale| log2(e), but never 0: -inf * 0 is NaN, and hidden scores are -inf.
DEVICE float softmax_scale(float scale_log2) { return fmaxf(scale_log2, 1.17549435e-38f); }

/// Row r of the m-th 16 becomes 0, and so does its factor.
template <int M, int N> DEVICE void clear_row(float (&x)[M][N][4], float& factor, int m, int r) {
  factor = 0.f;
  UNROLL for (int n = 0; n < N; n++) x[m][n][2 * r] = x[m][n][2 * r + 1] = 0.f;
}

/// m, l of the rows lane / 4 and lane / 4 + 8 of M blocks of 16 rows.
///
/// m follows the largest score only when that has risen above it by more than 2^8 in the exponent: P then stays below 256, which
/// costs no accuracy, and O is rescaled a few times for each row of a long sequence instead of once for each tile. Each row decides
/// for itself, so that it does not depend on its neighbours.
template <int M> struct OnlineSoftmax {
  static constexpr float SLACK = 8.f;
  float maximum[M][2], sum[M][2];   // sum: of this lane's columns only, until finish()

  DEVICE void start() {
    UNROLL for (int m = 0; m < M; m++) UNROLL for (int r = 0; r < 2; r++) {
      maximum[m][r] = -infinity();
      sum[m][r] = 0.f;
    }
  }

  /// Where the scores of a tile have left m behind: m <- their maximum, and l and O (16 x 8 blocks) go along.
  template <int N, int COLUMNS> DEVICE void follow_maximum(const float (&s)[M][N][4], float (&o)[M][COLUMNS][4], float scale_log2) {
    float largest[M][2];
    bool far[M][2], any = false;
    UNROLL for (int m = 0; m < M; m++) UNROLL for (int r = 0; r < 2; r++) {
      float x = -infinity();
      UNROLL for (int n = 0; n < N; n++) x = fmaxf(x, fmaxf(s[m][n][2 * r], s[m][n][2 * r + 1]));
      x = fmaxf(x, shuffle_xor(x, 1));
      largest[m][r] = fmaxf(x, shuffle_xor(x, 2));
      any |= far[m][r] = (largest[m][r] - maximum[m][r]) * scale_log2 > SLACK;   // -inf - -inf is NaN: not far
    }
    if (!any_in_warp(any)) return;
    UNROLL for (int m = 0; m < M; m++) UNROLL for (int r = 0; r < 2; r++) {
      const float factor = far[m][r] ? ex2((maximum[m][r] - largest[m][r]) * scale_log2) : 1.f;
      if (far[m][r]) maximum[m][r] = largest[m][r];
      sum[m][r] *= factor;
      UNROLL for (int n = 0; n < COLUMNS; n++) { o[m][n][2 * r] *= factor; o[m][n][2 * r + 1] *= factor; }
    }
  }

  /// S -> P = exp(|scale| (S - m)), l += sum P.
  template <int N> DEVICE void exponentiate(float (&s)[M][N][4], float scale_log2) {
    UNROLL for (int m = 0; m < M; m++) UNROLL for (int r = 0; r < 2; r++) {
      const float shift = maximum[m][r] == -infinity() ? 0.f : maximum[m][r] * scale_log2;   // no key yet: P = exp2(-inf)
      UNROLL for (int n = 0; n < N; n++) UNROLL for (int i = 2 * r; i < 2 * r + 2; i++) {
        s[m][n][i] = ex2(s[m][n][i] * scale_log2 - shift);
        sum[m][r] += s[m][n][i];
      }
    }
  }

  /// Completes l and returns in `factor` what makes O of the sums. A row without keys, or with none but scores of -inf, has l = 0
  /// and O = 0, whatever its hidden values are (0 times NaN).
  template <int COLUMNS> DEVICE void finish(float (&factor)[M][2], float (&o)[M][COLUMNS][4]) {
    UNROLL for (int m = 0; m < M; m++) UNROLL for (int r = 0; r < 2; r++) {
      float& l = sum[m][r];
      l += shuffle_xor(l, 1);
      l += shuffle_xor(l, 2);
      factor[m][r] = 1.f / l;
      if (l == 0.f) clear_row(o, factor[m][r], m, r);
    }
  }
};

/// P (16 x 16 K, in accumulators) as the left operand of a product over its columns.
template <bool BF16, int M, int N> DEVICE void pack_left(u32 (&p)[M][N / 2][4], const float (&s)[M][N][4]) {
  UNROLL for (int m = 0; m < M; m++) UNROLL for (int k = 0; k < N / 2; k++) UNROLL for (int i = 0; i < 4; i++)
    p[m][k][i] = pack2<BF16>(s[m][2 * k + i / 2][i % 2 * 2], s[m][2 * k + i / 2][i % 2 * 2 + 1]);
}
