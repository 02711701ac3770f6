// dK, dV and the sums of dQ for bfloat16 and half on sm_90a: S and P are recomputed tile by tile from the row statistics of the forward pass.
//
// A block owns some keys of one key head and walks over the query tiles, of all query heads of its group, that see them:
//   Sᵀ = K Qᵀ    Pᵀ = exp2(Sᵀ |scale| log2 e - log_sum)    dV += Pᵀ dO    dPᵀ = V dOᵀ    dSᵀ = Pᵀ o (dPᵀ - delta)    dK += dSᵀ Q    dQ += dS K
// One thread of warpgroup 0 feeds K and V once, and rings of Q with log_sum and dO with delta. Two consumer warpgroups compute, each with
// products under way during its own arithmetic, and the other's besides:
//   tensor cores   dP_i = V dO_i      | dV += P_i dO_i          | dQ_i = dS_i K | dK += dS_i Q_i | S_i+1 = K Q_i+1
//   arithmetic     P_i from S_i ..... | dS_i from P_i and dP_i  |                 dQ_i to memory ................
#include "parameters.cuh"
#include "hopper_backward_size.cuh"
#include "hopper_pipeline.cuh"
#include "hopper_product.cuh"
#include "hopper_backward_scores.cuh"
#include "hopper_epilogue.cuh"

using namespace backward_size;
static_assert(K_ALIGNED == 1, "TMA takes 16-byte aligned rows");
static_assert(K_HEAD_DIM % 8 == 0 && K_VALUE_DIM % 8 == 0 && K_HEAD_DIM <= 256 && K_VALUE_DIM <= 256, "head dims of this kernel");

KERNEL_SHAPE(THREADS, (int)SHARED_BYTES, KEYS, 0, 0, 1, QUERIES, KEYS, PANEL);

constexpr bool BF = K_TYPE == 1;
constexpr int ALL_CONSUMERS = 1;   // named barrier
typedef RingPosition<STAGES> Position;

struct Barriers {
  u32 base;
  DEVICE u32 key() const { return base; }
  DEVICE u32 value() const { return base + 8; }
  DEVICE Ring<STAGES> query() const { return {base + 16}; }
  DEVICE Ring<STAGES> gradient() const { return {base + 16 + Ring<STAGES>::BYTES}; }

  DEVICE void init() const {
    mbarrier_init(key(), 1);
    mbarrier_init(value(), 1);
    query().init(4 * CONSUMERS);
    gradient().init(4 * CONSUMERS);
  }
};

/// The keys of a block, and the query tiles first_tile .. end_tile - 1 of each query head of the group that see any of them.
struct KeyBlock {
  int batch, key_head, key;   // key: the first
  int first_tile, end_tile, steps;

  DEVICE KeyBlock(const BackwardParameters& p) {
    const int tiles = (p.key_length + KEYS - 1) / KEYS, heads = p.heads / p.group, pair = block_id() / tiles;
    key = block_id() % tiles * KEYS;   // of causal problems the longest first
    key_head = pair % heads;
    batch = pair / heads;
    const i64 first_query = K_CAUSAL ? (i64)key - p.diagonal : 0;
    end_tile = (p.query_length + QUERIES - 1) / QUERIES;
    first_tile = first_query <= 0 ? 0 : first_query >= p.query_length ? end_tile : (int)first_query / QUERIES;
    steps = p.group * (end_tile - first_tile);
  }
  /// Does every query of a tile see every key?
  DEVICE bool whole(const BackwardParameters& p, int tile) const {
    const int query = tile * QUERIES;
    return query + QUERIES <= p.query_length && key + KEYS <= p.key_length && (!K_CAUSAL || (i64)key + KEYS - 1 <= (i64)query + p.diagonal);
  }
};

/// A query tile of one of the heads of the group: all that take part walk in this order.
struct QueryBlock {
  int head, tile;
  DEVICE QueryBlock(const BackwardParameters& p, const KeyBlock& keys) : head(keys.key_head * p.group), tile(keys.first_tile) {}
  DEVICE void next(const KeyBlock& keys) {
    if (++tile < keys.end_tile) return;
    tile = keys.first_tile;
    head++;
  }
  /// Of its first query in log_sum, delta and (in rows) the sums of dQ.
  DEVICE i64 row(const BackwardParameters& p, const KeyBlock& keys) const { return ((i64)keys.batch * p.heads + head) * p.padded_queries + tile * QUERIES; }
};

struct Producer {
  const BackwardParameters& p;
  const KeyBlock& keys;
  const TensorMap *query, *key, *value, *gradient;
  u32 shared;
  Barriers barriers;

