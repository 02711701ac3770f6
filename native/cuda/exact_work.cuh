// Which tile a block computes, and what is visible of it.
#pragma once
#include "exact_type.cuh"
#include "parameters.cuh"

/// Unit number -> tile, head, batch entry. The tiles of a head follow each other: they share its keys and values in the cache.
struct Work {
  int batch, head, tile, tiles;
  DEVICE Work(int length, int rows, int heads) {
    tiles = (length + rows - 1) / rows;
    const int rest = block_id() / tiles;
    tile = block_id() - rest * tiles;
    batch = rest / heads;
    head = rest - batch * heads;
  }
};

/// Query i sees the keys j <= i + diagonal, j < keys. (Not causal: the diagonal lies beyond all of them.)
struct Visibility {
  int queries, keys, diagonal;
  DEVICE Visibility(int queries, int keys, int diagonal)
      : queries(queries), keys(keys), diagonal(K_CAUSAL ? larger(-queries, smaller(diagonal, keys)) : keys) {}

  DEVICE bool operator()(int query, int key) const { return key < keys && (!K_CAUSAL || key <= query + diagonal); }
  /// Keys that some query of [first, first + rows) sees, and those that all of them do: both are the keys before this one.
  DEVICE int keys_of_some(int first, int rows) const {
    return K_CAUSAL ? larger(0, smaller(keys, smaller(first + rows, queries) + diagonal)) : keys;
  }
  DEVICE int keys_of_all(int first) const { return K_CAUSAL ? larger(0, smaller(keys, first + diagonal + 1)) : keys; }
  /// First query that sees some key of [first, first + rows), and first one that sees all of them.
  DEVICE int first_query_of_some(int first) const { return K_CAUSAL ? larger(0, first - diagonal) : 0; }
  DEVICE int first_query_of_all(int first, int rows) const { return K_CAUSAL ? larger(0, first + rows - 1 - diagonal) : 0; }
};

/// Elements of row `row` from `column` on to global memory, COUNT <= VECTOR of them, none from column `dim` on.
template <int COUNT> DEVICE void store_global(const View &view, i64 head_offset, int row, int column, int dim, const Real *x) {
  Real *to = (Real *)view.data + head_offset + row * view.row + column;
#if K_ALIGNED
  if (column < dim) {
    struct alignas(COUNT * sizeof(Real)) Group { Real x[COUNT]; } g;
    UNROLL for (int i = 0; i < COUNT; i++) g.x[i] = x[i];
    stg((Group *)to, g);
  }
#else
  UNROLL for (int i = 0; i < COUNT; i++) if (column + i < dim) stg(to + i, x[i]);
#endif
}
