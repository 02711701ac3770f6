// O = softmax(scale Q Kᵀ) V and the row statistics m, l for bfloat16 and half on sm_90a: FlashAttention with TMA, wgmma
// and warp specialisation.
//
// One persistent block a multiprocessor. Warpgroup 0 is the producer: one thread of it keeps rings of K and V tiles
// filled by TMA. The consumer warpgroups own 64 query rows each of the same tile of queries, and walk the keys
// backwards (masked tiles come first):
//
//   tensor cores   S_n = Q K_nᵀ | O += P_n+1 V_n+1 |  the other warpgroups' products  | S_n-1 = Q K_n-1ᵀ | O += P_n V_n
//   this group                     softmax: S_n -> P_n, scale O ......................
//
// so that within a warpgroup softmax overlaps the product with V of the tile before, and named barriers hand the tensor
// cores round from warpgroup to warpgroup, so that one's softmax overlaps the others' products. This goes on from unit
// to unit: the scores of the next unit's first tile come with the last product of this one, whose O is stored after
// that tile's softmax.
#include "masking.cuh"
#include "hopper_forward_size.cuh"
#include "hopper_pipeline.cuh"
#include "hopper_softmax.cuh"
#include "hopper_epilogue.cuh"
#include "hopper_work.cuh"
#include "work.cuh"

using namespace forward_size;
static_assert(K_ALIGNED == 1, "TMA takes 16-byte aligned rows");
static_assert(K_HEAD_DIM % 8 == 0 && K_VALUE_DIM % 8 == 0 && K_HEAD_DIM <= 256 && K_VALUE_DIM <= 256,
    "head dims of this kernel");

KERNEL_SHAPE(THREADS, (int)SHARED_BYTES, ROWS, 0, 1, 1, 64, COLUMNS, PANEL);

constexpr bool BF = K_TYPE == 1;
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

/// A unit of work: ROWS queries of one head, from `row` on, and the tiles of keys that any of them sees. (Few numbers
/// are kept, the rest is worked out when needed: registers are scarce.)
struct QueryBlock {
  int pair, row;   // batch entry * heads + head; first query

  DEVICE void set(int pair, int rank, int query_tiles) {
    this->pair = pair;
    row = (K_CAUSAL ? query_tiles - 1 - rank : rank) * ROWS;   // causal: the last queries see the most keys
  }
  /// Key tiles 0 .. tiles - 1 are seen; of these 0 .. whole - 1 by every query, entirely.
  DEVICE int tiles(const ForwardParameters& p) const { return (key_range(p, row, ROWS).end + COLUMNS - 1) / COLUMNS; }
  DEVICE int whole(const ForwardParameters& p) const { return key_range(p, row, ROWS).whole / COLUMNS; }
  DEVICE int batch(const ForwardParameters& p) const { return pair / p.heads; }
  DEVICE int head(const ForwardParameters& p) const { return pair % p.heads; }
  DEVICE int key_head(const ForwardParameters& p) const { return head(p) / p.group; }

  /// Row 0 of this block's head of O.
  DEVICE u16* output(const ForwardParameters& p) const { return head_of<u16>(p.output, batch(p), head(p)); }
};

/// The units of this block of threads, one after the other.
struct BlockSequence {
  const ForwardParameters& p;
  WorkOrder<K_CAUSAL != 0> order;

  DEVICE BlockSequence(const ForwardParameters& p)
      : p(p), order(p.batch * p.heads, (i64)p.key_length * (ROW_BYTES + VALUE_ROW_BYTES), p.group) {}

  /// The next unit with keys; the ones without are handed to `empty`. False when there is none left.
  template <class Empty> DEVICE bool next(QueryBlock& block, Empty empty) {
    const int query_tiles = (p.query_length + ROWS - 1) / ROWS;
    int pair, rank;
    while (order.next(pair, rank, query_tiles, p.batch * p.heads)) {
      block.set(pair, rank, query_tiles);
      if (block.tiles(p) > 0) return true;
      empty(block);
    }
    return false;
  }
};

