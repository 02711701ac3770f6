// W = 1/H sum over heads of P, P = exp(|scale| (S - m)) / l, for operands of all four types (16-bit ones are float from shared memory
// on). One block: M queries against N keys of one batch entry, head after head.
#include "exact_product.cuh"
#include "exact_scores.cuh"
#include "exact_stream.cuh"
#include "exact_work.cuh"

static constexpr int R = 2 * VECTOR, C = 2 * VECTOR, M = SIDE * R, N = SIDE * C;
static constexpr int STAGE_KEY = M * PANEL_BYTES, STAGE_BYTES = STAGE_KEY + N * PANEL_BYTES, SHARED_BYTES = STAGES * STAGE_BYTES;
static_assert(SHARED_BYTES <= K_SHARED_LIMIT, "");

KERNEL_SHAPE(THREADS, SHARED_BYTES, M, N, 0, 1);

/// What streams through shared memory: for each head the panels of Q and K, in pairs.
struct QueriesAndKeys {
  const Scored<WeightsParameters> &p;
  int batch, query, key; // the first ones of the block
  int heads, head = 0, panel = 0;

  /// Whether no pair of the block exists in a head.
  DEVICE bool is_empty(int h) const { return Scores(p, batch, h).cover(query, M, key, N) == Cover::None; }
  /// From here on to the first head that is not empty.
  DEVICE void skip() {
    if constexpr (score::HIDES) NO_UNROLL while (head < heads && is_empty(head)) head++;
  }

  DEVICE void next(u32 to) {
    if (head >= heads) return;
    copy_panel<RowsOfA, M, K_HEAD_DIM>(to, Rows(p.query, batch, head, p.query_length), query, panel);
    copy_panel<RowsOfB, N, K_HEAD_DIM>(to + STAGE_KEY, Rows(p.key, batch, head / p.group, p.key_length), key, panel);
    if (++panel == PANELS_QK) {
      panel = 0;
      head++;
      skip();
    }
  }
};
using WeightsStream = Stream<QueriesAndKeys, STAGE_BYTES>;

struct Weights {
  const Scored<WeightsParameters> &p;
  const int batch, first_query, first_key;
  const Lane lane;
  Real w[R][C];

  DEVICE Weights(const Scored<WeightsParameters> &p, int batch, int first_query, int first_key)
      : p(p), batch(batch), first_query(first_query), first_key(first_key) {
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int c = 0; c < C; c++) w[r][c] = 0;
  }

  DEVICE int query(int r) const { return first_query + lane.ty + SIDE * r; }

  /// W += Z o P / H. What a query does not see may be anything: it is left out when W is stored.
  DEVICE void add(int head, Real factor, WeightsStream &stream) {
    Real m[R], inverse[R];
    UNROLL for (int r = 0; r < R; r++) {
      m[r] = inverse[r] = 0;
      if (query(r) < p.query_length) {
        const i64 row = ((i64)batch * p.heads + head) * p.query_length + query(r);
        m[r] = ldg((const Real *)p.maximum + row);
        inverse[r] = p.kept() * inverse_of_sum(p.heads * ldg((const Real *)p.sum + row), m[r]);
      }
    }
    Real s[R][C];
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int c = 0; c < C; c++) s[r][c] = 0;
    NO_UNROLL for (int panel = 0; panel < PANELS_QK; panel++) {
      const u32 stage = stream.next();
      product_of_rows(s, stage, stage + STAGE_KEY, lane);
    }
    const Scores scores(p, batch, head);
    [[maybe_unused]] u32 kept = 0;
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int c = 0; c < C; c++) {
      const int key = first_key + RowsOfB::row(c * SIDE + lane.tx);
      const Real x = exp2_of((scores(s[r][c], query(r), key) - m[r]) * factor);
      if (DROPS && c % VECTOR == 0) kept = scores.dropout.of_keys(query(r), key);
      if (DROPS && !(kept >> c % VECTOR & 1)) continue;
      if (scores.exists(query(r), key)) w[r][c] = fused(x, inverse[r], w[r][c]);
    }
  }

  DEVICE void store(const Visibility &visible) const {
    struct alignas(VECTOR * sizeof(Element)) Group { Element x[VECTOR]; };
    Element *to = (Element *)p.weights.data + batch * p.weights.batch;
    const bool aligned = ((u64)to | (u64)p.weights.row * sizeof(Element)) % sizeof(Group) == 0; // the number of keys may be odd
    UNROLL for (int r = 0; r < R; r++) {
      if (query(r) >= p.query_length) continue;
      UNROLL for (int c = 0; c < C; c += VECTOR) {
        const int key = first_key + RowsOfB::row(c * SIDE + lane.tx);
        Element *at = to + query(r) * p.weights.row + key;
        Group g;
        UNROLL for (int e = 0; e < VECTOR; e++) g.x[e] = to_element(visible(query(r), key + e) ? w[r][c + e] : Real(0));
        if (aligned && key + VECTOR <= p.key_length) stg((Group *)at, g);
        else UNROLL for (int e = 0; e < VECTOR; e++) if (key + e < p.key_length) stg(at + e, g.x[e]);
      }
    }
  }
};

KERNEL(torchflash_weights, THREADS, 1, PARAMETER(Scored<WeightsParameters>) p) {
  const Work work((p.key_length + N - 1) / N, 1, (p.query_length + M - 1) / M); // the key tiles of a query tile follow each other
  const Visibility visible(p.query_length, p.key_length, p.diagonal);
  Weights weights(p, work.batch, work.head * M, work.tile * N);
  const int heads = visible.keys_of_some(weights.first_query, M) > weights.first_key ? p.heads : 0; // else the block is all zeros
  const Real factor = factor_of_scores(p);

  QueriesAndKeys source{p, work.batch, weights.first_query, weights.first_key, heads};
  source.skip();
  WeightsStream stream(source, shared_base());
  for (int head = 0; head < heads; head++)
    if (!source.is_empty(head)) weights.add(head, factor, stream);
  cp_async_wait<0>();
  weights.store(visible);
}
