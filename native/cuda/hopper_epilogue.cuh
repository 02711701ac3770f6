// Accumulators of a warpgroup -> 16-bit rows in global memory, 16 bytes a thread and store, without shared memory.
#pragma once
#include "hopper.cuh"

/// Transposes a 4 x 4 matrix of words over the four threads of a quad: before, thread t holds row t; after, column t.
DEVICE void transpose_quad(u32 (&w)[4]) {
  const bool odd = thread_id() & 1, high = thread_id() & 2;
  UNROLL for (int i = 0; i < 4; i += 2) {
    const u32 other = shuffle_xor(odd ? w[i] : w[i + 1], 1);
    if (odd) w[i] = other; else w[i + 1] = other;
  }
  UNROLL for (int i = 0; i < 2; i++) {
    const u32 other = shuffle_xor(high ? w[i] : w[i + 2], 2);
    if (high) w[i] = other; else w[i + 2] = other;
  }
}

/// One row of the two that a thread shares with its quad: columns 0 .. COLUMNS - 1 (a multiple of 8) of acc(64 x N) *
/// factor -> row.
/// A quad holds 8 neighbouring columns as pairs, thread t the pair t: four such groups transposed are 16 bytes in a row
/// for each thread.
/// All 32 lanes take part; `stored` says whether the row exists.
template <bool BF, int COLUMNS, int N> DEVICE void store_row(u16* row, const float (&acc)[N / 2], int which,
    float factor, bool stored) {
  const int t = thread_id() % 4;
  UNROLL for (int column = 0; column < N; column += 32) {
    u32 w[4];
    UNROLL for (int i = 0; i < 4; i++) {
      const int j = column / 8 + i, at = j < N / 8 ? 4 * j + 2 * which : 0;   // past N: not stored
      w[i] = pack2<BF>(acc[at] * factor, acc[at + 1] * factor);
    }
    transpose_quad(w);
    if (stored && column + 8 * t < COLUMNS) stg((V4*)(row + column + 8 * t), V4{w[0], w[1], w[2], w[3]});
  }
}
