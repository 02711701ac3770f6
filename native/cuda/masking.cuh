// Which keys a query sees. K_CAUSAL: query i sees the keys j <= i + diagonal; else all of them.
#pragma once
#include "parameters.cuh"

/// Query i sees the keys [0, visible_keys(i)).
template <class P> DEVICE int visible_keys(const P& p, int query) {
  return K_CAUSAL ? larger(0, smaller(p.key_length, query + p.diagonal + 1)) : p.key_length;
}
/// Key j is seen by the queries [first_query(j), query_length).
template <class P> DEVICE int first_query(const P& p, int key) {
  return K_CAUSAL ? larger(0, smaller(p.query_length, key - p.diagonal)) : 0;
}

/// Keys that the queries [first, first + rows) see: none of them one from `end` on, all of them those before `whole`.
struct KeyRange { int whole, end; };
template <class P> DEVICE KeyRange key_range(const P& p, int first, int rows) {
  return {visible_keys(p, first), visible_keys(p, smaller(first + rows, p.query_length) - 1)};
}

/// Scores of hidden keys become -inf. s: 16 x 8 blocks from `row` and `column` on; the lane's rows see `seen[m][r]` keys.
template <int M, int N> DEVICE void hide_keys(float (&s)[M][N][4], const int (&seen)[M][2], int column) {
  const int lane_column = column + thread_id() % 4 * 2;
  UNROLL for (int m = 0; m < M; m++) UNROLL for (int r = 0; r < 2; r++) {
    const int left = seen[m][r] - lane_column;
    UNROLL for (int n = 0; n < N; n++) UNROLL for (int i = 0; i < 2; i++)
      if (n * 8 + i >= left) s[m][n][2 * r + i] = -infinity();
  }
}

/// Transposed scores (keys are rows, queries columns): P is 0 where the lane's keys are hidden from a query. from[m][r]: the
/// first query that sees the lane's key; a key that does not exist has one beyond all queries.
template <int M, int N> DEVICE void hide_queries(float (&p)[M][N][4], const int (&from)[M][2], int column) {
  const int lane_column = column + thread_id() % 4 * 2;
  UNROLL for (int m = 0; m < M; m++) UNROLL for (int r = 0; r < 2; r++) {
    const int left = from[m][r] - lane_column;
    UNROLL for (int n = 0; n < N; n++) UNROLL for (int i = 0; i < 2; i++)
      if (n * 8 + i < left) p[m][n][2 * r + i] = 0.f;
  }
}