  DEVICE void load_keys() const {
    mbarrier_expect(barriers.key(), KeyTile::BYTES);
    KeyTile::load(shared + KEY, key, barriers.key(), keys.key, keys.key_head, keys.batch);
  }
  DEVICE void load_values() const {
    mbarrier_expect(barriers.value(), ValueTile::BYTES);
    ValueTile::load(shared + VALUE, value, barriers.value(), keys.key, keys.key_head, keys.batch);
  }
  /// Q and log_sum of a tile
  DEVICE void load_query(const QueryBlock& block, const Position& at) const {
    barriers.query().acquire(at, QueryTile::BYTES + ROW_BYTES);
    const u32 full = barriers.query().full(at.stage);
    QueryTile::load(shared + QUERY + at.stage * QueryTile::BYTES, query, full, block.tile * QUERIES, block.head, keys.batch);
    bulk_load(shared + LOG_SUM + at.stage * ROW_BYTES, p.log_sum + block.row(p, keys), ROW_BYTES, full);
  }
  /// dO and delta of a tile
  DEVICE void load_gradient(const QueryBlock& block, const Position& at) const {
    barriers.gradient().acquire(at, GradientTile::BYTES + ROW_BYTES);
    const u32 full = barriers.gradient().full(at.stage);
    GradientTile::load(shared + GRADIENT + at.stage * GradientTile::BYTES, gradient, full, block.tile * QUERIES, block.head, keys.batch);
    bulk_load(shared + DELTA + at.stage * ROW_BYTES, (const float*)p.delta + block.row(p, keys), ROW_BYTES, full);
  }
  DEVICE void run() const {
    if (keys.steps == 0) return;
    QueryBlock block(p, keys);
    Position at;
    load_keys();
    load_query(block, at);
    load_values();
    load_gradient(block, at);
    NO_UNROLL for (int i = 1; i < keys.steps; i++) {
      block.next(keys);
      at.advance();
      load_query(block, at);
      load_gradient(block, at);
    }
  }
};

/// Adds a part of dQ (64 x N) to its sums: neighbouring lanes swap halves of their two rows, so that each has four columns of one.
template <int N> DEVICE void add_query_sums(float* sums, int row_stride, const float (&dq)[N / 2]) {
  const int lane = thread_id() % 32, row = thread_id() / 32 % 4 * 16 + lane / 4 + 8 * (lane & 1);
  const bool odd = lane & 1;
  float* to = sums + (i64)row * row_stride + (lane & 2) * 2;
  UNROLL for (int j = 0; j < N / 8; j++) {
    const float *top = dq + 4 * j, *bottom = top + 2;   // rows r and r + 8: even lanes keep the top one
    const float other0 = shuffle_xor(odd ? top[0] : bottom[0], 1), other1 = shuffle_xor(odd ? top[1] : bottom[1], 1);
    if (odd) atomic_add4(to + 8 * j, other0, other1, bottom[0], bottom[1]);
    else atomic_add4(to + 8 * j, top[0], top[1], other0, other1);
  }
}

DEVICE constexpr int registers(int columns) { return columns > 0 ? columns / 2 : 1; }

