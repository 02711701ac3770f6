// dQ in a fixed order (K_DETERMINISTIC), with mma.sync. A block takes `rows` queries of one head and walks over the keys they
// see, backwards; a warp owns 16 of the rows:
//   S = Q Kᵀ, P = exp2(S scale_log2 - log_sum), dP = dO Vᵀ, dS = P o (dP - delta), dQ <- dQ + dS K;  at the end scale * dQ.
#include "tile_size.cuh"
#include "softmax.cuh"
#include "scores.cuh"
#include "epilogue.cuh"

static constexpr QueryShape SHAPE = choose_query_shape();
static_assert(SHAPE.rows > 0, "no block fits");

struct BackwardQuery {
  static constexpr int ROWS = SHAPE.rows, COLUMNS = SHAPE.columns, STAGES = SHAPE.stages, THREADS = SHAPE.warps * 32, N = COLUMNS / 8;
  static_assert(ROWS == SHAPE.warps * 16, "a warp owns 16 rows");
  static constexpr int HEAD_STRIDE = tile_stride(HEAD_DIM), VALUE_STRIDE = tile_stride(VALUE_DIM);
  static constexpr u32 QUERY = 0, GRADIENT = tile_bytes(ROWS, HEAD_DIM), KEY = GRADIENT + tile_bytes(ROWS, VALUE_DIM);
  static constexpr u32 KEY_BYTES = tile_bytes(COLUMNS, HEAD_DIM), VALUE = KEY + STAGES * KEY_BYTES, VALUE_BYTES = tile_bytes(COLUMNS, VALUE_DIM);
  using KeyLoader = TileLoader<COLUMNS, K_HEAD_DIM, THREADS>;
  using ValueLoader = TileLoader<COLUMNS, K_VALUE_DIM, THREADS>;

  const Scored<BackwardParameters>& p;
  const WorkUnit unit;
  const int first, warp_first;       // first query row of the block, of the warp
  const KeyRange keys;
  const Scores program;
  KeyLoader key_loader;              // each stands at the tile that it will load next, or, where tiles are left out, at the first
  ValueLoader value_loader;
  const u32 shared;
  const float scale_log2;
  float log_sum[2], delta[2];        // of the lane's rows
  float dq[1][HEAD_DIM / 8][4];

  DEVICE static WorkUnit find_work(const BackwardParameters& p) {
    const int tiles = (p.query_length + ROWS - 1) / ROWS;
    if (!K_CAUSAL) return work_by_head(block_id(), tiles, p.heads);
    const int together = heads_in_cache(p.key_length, (HEAD_DIM + VALUE_DIM) * 2, p.group, p.heads * p.batch);
    WorkUnit unit = work_by_cost(block_id(), tiles, p.heads, p.batch, together);
    unit.tile = tiles - 1 - unit.tile;   // the last queries see most keys
    return unit;
  }

  DEVICE BackwardQuery(const Scored<BackwardParameters>& parameters)
      : p(parameters), unit(find_work(p)), first(unit.tile * ROWS), warp_first(first + thread_id() / 32 * 16), keys(key_range(p, first, ROWS)),
        program(p, unit.batch, unit.head),
        key_loader(head_of<u16>(p.key, unit.batch, unit.head / p.group), p.key.row),
        value_loader(head_of<u16>(p.value, unit.batch, unit.head / p.group), p.value.row),
        shared(shared_base()), scale_log2(softmax_scale(p.scale_log2)) {
    clear(dq);
    const i64 rows = ((i64)unit.batch * p.heads + unit.head) * p.padded_queries + warp_first + thread_id() % 32 / 4;
    UNROLL for (int r = 0; r < 2; r++) {
      log_sum[r] = ldg(p.log_sum + rows + r * 8);
      delta[r] = ldg((const float*)p.delta + rows + r * 8);
    }
  }

  /// The tile where the loaders stand, which is the one before it next time. Turns count down.
  DEVICE void load(int tile, int turn) {
    key_loader.template load<false>(shared + KEY + turn % STAGES * KEY_BYTES, p.key_length - tile * COLUMNS, score::HIDES ? tile * COLUMNS * p.key.row : 0);
    value_loader.template load<false>(shared + VALUE + turn % STAGES * VALUE_BYTES, p.key_length - tile * COLUMNS, score::HIDES ? tile * COLUMNS * p.value.row : 0);
    if (score::HIDES) return;
    key_loader.move(-COLUMNS);
    value_loader.move(-COLUMNS);
  }
  DEVICE void begin(int tile, int turn) {
    TileLoader<ROWS, K_HEAD_DIM, THREADS>(head_of<u16>(p.query, unit.batch, unit.head) + first * p.query.row, p.query.row)
        .template load<false>(shared + QUERY, p.query_length - first);
    TileLoader<ROWS, K_VALUE_DIM, THREADS>(head_of<u16>(p.output_gradient, unit.batch, unit.head) + first * p.output_gradient.row, p.output_gradient.row)
        .template load<false>(shared + GRADIENT, p.query_length - first);
    if (!score::HIDES) {
      key_loader.move(tile * COLUMNS);
      value_loader.move(tile * COLUMNS);
    }
    load(tile, turn);
    cp_async_commit();
  }

  /// x = A Bᵀ: S from Q and K, dP from dO and V.
  template <int DIM> DEVICE void scores(float (&x)[1][N][4], u32 queries, u32 keys) const {
    constexpr int STRIDE = tile_stride(DIM);
    const u32 left = queries + thread_id() / 32 * 16 * STRIDE + lane_down(STRIDE), right = keys + lane_across(STRIDE);
    clear(x);
    multiply<DIM / 16>(x,
        [&](u32 (&f)[4], int k, int) { ldmatrix4(f, left + k * 32); },
        [&](u32 (&f)[4], int k, int n) { ldmatrix4(f, right + n * 16 * STRIDE + k * 32); });
  }

