// Results in accumulators -> global memory.
#pragma once
#include "work.cuh"
#include "tile.cuh"

/// Bytes of shared memory that store_rows takes for each warp.
DEVICE constexpr int staging_bytes(int m, int n) { return tile_bytes(16 * m, 8 * n); }

/// Writes the first `rows` of a warp's 16 M rows x 8 N columns, times factor (for each row), in the operands' type to `out` (row 0 of them,
/// column 0 of the operand), whose real columns are [0, DIM); the block begins at `column`, but columns before `own` belong to others. Through the warp's own
/// `staging`, so that the stores are whole 16-byte pieces; element by element where the operand is not aligned.
template <int DIM, int M, int N>
DEVICE void store_rows(const float (&x)[M][N][4], const float (&factor)[M][2], u32 staging, u16* out, i64 stride, int rows, int column = 0, int own = 0) {
  constexpr int STRIDE = tile_stride(8 * N);
  const int lane = thread_id() % 32, row = lane / 4, pair = lane % 4;
#if K_ALIGNED
  UNROLL for (int m = 0; m < M; m++) UNROLL for (int n = 0; n < N; n++) UNROLL for (int r = 0; r < 2; r++)
    sts(staging + (m * 16 + r * 8 + row) * STRIDE + n * 16 + pair * 4, pack2<BF>(x[m][n][2 * r] * factor[m][r], x[m][n][2 * r + 1] * factor[m][r]));
  sync_warp();
  UNROLL for (int i = 0; i < 16 * M * N; i += 32) {
    const int r = (i + lane) / N, c = (i + lane) % N;
    if (r < rows && column + c * 8 >= own && column + c * 8 < DIM) stg((V4*)(out + r * stride + column + c * 8), lds<V4>(staging + r * STRIDE + c * 16));
  }
  sync_warp();
#else
  UNROLL for (int m = 0; m < M; m++) UNROLL for (int r = 0; r < 2; r++) {
    const int line = m * 16 + r * 8 + row;
    if (line < rows)
      UNROLL for (int n = 0; n < N; n++) UNROLL for (int i = 0; i < 2; i++) {
        const int c = column + n * 8 + pair * 2 + i;
        if (c >= own && c < DIM) stg(out + line * stride + c, from_float<BF>(x[m][n][2 * r + i] * factor[m][r]));
      }
  }
#endif
}
