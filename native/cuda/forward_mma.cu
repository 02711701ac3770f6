// Attention forward with mma.sync (sm_80 and up), bfloat16 and half. A block takes `rows` queries of one head and walks over
// the keys they see, `columns` at a time and backwards, so that the tiles that need a mask come first:
//   S = Q Kᵀ (through the score program),  m <- max(m, rowmax S),  P = exp(|scale| (S - m)),  l <- l + rowsum P,  O <- O + P V;  at the end O / l.
#include "tile_size.cuh"
#include "softmax.cuh"
#include "scores.cuh"
#include "epilogue.cuh"

static constexpr ForwardShape SHAPE = forward_shape();
static_assert(SHAPE.shared_bytes() <= K_SHARED_LIMIT, "the block must fit");
static_assert(SHAPE.rows % (16 * SHAPE.warps) == 0 && SHAPE.columns % 16 == 0 && SHAPE.stages <= 2, "whole blocks of 16");

struct Forward {
  static constexpr int ROWS = SHAPE.rows, COLUMNS = SHAPE.columns, STAGES = SHAPE.stages, THREADS = SHAPE.warps * 32;
  static constexpr int WARP_ROWS = ROWS / SHAPE.warps, M = WARP_ROWS / 16, N = COLUMNS / 8;
  static constexpr u32 QUERY = 0, KEY = tile_bytes(ROWS, HEAD_DIM), KEY_BYTES = tile_bytes(COLUMNS, HEAD_DIM);
  static constexpr u32 VALUE = KEY + STAGES * KEY_BYTES, VALUE_BYTES = tile_bytes(COLUMNS, VALUE_DIM);
  using KeyLoader = TileLoader<COLUMNS, K_HEAD_DIM, THREADS>;
  using ValueLoader = TileLoader<COLUMNS, K_VALUE_DIM, THREADS>;

  const Scored<ForwardParameters>& p;
  const WorkUnit unit;
  const int first, warp_first;       // first query row of the block, of the warp
  const KeyRange keys;
  const Scores program;
  KeyLoader key_loader;              // each stands at the tile that it will load next, or, where tiles are left out, at the first
  ValueLoader value_loader;
  const u32 shared, query_lane, key_lane, value_lane;
  const float scale_log2;
  OnlineSoftmax<M> softmax;
  float o[M][VALUE_DIM / 8][4];       // relative to softmax.maximum, as l is

  DEVICE static WorkUnit find_work(const ForwardParameters& p) {
    const int tiles = (p.query_length + ROWS - 1) / ROWS;
    if (!K_CAUSAL) return work_by_head(block_id(), tiles, p.heads);
    const int together = heads_in_cache(p.key_length, (HEAD_DIM + VALUE_DIM) * 2, p.group, p.heads * p.batch);
    WorkUnit unit = work_by_cost(block_id(), tiles, p.heads, p.batch, together);
    unit.tile = tiles - 1 - unit.tile;   // the last queries see most keys
    return unit;
  }

  DEVICE Forward(const Scored<ForwardParameters>& parameters)
      : p(parameters), unit(find_work(p)), first(unit.tile * ROWS), warp_first(first + thread_id() / 32 * WARP_ROWS),
        keys(key_range(p, first, ROWS)), program(p, unit.batch, unit.head),
        key_loader(head_of<u16>(p.key, unit.batch, unit.head / p.group), p.key.row),
        value_loader(head_of<u16>(p.value, unit.batch, unit.head / p.group), p.value.row),
        shared(shared_base()), query_lane(shared + QUERY + thread_id() / 32 * WARP_ROWS * tile_stride(HEAD_DIM) + lane_down(tile_stride(HEAD_DIM))),
        key_lane(shared + KEY + lane_across(tile_stride(HEAD_DIM))), value_lane(shared + VALUE + lane_down(tile_stride(VALUE_DIM))),
        scale_log2(softmax_scale(p.scale_log2)) {
    softmax.start();
    clear(o);
  }

  /// The keys that the lane's rows see.
  DEVICE void seen_keys(int (&seen)[M][2]) const {
    UNROLL for (int m = 0; m < M; m++) UNROLL for (int r = 0; r < 2; r++)
      seen[m][r] = visible_keys(p, warp_first + m * 16 + r * 8 + thread_id() % 32 / 4);
  }