/// Fills the rings in the order in which the consumers ask: K of each tile before V of the one after it, also from one
/// unit to the next.
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
      QueryTile::load(shared + QUERY + c * QueryTile::BYTES, query, barriers.query(c).full(0), block.row + 64 * c,
          block.head(p), block.batch(p));
    }
    queries.advance();
  }
  DEVICE void load_key(const QueryBlock& block, int tile) {
    barriers.key().acquire(keys, KeyTile::BYTES);
    KeyTile::load(shared + KEY + keys.stage * KeyTile::BYTES, key, barriers.key().full(keys.stage), tile * COLUMNS,
        block.key_head(p), block.batch(p));
    keys.advance();
  }
  DEVICE void load_value(const QueryBlock& block, int tile) {
    barriers.value().acquire(values, ValueTile::BYTES);
    ValueTile::load(shared + VALUE + values.stage * ValueTile::BYTES, value, barriers.value().full(values.stage),
        tile * COLUMNS, block.key_head(p), block.batch(p));
    values.advance();
  }
  DEVICE void run() {
    BlockSequence sequence(p);
    QueryBlock block, previous;
    bool begun = false;
    for (; sequence.next(block, [](const QueryBlock&) {}); begun = true, previous = block) {
      const int tiles = block.tiles(p);
      load_key(block, tiles - 1);
      if (begun) load_value(previous, 0);
      load_query(block);
      NO_UNROLL for (int tile = tiles - 2; tile >= 0; tile--) {
        load_key(block, tile);
        load_value(block, tile + 1);
      }
    }
    if (begun) load_value(previous, 0);
  }
};

