// Attention backward with mma.sync (sm_80 and up), bfloat16 and half. A block keeps `keys` keys of one key head and walks over
// the queries that see them, `queries` at a time, for every query head of the group. All is formed transposed, keys as rows:
//   Sᵀ = K Qᵀ, Pᵀ = exp2(Sᵀ scale_log2 - log_sum), dPᵀ = V dOᵀ, dSᵀ = Pᵀ o (dPᵀ - delta);  dV += Pᵀ dO, dK += dSᵀ Q, dQ += dS K.
// A warp's own part of Pᵀ and dSᵀ goes from registers into dV and dK; the other warps' parts go through shared memory, as dS
// does for dQ, which is added up in float32 in the workspace (not K_DETERMINISTIC).
#include "tile_size.cuh"
#include "masking.cuh"
#include "softmax.cuh"
#include "scores.cuh"
#include "epilogue.cuh"

static constexpr BackwardShape SHAPE = backward_shape();
static_assert(SHAPE.keys > 0 && SHAPE.shared_bytes() <= K_SHARED_LIMIT, "the block must fit");

struct Backward {
  static constexpr int KEYS = SHAPE.keys, QUERIES = SHAPE.queries, WARPS = SHAPE.warps, THREADS = WARPS * 32;
  static constexpr int KEY_GROUPS = SHAPE.key_groups, GROUPS = WARPS / KEY_GROUPS, OWN = QUERIES / GROUPS;   // OWN: queries of a warp
  static constexpr int M = KEYS / KEY_GROUPS / 16, N = OWN / 8;
  static constexpr int DK = group_width(HEAD_DIM, GROUPS), DV = group_width(VALUE_DIM, GROUPS);   // a warp's columns of dK, dV
  static constexpr int ROW_GROUPS = SHAPE.row_groups, QM = QUERIES / ROW_GROUPS / 16, DQ = group_width(HEAD_DIM, WARPS / ROW_GROUPS);
  static constexpr int HEAD_STRIDE = tile_stride(HEAD_DIM), VALUE_STRIDE = tile_stride(VALUE_DIM), SCORE_STRIDE = tile_stride(QUERIES);
  // shared memory: K, V, buffers of Q, of dO, Pᵀ, dSᵀ, then the rows' log-sums and deltas, one for each buffer
  static constexpr u32 KEY = 0, VALUE = tile_bytes(KEYS, HEAD_DIM), QUERY = VALUE + tile_bytes(KEYS, VALUE_DIM);
  static constexpr u32 QUERY_BYTES = tile_bytes(QUERIES, HEAD_DIM), GRADIENT_BYTES = tile_bytes(QUERIES, VALUE_DIM);
  static constexpr u32 GRADIENT = QUERY + SHAPE.query_stages * QUERY_BYTES, WEIGHTS = GRADIENT + SHAPE.gradient_stages * GRADIENT_BYTES;
  static constexpr u32 DS = WEIGHTS + SHAPE.scores_bytes(), LOG_SUM = DS + SHAPE.scores_bytes(), DELTA = LOG_SUM + SHAPE.query_stages * QUERIES * 4;
  using KeyLoader = TileLoader<KEYS, K_HEAD_DIM, THREADS>;
  using QueryLoader = TileLoader<QUERIES, K_HEAD_DIM, THREADS>;
  using GradientLoader = TileLoader<QUERIES, K_VALUE_DIM, THREADS>;

  /// A tile of queries: of the group's head `head`, the tile-th; their Q and dO are in the buffers of `turn`.
  struct Step { int head, tile, turn; Cover cover; };

  const Scored<BackwardParameters>& p;
  const WorkUnit unit;                     // head: a key head
  const int first, warp, key_group, group; // first key; the warp's groups
  const int first_tile, tiles;             // of the queries that see a key of this block
  const KeyLoader key_loader;
  const QueryLoader query_loader;
  const GradientLoader gradient_loader;
  const u32 shared;
  const float scale_log2;
  float dk[M][DK / 8][4], dv[M][DV / 8][4];

