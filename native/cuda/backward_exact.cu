// dK and dV for float and double operands (FlashAttention-2, algorithm 2). One block: N keys of one head of the keys, against M
// queries at a time of all query heads of its group, in their order: nothing is summed by atomics. All is transposed, so that P and
// dS lie as the products with dO and Q need them:
//   Sᵀ = K Qᵀ, Pᵀ = exp(|scale| (Sᵀ - m)) / l, dV += Pᵀ dO, dPᵀ = V dOᵀ, dSᵀ = Pᵀ o (dPᵀ - delta), dK += dSᵀ Q.
#include "exact_epilogue.cuh"
#include "exact_scores.cuh"
#include "exact_stream.cuh"

static constexpr int R = BACKWARD_R, C = BACKWARD_C, N = SIDE * R, M = SIDE * C;
static constexpr int SPAN = panels_of_chunk(M), BAND_Q = band_rows<ColumnsQK>(), BAND_G = band_rows<ColumnsV>();
static constexpr int STAGE_BYTES = largest_of(chunk_bytes<ColumnsQK>(M), chunk_bytes<ColumnsV>(M));

static constexpr int SHARED_KEY = 0;
static constexpr int SHARED_VALUE = SHARED_KEY + N * PANELS_QK * PANEL_BYTES;
static constexpr int SHARED_P = SHARED_VALUE + N * PANELS_V * PANEL_BYTES;
static constexpr int SHARED_STAGES = SHARED_P + N * part_of_band(largest_of(BAND_Q, BAND_G)) * (int)sizeof(Real);
static constexpr int SHARED_ROWS = SHARED_STAGES + STAGES * STAGE_BYTES;
static constexpr int SHARED_BYTES = SHARED_ROWS + 3 * M * (int)sizeof(Real);
static_assert(SHARED_BYTES <= K_SHARED_LIMIT && M <= THREADS, "");

KERNEL_SHAPE(THREADS, SHARED_BYTES, N, M, 0, 1);

/// What streams through shared memory: for each query head and tile the panels of Q (S), the bands of dO (dV), its panels (dP) and
/// the bands of Q (dK).
struct QueriesAndGradients {
  static constexpr int BANDS_OF_G = (PANELS_QK + SPAN - 1) / SPAN, PANELS_OF_G = BANDS_OF_G + M / BAND_G;
  static constexpr int BANDS_OF_Q = PANELS_OF_G + (PANELS_V + SPAN - 1) / SPAN, END = BANDS_OF_Q + M / BAND_Q;
  const Scored<BackwardParameters> &p;
  int batch, head, heads, first_tile, tiles, first_key;
  int tile = first_tile, chunk = 0;

  /// From here on to the first tile with a pair that may exist.
  DEVICE void skip() {
    if constexpr (score::HIDES)
      NO_UNROLL for (; head < heads; head++, tile = first_tile) {
        const Scores scores(p, batch, head);
        tile = find_tile(tile, tiles, [&](int first, int many) { return scores.cover(first * M, many * M, first_key, N); }).tile;
        if (tile < tiles) break;
      }
  }
  DEVICE void advance() {
    if (++tile < tiles) return;
    tile = first_tile;
    head++;
  }

  DEVICE void next(u32 to) {
    if (head >= heads || first_tile >= tiles) return;
    const Rows query(p.query, batch, head, p.query_length), gradient(p.output_gradient, batch, head, p.query_length);
    const int first = tile * M;
    if (chunk < BANDS_OF_G) copy_panels<SPAN, M, K_HEAD_DIM, PANELS_QK>(to, query, first, chunk);
    else if (chunk < PANELS_OF_G) copy_band<ColumnsV, BAND_G, K_VALUE_DIM>(to, gradient, first + (chunk - BANDS_OF_G) * BAND_G);
    else if (chunk < BANDS_OF_Q) copy_panels<SPAN, M, K_VALUE_DIM, PANELS_V>(to, gradient, first, chunk - PANELS_OF_G);
    else copy_band<ColumnsQK, BAND_Q, K_HEAD_DIM>(to, query, first + (chunk - BANDS_OF_Q) * BAND_Q);
    if (++chunk < END) return;
    chunk = 0;
    advance();
    skip();
  }
};
using BackwardStream = Stream<QueriesAndGradients, STAGE_BYTES>;