/// Consumer warpgroup w; S: its Share.
template <class S> struct Consumer {
  const BackwardParameters& p;
  const KeyBlock& keys;
  const u32 shared;
  const Barriers barriers;
  const int w;
  const float factor;             // scores -> exponents of 2
  const int first_row, first_column;   // of its part of the scores: keys, queries of the tile
  float s[SCORE_QUERIES / 2], dp[SCORE_QUERIES / 2];                                    // accumulators: Sᵀ (then Pᵀ, dSᵀ), dPᵀ
  float dk[registers(S::KEY)], dv[registers(S::VALUE)], dq[registers(S::QUERY)];
  u32 operand[SCORE_QUERIES / 16][4];                                                   // Pᵀ, then dSᵀ

  DEVICE Consumer(const BackwardParameters& p, const KeyBlock& keys, u32 shared, const Barriers& barriers, int w)
      : p(p), keys(keys), shared(shared), barriers(barriers), w(w), factor(K_NEGATE ? -p.scale_log2 : p.scale_log2),
        first_row(OWN_KEYS ? 64 * w : 0), first_column(OWN_KEYS ? 0 : SCORE_QUERIES * w) {}

  DEVICE u32 query(int stage) const { return shared + QUERY + stage * QueryTile::BYTES; }
  DEVICE u32 gradient(int stage) const { return shared + GRADIENT + stage * GradientTile::BYTES; }
  DEVICE u32 score_gradient(int stage) const { return shared + SCORE_GRADIENT + stage * ScoreTile::BYTES; }
  DEVICE u32 probability(int stage) const { return shared + PROBABILITY + stage * ScoreTile::BYTES; }
  /// The thread's first row and column of the scores.
  DEVICE int own_row() const { return first_row + thread_id() / 32 % 4 * 16 + thread_id() % 32 / 4; }
  DEVICE int own_column() const { return first_column + thread_id() % 4 * 2; }

  // Sᵀ = K Qᵀ
  DEVICE void issue_scores(const Position& at) {
    barriers.query().wait(at);
    product_shared<BF, SCORE_QUERIES, DIM, KeyTile, K_MAJOR, QueryTile, K_MAJOR>(s, shared + KEY, first_row, query(at.stage), first_column, false);
    wgmma_commit();
  }
  // dPᵀ = V dOᵀ
  DEVICE void issue_probability_gradients(const Position& at) {
    barriers.gradient().wait(at);
    product_shared<BF, SCORE_QUERIES, VALUE_DIM, ValueTile, K_MAJOR, GradientTile, K_MAJOR>(dp, shared + VALUE, first_row, gradient(at.stage), first_column, false);
    wgmma_commit();
  }
  // dV += Pᵀ dO
  DEVICE void issue_value_gradients(const Position& at) {
    if constexpr (OWN_KEYS) product_registers<BF, S::VALUE, QUERIES, GradientTile, MN_MAJOR>(dv, operand, gradient(at.stage), 0, true);
    else if constexpr (S::VALUE > 0)
      product_shared<BF, S::VALUE, QUERIES, ScoreTile, K_MAJOR, GradientTile, MN_MAJOR>(dv, probability(at.stage), 0, gradient(at.stage), w * VALUE_SPLIT, true);
    wgmma_commit();
  }
  // dK += dSᵀ Q
  DEVICE void issue_key_gradients(const Position& at) {
    if constexpr (OWN_KEYS) product_registers<BF, S::KEY, QUERIES, QueryTile, MN_MAJOR>(dk, operand, query(at.stage), 0, true);
    else if constexpr (S::KEY > 0)
      product_shared<BF, S::KEY, QUERIES, ScoreTile, K_MAJOR, QueryTile, MN_MAJOR>(dk, score_gradient(at.stage), 0, query(at.stage), w * KEY_SPLIT, true);
    wgmma_commit();
  }
  // dQ = dS K: of 64 queries all columns, or some columns of all 64
  DEVICE void issue_query_gradients(const Position& at) {
    if constexpr (QUERY_SUMS && S::QUERY > 0)
      product_shared<BF, S::QUERY, KEYS, ScoreTile, MN_MAJOR, KeyTile, MN_MAJOR>(dq, score_gradient(at.stage), SPLIT_QUERIES ? 64 * w : 0, shared + KEY, w * QUERY_SPLIT, false);
    wgmma_commit();
  }

  // S -> P, and P -> dS, with their operands
  DEVICE void scores_to_probabilities(const Position& at, bool whole, const VisibleQueries& visible) {
    const u32 log_sum = shared + LOG_SUM + at.stage * ROW_BYTES + own_column() * 4;
    if (whole) probabilities<false, SCORE_QUERIES>(s, factor, log_sum, visible);
    else probabilities<true, SCORE_QUERIES>(s, factor, log_sum, visible);
    accumulator_to_operand<BF, SCORE_QUERIES>(operand, s);
    if constexpr (!OWN_KEYS) store_operand<ScoreTile, SCORE_QUERIES>(probability(at.stage), first_row, first_column, operand);
  }
  DEVICE void probabilities_to_gradients(const Position& at, bool whole, const VisibleQueries& visible) {
    const u32 delta = shared + DELTA + at.stage * ROW_BYTES + own_column() * 4;
    if constexpr (ROUNDED_PROBABILITIES) {
      if (whole) score_gradients<BF, false, SCORE_QUERIES>(dp, operand, delta, visible);
      else score_gradients<BF, true, SCORE_QUERIES>(dp, operand, delta, visible);
    } else {
      if (whole) score_gradients<false, SCORE_QUERIES>(s, dp, delta, visible);
      else score_gradients<true, SCORE_QUERIES>(s, dp, delta, visible);
    }
  }
  DEVICE void store_gradients(const Position& at) {
    if constexpr (ROUNDED_PROBABILITIES) accumulator_to_operand<BF, SCORE_QUERIES>(operand, dp);
    else accumulator_to_operand<BF, SCORE_QUERIES>(operand, s);
    if constexpr (QUERY_SUMS || !OWN_KEYS) {
      store_operand<ScoreTile, SCORE_QUERIES>(score_gradient(at.stage), first_row, first_column, operand);
      fence_async();
      named_sync(ALL_CONSUMERS, 128 * CONSUMERS);
    }
  }
  DEVICE void add_query_gradients(const QueryBlock& block) {
    if constexpr (QUERY_SUMS && S::QUERY > 0) {
      wgmma_pin(dq);
      const i64 row = block.row(p, keys) + (SPLIT_QUERIES ? 64 * w : 0);
      add_query_sums<S::QUERY>(p.query_accumulator + row * p.padded_dim + w * QUERY_SPLIT, p.padded_dim, dq);
    }
  }

  /// A query tile whose scores are there already; `next` is where those of the next tile are computed from.
  DEVICE void step(const QueryBlock& block, const Position& at, const Position& next) {
    const bool whole = keys.whole(p, block.tile);
    const VisibleQueries visible(p, keys.key + own_row(), block.tile * QUERIES + own_column());
    wgmma_fence();
    issue_probability_gradients(at);
    scores_to_probabilities(at, whole, visible);
    if constexpr (OWN_KEYS) {
      wgmma_fence();
      issue_value_gradients(at);
      wgmma_wait<1>();
    } else wgmma_wait<0>();
    wgmma_pin(dp);
    probabilities_to_gradients(at, whole, visible);
    if constexpr (OWN_KEYS) {      // the operands of dV are read until here
      wgmma_wait<0>();
      wgmma_pin(dv);
      barriers.gradient().release(at);
    }
    store_gradients(at);
    wgmma_fence();
    if constexpr (!OWN_KEYS) issue_value_gradients(at);
    issue_query_gradients(at);
    issue_key_gradients(at);
    issue_scores(next);
    wgmma_wait<2>();               // dQ (and dV)
    if constexpr (!OWN_KEYS) barriers.gradient().release(at);
    add_query_gradients(block);
    wgmma_wait<0>();
    wgmma_pin(s);
    wgmma_pin(dk);
    barriers.query().release(at);
  }

  DEVICE void accumulate() {
    QueryBlock block(p, keys);
    Position at;
    mbarrier_wait(barriers.key(), 0);
    wgmma_fence();
    issue_scores(at);
    mbarrier_wait(barriers.value(), 0);
    wgmma_wait<0>();
    wgmma_pin(s);
    NO_UNROLL for (int i = keys.steps; i > 0; i--) {
      Position next = at;
      if (i > 1) next.advance();   // the last tile's scores are computed again, for nothing: a branch here would make ptxas serialise the products
      step(block, at, next);
      block.next(keys);
      at = next;
    }
  }

  /// dK scale and dV of the keys that exist.
  DEVICE void store() {
    UNROLL for (int r = 0; r < 2; r++) {
      const int key = keys.key + first_row + thread_id() / 32 % 4 * 16 + thread_id() % 32 / 4 + 8 * r;
      const bool exists = key < p.key_length;
      u16* to_key = (u16*)p.key_gradient.data + keys.batch * p.key_gradient.batch + keys.key_head * p.key_gradient.head + key * p.key_gradient.row;
      u16* to_value = (u16*)p.value_gradient.data + keys.batch * p.value_gradient.batch + keys.key_head * p.value_gradient.head + key * p.value_gradient.row;
      if constexpr (S::KEY > 0) store_row<BF, S::KEY_STORED, S::KEY>(to_key + w * KEY_SPLIT, dk, r, (float)p.scale, exists);
      if constexpr (S::VALUE > 0) store_row<BF, S::VALUE_STORED, S::VALUE>(to_value + w * VALUE_SPLIT, dv, r, 1.f, exists);
    }
  }

  DEVICE void run() {
    UNROLL for (int i = 0; i < registers(S::KEY); i++) dk[i] = 0.f;
    UNROLL for (int i = 0; i < registers(S::VALUE); i++) dv[i] = 0.f;
    if (keys.steps > 0) accumulate();
    store();
  }
};

