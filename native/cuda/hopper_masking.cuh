// Masking of a tile of scores that not every query sees whole.
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
