// What decides on scores and weights besides Q Kᵀ and the causal mask: the score program (what a score becomes, which pairs exist, and so which
// tiles can be left out), dropout, sinks. Of what a kernel is compiled without nothing remains.
#pragma once
#include "dropout.cuh"
#include "parameters.cuh"
#include "score_program.cuh"

enum : bool { HAS_PROGRAM = score::MODIFIES || score::HIDES };

#ifndef K_SINKS
#define K_SINKS 0
#endif
/// Attention sinks (forward only): every row has one more key, whose score is its head's and whose value is 0.
static constexpr bool SINKS = K_SINKS != 0;

template <bool> struct CapturedPart {};
template <> struct CapturedPart<true> { score::Captures captures; };
template <bool> struct DropoutPart {};
template <> struct DropoutPart<true> { DropoutParameters dropout; };
template <bool> struct SinkPart {};
template <> struct SinkPart<true> { const Real *sinks; };   // [H]

/// The parameters of a kernel, followed by those of dropout, the sinks, and what the program captured.
template <class Parameters> struct Scored : Parameters, DropoutPart<DROPS>, SinkPart<SINKS>, CapturedPart<HAS_PROGRAM> {
  static_assert(sizeof(Parameters) % 8 == 0, "");
  /// What kept weights are multiplied by.
  DEVICE Real kept() const {
    if constexpr (DROPS) return (Real)this->dropout.factor;
    else return 1;
  }
  /// The score of a head's sink in the unit of m, which the exponents' factor of 2 belongs to; -inf without sinks.
  DEVICE Real sink(int head, Real factor) const {
    if constexpr (SINKS) return ldg(this->sinks + head) * Real(1.4426950408889634073599) / factor;
    else return -infinity();
  }
};

/// m and l of a row with its sink; returns what O is multiplied by to be relative to them.
DEVICE Real add_sink(Real &m, Real &l, Real sink, Real factor) {
  if (!SINKS || sink == -infinity()) return 1;
  const Real before = m;
  m = larger_of(m, sink);
  const Real rescale = exp2_of((before - m) * factor);   // (0 for a row of nothing)
  l = l * rescale + exp2_of((sink - m) * factor);
  return rescale;
}

/// How many pairs of a tile exist.
enum class Cover { None, Some, All };
struct FoundTile { int tile; Cover cover; };

/// The first of the tiles from `tile` on and before `end` of which a pair may exist, and how many do, or `end`. cover(first, many) tells of
/// neighbours together: where one tile is empty, sixteen are tried at once, so that what is far from all pairs costs next to nothing.
template <class CoverOf> DEVICE FoundTile find_tile(int tile, int end, CoverOf cover) {
  if constexpr (score::HIDES) {
    NO_UNROLL for (int many = 1; tile < end;) {
      const Cover found = cover(tile, smaller(many, end - tile));
      if (found == Cover::None) tile += many, many = 16;
      else if (many == 1) return {tile, found};
      else many = 1;
    }
    return {end, Cover::None};
  } else {
    return {tile, Cover::All};
  }
}

/// The scores of one query head.
struct Scores {
  const score::Captures *captures;
  Real scale;
  int batch, head, queries, keys;
  Dropout dropout;

  template <class Parameters> DEVICE Scores(const Parameters &p, int b, int h) {
    if constexpr (HAS_PROGRAM) captures = &p.captures, scale = (Real)p.scale, batch = b, head = h, queries = p.query_length, keys = p.key_length;
    if constexpr (DROPS)
      dropout = {(u32)p.dropout.seed, (u32)(p.dropout.seed >> 32), (u32)h, (u32)b, (int)p.dropout.threshold};
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
    return find_tile(tile, tiles, [&](int first, int many) { return cover(first_query, rows, first * columns, many * columns); }).tile;
  }
};