/// Hands the tensor cores round: consumer c issues its products after consumer c - 1 has issued its own. Worth it where
/// a softmax takes about as long as the other warpgroups' products; with the long products of wide heads they find
/// their turns by themselves.
struct Turns {
  static constexpr bool USED = DIM <= 128 && VALUE_DIM <= 128;
  int consumer;
  DEVICE static u32 barrier(int c) { return 1 + c; }
  DEVICE void start() const { if (USED && consumer == CONSUMERS - 1) named_arrive(barrier(0), 256); }
  DEVICE void take() const { if (USED) named_sync(barrier(consumer), 256); }
  DEVICE void pass() const { if (USED) named_arrive(barrier(consumer == CONSUMERS - 1 ? 0 : consumer + 1), 256); }
  // the arrival nobody has taken
  DEVICE void finish() const { if (USED && consumer == 0) named_sync(barrier(0), 256); }
};

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
  WarpgroupSoftmax softmax;
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
    product_registers<BF, VALUE_DIM, COLUMNS, ValueTile, MN_MAJOR>(
        o, probabilities, shared + VALUE + values.stage * ValueTile::BYTES, 0, true);
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
  /// Keeps the waits that follow behind the computation of x, never negative. To the compiler arithmetic may cross
  /// wgmma.wait_group, and it would rather wait for O += P V at once than compute the next P meanwhile; a predicated
  /// arrival (that never happens) it can't cross.
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

  DEVICE void start_rows(const QueryBlock& block) {
    softmax.start();
    UNROLL for (int r = 0; r < 2; r++) seen[r] = visible_keys(p, block.row + own_row() + 8 * r);
  }
  DEVICE void clear_output() { UNROLL for (int i = 0; i < VALUE_DIM / 2; i++) o[i] = 0.f; }
  /// The last scores of a tile of queries are there: Q may be replaced.
  DEVICE void release_query() {
    barriers.query(index).release(queries);
    queries.advance();
  }

  /// The very first tile: only its scores.
  DEVICE void begin(const QueryBlock& block) {
    start_rows(block);
    clear_output();
    barriers.query(index).wait(queries);
    barriers.key().wait(keys);
    wgmma_fence();
    issue_scores();
    wgmma_wait<0>();
    scores_done();
    const int tile = block.tiles(p) - 1;
    if (tile == 0) release_query();
    float c[2];
    scores_to_probabilities(tile, tile >= block.whole(p), c);
    accumulator_to_operand<BF, COLUMNS>(probabilities, s);
  }
  /// One tile: its scores while the tile before it (tile + 1) is multiplied with V. With the first tile of a block that
  /// is the last one of the block before, whose O is stored.
  DEVICE void step(const Turns& turns, const QueryBlock& block, int tile, bool first, bool masked,
      const QueryBlock& previous) {
    if (first) barriers.query(index).wait(queries);
    barriers.key().wait(keys);
    turns.take();
    wgmma_fence();
    issue_scores();
    barriers.value().wait(values);
    issue_output();
    turns.pass();
    wgmma_wait<1>();
    scores_done();
    if (tile == 0) release_query();
    float factor[2], c[2];
    if (first) {
      finish_rows(previous, factor);
      start_rows(block);
    }
    const bool moved = scores_to_probabilities(tile, masked, c);
    hold_back(softmax.sum[0] + softmax.sum[1]);
    wgmma_wait<0>();
    output_done();
    accumulator_to_operand<BF, COLUMNS>(probabilities, s);
    if (first) {
      store(previous, factor);
      clear_output();
    } else if (moved) {
      UNROLL for (int i = 0; i < VALUE_DIM / 2; i++) o[i] *= c[i / 2 % 2];
    }
  }
  /// The very last product with V.
  DEVICE void end(const QueryBlock& block) {
    barriers.value().wait(values);
    wgmma_fence();
    issue_output();
    wgmma_wait<0>();
    output_done();
    float factor[2];
    finish_rows(block, factor);
    store(block, factor);
  }

  DEVICE void store_statistics(const QueryBlock& block, int row, float maximum, float sum) {
    const i64 at = (i64)block.pair * p.query_length + row;
    stg((float*)p.maximum + at, maximum);
    stg((float*)p.sum + at, sum);
  }
  /// m and l are complete: they are stored, and O remains to be multiplied with factor.
  DEVICE void finish_rows(const QueryBlock& block, float (&factor)[2]) {
    softmax.finish(factor, scale_log2);
    UNROLL for (int r = 0; r < 2; r++) {
      const int row = block.row + own_row() + 8 * r;
      if (row < p.query_length && thread_id() % 4 == 0)
        store_statistics(block, row, softmax.maximum[r], softmax.sum[r]);
    }
  }
  /// O / l of the rows that exist.
  DEVICE void store(const QueryBlock& block, const float (&factor)[2]) {
    UNROLL for (int r = 0; r < 2; r++) {
      const int row = block.row + own_row() + 8 * r;
      // 0 times a hidden NaN, perhaps
      if (K_CAUSAL && factor[r] == 0.f) UNROLL for (int i = 2 * r; i < VALUE_DIM / 2; i += 4) o[i] = o[i + 1] = 0.f;
      store_row<BF, K_VALUE_DIM, VALUE_DIM>(block.output(p) + row * p.output.row, o, r, factor[r],
          row < p.query_length);
    }
  }
  /// A tile of queries that sees no key: O = 0, m = -inf, l = 0. This warpgroup's 64 rows, two threads a row.
  DEVICE void store_empty(const QueryBlock& block) {
    const int row = block.row + 64 * index + thread_id() % 128 / 2, half = thread_id() % 2;
    if (row >= p.query_length) return;
    u16* output = block.output(p) + row * p.output.row;
    for (int column = 8 * half; column < K_VALUE_DIM; column += 16) stg((V4*)(output + column), V4{0, 0, 0, 0});
    if (half == 0) store_statistics(block, row, -infinity(), 0.f);
  }

  DEVICE void run() {
    const Turns turns{index};
    BlockSequence sequence(p);
    QueryBlock block, previous;
    const auto next = [&](QueryBlock& to) {
      return sequence.next(to, [&](const QueryBlock& empty) { store_empty(empty); });
    };
    if (!next(block)) return;
    turns.start();
    begin(block);
    int tile = block.tiles(p) - 1;
    for (bool more = true; more;) {
      if (tile == 0) {
        previous = block;
        more = next(block);
        tile = block.tiles(p);
      }
      tile--;
      const bool first = tile == block.tiles(p) - 1, masked = tile >= block.whole(p);
      if (!more) end(previous);
      else if (first || masked) step(turns, block, tile, first, masked, previous);
      else NO_UNROLL for (;; tile--) {
        step(turns, block, tile, false, false, previous);
        if (tile == 0) break;
      }
    }
    turns.finish();
  }
};

KERNEL(torchflash_forward_hopper, THREADS, 1, PARAMETER(ForwardParameters) p, PARAMETER(TensorMap) query,
    PARAMETER(TensorMap) key,
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
