// Tile sizes of the Hopper forward kernel, from the head dims and the two budgets that bind them: registers and shared
// memory.
#pragma once
#include "hopper_tile.cuh"

namespace forward_size {
/// Head dims as the kernel sees them: a k step and the smallest product are 16 columns wide. What is past the real ones
/// loads as zeros.
constexpr int DIM = round_up(K_HEAD_DIM, 16), VALUE_DIM = round_up(K_VALUE_DIM, 16);
/// One panel width for all maps. V and O need whole panels (V is the N of its product); K and Q may end inside one.
constexpr int PANEL = panel_columns(VALUE_DIM);
constexpr int ROW_BYTES = 2 * round_up(DIM, PANEL), VALUE_ROW_BYTES = 2 * VALUE_DIM;

/// Consumer warpgroups, 64 query rows each. Two of 240 registers a thread hold O (64 x d_v), S and P (64 x columns) for
/// wide heads. Narrow heads have short products between softmaxes: three of 160 registers give more of them to overlap,
/// and use each K and V tile once more.
#ifdef K_BLOCK_M
constexpr int CONSUMERS = K_BLOCK_M / 64;
#else
constexpr int CONSUMERS = DIM <= 64 && VALUE_DIM <= 64 ? 3 : 2;
#endif
static_assert(CONSUMERS == 2 || CONSUMERS == 3, "64 registers a thread more than that leave no room for O and S");
constexpr int ROWS = 64 * CONSUMERS, THREADS = 128 * (CONSUMERS + 1);
/// setmaxnreg, of 65536 in all: 128 * (24 + 2 * 240), 128 * (32 + 3 * 160).
constexpr int PRODUCER_REGISTERS = CONSUMERS == 2 ? 24 : 32, CONSUMER_REGISTERS = CONSUMERS == 2 ? 240 : 160;

/// A thread holds d_v / 2 of O, columns / 2 of S and columns / 4 of P at once, since the product with V of one tile
/// runs during the softmax of the next. The rest (addresses, statistics, temporaries) is about 44 registers, or 32
/// where there are 160.
constexpr int COLUMNS_BY_REGISTERS = ((CONSUMERS == 2 ? 196 : 128) - VALUE_DIM / 2) * 4 / 3 / 16 * 16;
/// Q, and at least two stages of K and V each: one in use, one loading.
constexpr int BARRIER_BYTES = 256;
constexpr int COLUMNS_BY_SHARED_MEMORY =
    (K_SHARED_LIMIT - BARRIER_BYTES - ROWS * ROW_BYTES) / (2 * (ROW_BYTES + VALUE_ROW_BYTES)) / 16 * 16;
/// Causal tiles on the diagonal are half wasted: 128 columns at most. Beyond 176 longer tiles save nothing that shows;
/// with 160 registers more than 128 leave too few for what happens between two units.
constexpr int COLUMNS_AT_MOST = K_CAUSAL || CONSUMERS == 3 ? 128 : 176;
constexpr int COLUMNS_THAT_FIT = COLUMNS_BY_REGISTERS < COLUMNS_BY_SHARED_MEMORY ? COLUMNS_BY_REGISTERS
    : COLUMNS_BY_SHARED_MEMORY;
#ifdef K_BLOCK_N
constexpr int COLUMNS = K_BLOCK_N;
#else
constexpr int COLUMNS = COLUMNS_THAT_FIT < COLUMNS_AT_MOST ? COLUMNS_THAT_FIT : COLUMNS_AT_MOST;
#endif
static_assert(COLUMNS >= 16 && COLUMNS % 16 == 0, "keys come in steps of 16");

typedef HopperTile<64, DIM, PANEL> QueryTile;           // one for each consumer
typedef HopperTile<COLUMNS, DIM, PANEL> KeyTile;
typedef HopperTile<COLUMNS, VALUE_DIM, PANEL> ValueTile;

/// Stages of the rings: a stage is free once the slowest consumer has let go of it, so short tiles want more of them
/// under way than two.
#ifdef K_STAGES
constexpr int STAGES = K_STAGES;
#else
constexpr int STAGES_THAT_FIT =
    (K_SHARED_LIMIT - BARRIER_BYTES - ROWS * ROW_BYTES) / (COLUMNS * (ROW_BYTES + VALUE_ROW_BYTES));
constexpr int STAGES = STAGES_THAT_FIT < 4 ? STAGES_THAT_FIT : 4;
#endif

/// Shared memory, in bytes from its base.
constexpr u32 QUERY = 0, KEY = QUERY + CONSUMERS * QueryTile::BYTES, VALUE = KEY + STAGES * KeyTile::BYTES,
              BARRIERS = VALUE + STAGES * ValueTile::BYTES, SHARED_BYTES = BARRIERS + BARRIER_BYTES;
static_assert(STAGES >= 2 && 16 * (CONSUMERS + 2 * STAGES) <= BARRIER_BYTES,
    "rings of at least two stages, and their barriers");
static_assert(SHARED_BYTES <= K_SHARED_LIMIT, "shared memory of a block");
static_assert(KEY % 1024 == 0 && KeyTile::BYTES % (8 * KeyTile::SWIZZLE) == 0 &&
    ValueTile::BYTES % (8 * ValueTile::SWIZZLE) == 0,
              "tiles begin where the swizzle does");
}