  DEVICE Backward(const Scored<BackwardParameters>& parameters)
      : p(parameters), unit(work_by_head(block_id(), (p.key_length + KEYS - 1) / KEYS, p.heads / p.group)), first(unit.tile * KEYS),
        warp(thread_id() / 32), key_group(warp / GROUPS), group(warp % GROUPS),
        first_tile(first_query(p, first) / QUERIES), tiles((p.query_length + QUERIES - 1) / QUERIES),
        key_loader(head_of<u16>(p.key, unit.batch, unit.head) + first * p.key.row, p.key.row),
        query_loader(head_of<u16>(p.query, unit.batch, unit.head * p.group), p.query.row),
        gradient_loader(head_of<u16>(p.output_gradient, unit.batch, unit.head * p.group), p.output_gradient.row),
        shared(shared_base()), scale_log2(softmax_scale(p.scale_log2)) {
    clear(dk);
    clear(dv);
  }

  DEVICE bool next(Step& step) const {
    step.turn++;
    if (++step.tile < tiles) return find(step);
    step.tile = first_tile;
    return ++step.head < p.group && find(step);
  }
  DEVICE Scores program(const Step& step) const { return Scores(p, unit.batch, unit.head * p.group + step.head); }
  /// From here on to the first tile in which a pair may exist; whether there is one.
  DEVICE bool find(Step& step) const {
    if constexpr (score::HIDES)
      NO_UNROLL for (; step.head < p.group; step.head++, step.tile = first_tile) {
        const Scores scores = program(step);
        const FoundTile found = find_tile(step.tile, tiles, [&](int tile, int many) { return scores.cover(tile * QUERIES, many * QUERIES, first, KEYS); });
        step.tile = found.tile;
        step.cover = found.cover;
        if (found.tile < tiles) break;
      }
    return step.head < p.group;
  }
  /// Row `tile * QUERIES` of a row-wise array of the workspace.
  DEVICE i64 row_of(const Step& step) const {
    return ((i64)unit.batch * p.heads + unit.head * p.group + step.head) * p.padded_queries + step.tile * QUERIES;
  }

  // ---- load. Where a step does not exist, no memory is read and the buffer gets zeros: no branch, so that the instructions lie between products.
  /// QUERIES floats, by the threads from `thread` on.
  DEVICE void load_rows(u32 to, const float* from, int thread, bool exists) const {
    const int i = thread_id() - thread;
    if (i >= 0 && i < QUERIES / 4) cp_async16(to + i * 16, exists ? from + i * 4 : p.log_sum, exists);
  }
  DEVICE void load_query(const Step& step, bool exists) const {
    const int stage = step.turn % SHAPE.query_stages;
    query_loader.template load<false>(shared + QUERY + stage * QUERY_BYTES, exists ? p.query_length - step.tile * QUERIES : 0,
        step.tile * QUERIES * p.query.row + step.head * p.query.head);
    load_rows(shared + LOG_SUM + stage * QUERIES * 4, p.log_sum + row_of(step), 0, exists);
  }
  DEVICE void load_gradient(const Step& step, bool exists) const {
    const int stage = step.turn % SHAPE.gradient_stages;
    gradient_loader.template load<false>(shared + GRADIENT + stage * GRADIENT_BYTES, exists ? p.query_length - step.tile * QUERIES : 0,
        step.tile * QUERIES * p.output_gradient.row + step.head * p.output_gradient.head);
    load_rows(shared + DELTA + stage * QUERIES * 4, (const float*)p.delta + row_of(step), THREADS / 2, exists);
  }
  DEVICE void begin(const Step& step) const {
    key_loader.template load<false>(shared + KEY, p.key_length - first);
    TileLoader<KEYS, K_VALUE_DIM, THREADS>(head_of<u16>(p.value, unit.batch, unit.head) + first * p.value.row, p.value.row)
        .template load<false>(shared + VALUE, p.key_length - first);
    load_query(step, true);
    load_gradient(step, true);
    cp_async_commit();
  }

