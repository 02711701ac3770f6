// Block sizes of the exact kernels, by element type and head dimension, and which thread holds what of a tile.
//
// 256 threads, 16 x 16: thread (ty, tx) holds of every product an R x C part: the rows ty + 16 r (r < R), and the columns
// tx VECTOR + c in each group of 16 VECTOR. A multiply-add needs 1 / R + 1 / C loads of an element from shared memory; an SM issues
// four times as many multiply-adds as it moves vectors of a broadcast row, so 8 x 8 (float) is bound by arithmetic with room to
// spare, 8 x 4 and 4 x 8 still are, and less is not. One block then fills the registers of an SM with 8 warps.
#pragma once
#include "score_program.cuh"

static constexpr int THREADS = 256, SIDE = 16;

/// What a row of a stationary tile may take, so that 64 KiB of it, the stages and the rest fit into 99 KiB, the least that a
/// block can have (sm_86). Larger limits are not used: tiles, and with them all bits of a result, are the same on every GPU.
static constexpr int RESIDENT_BYTES = 64 << 10;

DEVICE constexpr int largest_of(int a, int b) { return a > b ? a : b; }
DEVICE constexpr int rows_that_fit(int columns) { return RESIDENT_BYTES / (SIDE * columns * (int)sizeof(Real)); }
DEVICE constexpr int power_of_two_at_most(int x, int limit) {
  int p = 1;
  while (2 * p <= x && 2 * p <= limit) p *= 2;
  return p;
}

/// Bytes of a row of a panel: the columns of the head dimension that are staged together.
static constexpr int PANEL_BYTES = 64, PANEL = PANEL_BYTES / (int)sizeof(Real);
static constexpr int PANELS_QK = (K_HEAD_DIM + PANEL - 1) / PANEL, PANELS_V = (K_VALUE_DIM + PANEL - 1) / PANEL;

/// Which columns of a row of DIM elements a thread holds: VECTOR neighbours of each whole group of 16 VECTOR columns, and of the
/// rest as many (1, 2 or VECTOR) as it takes: a head dimension of 80 costs no more multiply-adds than 80 columns.
template <int DIM> struct Columns {
  static constexpr int GROUP = SIDE * VECTOR, WHOLE = DIM / GROUP, REST = DIM - WHOLE * GROUP;
  static constexpr int TAIL = REST == 0 ? 0 : REST <= SIDE ? 1 : REST <= 2 * SIDE ? 2 : VECTOR;
  static constexpr int COUNT = WHOLE * VECTOR + TAIL;       // of one thread
  static constexpr int WIDTH = WHOLE * GROUP + SIDE * TAIL; // of all threads: DIM rounded up
  static_assert(TAIL <= VECTOR, "");
  /// First column of the group that register n begins.
  DEVICE static int column(int tx, int n) { return n < WHOLE * VECTOR ? n / VECTOR * GROUP + tx * VECTOR : WHOLE * GROUP + tx * TAIL; }
};
using ColumnsQK = Columns<K_HEAD_DIM>;
using ColumnsV = Columns<K_VALUE_DIM>;

/// What is staged together: the more, the fewer barriers. (The order of a sum is not touched.)
static constexpr int CHUNK_BYTES = 8 << 10, STAGES = 3; // one read, two under way

/// Panels of `rows` rows in a chunk.
DEVICE constexpr int panels_of_chunk(int rows) { return largest_of(1, CHUNK_BYTES / (rows * PANEL_BYTES)); }
/// Rows of a band, a chunk of whole rows: they meet columns of P that lie in one group of registers.
template <class C> DEVICE constexpr int band_rows() { return power_of_two_at_most(CHUNK_BYTES / (C::WIDTH * (int)sizeof(Real)), SIDE * VECTOR); }
/// Columns of P that are in shared memory at a time, at most: a panel of them.
DEVICE constexpr int part_of_band(int rows) { return rows < PANEL ? rows : PANEL; }
template <class C> DEVICE constexpr int chunk_bytes(int panel_rows) {
  return largest_of(panels_of_chunk(panel_rows) * panel_rows * PANEL_BYTES, band_rows<C>() * C::WIDTH * (int)sizeof(Real));
}

// R and C of S in the three kernels. The accumulators of a thread: R (C + d_v / 16) in the forward pass, R (2 C + (d + d_v) / 16)
// where dK and dV are stationary, R (2 C + d / 16) where dQ is; 128 float or 64 double of them leave room for operands. A program whose
// derivative is not 1 keeps it beside S and dP.
#ifdef K_BLOCK_M
static constexpr int FORWARD_R = K_BLOCK_M / SIDE;
#else
static constexpr int FORWARD_R = power_of_two_at_most(rows_that_fit(largest_of(K_HEAD_DIM, K_VALUE_DIM)), 2 * VECTOR);
#endif
#ifdef K_BLOCK_N
static constexpr int FORWARD_C = K_BLOCK_N / SIDE;
#else
static constexpr int FORWARD_C = 2 * VECTOR;
#endif
static constexpr int BACKWARD_R = power_of_two_at_most(rows_that_fit((PANELS_QK + PANELS_V) * PANEL), 2 * VECTOR);
DEVICE constexpr bool accumulators_fit(int elements) { return elements * (int)sizeof(Real) <= 128 * 4; }
static constexpr int BACKWARD_C =
    accumulators_fit(BACKWARD_R * ((score::BENDS ? 3 : 2) * 2 * VECTOR + ColumnsQK::COUNT + ColumnsV::COUNT)) ? 2 * VECTOR : VECTOR;