/// m, 1 / l and delta of one query: read from global memory ahead of its tile by one thread, then put where all can read them.
struct RowScalars {
  Real m = 0, inverse = 0, delta = 0;
  DEVICE void read(const BackwardParameters &p, int batch, int head, int query) {
    m = inverse = delta = 0;
    if (query >= p.query_length) return;
    const i64 row = (i64)batch * p.heads + head;
    m = ldg((const Real *)p.maximum + row * p.query_length + query);
    inverse = inverse_of_sum(ldg((const Real *)p.sum + row * p.query_length + query), m);
    delta = ldg((const Real *)p.delta + row * p.padded_queries + query);
  }
  DEVICE void write(u32 shared, int i) const {
    constexpr int SIZE = sizeof(Real);
    sts(shared + i * SIZE, m);
    sts(shared + (M + i) * SIZE, inverse);
    sts(shared + (2 * M + i) * SIZE, delta);
  }
};

struct Backward {
  const Visibility visible;
  const Lane lane;
  const Real factor, kept;
  const int first; // key of the block
  Real dk[R][ColumnsQK::COUNT], dv[R][ColumnsV::COUNT];

  DEVICE Backward(const Scored<BackwardParameters> &p, int first)
      : visible(p.query_length, p.key_length, p.diagonal), factor(factor_of_scores(p)), kept(p.kept()), first(first) {
    UNROLL for (int r = 0; r < R; r++) {
      UNROLL for (int n = 0; n < ColumnsQK::COUNT; n++) dk[r][n] = 0;
      UNROLL for (int n = 0; n < ColumnsV::COUNT; n++) dv[r][n] = 0;
    }
  }

  /// Key r of this thread is seen by query c of a tile. (Keys beyond the last are not stored.)
  DEVICE bool sees(const Scores &scores, int tile, int c, int r) const {
    const int query = query_of(tile, c);
    return query < visible.queries && (!K_CAUSAL || key(r) <= query + visible.diagonal) && scores.exists(query, key(r));
  }
  DEVICE int key(int r) const { return first + lane.ty + SIDE * r; }
  DEVICE int query_of(int tile, int c) const { return tile * M + RowsOfB::row(c * SIDE + lane.tx); }
  /// One of m, 1 / l, delta for the VECTOR queries from register c on.
  DEVICE void row_scalars(Real (&x)[VECTOR], u32 shared, int which, int c) const {
    load_shared(x, shared + SHARED_ROWS + (which * M + RowsOfB::row(c * SIDE + lane.tx)) * (int)sizeof(Real));
  }

  /// Pᵀ <- exp(|scale| (Sᵀ - m)) / l
  template <bool MASKED> DEVICE void probabilities(Real (&s)[R][C], Slopes<R, C> &slopes, const Scores &scores, int tile, u32 shared) const {
    UNROLL for (int c = 0; c < C; c += VECTOR) {
      Real m[VECTOR], inverse[VECTOR];
      row_scalars(m, shared, 0, c);
      row_scalars(inverse, shared, 1, c);
      UNROLL for (int e = 0; e < VECTOR; e++) UNROLL for (int r = 0; r < R; r++) {
        Real &x = s[r][c + e];
        x = exp2_of((scores(x, query_of(tile, c + e), key(r), slopes.at(r, c + e)) - m[e]) * factor) * inverse[e];
        if (MASKED && !sees(scores, tile, c + e, r)) x = 0;
        if (DROPS && !(scores.dropout.of_keys(query_of(tile, c + e), key(r)) & 1)) x = -x;
      }
    }
  }

  /// dSᵀ <- Pᵀ o (dPᵀ - delta), through the program
  template <bool MASKED>
  DEVICE void score_gradients(Real (&dp)[R][C], const Real (&p)[R][C], const Slopes<R, C> &slopes, const Scores &scores, int tile, u32 shared) const {
    UNROLL for (int c = 0; c < C; c += VECTOR) {
      Real delta[VECTOR];
      row_scalars(delta, shared, 2, c);
      UNROLL for (int e = 0; e < VECTOR; e++) UNROLL for (int r = 0; r < R; r++) {
        Real &x = dp[r][c + e];
        x = weight_of(p[r][c + e]) * (dropped(x, p[r][c + e], kept) - delta[e]);
        slopes.apply(x, r, c + e);
        if (MASKED && !sees(scores, tile, c + e, r)) x = 0; // dP may be NaN
      }
    }
  }