  // ---- products
  /// x = A Bᵀ for the warp's keys and queries: Sᵀ from K and Q, dPᵀ from V and dO.
  template <int DIM> DEVICE void scores(float (&x)[M][N][4], u32 keys, u32 queries) const {
    constexpr int STRIDE = tile_stride(DIM);
    const u32 left = keys + key_group * M * 16 * STRIDE + lane_down(STRIDE), right = queries + group * OWN * STRIDE + lane_across(STRIDE);
    clear(x);
    multiply<DIM / 16>(x,
        [&](u32 (&f)[4], int k, int m) { ldmatrix4(f, left + m * 16 * STRIDE + k * 32); },
        [&](u32 (&f)[4], int k, int n) { ldmatrix4(f, right + n * 16 * STRIDE + k * 32); });
  }
  /// sum += X Y for the warp's keys and columns and its own queries: X (Pᵀ or dSᵀ) from registers, Y (dO or Q) row by row.
  template <int DIM, int WIDTH> DEVICE void accumulate_own(float (&sum)[M][WIDTH / 8][4], const u32 (&x)[M][N / 2][4], u32 rows) const {
    constexpr int STRIDE = tile_stride(DIM);
    const u32 right = rows + group * OWN * STRIDE + group_begin(DIM, WIDTH, group) * 2 + lane_down(STRIDE);
    multiply<OWN / 16>(sum,
        [&](u32 (&f)[4], int k, int m) { UNROLL for (int i = 0; i < 4; i++) f[i] = x[m][k][i]; },
        [&](u32 (&f)[4], int k, int n) { ldmatrix4_trans(f, right + k * 16 * STRIDE + n * 32); });
  }
  /// The same for the queries of the other groups, whose X is in shared memory.
  template <int DIM, int WIDTH> DEVICE void accumulate_others(float (&sum)[M][WIDTH / 8][4], u32 x, u32 rows) const {
    constexpr int STRIDE = tile_stride(DIM);
    UNROLL for (int g = 1; g < GROUPS; g++) {
      const int queries = (group + g) % GROUPS * OWN;
      const u32 left = x + key_group * M * 16 * SCORE_STRIDE + queries * 2 + lane_down(SCORE_STRIDE);
      const u32 right = rows + queries * STRIDE + group_begin(DIM, WIDTH, group) * 2 + lane_down(STRIDE);
      multiply<OWN / 16>(sum,
          [&](u32 (&f)[4], int k, int m) { ldmatrix4(f, left + m * 16 * SCORE_STRIDE + k * 32); },
          [&](u32 (&f)[4], int k, int n) { ldmatrix4_trans(f, right + k * 16 * STRIDE + n * 32); });
    }
  }

  // ---- between the products
  /// The first query that sees each of the lane's keys. Of a key that does not exist or that no query sees everything is hidden, the
  /// rows beyond the last query too.
  DEVICE void seen_from(int (&from)[M][2]) const {
    UNROLL for (int m = 0; m < M; m++) UNROLL for (int r = 0; r < 2; r++) {
      const int key = first + key_group * M * 16 + m * 16 + r * 8 + thread_id() % 32 / 4;
      const int query = first_query(p, key);
      from[m][r] = key < p.key_length && query < p.query_length ? query : 0x7fffffff;
    }
  }
  static constexpr int BLOCKS = DROPS ? M * N : 0;   // of Pᵀ, whose dropped elements are kept in mind, eight blocks to a word
  struct Kept { u32 words[BLOCKS / 8 + 1]; };