KERNEL(torchflash_backward_hopper, THREADS, 1, PARAMETER(BackwardParameters) p, PARAMETER(TensorMap) query, PARAMETER(TensorMap) key,
       PARAMETER(TensorMap) value, PARAMETER(TensorMap) gradient) {
  const u32 shared = shared_base();
  const Barriers barriers{shared + BARRIERS};
  if (thread_id() == 0) {
    tma_prefetch(&query);
    tma_prefetch(&key);
    tma_prefetch(&value);
    tma_prefetch(&gradient);
    barriers.init();
    mbarrier_fence_init();
  }
  sync_threads();
  const KeyBlock keys(p);
  const int warpgroup = shuffle((u32)(thread_id() / 128), 0);   // the same for the warp, as the compiler then sees
  if (warpgroup == 0) {
    registers_decrease<PRODUCER_REGISTERS>();
    if (thread_id() == 0) Producer{p, keys, &query, &key, &value, &gradient, shared, barriers}.run();
  } else {
    registers_increase<CONSUMER_REGISTERS>();
    if constexpr (SAME<Share<0>, Share<1>>) Consumer<Share<0>>(p, keys, shared, barriers, warpgroup - 1).run();
    else if (warpgroup == 1) Consumer<Share<0>>(p, keys, shared, barriers, 0).run();
    else Consumer<Share<1>>(p, keys, shared, barriers, 1).run();
  }
}
