// O = softmax(scale Q Kᵀ) V for float and double operands (FlashAttention-2, algorithm 1), and m, l. One block: M queries of one
// head, against N keys at a time: S = Q Kᵀ from panels of K, the online softmax in registers, O += P V from bands of V.
#include "exact_epilogue.cuh"
#include "exact_scores.cuh"
#include "exact_stream.cuh"

static constexpr int R = FORWARD_R, C = FORWARD_C, M = SIDE * R, N = SIDE * C;
static constexpr int SPAN = panels_of_chunk(N), CHUNKS_K = (PANELS_QK + SPAN - 1) / SPAN; // chunks of K
static constexpr int BAND = band_rows<ColumnsV>(), CHUNKS_V = N / BAND;                   // and of V
static constexpr int STAGE_BYTES = chunk_bytes<ColumnsV>(N);

static constexpr int SHARED_QUERY = 0;
static constexpr int SHARED_P = SHARED_QUERY + M * PANELS_QK * PANEL_BYTES;
static constexpr int SHARED_STAGES = SHARED_P + M * part_of_band(BAND) * (int)sizeof(Real);
static constexpr int SHARED_BYTES = SHARED_STAGES + STAGES * STAGE_BYTES;
static_assert(SHARED_BYTES <= K_SHARED_LIMIT, "");

KERNEL_SHAPE(THREADS, SHARED_BYTES, M, N, 0, 1);

/// What streams through shared memory: for each key tile the panels of K, then the bands of V.
struct KeysAndValues {
  Rows key, value;
  const Scores &scores;
  int first_query, tiles, tile = next_tile(0), chunk = 0;

  DEVICE int next_tile(int from) const { return scores.next_key_tile(from, tiles, first_query, M, N); }

  DEVICE void next(u32 to) {
    if (tile >= tiles) return;
    if (chunk < CHUNKS_K) copy_panels<SPAN, N, K_HEAD_DIM, PANELS_QK>(to, key, tile * N, chunk);
    else copy_band<ColumnsV, BAND, K_VALUE_DIM>(to, value, tile * N + (chunk - CHUNKS_K) * BAND);
    if (++chunk == CHUNKS_K + CHUNKS_V) {
      chunk = 0;
      tile = next_tile(tile + 1);
    }
  }
};
using ForwardStream = Stream<KeysAndValues, STAGE_BYTES>;

struct Forward {
  const Visibility visible;
  const Scores &scores;
  const Lane lane;
  const Real factor;
  const int first; // query of the block
  Real o[R][ColumnsV::COUNT];
  RowValues<R> m, l;

