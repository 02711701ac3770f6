// Which keys the queries of a tile see, and the masking of a tile of scores that not every query sees whole.
#pragma once
#include "hopper.cuh"

/// First key that query `row` does not see: min(N_k, row + diagonal + 1) when causal. May be negative. Any diagonal: past 2^30 is as good.
template <bool CAUSAL> DEVICE int visible_keys(int row, int diagonal, int key_length) {
  if constexpr (!CAUSAL) return key_length;
  constexpr int FAR = 1 << 30;
  return smaller(key_length, row + larger(-FAR, smaller(FAR - 1, diagonal)) + 1);
}

/// s_ij <- -inf for the keys j >= limit of each of the thread's rows; column 0 of the tile is key `first`.
template <int N> DEVICE void mask_scores(float (&s)[N / 2], const int (&limit)[2], int first) {
  UNROLL for (int r = 0; r < 2; r++) {
    const int left = limit[r] - first - thread_id() % 4 * 2;
    UNROLL for (int i = 0; i < N / 2; i += 4)
      UNROLL for (int c = 0; c < 2; c++) s[i + 2 * r + c] = i * 2 + c < left ? s[i + 2 * r + c] : -infinity();
  }
}
