// Tile sizes, shares of the warpgroups and the plan of shared memory of the Hopper backward kernel, all from the head
// dims.
//
// Registers decide: two consumer warpgroups may have 240 a thread (65536 >= 128 * (24 + 2 * 240)), of which about 25
// are addresses.
//   d, d_v <= 128, "own keys": each consumer owns 64 of 128 keys, whole rows of dK and dV: (d + d_v) / 2 registers a
//   thread, 128 at d = 128.
//     S and dP (64 keys x queries) take queries / 2 each, dQ at most 32, P and dS as operands queries / 4 each. Of dP
//     and dQ only one is alive at a time: 64 queries make 128 + 32 + 32 + 32 at d = 128, 128 queries make 64 + 64 + 64
//     + 32 at d = 64.
//     P and dS are operands straight from registers; only dS goes through shared memory, for dQ, which needs all keys.
//   wider heads, "own columns": 64 keys, and each consumer owns half of the columns of dK, dV and dQ (at most 128, 64
//   registers each) and the scores of half of the 64 queries (16 registers each for S and dP). P and dS both go
//   through shared memory.
#pragma once
#include "hopper_query_sums.cuh"
#include "hopper_tile.cuh"

namespace backward_size {
constexpr int DIM = round_up(K_HEAD_DIM, 16), VALUE_DIM = round_up(K_VALUE_DIM, 16);
constexpr int WIDER = DIM > VALUE_DIM ? DIM : VALUE_DIM;
/// One panel width for all maps. Every operand's columns are the N of some product (Q: of dK, K: of dQ, dO: of dV):
/// whole panels.
constexpr int PANEL = panel_columns(DIM) < panel_columns(VALUE_DIM) ? panel_columns(DIM) : panel_columns(VALUE_DIM);

constexpr bool OWN_KEYS = WIDER <= 128, QUERY_SUMS = !K_DETERMINISTIC;
constexpr int KEYS = OWN_KEYS ? 128 : 64;
#ifdef K_BLOCK_M
constexpr int QUERIES = K_BLOCK_M;
#else
// Half in a fixed order: unpacking P takes ptxas past its registers with 128.
constexpr int QUERIES = WIDER <= 64 && !(K_TYPE == 0 && K_DETERMINISTIC) ? 128 : 64;
#endif
/// 128 queries a tile: S and dP in float beside P as an operand would be too many, so dS takes P from the operand
/// (rounded to 16 bits).
constexpr bool ROUNDED_PROBABILITIES = OWN_KEYS && QUERIES == 128;
/// dK of a tile stays under way until P of the next one has been computed: where its operands' registers (queries / 4)
/// can be spared.
constexpr bool LATE_KEY_GRADIENTS = OWN_KEYS && QUERIES == 64;
static_assert(QUERIES == 64 || QUERIES == 128, "dQ is one or two products of 64 rows");
constexpr int SCORE_QUERIES = OWN_KEYS ? QUERIES : QUERIES / 2;   // of the scores that one consumer computes
// dQ: 64 queries to each consumer; else its columns are split
constexpr bool SPLIT_QUERIES = QUERIES == 128;
constexpr int CONSUMERS = 2, THREADS = 128 * (CONSUMERS + 1), PRODUCER_REGISTERS = 24, CONSUMER_REGISTERS = 240;

typedef HopperTile<KEYS, DIM, PANEL> KeyTile;
typedef HopperTile<KEYS, VALUE_DIM, PANEL> ValueTile;
typedef HopperTile<QUERIES, DIM, PANEL> QueryTile;
typedef HopperTile<QUERIES, VALUE_DIM, PANEL> GradientTile;       // dO
typedef HopperTile<KEYS, QUERIES, 64> ScoreTile;                  // Pᵀ or dSᵀ

/// Columns are split at whole panels; of an odd number of them dK and dQ give one more to consumer 0, dV to consumer 1.
constexpr int KEY_SPLIT = OWN_KEYS ? 0 : (KeyTile::PANELS + 1) / 2 * PANEL;
constexpr int VALUE_SPLIT = OWN_KEYS ? 0 : ValueTile::PANELS / 2 * PANEL;
constexpr int QUERY_SPLIT = SPLIT_QUERIES ? 0 : (KeyTile::PANELS + 1) / 2 * PANEL;
DEVICE constexpr int part(int consumer, int columns, int split) {
  const int n = split == 0 ? columns : consumer == 0 ? (columns < split ? columns : split) : columns - split;
  return n < 0 ? 0 : n;
}
/// What consumer W owns: columns of dK, dV and dQ as the products see them, and those of dK and dV that exist.
template <int W> struct Share {
  static constexpr int KEY = part(W, DIM, KEY_SPLIT);
  static constexpr int VALUE = OWN_KEYS || VALUE_SPLIT > 0 ? part(W, VALUE_DIM, VALUE_SPLIT) : W * VALUE_DIM;
  static constexpr int QUERY = part(W, DIM, QUERY_SPLIT);
  static constexpr int KEY_STORED = part(W, K_HEAD_DIM, KEY_SPLIT);
  static constexpr int VALUE_STORED = VALUE < K_VALUE_DIM - W * VALUE_SPLIT ? VALUE : K_VALUE_DIM - W * VALUE_SPLIT;
};
template <class A, class B> constexpr bool SAME = A::KEY == B::KEY && A::VALUE == B::VALUE && A::QUERY == B::QUERY &&
                                                  A::KEY_STORED == B::KEY_STORED && A::VALUE_STORED == B::VALUE_STORED;

/// dQ of own keys goes to memory by bulk copies from stages of 64 whole rows: one for each consumer, or one for both.
/// There is no room for one where columns are owned: there it goes from registers.
constexpr bool STAGED_SUMS = QUERY_SUMS && OWN_KEYS;
typedef StagedSums<round_up(K_HEAD_DIM, 32)> Sums;
constexpr int SUM_STAGES = !STAGED_SUMS ? 0 : SPLIT_QUERIES ? 2 : 1;
constexpr int SUM_WARPS = SPLIT_QUERIES || Share<1>::QUERY == 0 ? 4 : 8;   // that write into each

/// Shared memory, in bytes from its base. dO and delta have two stages: one in use, one loading. Q and log_sum have
/// three where they fit and dK of a tile still reads its Q when P of the next one is computed. dS (and P) alternate
/// between two tiles, so that one barrier a tile is enough: who writes the third has passed the barrier of the second,
/// which nobody reaches before having read the first.
constexpr int GRADIENT_STAGES = 2;
constexpr u32 ROW_BYTES = QUERIES * 4, BARRIER_BYTES = 256;                // log_sum or delta of a tile
constexpr u32 SCORE_BYTES = 2 * ScoreTile::BYTES * ((QUERY_SUMS || !OWN_KEYS ? 1 : 0) + (OWN_KEYS ? 0 : 1));
constexpr u32 FIXED_BYTES = KeyTile::BYTES + ValueTile::BYTES + GRADIENT_STAGES * (GradientTile::BYTES + ROW_BYTES) +
                            SCORE_BYTES + SUM_STAGES * Sums::BYTES + BARRIER_BYTES;
#ifdef K_STAGES
constexpr int QUERY_STAGES = K_STAGES;
#else
constexpr int QUERY_STAGES = LATE_KEY_GRADIENTS && FIXED_BYTES + 3 * (QueryTile::BYTES + ROW_BYTES) <= K_SHARED_LIMIT
    ? 3 : 2;
#endif
constexpr u32 KEY = 0, VALUE = KEY + KeyTile::BYTES, QUERY = VALUE + ValueTile::BYTES,
              GRADIENT = QUERY + QUERY_STAGES * QueryTile::BYTES,
              SCORE_GRADIENT = GRADIENT + GRADIENT_STAGES * GradientTile::BYTES,
              PROBABILITY = SCORE_GRADIENT + 2 * ScoreTile::BYTES, SUMS = SCORE_GRADIENT + SCORE_BYTES,
              LOG_SUM = SUMS + SUM_STAGES * Sums::BYTES, DELTA = LOG_SUM + QUERY_STAGES * ROW_BYTES,
              BARRIERS = DELTA + GRADIENT_STAGES * ROW_BYTES, SHARED_BYTES = BARRIERS + BARRIER_BYTES;
static_assert(SHARED_BYTES <= K_SHARED_LIMIT, "shared memory of a block");
static_assert(VALUE % 1024 == 0 && QUERY % 1024 == 0 && GRADIENT % 1024 == 0 && SCORE_GRADIENT % 1024 == 0 &&
                  QueryTile::BYTES % 1024 == 0 && GradientTile::BYTES % 1024 == 0 && ScoreTile::BYTES % 1024 == 0,
              "tiles begin where the swizzle does");
}
