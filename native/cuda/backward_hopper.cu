// dK, dV and the sums of dQ for bfloat16 and half on sm_90a: S and P are recomputed tile by tile from the row
// statistics of the forward pass.
//
// A block owns some keys of one key head and walks over the query tiles, of all query heads of its group, that see
// them:
//   Sᵀ = K Qᵀ    Pᵀ = exp2(Sᵀ |scale| log2 e - log_sum)    dV += Pᵀ dO
//   dPᵀ = V dOᵀ    dSᵀ = Pᵀ o (dPᵀ - delta)    dK += dSᵀ Q    dQ += dS K
// One thread of warpgroup 0 feeds K and V once, and rings of Q with log_sum and dO with delta. Two consumer warpgroups
// compute, each with products under way during its own arithmetic, and the other's besides:
//   tensor cores   dK += dS_i-1 Q_i-1 | dP_i = V dO_i | dV += P_i dO_i         | dQ_i = dS_i K | S_i+1 = K Q_i+1
//   arithmetic     P_i from S_i ..................... | dS_i from P_i and dP_i |       dQ_i to the sums in memory
#include "parameters.cuh"
#include "hopper_backward_size.cuh"
#include "hopper_pipeline.cuh"
#include "hopper_backward_scores.cuh"
#include "hopper_epilogue.cuh"
#include "work.cuh"

using namespace backward_size;
static_assert(K_ALIGNED == 1, "TMA takes 16-byte aligned rows");
static_assert(K_HEAD_DIM % 8 == 0 && K_VALUE_DIM % 8 == 0 && K_HEAD_DIM <= 256 && K_VALUE_DIM <= 256,
    "head dims of this kernel");

KERNEL_SHAPE(THREADS, (int)SHARED_BYTES, KEYS, 0, 0, 1, QUERIES, KEYS, PANEL);

constexpr bool BF = K_TYPE == 1;
enum { ALL_CONSUMERS = 1 };   // named barrier
typedef RingPosition<QUERY_STAGES> QueryPosition;
typedef RingPosition<GRADIENT_STAGES> GradientPosition;

struct Barriers {
  u32 base;
  DEVICE u32 key() const { return base; }
  DEVICE u32 value() const { return base + 8; }
  DEVICE Ring<QUERY_STAGES> query() const { return {base + 16}; }
  DEVICE Ring<GRADIENT_STAGES> gradient() const { return {base + 16 + Ring<QUERY_STAGES>::BYTES}; }
  DEVICE u32 sums() const { return base + 16 + Ring<QUERY_STAGES>::BYTES + Ring<GRADIENT_STAGES>::BYTES; }

  DEVICE void init() const {
    mbarrier_init(key(), 1);
    mbarrier_init(value(), 1);
    query().init(4 * CONSUMERS);
    gradient().init(4 * CONSUMERS);
    UNROLL for (int i = 0; i < SUM_STAGES; i++) Sums{0, sums() + i * Sums::BARRIER_BYTES}.init(SUM_WARPS);
  }
};

/// The keys of a block, and the query tiles first_tile .. end_tile - 1 of each query head of the group that see any of
/// them.
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
    return query + QUERIES <= p.query_length && key + KEYS <= p.key_length &&
        (!K_CAUSAL || (i64)key + KEYS - 1 <= (i64)query + p.diagonal);
  }
};