  /// Sᵀ -> Zᵀ o Pᵀ, in 16 bits, through the program; s becomes Pᵀ o ∂S'/∂S, which Zᵀ o dPᵀ - delta is multiplied by. Hidden pairs have 0 in both.
  template <bool MASKED> DEVICE void run_program(float (&s)[M][N][4], u32 (&weights)[M][N / 2][4], Kept& kept, const Step& now, u32 log_sum) const {
    const Scores program = this->program(now);
    const int lane = thread_id() % 32, query = now.tile * QUERIES + group * OWN + lane % 4 * 2, key = first + key_group * M * 16 + lane / 4;
    int from[M][2];
    seen_from(from);
    UNROLL for (int n = 0; n < N; n++) {
      const V2 two = lds<V2>(log_sum + (group * OWN + n * 8 + lane % 4 * 2) * 4);
      UNROLL for (int m = 0; m < M; m++) {
        float weight[4];
        UNROLL for (int e = 0; e < 4; e++) {
          const int i = query + n * 8 + e % 2, j = key + m * 16 + e / 2 * 8;
          float slope = 1.f;
          weight[e] = ex2(program(s[m][n][e], i, j, &slope) * scale_log2 - as_float(e % 2 ? two.y : two.x));
          if (MASKED && !(i >= from[m][e / 2] && program.exists(i, j))) weight[e] = 0.f;
          s[m][n][e] = score::BENDS && weight[e] != 0.f ? weight[e] * slope : weight[e];   // (of what has no weight the slope may be anything)
        }
        if constexpr (DROPS) {
          const u32 bits = program.dropout.of_transposed_block(first + key_group * M * 16 + m * 16, query + n * 8);
          const int block = n * M + m;
          kept.words[block / 8] = (block % 8 ? kept.words[block / 8] : 0) | bits << block % 8 * 4;
          UNROLL for (int e = 0; e < 4; e++) if (!(bits >> e & 1)) weight[e] = 0.f;
        }
        UNROLL for (int r = 0; r < 2; r++) weights[m][n / 2][n % 2 * 2 + r] = pack2<BF>(weight[2 * r], weight[2 * r + 1]);
      }
    }
  }
  /// Sᵀ -> Pᵀ. The lane's columns are queries: their log-sums come from shared memory, two at a time.
  template <bool MASKED> DEVICE void exponentiate(float (&s)[M][N][4], u32 log_sum, int query) const {
    UNROLL for (int n = 0; n < N; n++) {
      const V2 two = lds<V2>(log_sum + (group * OWN + n * 8 + thread_id() % 4 * 2) * 4);
      UNROLL for (int m = 0; m < M; m++) UNROLL for (int i = 0; i < 4; i++)
        s[m][n][i] = ex2((K_NEGATE ? -s[m][n][i] : s[m][n][i]) * scale_log2 - as_float(i % 2 ? two.y : two.x));
    }
    if (MASKED) {
      int from[M][2];
      seen_from(from);
      hide_queries(s, from, query + group * OWN);
    }
  }
  /// dPᵀ -> Zᵀ o dPᵀ.
  DEVICE void drop(float (&dp)[M][N][4], const Kept& kept) const {
    UNROLL for (int n = 0; n < N; n++) UNROLL for (int m = 0; m < M; m++) UNROLL for (int i = 0; i < 4; i++) {
      const int block = n * M + m;
      dp[m][n][i] = kept.words[block / 8] >> (block % 8 * 4 + i) & 1 ? dp[m][n][i] * p.kept() : 0.f;
    }
  }
  /// dPᵀ -> dSᵀ = Pᵀ o (dPᵀ - delta); a hidden pair has none, whatever its dP is.
  template <bool MASKED> DEVICE void differentiate(float (&dp)[M][N][4], const float (&weights)[M][N][4], u32 delta) const {
    UNROLL for (int n = 0; n < N; n++) {
      const V2 two = lds<V2>(delta + (group * OWN + n * 8 + thread_id() % 4 * 2) * 4);
      UNROLL for (int m = 0; m < M; m++) UNROLL for (int i = 0; i < 4; i++) {
        const float ds = weights[m][n][i] * (dp[m][n][i] - as_float(i % 2 ? two.y : two.x));
        dp[m][n][i] = MASKED && weights[m][n][i] == 0.f ? 0.f : ds;
      }
    }
  }
  /// The warp's part of Pᵀ or dSᵀ, for the others.
  DEVICE void share(u32 tile, const u32 (&x)[M][N / 2][4]) const {
    const int lane = thread_id() % 32;
    const u32 at = tile + (key_group * M * 16 + lane / 4) * SCORE_STRIDE + (group * OWN + lane % 4 * 2) * 2;
    UNROLL for (int m = 0; m < M; m++) UNROLL for (int k = 0; k < N / 2; k++) UNROLL for (int i = 0; i < 4; i++)
      sts(at + (m * 16 + i % 2 * 8) * SCORE_STRIDE + (k * 16 + i / 2 * 8) * 2, x[m][k][i]);
  }