  /// The tile where the loader stands, which is the one before it next time. Turns count down.
  template <bool WHOLE> DEVICE void load_key(int tile, int turn) {
    key_loader.template load<WHOLE>(shared + KEY + turn % STAGES * KEY_BYTES, p.key_length - tile * COLUMNS, score::HIDES ? tile * COLUMNS * p.key.row : 0);
    if (!score::HIDES) key_loader.move(-COLUMNS);
  }
  template <bool WHOLE> DEVICE void load_value(int tile, int turn) {
    value_loader.template load<WHOLE>(shared + VALUE + turn % STAGES * VALUE_BYTES, p.key_length - tile * COLUMNS, score::HIDES ? tile * COLUMNS * p.value.row : 0);
    if (!score::HIDES) value_loader.move(-COLUMNS);
  }

  /// Q, and of the last tile what the first turn of the loop waits for.
  DEVICE void begin(int tile, int turn) {
    TileLoader<ROWS, K_HEAD_DIM, THREADS> query_loader(head_of<u16>(p.query, unit.batch, unit.head) + first * p.query.row, p.query.row);
    query_loader.template load<false>(shared + QUERY, p.query_length - first);
    if (!score::HIDES) {
      key_loader.move(tile * COLUMNS);
      value_loader.move(tile * COLUMNS);
    }
    load_key<false>(tile, turn);
    if (STAGES == 2) load_value<false>(tile, turn);
    cp_async_commit();
  }

  /// S = Q Kᵀ.
  DEVICE void scores(float (&s)[M][N][4], int stage) const {
    clear(s);
    const u32 key = key_lane + stage * KEY_BYTES;
    multiply<HEAD_DIM / 16>(s,
        [&](u32 (&f)[4], int k, int m) { ldmatrix4(f, query_lane + m * 16 * tile_stride(HEAD_DIM) + k * 32); },
        [&](u32 (&f)[4], int k, int n) { ldmatrix4(f, key + n * 16 * tile_stride(HEAD_DIM) + k * 32); });
    if (K_NEGATE && !score::MODIFIES) UNROLL for (int m = 0; m < M; m++) UNROLL for (int n = 0; n < N; n++) UNROLL for (int i = 0; i < 4; i++) s[m][n][i] = -s[m][n][i];
  }

  /// S as the program has it, -inf where a pair does not exist.
  template <bool MASKED> DEVICE void run_program(float (&s)[M][N][4], int column) const {
    const int row = warp_first + thread_id() % 32 / 4, key = column + thread_id() % 4 * 2;
    UNROLL for (int m = 0; m < M; m++) UNROLL for (int n = 0; n < N; n++) UNROLL for (int i = 0; i < 4; i++) {
      float& x = s[m][n][i];
      if (score::MODIFIES) x = program(x, row + m * 16 + i / 2 * 8, key + n * 8 + i % 2);
      if (MASKED && !program.exists(row + m * 16 + i / 2 * 8, key + n * 8 + i % 2)) x = -infinity();
    }
  }

  /// P -> Z o P: the dropped weights are 0.
  DEVICE void drop(float (&s)[M][N][4], int column) const {
    UNROLL for (int m = 0; m < M; m++) UNROLL for (int n = 0; n < N; n++) {
      const u32 kept = program.dropout.of_block(warp_first + m * 16 + thread_id() % 32 / 4, column + n * 8);
      UNROLL for (int i = 0; i < 4; i++) if (!(kept >> i & 1)) s[m][n][i] = 0.f;
    }
  }

  /// O += P V.
  DEVICE void accumulate(const float (&s)[M][N][4], int stage) {
    u32 weights[M][N / 2][4];
    pack_left<BF>(weights, s);
    const u32 value = value_lane + stage * VALUE_BYTES;
    multiply<COLUMNS / 16>(o,
        [&](u32 (&f)[4], int k, int m) { UNROLL for (int i = 0; i < 4; i++) f[i] = weights[m][k][i]; },
        [&](u32 (&f)[4], int k, int n) { ldmatrix4_trans(f, value + k * 16 * tile_stride(VALUE_DIM) + n * 32); });
  }