/// A query tile of one of the heads of the group: all that take part walk in this order.
struct QueryStep {
  int head, tile;
  DEVICE QueryStep(const BackwardParameters& p, const KeyBlock& keys)
      : head(keys.key_head * p.group), tile(keys.first_tile) {}
  DEVICE void next(const KeyBlock& keys) {
    if (++tile < keys.end_tile) return;
    tile = keys.first_tile;
    head++;
  }
  /// Of its first query in log_sum, delta and (in rows) the sums of dQ.
  DEVICE i64 row(const BackwardParameters& p, const KeyBlock& keys) const {
    return ((i64)keys.batch * p.heads + head) * p.padded_queries + tile * QUERIES;
  }
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
  DEVICE void load_query(const QueryStep& block, const QueryPosition& at) const {
    barriers.query().acquire(at, QueryTile::BYTES + ROW_BYTES);
    const u32 full = barriers.query().full(at.stage);
    QueryTile::load(shared + QUERY + at.stage * QueryTile::BYTES, query, full, block.tile * QUERIES, block.head,
        keys.batch);
    bulk_load(shared + LOG_SUM + at.stage * ROW_BYTES, p.log_sum + block.row(p, keys), ROW_BYTES, full);
  }
  /// dO and delta of a tile
  DEVICE void load_gradient(const QueryStep& block, const GradientPosition& at) const {
    barriers.gradient().acquire(at, GradientTile::BYTES + ROW_BYTES);
    const u32 full = barriers.gradient().full(at.stage);
    GradientTile::load(shared + GRADIENT + at.stage * GradientTile::BYTES, gradient, full, block.tile * QUERIES,
        block.head, keys.batch);
    bulk_load(shared + DELTA + at.stage * ROW_BYTES, (const float*)p.delta + block.row(p, keys), ROW_BYTES, full);
  }
  DEVICE void run() const {
    if (keys.steps == 0) return;
    QueryStep block(p, keys);
    QueryPosition queries;
    GradientPosition gradients;
    load_keys();
    load_query(block, queries);
    load_values();
    load_gradient(block, gradients);
    NO_UNROLL for (int i = 1; i < keys.steps; i++) {
      block.next(keys);
      queries.advance();
      gradients.advance();
      load_query(block, queries);
      load_gradient(block, gradients);
    }
  }
};

/// A stage of the sums of dQ: of consumer w's queries, or of both's columns.
DEVICE Sums sums_of(u32 shared, const Barriers& barriers, int w) {
  const int i = SPLIT_QUERIES ? w : 0;
  return {shared + SUMS + i * Sums::BYTES, barriers.sums() + i * Sums::BARRIER_BYTES};
}

/// Adds the stages of one consumer, or of both, to memory: by one thread.
struct Adder {
  const BackwardParameters& p;
  const KeyBlock& keys;
  Sums sums;
  int row;   // of the stage within the tile

  DEVICE void run() const {
    QueryStep block(p, keys);
    NO_UNROLL for (int i = 0; i < keys.steps; i++, block.next(keys))
      sums.add(p.query_accumulator + (block.row(p, keys) + row) * Sums::COLUMNS, i & 1);
    bulk_wait<0>();
  }
};

DEVICE constexpr int registers(int columns) { return columns > 0 ? columns / 2 : 1; }

