// O = softmax(scale Q Kᵀ) V and the row statistics m, l for bfloat16 and half on sm_90a: FlashAttention with TMA, wgmma and warp specialisation.
//
// One persistent block a multiprocessor. Warpgroup 0 is the producer: one thread of it keeps rings of K and V tiles filled by TMA. The
// consumer warpgroups own 64 query rows each of the same tile of queries, and walk the keys backwards (masked tiles come first):
//
//   tensor cores   S_n = Q K_nᵀ | O += P_n+1 V_n+1 |    the other warpgroups' products    | S_n-1 = Q K_n-1ᵀ | O += P_n V_n | ...
//   this group                     softmax: S_n -> P_n, scale O ..........................
//
// so that within a warpgroup softmax overlaps the product with V of the tile before, and named barriers hand the tensor cores round from
// warpgroup to warpgroup, so that one's softmax overlaps the others' products.
#include "masking.cuh"
#include "hopper_forward_size.cuh"
#include "hopper_pipeline.cuh"
#include "hopper_product.cuh"
#include "hopper_masking.cuh"
#include "hopper_softmax.cuh"
#include "hopper_nonfinite.cuh"
#include "hopper_epilogue.cuh"
#include "hopper_work.cuh"

using namespace forward_size;
static_assert(K_ALIGNED == 1, "TMA takes 16-byte aligned rows");
static_assert(K_HEAD_DIM % 8 == 0 && K_VALUE_DIM % 8 == 0 && K_HEAD_DIM <= 256 && K_VALUE_DIM <= 256, "head dims of this kernel");

KERNEL_SHAPE(THREADS, (int)SHARED_BYTES, ROWS, 0, 1, 1, 64, COLUMNS, PANEL);

constexpr bool BF = K_TYPE == 1;
typedef WorkOrder<K_CAUSAL != 0> Order;
typedef RingPosition<STAGES> Position;

/// The mbarriers: Q is a ring of one stage for each consumer, K and V have one ring each for all of them.
struct Barriers {
  u32 base;
  DEVICE Ring<1> query(int consumer) const { return {base + 16 * consumer}; }
  DEVICE Ring<STAGES> key() const { return {base + 16 * CONSUMERS}; }
  DEVICE Ring<STAGES> value() const { return {base + 16 * (CONSUMERS + STAGES)}; }

  DEVICE void init() const {
    UNROLL for (int c = 0; c < CONSUMERS; c++) query(c).init(4);
    key().init(4 * CONSUMERS);
    value().init(4 * CONSUMERS);
  }
};

/// A unit of work: ROWS queries of one head, and the tiles of keys that any of them sees.
struct QueryBlock {
  int batch, head, key_head, row;   // row: the first query
  int tiles, whole;                 // key tiles 0 .. tiles - 1 are seen; of these 0 .. whole - 1 by every query, entirely

  DEVICE QueryBlock(const ForwardParameters& p, const RankedUnit& unit, int query_tiles) {
    batch = unit.pair / p.heads;
    head = unit.pair % p.heads;
    key_head = head / p.group;
    row = (K_CAUSAL ? query_tiles - 1 - unit.rank : unit.rank) * ROWS;   // causal: the last queries see the most keys
    const KeyRange keys = key_range(p, row, ROWS);
    tiles = (keys.end + COLUMNS - 1) / COLUMNS;
    whole = keys.whole / COLUMNS;
  }
};

DEVICE int query_tiles(const ForwardParameters& p) { return (p.query_length + ROWS - 1) / ROWS; }
DEVICE Order work_order(const ForwardParameters& p) {
  return Order(query_tiles(p), p.batch * p.heads, (i64)p.key_length * (ROW_BYTES + VALUE_ROW_BYTES), p.group);
}

/// Fills the rings: K of the last tile, Q, then K of each tile before V of the one after it, in the order in which the consumers ask.
struct Producer {
  const ForwardParameters& p;
  const TensorMap *query, *key, *value;
  u32 shared;
  Barriers barriers;
  Position keys, values;
  RingPosition<1> queries;

  DEVICE void load_query(const QueryBlock& block) {
    UNROLL for (int c = 0; c < CONSUMERS; c++) {
      barriers.query(c).acquire(queries, QueryTile::BYTES);
      QueryTile::load(shared + QUERY + c * QueryTile::BYTES, query, barriers.query(c).full(0), block.row + 64 * c, block.head, block.batch);
    }
    queries.advance();
  }
  DEVICE void load_key(const QueryBlock& block, int tile) {
    barriers.key().acquire(keys, KeyTile::BYTES);
    KeyTile::load(shared + KEY + keys.stage * KeyTile::BYTES, key, barriers.key().full(keys.stage), tile * COLUMNS, block.key_head, block.batch);
    keys.advance();
  }
  DEVICE void load_value(const QueryBlock& block, int tile) {
    barriers.value().acquire(values, ValueTile::BYTES);
    ValueTile::load(shared + VALUE + values.stage * ValueTile::BYTES, value, barriers.value().full(values.stage), tile * COLUMNS, block.key_head, block.batch);
    values.advance();
  }
  DEVICE void run() {
    Order order = work_order(p);
    RankedUnit unit;
    while (order.next(unit)) {
      const QueryBlock block(p, unit, query_tiles(p));
      if (block.tiles == 0) continue;
      load_key(block, block.tiles - 1);
      load_query(block);
      NO_UNROLL for (int tile = block.tiles - 2; tile >= 0; tile--) {
        load_key(block, tile);
        load_value(block, tile + 1);
      }
      load_value(block, 0);
    }
  }
};

