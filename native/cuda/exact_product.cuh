// Tiles in shared memory and the two products of the exact kernels, register-tiled.
//   product_of_rows   D += A Bᵀ: both operands by rows, a panel (some columns of all rows) of each at a time
//   product_with_rows D += A B:  some columns of A, and the rows of B that they meet: a band
// Rows of a panel are 16 apart for A (ty + 16 r); the rows that thread tx meets of B are neighbours in groups of VECTOR, so that a
// thread's part of D is made of vectors. For both, the place of a row ("slot") is the thread's number + 16 x its register.
#pragma once
#include "exact_tile_size.cuh"

struct Lane {
  int tx, ty;
  /// A warp has two rows of threads. Neighbours differ in tx, every second one in ty: then half a warp reads, of A and of B, at most
  /// 128 different bytes, and pairs of lanes the same ones.
  DEVICE Lane() {
    const int t = thread_id(), lane = t & 31;
    tx = (lane & 1) | (lane >> 2) << 1;
    ty = (t >> 5) << 1 | (lane >> 1 & 1);
  }
};

/// One value for each of the rows ty + 16 r of a tile, kept by the thread tx = r of the row: of use between tiles, when registers are
/// needed for products.
template <int R> struct RowValues {
  Real mine;
  DEVICE Real get(int r, Lane lane) const { return shuffle(mine, (r & 1) | (lane.ty & 1) << 1 | r >> 1 << 2); }
  DEVICE void set(int r, Real value, Lane lane) { mine = lane.tx == r ? value : mine; }
};

/// Largest and sum over the 16 threads of a row, in the same order for each of them.
DEVICE Real largest_in_row(Real x) {
  UNROLL for (int mask = 1; mask < 32; mask = mask == 1 ? 4 : mask * 2) x = larger_of(x, shuffle_xor(x, mask));
  return x;
}
DEVICE Real sum_in_row(Real x) {
  UNROLL for (int mask = 1; mask < 32; mask = mask == 1 ? 4 : mask * 2) x += shuffle_xor(x, mask);
  return x;
}

/// Row of a tile that lies at a slot: of A, and of B.
struct RowsOfA { DEVICE static int row(int slot) { return slot; } };
struct RowsOfB {
  DEVICE static int row(int slot) {
    const int n = slot / SIDE, tx = slot % SIDE;
    return n / VECTOR * SIDE * VECTOR + tx * VECTOR + n % VECTOR;
  }
};

/// A tile whose rows are BYTES long (32 or 64), its 16-byte pieces exchanged so that pieces of equal number in eight slots that
/// follow each other lie in eight different bank groups.
template <int BYTES> struct Panel {
  static constexpr int PIECES = BYTES / 16, SLOTS_PER_LINE = 128 / BYTES;
  DEVICE static int exchange(int slot) { return slot / SLOTS_PER_LINE % PIECES; }
  DEVICE static u32 at(int slot, int piece) { return slot * BYTES + ((piece ^ exchange(slot)) << 4); }
};

/// d[r][c] += sum over the PANEL columns of a panel of a[ty + 16 r] b[row c of tx]. The order of the sum is that of the columns,
/// whatever the tile: the backward pass finds the bits of S again.
template <int R, int C> DEVICE void product_of_rows(Real (&d)[R][C], u32 a, u32 b, Lane lane) {
  using P = Panel<PANEL_BYTES>;
  a += lane.ty * PANEL_BYTES;
  b += lane.tx * PANEL_BYTES;
  const int exchange_a = P::exchange(lane.ty), exchange_b = P::exchange(lane.tx); // the same for slots 16 apart
  UNROLL for (int piece = 0; piece < P::PIECES; piece++) {
    Real x[R][VECTOR];
    UNROLL for (int r = 0; r < R; r++) load_shared(x[r], a + r * SIDE * PANEL_BYTES + ((piece ^ exchange_a) << 4));
    UNROLL for (int c = 0; c < C; c++) {
      Real y[VECTOR];
      load_shared(y, b + c * SIDE * PANEL_BYTES + ((piece ^ exchange_b) << 4));
      UNROLL for (int k = 0; k < VECTOR; k++) UNROLL for (int r = 0; r < R; r++) d[r][c] = fused(x[r][k], y[k], d[r][c]);
    }
  }
}

/// The columns of a thread in row k of a band.
template <class C> DEVICE void load_columns(Real (&y)[C::COUNT], u32 band, int k, int tx) {
  UNROLL for (int n = 0; n < C::WHOLE * VECTOR; n += VECTOR)
    load_shared(*(Real(*)[VECTOR])(y + n), band + (k * C::WIDTH + C::column(tx, n)) * (int)sizeof(Real));
  if constexpr (C::TAIL > 0) {
    constexpr int n = C::WHOLE * VECTOR;
    load_shared(*(Real(*)[C::TAIL])(y + n), band + (k * C::WIDTH + C::column(tx, n)) * (int)sizeof(Real));
  }
}

/// d[r][n] += sum over the ROWS rows of a band of a[ty + 16 r][k] b[k][column n of tx].
template <class C, int ROWS, int R> DEVICE void product_with_rows(Real (&d)[R][C::COUNT], u32 a, u32 b, Lane lane) {
  constexpr int BYTES = ROWS * (int)sizeof(Real);
  using P = Panel<BYTES>;
  a += lane.ty * BYTES;
  const int exchange = P::exchange(lane.ty);
  UNROLL for (int piece = 0; piece < P::PIECES; piece++) {
    Real x[R][VECTOR];
    UNROLL for (int r = 0; r < R; r++) load_shared(x[r], a + r * SIDE * BYTES + ((piece ^ exchange) << 4));
    UNROLL for (int e = 0; e < VECTOR; e++) {
      Real y[C::COUNT];
      load_columns<C>(y, b, piece * VECTOR + e, lane.tx);
      UNROLL for (int r = 0; r < R; r++) UNROLL for (int n = 0; n < C::COUNT; n++) d[r][n] = fused(x[r][e], y[n], d[r][n]);
    }
  }
}