  /// S, dP -> dS (in s), through the program.
  template <bool MASKED> DEVICE void run_program(float (&s)[1][N][4], const float (&dp)[1][N][4], int column) const {
    const int row = warp_first + thread_id() % 32 / 4, key = column + thread_id() % 4 * 2;
    const int seen[2] = {visible_keys(p, row), visible_keys(p, row + 8)};
    UNROLL for (int n = 0; n < N; n++) UNROLL for (int i = 0; i < 4; i++) {
      const int query = row + i / 2 * 8, j = key + n * 8 + i % 2;
      float& x = s[0][n][i];
      float slope = 1.f;
      const float weight = ex2(program(x, query, j, &slope) * scale_log2 - log_sum[i / 2]);
      const bool hidden = MASKED && !(j < seen[i / 2] && program.exists(query, j));
      x = hidden || weight == 0.f ? 0.f : weight * (dp[0][n][i] - delta[i / 2]);   // (of what has no weight the slope may be anything)
      if (score::BENDS && x != 0.f) x *= slope;
    }
  }

  /// S, dP -> dS (in s).
  template <bool MASKED> DEVICE void differentiate(float (&s)[1][N][4], const float (&dp)[1][N][4], int column) const {
    if (K_NEGATE) UNROLL for (int n = 0; n < N; n++) UNROLL for (int i = 0; i < 4; i++) s[0][n][i] = -s[0][n][i];
    if (MASKED) {
      const int row = warp_first + thread_id() % 32 / 4;
      const int seen[1][2] = {{visible_keys(p, row), visible_keys(p, row + 8)}};
      hide_keys(s, seen, column);
    }
    UNROLL for (int n = 0; n < N; n++) UNROLL for (int i = 0; i < 4; i++) {
      const float weight = ex2(s[0][n][i] * scale_log2 - log_sum[i / 2]);
      s[0][n][i] = MASKED && s[0][n][i] == -infinity() ? 0.f : weight * (dp[0][n][i] - delta[i / 2]);   // hidden: 0, whatever dP is
    }
  }

  /// dP -> Z o dP.
  DEVICE void drop(float (&dp)[1][N][4], int column) const {
    UNROLL for (int n = 0; n < N; n++) {
      const u32 kept = program.dropout.of_block(warp_first + thread_id() % 32 / 4, column + n * 8);
      UNROLL for (int i = 0; i < 4; i++) dp[0][n][i] = kept >> i & 1 ? dp[0][n][i] * p.kept() : 0.f;
    }
  }

  /// dQ += dS K.
  DEVICE void accumulate(const float (&s)[1][N][4], u32 key) {
    u32 ds[1][N / 2][4];
    pack_left<BF>(ds, s);
    const u32 right = key + lane_down(HEAD_STRIDE);
    multiply<COLUMNS / 16>(dq,
        [&](u32 (&f)[4], int k, int) { UNROLL for (int i = 0; i < 4; i++) f[i] = ds[0][k][i]; },
        [&](u32 (&f)[4], int k, int n) { ldmatrix4_trans(f, right + k * 16 * HEAD_STRIDE + n * 32); });
  }

  template <bool MASKED> DEVICE void tile(int j, int turn, int next) {
    const u32 key = shared + KEY + turn % STAGES * KEY_BYTES, value = shared + VALUE + turn % STAGES * VALUE_BYTES;
    cp_async_wait<0>();
    sync_threads();                      // tile j has landed for all, and (two stages) all are done with tile j + 1
    if (STAGES == 2 && next >= 0) { load(next, turn - 1); cp_async_commit(); }
    float s[1][N][4], dp[1][N][4];
    scores<HEAD_DIM>(s, shared + QUERY, key);
    scores<VALUE_DIM>(dp, shared + GRADIENT, value);
    if (DROPS) drop(dp, j * COLUMNS);
    if constexpr (HAS_PROGRAM) run_program<MASKED>(s, dp, j * COLUMNS);
    else differentiate<MASKED>(s, dp, j * COLUMNS);
    accumulate(s, key);
    if (STAGES == 1 && next >= 0) {
      sync_threads();                    // all are done with tile j
      load(next, turn - 1);
      cp_async_commit();
    }
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
    sync_threads();                      // all are done with the operands: dQ is staged in their place
    float scale[1][2] = {{(float)p.scale, (float)p.scale}};
    UNROLL for (int r = 0; r < 2; r++)
      if (log_sum[r] == infinity()) clear_row(dq, scale[0][r], 0, r);   // nothing to attend to: 0, whatever the hidden keys are
    store_rows<K_HEAD_DIM>(dq, scale, shared + thread_id() / 32 * staging_bytes(1, HEAD_DIM / 8),
        head_of<u16>(p.query_gradient, unit.batch, unit.head) + warp_first * p.query_gradient.row, p.query_gradient.row, p.query_length - warp_first);
  }
};

KERNEL_SHAPE(BackwardQuery::THREADS, SHAPE.shared_bytes(), BackwardQuery::ROWS, 0, 0, SHAPE.blocks);

KERNEL(torchflash_backward_query_mma, BackwardQuery::THREADS, SHAPE.blocks, PARAMETER(Scored<BackwardParameters>) p) { BackwardQuery(p).run(); }