  DEVICE Forward(const ForwardParameters &p, const Scores &scores, int first)
      : visible(p.query_length, p.key_length, p.diagonal), scores(scores), factor(factor_of_scores(p)), first(first) {
    m.mine = -infinity();
    l.mine = 0;
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int n = 0; n < ColumnsV::COUNT; n++) o[r][n] = 0;
  }

  DEVICE int query(int r) const { return first + lane.ty + SIDE * r; }
  DEVICE int key_of(int tile, int c) const { return tile * N + RowsOfB::row(c * SIDE + lane.tx); }

  /// s <- sign(scale) s or what the program makes of it, -inf where the query does not see the key.
  template <bool MASKED> DEVICE void mask(Real (&s)[R][C], int tile) const {
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int c = 0; c < C; c++) {
      const int i = query(r), j = key_of(tile, c);
      s[r][c] = scores(s[r][c], i, j);
      if (MASKED && !(visible(i, j) && scores.exists(i, j))) s[r][c] = -infinity();
    }
  }

  /// m <- max(m, s), l and O brought to it; s <- P = exp(|scale| (s - m)), l += P.
  template <bool MASKED> DEVICE void softmax(Real (&s)[R][C], int tile) {
    UNROLL for (int r = 0; r < R; r++) {
      const Real before = m.get(r, lane);
      Real largest = before;
      UNROLL for (int c = 0; c < C; c++) largest = larger_of(largest, s[r][c]); // a NaN is not: it reaches O through P
      largest = largest_in_row(largest);
      const Real reference = largest == -infinity() ? Real(0) : largest; // no key so far: -inf - -inf is NaN
      const Real rescale = before == -infinity() ? Real(0) : exp2_of((before - reference) * factor);
      Real sum = 0;
      UNROLL for (int n = 0; n < ColumnsV::COUNT; n++) o[r][n] *= rescale;
      UNROLL for (int c = 0; c < C; c++) {
        const bool hidden = score::HIDES && MASKED && s[r][c] == -infinity();
        s[r][c] = exp2_of((s[r][c] - reference) * factor);
        if (score::HIDES ? hidden : MASKED && !visible(query(r), key_of(tile, c))) s[r][c] = 0; // (with scale 0 it is NaN by now)
        sum += s[r][c];
      }
      l.set(r, fused(l.get(r, lane), rescale, sum_in_row(sum)), lane);
      m.set(r, largest, lane);
    }
  }

  /// Gives the weights that are dropped a negative sign.
  DEVICE void drop(Real (&s)[R][C], int tile) const {
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int c = 0; c < C; c += VECTOR) {
      const u32 kept = scores.dropout.of_keys(query(r), key_of(tile, c));
      UNROLL for (int e = 0; e < VECTOR; e++) if (!(kept >> e & 1)) s[r][c + e] = -s[r][c + e];
    }
  }

  template <bool MASKED> DEVICE void step(int tile, u32 shared, ForwardStream &stream) {
    Real s[R][C];
    stream_rows<PANELS_QK, SPAN>(s, shared + SHARED_QUERY, stream, lane);
    mask<MASKED>(s, tile);
    softmax<MASKED>(s, tile);
    if (DROPS) drop(s, tile);
    stream_bands<ColumnsV, BAND, true>(o, s, shared + SHARED_P, stream, lane);
  }

  DEVICE void finish(const Scored<ForwardParameters> &p, const Work &work) {
    Real inverse[R];
    const Real sink = p.sink(work.head, factor);
    UNROLL for (int r = 0; r < R; r++) {
      Real row_m = m.get(r, lane), row_l = l.get(r, lane);
      const bool empty = row_l == 0; // no key, or none but scores of -inf
      inverse[r] = p.kept() * add_sink(row_m, row_l, sink, factor) / row_l;
      if (empty) clear_row(o, inverse[r], r); // 0, whatever the hidden values are
      if (lane.tx == 0 && query(r) < p.query_length) {
        const i64 row = ((i64)work.batch * p.heads + work.head) * p.query_length + query(r);
        stg((Real *)p.maximum + row, row_m);
        stg((Real *)p.sum + row, row_l);
      }
    }
    store_rows<ColumnsV, K_VALUE_DIM>(p.output, work.batch, work.head, first, p.query_length, o, inverse, lane);
  }
};

KERNEL(torchflash_forward_exact, THREADS, 1, PARAMETER(Scored<ForwardParameters>) p) {
  const u32 shared = shared_base();
  const Work work(p.query_length, M, p.heads);
  const int first = (work.tiles - 1 - work.tile) * M; // causal: the longest first
  const Scores scores(p, work.batch, work.head);
  Forward forward(p, scores, first);
  const int tiles = (forward.visible.keys_of_some(first, M) + N - 1) / N, whole = forward.visible.keys_of_all(first) / N;

  const int key_head = work.head / p.group;
  KeysAndValues source{Rows(p.key, work.batch, key_head, p.key_length), Rows(p.value, work.batch, key_head, p.key_length), scores, first, tiles};
  if (tiles > 0) copy_tile<M, K_HEAD_DIM, PANELS_QK>(shared + SHARED_QUERY, Rows(p.query, work.batch, work.head, p.query_length), first);
  ForwardStream stream(source, shared + SHARED_STAGES);
  if constexpr (score::HIDES) {
    NO_UNROLL for (int tile = source.next_tile(0); tile < tiles; tile = source.next_tile(tile + 1))
      if (tile < whole && scores.cover(first, M, tile * N, N) == Cover::All) forward.step<false>(tile, shared, stream);
      else forward.step<true>(tile, shared, stream);
  } else {
    int tile = 0;
    for (; tile < whole; tile++) forward.step<false>(tile, shared, stream);
    for (; tile < tiles; tile++) forward.step<true>(tile, shared, stream);
  }
  cp_async_wait<0>();
  forward.finish(p, work);
}
