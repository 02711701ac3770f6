// dQ for float and double operands (FlashAttention-2, algorithm 2, with the queries stationary). One block: M queries of one head,
// against N keys at a time in their order: S = Q Kᵀ, P = exp(|scale| (S - m)) / l, dP = dO Vᵀ, dS = P o (dP - delta), dQ += dS K.
#include "exact_epilogue.cuh"
#include "exact_scores.cuh"
#include "exact_stream.cuh"

static constexpr int R = BACKWARD_R, C = BACKWARD_C, M = SIDE * R, N = SIDE * C;
static constexpr int SPAN = panels_of_chunk(N), BAND = band_rows<ColumnsQK>(), STAGE_BYTES = chunk_bytes<ColumnsQK>(N);

static constexpr int SHARED_QUERY = 0;
static constexpr int SHARED_GRADIENT = SHARED_QUERY + M * PANELS_QK * PANEL_BYTES;
static constexpr int SHARED_DS = SHARED_GRADIENT + M * PANELS_V * PANEL_BYTES;
static constexpr int SHARED_STAGES = SHARED_DS + M * part_of_band(BAND) * (int)sizeof(Real);
static constexpr int SHARED_BYTES = SHARED_STAGES + STAGES * STAGE_BYTES;
static_assert(SHARED_BYTES <= K_SHARED_LIMIT, "");

KERNEL_SHAPE(THREADS, SHARED_BYTES, M, N, 0, 1);

/// What streams through shared memory: for each key tile the panels of K (S), of V (dP) and the bands of K (dQ).
struct KeysAndValues {
  static constexpr int PANELS_OF_V = (PANELS_QK + SPAN - 1) / SPAN, BANDS_OF_K = PANELS_OF_V + (PANELS_V + SPAN - 1) / SPAN;
  static constexpr int END = BANDS_OF_K + N / BAND;
  Rows key, value;
  const Scores &scores;
  int first_query, tiles, tile = next_tile(0), chunk = 0;

  DEVICE int next_tile(int from) const { return scores.next_key_tile(from, tiles, first_query, M, N); }

  DEVICE void next(u32 to) {
    if (tile >= tiles) return;
    if (chunk < PANELS_OF_V) copy_panels<SPAN, N, K_HEAD_DIM, PANELS_QK>(to, key, tile * N, chunk);
    else if (chunk < BANDS_OF_K) copy_panels<SPAN, N, K_VALUE_DIM, PANELS_V>(to, value, tile * N, chunk - PANELS_OF_V);
    else copy_band<ColumnsQK, BAND, K_HEAD_DIM>(to, key, tile * N + (chunk - BANDS_OF_K) * BAND);
    if (++chunk == END) {
      chunk = 0;
      tile = next_tile(tile + 1);
    }
  }
};
using BackwardStream = Stream<KeysAndValues, STAGE_BYTES>;

struct BackwardQuery {
  const Visibility visible;
  const Scores &scores;
  const Lane lane;
  const Real factor, kept;
  const int first; // query of the block
  Real dq[R][ColumnsQK::COUNT], m[R], inverse[R], delta[R];

  DEVICE BackwardQuery(const Scored<BackwardParameters> &p, const Scores &scores, const Work &work, int first)
      : visible(p.query_length, p.key_length, p.diagonal), scores(scores), factor(factor_of_scores(p)), kept(p.kept()), first(first) {
    const i64 rows = (i64)work.batch * p.heads + work.head;
    UNROLL for (int r = 0; r < R; r++) {
      UNROLL for (int n = 0; n < ColumnsQK::COUNT; n++) dq[r][n] = 0;
      m[r] = inverse[r] = delta[r] = 0;
      if (query(r) < p.query_length) {
        m[r] = ldg((const Real *)p.maximum + rows * p.query_length + query(r));
        inverse[r] = inverse_of_sum(ldg((const Real *)p.sum + rows * p.query_length + query(r)), m[r]);
        delta[r] = ldg((const Real *)p.delta + rows * p.padded_queries + query(r));
      }
    }
  }

  DEVICE int query(int r) const { return first + lane.ty + SIDE * r; }
  DEVICE int key_of(int tile, int c) const { return tile * N + RowsOfB::row(c * SIDE + lane.tx); }
  DEVICE bool sees(int tile, int r, int c) const {
    return visible(query(r), key_of(tile, c)) && scores.exists(query(r), key_of(tile, c));
  }

