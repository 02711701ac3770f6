// Online softmax of the two rows (g and g + 8 of a warp's 16) that a thread of a warpgroup shares with its quad.
#pragma once
#include "hopper.cuh"

DEVICE float larger_of_quad(float x) {
  x = fmaxf(x, shuffle_xor(x, 1));
  return fmaxf(x, shuffle_xor(x, 2));
}
DEVICE float sum_of_quad(float x) {
  x += shuffle_xor(x, 1);
  return x + shuffle_xor(x, 2);
}

/// m_i and l_i of the rows. l holds this thread's columns only, until finish().
struct OnlineSoftmax {
  float m[2], l[2];

  DEVICE void start() {
    UNROLL for (int r = 0; r < 2; r++) { m[r] = -infinity(); l[r] = 0.f; }
  }

  /// S -> P = exp(|scale| (S - m)), m <- max(m, rowmax S), l <- l c + rowsum P, with c = exp(|scale| (m_old - m)) for O <- O c + P V.
  /// The first tile has m_old = -inf, so c = 0. Two partial maxima and sums a row: one chain of dependent operations would be too slow.
  template <int N> DEVICE void update(float (&s)[N / 2], float (&c)[2], float scale_log2) {
    UNROLL for (int r = 0; r < 2; r++) {
      float even = fmaxf(m[r], s[2 * r]), odd = s[2 * r + 1];
      UNROLL for (int i = 4; i < N / 2; i += 4) {
        even = fmaxf(even, s[i + 2 * r]);
        odd = fmaxf(odd, s[i + 2 * r + 1]);
      }
      const float m_new = larger_of_quad(fmaxf(even, odd));
      // a row that has seen no key: every s is -inf, and exp2(-inf - 0) = 0
      const float m_scaled = m_new == -infinity() ? 0.f : m_new * scale_log2;
      c[r] = ex2(m[r] * scale_log2 - m_scaled);
      m[r] = m_new;
      even = l[r] * c[r];
      odd = 0.f;
      UNROLL for (int i = 0; i < N / 2; i += 4) {
        even += s[i + 2 * r] = ex2(s[i + 2 * r] * scale_log2 - m_scaled);
        odd += s[i + 2 * r + 1] = ex2(s[i + 2 * r + 1] * scale_log2 - m_scaled);
      }
      l[r] = even + odd;
    }
  }

  /// l over the whole row; returns what O is multiplied with: 1 / l, or 0 for a row without keys.
  DEVICE void finish(float (&factor)[2]) {
    UNROLL for (int r = 0; r < 2; r++) {
      l[r] = sum_of_quad(l[r]);
      factor[r] = l[r] == 0.f ? 0.f : 1.f / l[r];
    }
  }
};
