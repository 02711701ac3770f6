// The score program's part of the exact kernels: what a score becomes, which pairs exist besides those that are causal, and which tiles
// can be left out. Without a program nothing of it remains.
#pragma once
#include "exact_work.cuh"
#include "score_program.cuh"

enum : bool { HAS_PROGRAM = score::MODIFIES || score::HIDES };

/// The parameters of a kernel, followed by what the program captured.
template <class Parameters, bool = HAS_PROGRAM> struct Scored : Parameters {
  static_assert(sizeof(Parameters) % 8 == 0, "");
  score::Captures captures;
};
template <class Parameters> struct Scored<Parameters, false> : Parameters {};

enum class Cover { None, Some, All };

/// The scores of one query head.
struct Scores {
  const score::Captures *captures;
  Real scale;
  int batch, head, queries, keys;

  template <class Parameters> DEVICE Scores(const Parameters &p, int b, int h) {
    if constexpr (HAS_PROGRAM) captures = &p.captures, scale = (Real)p.scale, batch = b, head = h, queries = p.query_length, keys = p.key_length;
  }

  // Queries and keys beyond the last one read what the last one reads.
  DEVICE int query(int i) const { return smaller(i, queries - 1); }
  DEVICE int key(int j) const { return smaller(j, keys - 1); }

  /// What the softmax gets of a product of a query and a key; slope, if it is wanted: the derivative of that by scale times the product.
  DEVICE Real operator()(Real product, int i, int j, [[maybe_unused]] Real *slope = nullptr) const {
    if constexpr (score::MODIFIES) {
      const Real s = product * scale;
      if constexpr (score::BENDS)
        if (slope) *slope = score::gradient(*captures, s, batch, head, query(i), key(j), Real(1)).s;
      return score::modify(*captures, s, batch, head, query(i), key(j));
    } else {
      return K_NEGATE ? -product : product;
    }
  }

  DEVICE bool exists(int i, int j) const {
    if constexpr (score::HIDES) return score::visible<score::OnePair>(*captures, batch, head, query(i), key(j));
    else return true;
  }

  /// How many of the pairs of a tile exist: never wrong, but perhaps Some without need.
  DEVICE Cover cover(int first_query, int rows, int first_key, int columns) const {
    if constexpr (score::HIDES) {
      using score::Ints;
      const score::Truth visible = score::visible<score::Tile>(*captures, Ints(batch), Ints(head),
          Ints(first_query, query(first_query + rows - 1)), Ints(first_key, key(first_key + columns - 1)));
      return visible.always ? Cover::All : visible.possible ? Cover::Some : Cover::None;
    } else {
      return Cover::All;
    }
  }

  /// The first tile of `columns` keys, from `tile` on and before `tiles`, of which queries [first_query, first_query + rows) may see something.
  DEVICE int next_key_tile(int tile, int tiles, int first_query, int rows, int columns) const {
    if constexpr (score::HIDES)
      NO_UNROLL while (tile < tiles && cover(first_query, rows, tile * columns, columns) == Cover::None) tile++;
    return tile;
  }
};

/// The factor of the exponents of 2. A program that modifies scores has the scale in them.
template <class Parameters> DEVICE Real factor_of_scores(const Parameters &p) {
  if constexpr (score::MODIFIES) return Real(1.4426950408889634073599);
  else return exponent_factor(p);
}

/// 1 / l. A row without keys, or with none but scores of -inf, has m = -inf and l = 0: it gets P = exp2(-inf - 0) 0.
DEVICE Real inverse_of_sum(Real l, Real &m) {
  if (l != 0) return 1 / l;
  return m = 0;
}

/// The derivatives of a thread's modified scores, from the time they are modified until dS is known; nothing where they are all 1.
template <int R, int C, bool = score::BENDS> struct Slopes {
  Real x[R][C];
  DEVICE Real *at(int r, int c) { return &x[r][c]; }
  /// Where a pair does not exist ds is 0, and its derivative may be infinite or NaN.
  DEVICE void apply(Real &ds, int r, int c) const { if (ds != 0) ds *= x[r][c]; }
};
template <int R, int C> struct Slopes<R, C, false> {
  DEVICE Real *at(int, int) { return nullptr; }
  DEVICE void apply(Real &, int, int) const {}
};