  // ---- dQ
  /// dQ += dS K, for the warp's rows and columns.
  DEVICE void query_gradient(const Step& step) const {
    const int rows = warp % ROW_GROUPS * QM * 16, column_group = warp / ROW_GROUPS, column = group_begin(HEAD_DIM, DQ, column_group);
    const u32 left = shared + DS + rows * 2 + lane_across(SCORE_STRIDE), right = shared + KEY + column * 2 + lane_down(HEAD_STRIDE);
    float dq[QM][DQ / 8][4];
    clear(dq);
    multiply<KEYS / 16>(dq,
        [&](u32 (&f)[4], int k, int m) { ldmatrix4_trans(f, left + k * 16 * SCORE_STRIDE + m * 32); },
        [&](u32 (&f)[4], int k, int n) { ldmatrix4_trans(f, right + k * 16 * HEAD_STRIDE + n * 32); });
    float* sums = p.query_accumulator + (row_of(step) + rows) * p.padded_dim + column;
    UNROLL for (int m = 0; m < QM; m++) UNROLL for (int n = 0; n < DQ / 8; n++)
      if (DQ * (WARPS / ROW_GROUPS) == HEAD_DIM || column + n * 8 >= column_group * DQ) add_block(sums + m * 16 * p.padded_dim + n * 8, dq[m][n]);
  }
  /// Adds a 16 x 8 block to the sums in the workspace (rows beyond the last query have their place there, and get zeros).
  DEVICE void add_block(float* to, const float (&x)[4]) const {
    const int lane = thread_id() % 32, row = lane / 4, pair = lane % 4;
    if (VECTOR_SUMS) {   // neighbouring lanes swap halves: the even one gets four columns of row `row`, the odd one of row + 8
      const bool odd = pair % 2;
      const float a = shuffle_xor(odd ? x[0] : x[2], 1), b = shuffle_xor(odd ? x[1] : x[3], 1);
      atomic_add4(to + (row + (odd ? 8 : 0)) * p.padded_dim + pair / 2 * 4, odd ? a : x[0], odd ? b : x[1], odd ? x[2] : a, odd ? x[3] : b);
    } else
      UNROLL for (int i = 0; i < 4; i++) atomic_add(to + (row + i / 2 * 8) * p.padded_dim + pair * 2 + i % 2, x[i]);
  }