/// Hands the tensor cores round: consumer c issues its products after consumer c - 1 has issued its own. Worth it where a softmax takes
/// about as long as the other warpgroups' products; with the long products of wide heads they find their turns by themselves.
struct Turns {
  static constexpr bool USED = DIM <= 128 && VALUE_DIM <= 128;
  int consumer;
  DEVICE static u32 barrier(int c) { return 1 + c; }
  DEVICE void start() const { if (USED && consumer == CONSUMERS - 1) named_arrive(barrier(0), 256); }
  DEVICE void take() const { if (USED) named_sync(barrier(consumer), 256); }
  DEVICE void pass() const { if (USED) named_arrive(barrier(consumer == CONSUMERS - 1 ? 0 : consumer + 1), 256); }
  DEVICE void finish() const { if (USED && consumer == 0) named_sync(barrier(0), 256); }   // the arrival nobody has taken
};

DEVICE u16* head_of(const View& view, int batch, int head) { return (u16*)view.data + batch * view.batch + head * view.head; }

struct Consumer {
  const ForwardParameters& p;
  u32 shared;
  Barriers barriers;
  int index;          // among the consumers
  float scale_log2;
  Position keys, values;
  RingPosition<1> queries;
  float s[COLUMNS / 2], o[VALUE_DIM / 2];   // accumulators: S (64 x COLUMNS), O (64 x d_v)
  u32 probabilities[COLUMNS / 16][4];       // P as the A operand
  OnlineSoftmax softmax;
  int seen[2];                              // keys that this thread's two rows see

  /// This thread's first row of the tile of queries; the second is 8 further.
  DEVICE int own_row() const { return 64 * index + thread_id() % 128 / 32 * 16 + thread_id() % 32 / 4; }

  // S = Q Kᵀ, of the stage of `keys`
  DEVICE void issue_scores() {
    product_shared<BF, COLUMNS, DIM, QueryTile, K_MAJOR, KeyTile, K_MAJOR>(
        s, shared + QUERY + index * QueryTile::BYTES, 0, shared + KEY + keys.stage * KeyTile::BYTES, 0, false);
    wgmma_commit();
  }
  // O += P V, of the stage of `values`
  DEVICE void issue_output() {
    product_registers<BF, VALUE_DIM, COLUMNS, ValueTile, MN_MAJOR>(o, probabilities, shared + VALUE + values.stage * ValueTile::BYTES, 0, true);
    wgmma_commit();
  }
  DEVICE void scores_done() {
    wgmma_pin(s);
    barriers.key().release(keys);
    keys.advance();
  }
  DEVICE void output_done() {
    wgmma_pin(o);
    barriers.value().release(values);
    values.advance();
  }
  /// Keeps the waits that follow behind the computation of x, never negative. To the compiler arithmetic may cross wgmma.wait_group, and it
  /// would rather wait for O += P V at once than compute the next P meanwhile; a predicated arrival (that never happens) it can't cross.
  DEVICE void hold_back(float x) const { if (x < 0.f) mbarrier_arrive(barriers.base); }
  // S -> P in place, m and l updated. True where O has to be scaled by c.
  DEVICE bool scores_to_probabilities(int tile, bool masked, float (&c)[2]) {
    if constexpr (K_NEGATE) UNROLL for (int i = 0; i < COLUMNS / 2; i++) s[i] = -s[i];
    if (masked) mask_scores<COLUMNS>(s, seen, tile * COLUMNS);
    softmax.template raise_maximum<COLUMNS>(s);
    const bool moved = softmax.follow_maximum(c, scale_log2);
    softmax.template exponentiate<COLUMNS>(s, scale_log2);
    return moved;
  }