/// Consumer warpgroup w; S: its Share.
template <class S> struct Consumer {
  const BackwardParameters& p;
  const KeyBlock& keys;
  const u32 shared;
  const Barriers barriers;
  const int w;
  const float factor;                  // scores -> exponents of 2
  const int first_row, first_column;   // of its part of the scores: keys, queries of the tile
  QueryStep block;
  int step = 0;
  QueryPosition query, last_query, next_query;   // of this tile, the one before and the one after
  GradientPosition gradient;
  // accumulators: Sᵀ (then Pᵀ, dSᵀ), dPᵀ
  float s[SCORE_QUERIES / 2], dp[SCORE_QUERIES / 2];
  /// Columns of dQ at a time: where those of all three accumulators are more than 320 (160 registers), dQ takes two
  /// turns, or registers would spill.
  static constexpr bool ONE_PASS = STAGED_SUMS || S::QUERY <= 64 || S::KEY + S::VALUE + S::QUERY <= 320;
  static constexpr int QUERY_PASS = ONE_PASS ? S::QUERY : 64;
  float dk[registers(S::KEY)], dv[registers(S::VALUE)], dq[registers(QUERY_PASS)];
  u32 operand[SCORE_QUERIES / 16][4];                                                   // Pᵀ, then dSᵀ

  DEVICE Consumer(const BackwardParameters& p, const KeyBlock& keys, u32 shared, const Barriers& barriers, int w)
      : p(p), keys(keys), shared(shared), barriers(barriers), w(w), factor(K_NEGATE ? -p.scale_log2 : p.scale_log2),
        first_row(OWN_KEYS ? 64 * w : 0), first_column(OWN_KEYS ? 0 : SCORE_QUERIES * w), block(p, keys) {}

  DEVICE u32 query_tile(const QueryPosition& at) const { return shared + QUERY + at.stage * QueryTile::BYTES; }
  DEVICE u32 gradient_tile() const { return shared + GRADIENT + gradient.stage * GradientTile::BYTES; }
  DEVICE u32 score_gradient() const { return shared + SCORE_GRADIENT + step % 2 * ScoreTile::BYTES; }
  DEVICE u32 probability() const { return shared + PROBABILITY + step % 2 * ScoreTile::BYTES; }
  /// The thread's first row and column of the scores.
  DEVICE int own_row() const { return first_row + thread_id() / 32 % 4 * 16 + thread_id() % 32 / 4; }
  DEVICE int own_column() const { return first_column + thread_id() % 4 * 2; }

  // Sᵀ = K Qᵀ
  DEVICE void issue_scores(const QueryPosition& at) {
    barriers.query().wait(at);
    product_shared<BF, SCORE_QUERIES, DIM, KeyTile, K_MAJOR, QueryTile, K_MAJOR>(
        s, shared + KEY, first_row, query_tile(at), first_column, false);
    wgmma_commit();
  }
  // dPᵀ = V dOᵀ
  DEVICE void issue_probability_gradients() {
    barriers.gradient().wait(gradient);
    product_shared<BF, SCORE_QUERIES, VALUE_DIM, ValueTile, K_MAJOR, GradientTile, K_MAJOR>(
        dp, shared + VALUE, first_row, gradient_tile(), first_column, false);
    wgmma_commit();
  }
  // dV += Pᵀ dO
  DEVICE void issue_value_gradients() {
    if constexpr (OWN_KEYS)
      product_registers<BF, S::VALUE, QUERIES, GradientTile, MN_MAJOR>(dv, operand, gradient_tile(), 0, true);
    else if constexpr (S::VALUE > 0)
      product_shared<BF, S::VALUE, QUERIES, ScoreTile, K_MAJOR, GradientTile, MN_MAJOR>(
          dv, probability(), 0, gradient_tile(), w * VALUE_SPLIT, true);
    wgmma_commit();
  }
  // dK += dSᵀ Q
  DEVICE void issue_key_gradients() {
    if constexpr (OWN_KEYS)
      product_registers<BF, S::KEY, QUERIES, QueryTile, MN_MAJOR>(dk, operand, query_tile(query), 0, true);
    else if constexpr (S::KEY > 0)
      product_shared<BF, S::KEY, QUERIES, ScoreTile, K_MAJOR, QueryTile, MN_MAJOR>(
          dk, score_gradient(), 0, query_tile(query), w * KEY_SPLIT, true);
    wgmma_commit();
  }
  // dQ = dS K: of 64 queries all columns, or some columns of all 64
  template <int N> DEVICE void issue_query_gradients(int column, float (&dq)[registers(N)]) {
    if constexpr (QUERY_SUMS && N > 0)
      product_shared<BF, N, KEYS, ScoreTile, MN_MAJOR, KeyTile, MN_MAJOR>(
          dq, score_gradient(), SPLIT_QUERIES ? 64 * w : 0, shared + KEY, w * QUERY_SPLIT + column, false);
    wgmma_commit();
  }

  DEVICE VisibleQueries visible() const {
    return VisibleQueries(p, keys.key + own_row(), block.tile * QUERIES + own_column());
  }
  // S -> P
  DEVICE void scores_to_probabilities(bool whole) {
    const u32 log_sum = shared + LOG_SUM + query.stage * ROW_BYTES + own_column() * 4;
    if (whole) probabilities<SCORE_QUERIES>(s, factor, log_sum, AllVisible());
    else probabilities<SCORE_QUERIES>(s, factor, log_sum, visible());
  }
  // P, dP -> dS
  DEVICE void probabilities_to_gradients(bool whole) {
    const u32 delta = shared + DELTA + gradient.stage * ROW_BYTES + own_column() * 4;
    if constexpr (ROUNDED_PROBABILITIES) {
      if (whole) score_gradients<BF, SCORE_QUERIES>(dp, operand, delta, AllVisible());
      else score_gradients<BF, SCORE_QUERIES>(dp, operand, delta, visible());
    } else {
      if (whole) score_gradients<SCORE_QUERIES>(s, dp, delta, AllVisible());
      else score_gradients<SCORE_QUERIES>(s, dp, delta, visible());
    }
  }
  /// dS as an operand, and where both consumers find it: for dQ they need all keys.
  DEVICE void store_score_gradients() {
    if constexpr (ROUNDED_PROBABILITIES) accumulator_to_operand<BF, SCORE_QUERIES>(operand, dp);
    else accumulator_to_operand<BF, SCORE_QUERIES>(operand, s);
    if constexpr (QUERY_SUMS || !OWN_KEYS) {
      store_operand<ScoreTile, SCORE_QUERIES>(score_gradient(), first_row, first_column, operand);
      fence_async();
      named_sync(ALL_CONSUMERS, 128 * CONSUMERS);
    }
  }
  template <int N> DEVICE void add_query_gradients(int column, float (&dq)[registers(N)]) {
    if constexpr (QUERY_SUMS && N > 0) {
      wgmma_pin(dq);
      if constexpr (STAGED_SUMS) {
        const Sums sums = sums_of(shared, barriers, w);
        sums.begin(step & 1);
        sums.template write<N>(dq, w * QUERY_SPLIT);
        sums.end();
      } else add_sums<N>(p.query_accumulator + block.row(p, keys) * Sums::COLUMNS + w * QUERY_SPLIT + column,
          Sums::COLUMNS, dq);
    }
  }

  /// dK of a tile has been added: its operands are free.
  DEVICE void key_gradients_done(const QueryPosition& at) {
    wgmma_pin(dk);
    if constexpr (OWN_KEYS) UNROLL for (int k = 0; k < SCORE_QUERIES / 16; k++) keep(operand[k]);
    barriers.query().release(at);
  }
  /// P as an operand, dV, dS. At the end only dV may be under way.
  DEVICE void value_and_score_gradients(bool whole) {
    accumulator_to_operand<BF, SCORE_QUERIES>(operand, s);
    if constexpr (OWN_KEYS) {
      wgmma_fence();
      issue_value_gradients();
      wgmma_wait<1>();
    } else {
      store_operand<ScoreTile, SCORE_QUERIES>(probability(), first_row, first_column, operand);
      wgmma_wait<0>();
    }
    wgmma_pin(dp);
    probabilities_to_gradients(whole);
  }
  DEVICE void gradients_done() {
    wgmma_pin(dv);
    barriers.gradient().release(gradient);
  }

  /// A query tile, whose scores are there already, with LATE_KEY_GRADIENTS and dK of the tile before still under way.
  /// At its end those of the next tile are there.
  DEVICE void run_step() {
    const bool whole = keys.whole(p, block.tile);
    wgmma_fence();
    issue_probability_gradients();
    scores_to_probabilities(whole);
    if constexpr (LATE_KEY_GRADIENTS) {
      wgmma_wait<1>();
      if (step > 0) key_gradients_done(last_query);
    }
    value_and_score_gradients(whole);
    if constexpr (OWN_KEYS) {      // its operands are read until here
      wgmma_wait<0>();
      gradients_done();
    }
    store_score_gradients();
    wgmma_fence();
    if constexpr (!OWN_KEYS) issue_value_gradients();
    issue_query_gradients<QUERY_PASS>(0, dq);
    issue_scores(next_query);
    issue_key_gradients();
    wgmma_wait<2>();
    if constexpr (!OWN_KEYS) gradients_done();
    add_query_gradients<QUERY_PASS>(0, dq);
    wgmma_wait<LATE_KEY_GRADIENTS ? 1 : 0>();
    wgmma_pin(s);
    if constexpr (!LATE_KEY_GRADIENTS) key_gradients_done(query);
    if constexpr (QUERY_PASS < S::QUERY) second_query_pass();
  }
  DEVICE void second_query_pass() {
    float rest[registers(S::QUERY - QUERY_PASS)];
    wgmma_fence();
    issue_query_gradients<S::QUERY - QUERY_PASS>(QUERY_PASS, rest);
    wgmma_wait<0>();
    add_query_gradients<S::QUERY - QUERY_PASS>(QUERY_PASS, rest);
  }

  DEVICE void accumulate() {
    mbarrier_wait(barriers.key(), 0);
    wgmma_fence();
    issue_scores(query);
    mbarrier_wait(barriers.value(), 0);
    wgmma_wait<0>();
    wgmma_pin(s);
    NO_UNROLL for (; step < keys.steps; step++) {
      next_query = query;
      // the last scores are computed again, for nothing: with a branch ptxas would serialise the products
      if (step + 1 < keys.steps) next_query.advance();
      run_step();
      block.next(keys);
      last_query = query;
      query = next_query;
      gradient.advance();
    }
    wgmma_wait<0>();
    wgmma_pin(dk);
  }

  /// dK scale and dV of the keys that exist.
  DEVICE void store() {
    UNROLL for (int r = 0; r < 2; r++) {
      const int key = keys.key + first_row + thread_id() / 32 % 4 * 16 + thread_id() % 32 / 4 + 8 * r;
      const bool exists = key < p.key_length;
      u16* to_key = head_of<u16>(p.key_gradient, keys.batch, keys.key_head) + key * p.key_gradient.row;
      u16* to_value = head_of<u16>(p.value_gradient, keys.batch, keys.key_head) + key * p.value_gradient.row;
      if constexpr (S::KEY > 0)
        store_row<BF, S::KEY_STORED, S::KEY>(to_key + w * KEY_SPLIT, dk, r, (float)p.scale, exists);
      if constexpr (S::VALUE > 0)
        store_row<BF, S::VALUE_STORED, S::VALUE>(to_value + w * VALUE_SPLIT, dv, r, 1.f, exists);
    }
  }

  DEVICE void run() {
    UNROLL for (int i = 0; i < registers(S::KEY); i++) dk[i] = 0.f;
    UNROLL for (int i = 0; i < registers(S::VALUE); i++) dv[i] = 0.f;
    if (keys.steps > 0) accumulate();
    store();
  }
};