  /// P <- exp(|scale| (S - m)) / l
  DEVICE void probabilities(Real (&s)[R][C], Slopes<R, C> &slopes, int tile) const {
    UNROLL for (int r = 0; r < R; r++)
      UNROLL for (int c = 0; c < C; c++)
        s[r][c] = exp2_of((scores(s[r][c], query(r), key_of(tile, c), slopes.at(r, c)) - m[r]) * factor) * inverse[r];
  }

  /// dS <- P o (dP - delta), through the program; 0 where the query does not see the key
  template <bool MASKED> DEVICE void score_gradients(Real (&dp)[R][C], const Real (&p)[R][C], const Slopes<R, C> &slopes, int tile) const {
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int c = 0; c < C; c++) {
      dp[r][c] = p[r][c] * (dp[r][c] - delta[r]);
      slopes.apply(dp[r][c], r, c);
      if (MASKED && !sees(tile, r, c)) dp[r][c] = 0;
    }
  }

  /// dP -> Z o dP
  DEVICE void drop(Real (&dp)[R][C], int tile) const {
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int c = 0; c < C; c += VECTOR) {
      const u32 bits = scores.dropout.of_keys(query(r), key_of(tile, c));
      UNROLL for (int e = 0; e < VECTOR; e++) dp[r][c + e] = bits >> e & 1 ? dp[r][c + e] * kept : Real(0);
    }
  }

  template <bool MASKED> DEVICE void step(int tile, u32 shared, BackwardStream &stream) {
    Real s[R][C], dp[R][C];
    Slopes<R, C> slopes;
    stream_rows<PANELS_QK, SPAN>(s, shared + SHARED_QUERY, stream, lane);
    probabilities(s, slopes, tile);
    stream_rows<PANELS_V, SPAN>(dp, shared + SHARED_GRADIENT, stream, lane);
    if (DROPS) drop(dp, tile);
    score_gradients<MASKED>(dp, s, slopes, tile);
    stream_bands<ColumnsQK, BAND>(dq, dp, shared + SHARED_DS, stream, lane);
  }
};

KERNEL(torchflash_backward_query_exact, THREADS, 1, PARAMETER(Scored<BackwardParameters>) p) {
  const u32 shared = shared_base();
  const Work work(p.query_length, M, p.heads);
  const int first = (work.tiles - 1 - work.tile) * M; // causal: the longest first
  const Scores scores(p, work.batch, work.head);
  BackwardQuery backward(p, scores, work, first);
  const int tiles = (backward.visible.keys_of_some(first, M) + N - 1) / N, whole = backward.visible.keys_of_all(first) / N;

  const int key_head = work.head / p.group;
  KeysAndValues source{Rows(p.key, work.batch, key_head, p.key_length), Rows(p.value, work.batch, key_head, p.key_length), scores, first, tiles};
  if (tiles > 0) {
    copy_tile<M, K_HEAD_DIM, PANELS_QK>(shared + SHARED_QUERY, Rows(p.query, work.batch, work.head, p.query_length), first);
    copy_tile<M, K_VALUE_DIM, PANELS_V>(shared + SHARED_GRADIENT, Rows(p.output_gradient, work.batch, work.head, p.query_length), first);
  }
  BackwardStream stream(source, shared + SHARED_STAGES);
  if constexpr (score::HIDES) {
    NO_UNROLL for (int tile = source.next_tile(0); tile < tiles; tile = source.next_tile(tile + 1))
      if (tile < whole && scores.cover(first, M, tile * N, N) == Cover::All) backward.step<false>(tile, shared, stream);
      else backward.step<true>(tile, shared, stream);
  } else {
    int tile = 0;
    for (; tile < whole; tile++) backward.step<false>(tile, shared, stream);
    for (; tile < tiles; tile++) backward.step<true>(tile, shared, stream);
  }
  cp_async_wait<0>();

  Real scale[R];
  UNROLL for (int r = 0; r < R; r++) {
    scale[r] = (Real)p.scale;
    if (backward.inverse[r] == 0) clear_row(backward.dq, scale[r], r); // nothing to attend to: 0, whatever the hidden keys are
  }
  store_rows<ColumnsQK, K_HEAD_DIM>(p.query_gradient, work.batch, work.head, first, p.query_length, backward.dq, scale, backward.lane);
}