  DEVICE void start(const QueryBlock& block) {
    UNROLL for (int i = 0; i < VALUE_DIM / 2; i++) o[i] = 0.f;
    softmax.start();
    UNROLL for (int r = 0; r < 2; r++) seen[r] = visible_keys(p, block.row + own_row() + 8 * r);
  }
  /// The first tile: only its scores.
  DEVICE void begin(const QueryBlock& block) {
    barriers.query(index).wait(queries);
    barriers.key().wait(keys);
    wgmma_fence();
    issue_scores();
    wgmma_wait<0>();
    scores_done();
    float c[2];
    scores_to_probabilities(block.tiles - 1, block.tiles > block.whole, c);
    accumulator_to_operand<BF, COLUMNS>(probabilities, s);
  }
  /// One tile: its scores while the tile before it (tile + 1) is multiplied with V.
  template <bool MASKED> DEVICE void step(const Turns& turns, int tile) {
    barriers.key().wait(keys);
    turns.take();
    wgmma_fence();
    issue_scores();
    barriers.value().wait(values);
    issue_output();
    turns.pass();
    wgmma_wait<1>();
    scores_done();
    float c[2];
    const bool moved = scores_to_probabilities(tile, MASKED, c);
    hold_back(softmax.sum[0] + softmax.sum[1]);
    wgmma_wait<0>();
    output_done();
    if (moved) UNROLL for (int i = 0; i < VALUE_DIM / 2; i++) o[i] *= c[i / 2 % 2];
    accumulator_to_operand<BF, COLUMNS>(probabilities, s);
  }
  /// The product with V of tile 0. Q is not read any more.
  DEVICE void end() {
    barriers.query(index).release(queries);
    queries.advance();
    barriers.value().wait(values);
    wgmma_fence();
    issue_output();
    wgmma_wait<0>();
    output_done();
  }

  /// See HiddenKeys. (Keys past the last one load as zeros: no harm without a diagonal.)
  DEVICE void mend(const QueryBlock& block) {
    typedef HiddenKeys<BF, K_HEAD_DIM, K_VALUE_DIM, VALUE_DIM> Hidden;
    UNROLL for (int r = 0; r < 2; r++) {
      const int row = block.row + own_row() + 8 * r, end = smaller(block.tiles * COLUMNS, p.key_length);
      if (Hidden::finite(o, r) || row >= p.query_length || seen[r] >= end) continue;
      const Hidden hidden{head_of(p.query, block.batch, block.head) + row * p.query.row,
                          head_of(p.key, block.batch, block.key_head),
                          head_of(p.value, block.batch, block.key_head),
                          p.key.row, p.value.row, seen[r], end,
                          K_NEGATE ? -scale_log2 : scale_log2, softmax.shift(r, scale_log2)};
      if (hidden.to_blame()) hidden.recompute(o, r);
    }
  }
  /// O / l, m and l of the rows that exist.
  DEVICE void store(const QueryBlock& block) {
    if constexpr (K_CAUSAL) mend(block);
    float factor[2];
    softmax.finish(factor, seen, scale_log2);
    UNROLL for (int r = 0; r < 2; r++) {
      const int row = block.row + own_row() + 8 * r;
      const bool exists = row < p.query_length;
      u16* output = head_of(p.output, block.batch, block.head) + row * p.output.row;
      store_row<BF, K_VALUE_DIM, VALUE_DIM>(output, o, r, factor[r], exists);
      if (exists && thread_id() % 4 == 0) {
        const i64 at = ((i64)block.batch * p.heads + block.head) * p.query_length + row;
        stg((float*)p.maximum + at, softmax.maximum[r]);
        stg((float*)p.sum + at, softmax.sum[r]);
      }
    }
  }
  DEVICE void run() {
    const Turns turns{index};
    turns.start();
    Order order = work_order(p);
    RankedUnit unit;
    while (order.next(unit)) {
      const QueryBlock block(p, unit, query_tiles(p));
      start(block);
      if (block.tiles > 0) {
        begin(block);
        int tile = block.tiles - 2;
        if constexpr (K_CAUSAL) NO_UNROLL for (; tile >= block.whole; tile--) step<true>(turns, tile);
        NO_UNROLL for (; tile >= 0; tile--) step<false>(turns, tile);
        end();
      }
      store(block);
    }
    turns.finish();
  }
};

KERNEL(torchflash_forward_hopper, THREADS, 1, PARAMETER(ForwardParameters) p, PARAMETER(TensorMap) query, PARAMETER(TensorMap) key,
       PARAMETER(TensorMap) value) {
  const u32 shared = shared_base();
  const Barriers barriers{shared + BARRIERS};
  if (thread_id() == 0) {
    tma_prefetch(&query);
    tma_prefetch(&key);
    tma_prefetch(&value);
    barriers.init();
    mbarrier_fence_init();
  }
  sync_threads();
  const int warpgroup = shuffle((u32)(thread_id() / 128), 0);   // the same for the warp, as the compiler then sees
  if (warpgroup == 0) {
    registers_decrease<PRODUCER_REGISTERS>();
    if (thread_id() == 0) {
      Producer producer{p, &query, &key, &value, shared, barriers};
      producer.run();
    }
  } else {
    registers_increase<CONSUMER_REGISTERS>();
    // scale 0: every score counts the same, and -inf must still be masked: -inf * tiny is -inf, -inf * 0 is not
    Consumer consumer{p, shared, barriers, warpgroup - 1, fmaxf(p.scale_log2, 1e-37f)};
    consumer.run();
  }
}
