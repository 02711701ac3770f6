// Masking and online softmax of the two rows (g and g + 8 of a warp's 16) that a thread of a warpgroup shares with its
// quad, in base 2:
// exp(|scale| x) = exp2(x scale_log2).
#pragma once
#include "hopper.cuh"

/// s_ij <- -inf for the hidden keys: the thread's two rows see `seen` keys each; column 0 of the tile is key `first`.
template <int N> DEVICE void mask_scores(float (&s)[N / 2], const int (&seen)[2], int first) {
  UNROLL for (int r = 0; r < 2; r++) {
    const int left = seen[r] - first - thread_id() % 4 * 2;
    UNROLL for (int i = 0; i < N / 2; i += 4)
      UNROLL for (int c = 0; c < 2; c++) s[i + 2 * r + c] = i * 2 + c < left ? s[i + 2 * r + c] : -infinity();
  }
}

DEVICE float larger_of_quad(float x) {
  x = fmaxf(x, shuffle_xor(x, 1));
  return fmaxf(x, shuffle_xor(x, 2));
}
DEVICE float sum_of_quad(float x) {
  x += shuffle_xor(x, 1);
  return x + shuffle_xor(x, 2);
}

/// m and l of the rows. O and l are kept relative to a reference maximum that follows m only when m has risen by more
/// than 2^8 in the exponent: P then stays below 256, which costs no accuracy, and O is rescaled a few times, not for
/// each tile. Each row decides for itself, so that it does not depend on its neighbours.
struct WarpgroupSoftmax {
  static constexpr float SLACK = 8.f;
  float maximum[2], reference[2], sum[2];   // m; l holds this thread's columns only, until finish()

  DEVICE void start() {
    UNROLL for (int r = 0; r < 2; r++) { maximum[r] = reference[r] = -infinity(); sum[r] = 0.f; }
  }

  /// m <- max(m, rowmax S). Two partial maxima a row: one chain of dependent operations would be slower than the unit.
  template <int N> DEVICE void raise_maximum(const float (&s)[N / 2]) {
    UNROLL for (int r = 0; r < 2; r++) {
      float even = fmaxf(maximum[r], s[2 * r]), odd = s[2 * r + 1];
      UNROLL for (int i = 4; i < N / 2; i += 4) {
        even = fmaxf(even, s[i + 2 * r]);
        odd = fmaxf(odd, s[i + 2 * r + 1]);
      }
      maximum[r] = larger_of_quad(fmaxf(even, odd));
    }
  }

  /// Where m has left the reference behind: reference <- m and l <- l c. True where O <- O c remains to be done.
  DEVICE bool follow_maximum(float (&c)[2], float scale_log2) {
    bool far[2];
    // -inf - -inf is NaN: not far
    UNROLL for (int r = 0; r < 2; r++) far[r] = (maximum[r] - reference[r]) * scale_log2 > SLACK;
    if (!any_in_warp(far[0] || far[1])) return false;
    UNROLL for (int r = 0; r < 2; r++) {
      c[r] = far[r] ? ex2((reference[r] - maximum[r]) * scale_log2) : 1.f;
      sum[r] *= c[r];
      if (far[r]) reference[r] = maximum[r];
    }
    return true;
  }

  /// P = exp2(s scale_log2 - shift). A row that has seen no key yet: exp2(-inf - 0) = 0.
  DEVICE float shift(int r, float scale_log2) const {
    return reference[r] == -infinity() ? 0.f : reference[r] * scale_log2;
  }

  /// S -> P = exp(|scale| (S - reference)), l += rowsum P.
  template <int N> DEVICE void exponentiate(float (&s)[N / 2], float scale_log2) {
    UNROLL for (int r = 0; r < 2; r++) {
      const float shift = this->shift(r, scale_log2);
      float even = sum[r], odd = 0.f;
      UNROLL for (int i = 0; i < N / 2; i += 4) {
        even += s[i + 2 * r] = ex2(s[i + 2 * r] * scale_log2 - shift);
        odd += s[i + 2 * r + 1] = ex2(s[i + 2 * r + 1] * scale_log2 - shift);
      }
      sum[r] = even + odd;
    }
  }

  /// Completes l, relative to m, and returns in `factor` what makes O of the sums. A row without keys, or with none but
  /// scores of -inf, has l = 0, and O = 0 whatever its sums are.
  DEVICE void finish(float (&factor)[2], float scale_log2) {
    UNROLL for (int r = 0; r < 2; r++) {
      const float l = sum_of_quad(sum[r]);
      factor[r] = l == 0.f ? 0.f : 1.f / l;
      sum[r] = maximum[r] == reference[r] ? l : l * ex2((reference[r] - maximum[r]) * scale_log2);
    }
  }
};