  /// One tile of keys, and the one that comes after it. MASKED: some rows do not see all of it; it may also be the operand's last and short.
  template <bool MASKED> DEVICE void tile(int j, int turn, int next) {
    const int stage = turn % STAGES;
    cp_async_wait<0>();
    sync_threads();                      // tile j (with one stage: its K) has landed for all, and all are done with tile j + 1
    if (STAGES == 2) {
      if (next >= 0) { load_key<true>(next, turn - 1); load_value<true>(next, turn - 1); }
    } else load_value<!MASKED>(j, turn);
    cp_async_commit();
    // A warp none of whose rows sees the tile has nothing to compute.
    const bool idle = MASKED && visible_keys(p, warp_first + WARP_ROWS - 1) <= j * COLUMNS;
    float s[M][N][4];
    if (!idle) {
      scores(s, stage);
      if (HAS_PROGRAM) run_program<MASKED>(s, j * COLUMNS);
      if (MASKED) {
        int seen[M][2];
        seen_keys(seen);
        hide_keys(s, seen, j * COLUMNS);
      }
    }
    if (STAGES == 1) {
      cp_async_wait<0>();
      sync_threads();                    // V of tile j has landed for all, and all are done with its K
      if (next >= 0) load_key<true>(next, turn - 1);
      cp_async_commit();
    }
    if (idle) return;
    softmax.follow_maximum(s, o, scale_log2);
    softmax.exponentiate(s, scale_log2);
    if (DROPS) drop(s, j * COLUMNS);
    accumulate(s, stage);
  }

  /// O / l, m and l.
  DEVICE void finish() {
    float factor[M][2];
    softmax.finish(factor, o);
    if (SINKS || DROPS) {
      const float sink = p.sink(unit.head, scale_log2);
      UNROLL for (int m = 0; m < M; m++) UNROLL for (int r = 0; r < 2; r++) {
        const float before = softmax.sum[m][r], rescale = add_sink(softmax.maximum[m][r], softmax.sum[m][r], sink, scale_log2);
        if (before != 0.f) factor[m][r] = p.kept() * rescale / softmax.sum[m][r];
      }
    }
    const int warp = thread_id() / 32, lane = thread_id() % 32;
    if (lane % 4 == 0)
      UNROLL for (int m = 0; m < M; m++) UNROLL for (int r = 0; r < 2; r++) {
        const int row = warp_first + m * 16 + r * 8 + lane / 4;
        const i64 at = ((i64)unit.batch * p.heads + unit.head) * p.query_length + row;
        if (row < p.query_length) {
          stg((float*)p.maximum + at, softmax.maximum[m][r]);
          stg((float*)p.sum + at, softmax.sum[m][r]);
        }
      }
    sync_threads();                      // all are done with the operands: O takes their place
    store_rows<K_VALUE_DIM>(o, factor, shared + warp * staging_bytes(M, VALUE_DIM / 8),
        head_of<u16>(p.output, unit.batch, unit.head) + warp_first * p.output.row, p.output.row, p.query_length - warp_first);
  }

  /// The tile from `from` down in which a pair may exist; -1: there is none.
  DEVICE FoundTile visible_tile(int from) const {
    const FoundTile found = find_tile(0, from + 1, [&](int skipped, int many) {
      return program.cover(first, ROWS, (from + 1 - skipped - many) * COLUMNS, many * COLUMNS);
    });
    return {from - found.tile, found.cover};
  }

  DEVICE void run() {
    int j = (keys.end + COLUMNS - 1) / COLUMNS - 1;
    if constexpr (score::HIDES) {
      FoundTile now = visible_tile(j);
      if (now.tile >= 0) begin(now.tile, j);
      NO_UNROLL for (int turn = j; now.tile >= 0; turn--) {
        const FoundTile next = visible_tile(now.tile - 1);
        if (now.cover == Cover::All && (now.tile + 1) * COLUMNS <= keys.whole) tile<false>(now.tile, turn, next.tile);
        else tile<true>(now.tile, turn, next.tile);
        now = next;
      }
    } else {
      if (j >= 0) begin(j, j);
      NO_UNROLL for (; j >= 0 && (j + 1) * COLUMNS > keys.whole; j--) tile<true>(j, j, j - 1);
      NO_UNROLL for (; j >= 0; j--) tile<false>(j, j, j - 1);
    }
    finish();
  }
};

KERNEL_SHAPE(Forward::THREADS, SHAPE.shared_bytes(), Forward::ROWS, 0, 0, SHAPE.blocks);

KERNEL(torchflash_forward_mma, Forward::THREADS, SHAPE.blocks, PARAMETER(Scored<ForwardParameters>) p) { Forward(p).run(); }