  template <bool MASKED> DEVICE void step(const Scores &scores, int tile, u32 shared, BackwardStream &stream) {
    Real s[R][C], dp[R][C];
    Slopes<R, C> slopes;
    stream_rows<PANELS_QK, SPAN>(s, shared + SHARED_KEY, stream, lane);
    probabilities<MASKED>(s, slopes, scores, tile, shared);
    stream_bands<ColumnsV, BAND_G, true>(dv, s, shared + SHARED_P, stream, lane);
    stream_rows<PANELS_V, SPAN>(dp, shared + SHARED_VALUE, stream, lane);
    score_gradients<MASKED>(dp, s, slopes, scores, tile, shared);
    stream_bands<ColumnsQK, BAND_Q>(dk, dp, shared + SHARED_P, stream, lane);
  }
};

KERNEL(torchflash_backward_exact, THREADS, 1, PARAMETER(Scored<BackwardParameters>) p) {
  const u32 shared = shared_base();
  const Work work(p.key_length, N, p.heads / p.group);
  const int first = work.tile * N, first_head = work.head * p.group;
  Backward backward(p, first);
  const int tiles = (p.query_length + M - 1) / M, first_tile = smaller(tiles, backward.visible.first_query_of_some(first) / M);
  const int whole_from = backward.visible.first_query_of_all(first, N), whole_to = p.query_length;

  QueriesAndGradients source{p, work.batch, first_head, first_head + p.group, first_tile, tiles, first};
  source.skip();
  RowScalars rows;
  if (first_tile < tiles) {
    copy_tile<N, K_HEAD_DIM, PANELS_QK>(shared + SHARED_KEY, Rows(p.key, work.batch, work.head, p.key_length), first);
    copy_tile<N, K_VALUE_DIM, PANELS_V>(shared + SHARED_VALUE, Rows(p.value, work.batch, work.head, p.key_length), first);
    if (!score::HIDES) rows.read(p, work.batch, first_head, first_tile * M + thread_id());
    else if (source.head < source.heads) rows.read(p, work.batch, source.head, source.tile * M + thread_id());
  }
  BackwardStream stream(source, shared + SHARED_STAGES);
  auto step = [&](int head, int tile, bool all) {
    const Scores scores(p, work.batch, head);
    if (all && tile * M >= whole_from && (tile + 1) * M <= whole_to) backward.step<false>(scores, tile, shared, stream);
    else backward.step<true>(scores, tile, shared, stream);
  };
  if constexpr (score::HIDES) {
    QueriesAndGradients next{p, work.batch, first_head, first_head + p.group, first_tile, tiles, first};
    next.skip();
    NO_UNROLL while (next.head < next.heads) {
      const int head = next.head, tile = next.tile;
      if (thread_id() < M) rows.write(shared + SHARED_ROWS, thread_id());
      next.advance();
      next.skip();
      if (thread_id() < M && next.head < next.heads) rows.read(p, work.batch, next.head, next.tile * M + thread_id());
      step(head, tile, Scores(p, work.batch, head).cover(tile * M, M, first, N) == Cover::All);
    }
  } else {
    for (int head = first_head; head < first_head + p.group; head++)
      for (int tile = first_tile; tile < tiles; tile++) {
        if (thread_id() < M) rows.write(shared + SHARED_ROWS, thread_id()); // all have read the former ones before the bands of Q
        const bool last = tile + 1 == tiles;
        if (thread_id() < M && head + last < first_head + p.group)
          rows.read(p, work.batch, head + last, (last ? first_tile : tile + 1) * M + thread_id());
        step(head, tile, true);
      }
  }
  cp_async_wait<0>();

  Real scale[R], one[R];
  UNROLL for (int r = 0; r < R; r++) scale[r] = (Real)p.scale, one[r] = backward.kept;
  store_rows<ColumnsQK, K_HEAD_DIM>(p.key_gradient, work.batch, work.head, first, p.key_length, backward.dk, scale, backward.lane);
  store_rows<ColumnsV, K_VALUE_DIM>(p.value_gradient, work.batch, work.head, first, p.key_length, backward.dv, one, backward.lane);
}