  /// One tile of queries. MASKED: some of them do not see all of the keys, or some keys do not exist.
  template <bool MASKED> DEVICE void step(const Step& now, const Step& following, bool more) {
    const int query_stage = now.turn % SHAPE.query_stages, gradient_stage = now.turn % SHAPE.gradient_stages;
    const u32 query = shared + QUERY + query_stage * QUERY_BYTES, gradient = shared + GRADIENT + gradient_stage * GRADIENT_BYTES;
    cp_async_wait<0>();
    sync_threads();                        // this step's Q and dO have landed for all, and all are done with the step before

    float s[M][N][4], dp[M][N][4];
    scores<HEAD_DIM>(s, shared + KEY, query);
    if (SHAPE.query_stages == 2) load_query(following, more);
    if (SHAPE.gradient_stages == 2) load_gradient(following, more);
    cp_async_commit();
    scores<VALUE_DIM>(dp, shared + VALUE, gradient);
    u32 weights[M][N / 2][4], ds[M][N / 2][4];
    if constexpr (HAS_PROGRAM || DROPS) {
      Kept kept;
      run_program<MASKED>(s, weights, kept, now, shared + LOG_SUM + query_stage * QUERIES * 4);
      if (DROPS) drop(dp, kept);
    } else {
      exponentiate<MASKED>(s, shared + LOG_SUM + query_stage * QUERIES * 4, now.tile * QUERIES);
      pack_left<BF>(weights, s);
    }
    share(shared + WEIGHTS, weights);
    differentiate<MASKED>(dp, s, shared + DELTA + gradient_stage * QUERIES * 4);
    pack_left<BF>(ds, dp);
    share(shared + DS, ds);
    accumulate_own<VALUE_DIM, DV>(dv, weights, gradient);
    accumulate_own<HEAD_DIM, DK>(dk, ds, query);
    sync_threads();                        // Pᵀ and dSᵀ are whole
    accumulate_others<VALUE_DIM, DV>(dv, shared + WEIGHTS, gradient);
    accumulate_others<HEAD_DIM, DK>(dk, shared + DS, query);
    if (SHAPE.gradient_stages == 1) {
      sync_threads();                      // all are done with dO (and Q): the next ones arrive during the last product
      if (SHAPE.query_stages == 1) load_query(following, more);
      load_gradient(following, more);
      cp_async_commit();
    }
    if (!K_DETERMINISTIC) query_gradient(now);
  }

  /// The first tile that needs no mask: its first query sees the last key.
  DEVICE int first_whole_tile() const {
    if (first + KEYS > p.key_length) return tiles;
    return (first_query(p, first + KEYS - 1) + QUERIES - 1) / QUERIES;
  }

  DEVICE void finish() {
    cp_async_wait<0>();
    sync_threads();                        // all are done with the operands: dK and dV are staged in their place
    float scale[M][2], one[M][2];
    UNROLL for (int m = 0; m < M; m++) UNROLL for (int r = 0; r < 2; r++) { scale[m][r] = (float)p.scale; one[m][r] = p.kept(); }
    const int key = first + key_group * M * 16;
    const u32 staging = shared + warp * larger_constant(staging_bytes(M, DK / 8), staging_bytes(M, DV / 8));
    store_rows<K_HEAD_DIM>(dk, scale, staging, head_of<u16>(p.key_gradient, unit.batch, unit.head) + key * p.key_gradient.row,
        p.key_gradient.row, p.key_length - key, group_begin(HEAD_DIM, DK, group), group * DK);
    store_rows<K_VALUE_DIM>(dv, one, staging, head_of<u16>(p.value_gradient, unit.batch, unit.head) + key * p.value_gradient.row,
        p.value_gradient.row, p.key_length - key, group_begin(VALUE_DIM, DV, group), group * DV);
  }

  DEVICE void run() {
    Step now = {0, first_tile, 0, Cover::All};
    bool more = first_tile < tiles && find(now);
    if (more) begin(now);
    const int whole = first_whole_tile();
    while (more) {
      Step following = now;
      more = next(following);
      if (now.tile < whole || (score::HIDES && now.cover != Cover::All)) step<true>(now, following, more); else step<false>(now, following, more);
      now = following;
    }
    finish();
  }
};
static_assert(Backward::WARPS * larger_constant(staging_bytes(Backward::M, Backward::DK / 8), staging_bytes(Backward::M, Backward::DV / 8)) <= SHAPE.shared_bytes(),
              "dK and dV are staged one after the other");

KERNEL_SHAPE(Backward::THREADS, SHAPE.shared_bytes(), Backward::KEYS, 0, 0, 1);

KERNEL(torchflash_backward_mma, Backward::THREADS, 1, PARAMETER(Scored<BackwardParameters>) p) { Backward(p).run(); }
