// Tiles of 16-bit values in shared memory as TMA writes them and wgmma reads them, and their products.
#pragma once
#include "hopper.cuh"

/// How a wgmma operand lies in shared memory: rows of M or N along k, or rows of k along M or N ("transposed").
enum Major { K_MAJOR = 0, MN_MAJOR = 1 };

/// Columns of a panel for a tile whose columns serve as N: the widest swizzle that divides them, so that no panel is
/// cut short.
DEVICE constexpr int panel_columns(int columns) { return columns % 64 == 0 ? 64 : columns % 32 == 0 ? 32 : 16; }

/// ROWS x COLUMNS values as panels of PANEL columns, each ROWS rows of 2 PANEL bytes, swizzled over that width: what
/// one TMA box
/// {PANEL, ROWS, 1, 1} writes. The base is a multiple of 1024 bytes, ROWS of 8. Columns past COLUMNS in the last panel
/// are there, too.
template <int ROWS_, int COLUMNS_, int PANEL_> struct HopperTile {
  static constexpr int ROWS = ROWS_, COLUMNS = COLUMNS_, PANEL = PANEL_, PANELS = (COLUMNS + PANEL - 1) / PANEL;
  static constexpr int SWIZZLE = 2 * PANEL;   // bytes of a row
  static constexpr u32 PANEL_BYTES = ROWS * SWIZZLE, BYTES = PANELS * PANEL_BYTES;
  static_assert(PANEL == 64 || PANEL == 32 || PANEL == 16, "a panel is one row of a swizzle");
  static_assert(ROWS % 8 == 0 && ROWS <= 256, "a TMA box has at most 256 rows, a swizzle 8");
  static_assert(PANEL_BYTES % 1024 == 0 || PANELS == 1 || PANEL_BYTES % (8 * SWIZZLE) == 0,
      "panels begin where the swizzle does");

  /// Rows row.. of the map's (head, batch) -> tile, by one thread; completes on the barrier. Rows and columns out of
  /// bounds become zeros.
  DEVICE static void load(u32 tile, const TensorMap* map, u32 barrier, int row, int head, int batch) {
    UNROLL for (int panel = 0; panel < PANELS; panel++)
      tma_load(tile + panel * PANEL_BYTES, map, barrier, panel * PANEL, row, head, batch);
  }

  /// Descriptor of the operand of a 64 x N x 16 product that begins at k = 0 and at `offset` along M or N (a row: a
  /// multiple of 8; a column: of PANEL). step() moves it along k.
  template <Major MAJOR> DEVICE static u64 operand(u32 tile, int offset = 0) {
    if constexpr (MAJOR == K_MAJOR) return wgmma_descriptor<SWIZZLE>(tile + offset * SWIZZLE, 16, 8 * SWIZZLE);
    else return wgmma_descriptor<SWIZZLE>(tile + offset / PANEL * PANEL_BYTES, PANEL_BYTES, 8 * SWIZZLE);
  }
  /// By how much wgmma_advance moves a descriptor to k, a multiple of 16.
  template <Major MAJOR> DEVICE static constexpr u32 step(int k) {
    return (MAJOR == K_MAJOR ? (u32)(k / PANEL) * PANEL_BYTES + k % PANEL * 2 : (u32)k * SWIZZLE) >> 4;
  }
};

// ---- Products of tiles by a warpgroup: 64 rows of M, the K loop of wgmma, nothing committed or waited for.
// The caller frames them: wgmma_fence(); products; wgmma_commit(); ... wgmma_wait<n>(); wgmma_pin(accumulator).

/// acc(64 x N) (+)= A B over K: A from shared memory (rows from a_row of the tile at a, or columns where A_MAJOR is
/// MN_MAJOR), B from shared memory (its N from b_column on). `accumulate` false: acc is overwritten.
template <bool BF, int N, int K, class A, Major A_MAJOR, class B, Major B_MAJOR>
DEVICE void product_shared(float (&acc)[N / 2], u32 a, int a_row, u32 b, int b_column, bool accumulate) {
  static_assert(K % 16 == 0 && N % 16 == 0 && N <= 256, "the shapes of wgmma");
  const u64 a_first = A::template operand<A_MAJOR>(a, a_row), b_first = B::template operand<B_MAJOR>(b, b_column);
  UNROLL for (int k = 0; k < K; k += 16)
    wgmma_ss<N, BF, A_MAJOR == MN_MAJOR, B_MAJOR == MN_MAJOR>(
        acc, wgmma_advance(a_first, A::template step<A_MAJOR>(k)),
        wgmma_advance(b_first, B::template step<B_MAJOR>(k)), accumulate || k > 0);
}

/// The same with A in registers: a[k / 16] are the operands of accumulator_to_operand.
template <bool BF, int N, int K, class B, Major B_MAJOR>
DEVICE void product_registers(float (&acc)[N / 2], const u32 (&a)[K / 16][4], u32 b, int b_column, bool accumulate) {
  static_assert(K % 16 == 0 && N % 16 == 0 && N <= 256, "the shapes of wgmma");
  const u64 b_first = B::template operand<B_MAJOR>(b, b_column);
  UNROLL for (int k = 0; k < K; k += 16)
    wgmma_rs<N, BF, B_MAJOR == MN_MAJOR>(
        acc, a[k / 16], wgmma_advance(b_first, B::template step<B_MAJOR>(k)), accumulate || k > 0);
}

/// An accumulator (64 x N) rounded to 16 bits, as the A operand (64 x N, k = its columns) of the next product: the
/// layouts agree but for the order, A pairs being (row, k), (row + 8, k), (row, k + 8), (row + 8, k + 8).
template <bool BF, int N> DEVICE void accumulator_to_operand(u32 (&a)[N / 16][4], const float (&acc)[N / 2]) {
  UNROLL for (int k = 0; k < N / 16; k++)
    UNROLL for (int i = 0; i < 4; i++) a[k][i] = pack2<BF>(acc[8 * k + 2 * i], acc[8 * k + 2 * i + 1]);
}
