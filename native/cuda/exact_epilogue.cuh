// The end of an exact kernel: accumulated rows to global memory.
#pragma once
#include "exact_product.cuh"
#include "exact_work.cuh"

/// Row r becomes 0, and so does its factor.
template <int R, int N> DEVICE void clear_row(Real (&d)[R][N], Real &factor, int r) {
  factor = 0;
  UNROLL for (int n = 0; n < N; n++) d[r][n] = 0;
}

/// Rows first + ty + 16 r < count of one head of `view`: the columns of this thread, each row times factor[r].
template <class Cols, int DIM, int R> DEVICE void store_rows(
    const View &view, int batch, int head, int first, int count, const Real (&d)[R][Cols::COUNT], const Real (&factor)[R], Lane lane) {
  const i64 offset = batch * view.batch + head * view.head;
  UNROLL for (int r = 0; r < R; r++) {
    const int row = first + lane.ty + SIDE * r;
    if (row >= count) continue;
    Real x[Cols::COUNT];
    UNROLL for (int n = 0; n < Cols::COUNT; n++) x[n] = d[r][n] * factor[r];
    UNROLL for (int n = 0; n < Cols::WHOLE * VECTOR; n += VECTOR) store_global<VECTOR>(view, offset, row, Cols::column(lane.tx, n), DIM, x + n);
    if constexpr (Cols::TAIL > 0) {
      constexpr int n = Cols::WHOLE * VECTOR;
      store_global<Cols::TAIL>(view, offset, row, Cols::column(lane.tx, n), DIM, x + n);
    }
  }
}