KERNEL(torchflash_backward_hopper, THREADS, 1, PARAMETER(BackwardParameters) p, PARAMETER(TensorMap) query,
    PARAMETER(TensorMap) key,
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
  if constexpr (STAGED_SUMS && DIM < Sums::COLUMNS)
    UNROLL for (int i = 0; i < SUM_STAGES; i++) sums_of(shared, barriers, i).clear(DIM, thread_id(), THREADS);
  sync_threads();
  const KeyBlock keys(p);
  const int warpgroup = shuffle((u32)(thread_id() / 128), 0);   // the same for the warp, as the compiler then sees
  if (warpgroup == 0) {
    registers_decrease<PRODUCER_REGISTERS>();
    const int warp = thread_id() / 32;
    if (thread_id() == 0) Producer{p, keys, &query, &key, &value, &gradient, shared, barriers}.run();
    else if (warp > 0 && warp <= SUM_STAGES && thread_id() % 32 == 0)
      Adder{p, keys, sums_of(shared, barriers, warp - 1), 64 * (warp - 1)}.run();
  } else {
    registers_increase<CONSUMER_REGISTERS>();
    if constexpr (SAME<Share<0>, Share<1>>) Consumer<Share<0>>(p, keys, shared, barriers, warpgroup - 1).run();
    else if (warpgroup == 1) Consumer<Share<0>>(p, keys, shared, barriers, 0).run();
    else Consumer<Share<1>>(p, keys, shared, barriers, 1).run();
  }
}
