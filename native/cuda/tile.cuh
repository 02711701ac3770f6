// Tiles of 16-bit values in shared memory: layout, loads from global memory, fragments for mma.
#pragma once
#include "device.cuh"

static constexpr bool BF = K_TYPE == 1;

DEVICE constexpr int larger_constant(int a, int b) { return a > b ? a : b; }

/// Bytes from one row to the next. The 16 extra bytes make it an odd number of 16-byte units for every width that is a
/// multiple of 16 elements, so eight rows at one column fall into eight different bank groups: no ldmatrix conflicts, and no
/// XOR in any address: all the fragments of a tile are at constant distances from one address of the lane.
DEVICE constexpr int tile_stride(int columns) { return columns * 2 + 16; }
DEVICE constexpr int tile_bytes(int rows, int columns) { return rows * tile_stride(columns); }

/// Copies ROWS rows of DIM real elements each into a tile of round_up(DIM, 16) columns, zeros beyond DIM and beyond the last
/// row. Every thread has one or more rows and the same columns in each of them, at constant distances.
template <int ROWS, int DIM, int THREADS> struct TileLoader {
  static constexpr int COLUMNS = round_up(DIM, 16), STRIDE = tile_stride(COLUMNS), CHUNKS = COLUMNS / 8;
  static constexpr int LANES = CHUNKS % 8 == 0 ? 8 : CHUNKS % 4 == 0 ? 4 : 2;   // neighbours in a row: up to a 128-byte line
  static constexpr int STEP = THREADS / LANES;                                  // rows that one pass covers

  const u16* source;   // this thread's first chunk of the operand's row 0, later of the tile's
  i64 stride;

  DEVICE TileLoader(const u16* base, i64 row_stride) {
    stride = row_stride;
    source = base + row() * stride + thread_id() % LANES * 8;
  }

  /// This thread's first row of the tile, and where its first chunk lies there.
  DEVICE static int row() { return thread_id() / LANES; }
  DEVICE static u32 offset() { return row() * STRIDE + thread_id() % LANES * 16; }

  /// Moves on by that many rows.
  DEVICE void move(int rows) { source += rows * stride; }

  /// Rows [0, ROWS) from where the loader stands, `rows` of which exist. WHOLE: all of them.
  template <bool WHOLE> DEVICE void load(u32 tile, int rows, i64 skip = 0) const {
    const u16* p = source + skip;
    UNROLL for (int i = 0; i < ROWS; i += STEP, p += STEP * stride) {
      if (ROWS % STEP != 0 && i + row() >= ROWS) break;
      const bool exists = WHOLE || row() + i < rows;
      UNROLL for (int c = 0; c < CHUNKS; c += LANES) copy(tile + offset() + i * STRIDE + c * 16, p, c, exists);
    }
  }

  /// Eight elements, c chunks right of the thread's first.
  DEVICE void copy(u32 to, const u16* p, int c, bool exists) const {
#if K_ALIGNED
    if (DIM % 16 != 0 && c + LANES == CHUNKS) exists = exists && thread_id() % LANES != LANES - 1;   // the last chunk is padding
    cp_async16(to, exists ? p + c * 8 : source, exists);
#else
    const int left = exists ? DIM - (thread_id() % LANES + c) * 8 : 0;
    u32 pair[4];
    UNROLL for (int i = 0; i < 4; i++) {
      const u32 low = 2 * i < left ? ldg(p + c * 8 + 2 * i) : 0, high = 2 * i + 1 < left ? ldg(p + c * 8 + 2 * i + 1) : 0;
      pair[i] = low | high << 16;
    }
    sts(to, V4{pair[0], pair[1], pair[2], pair[3]});
#endif
  }
};

// ---- fragments. The address of a lane within the 16 x 16 part of a tile that one ldmatrix.x4 reads:
/// matrices 0, 1 are rows 0-7, 8-15 of the left half, 2, 3 of the right: A as stored, B from its transpose (ldmatrix4_trans)
DEVICE u32 lane_down(int stride) { return (thread_id() & 15) * stride + ((thread_id() >> 4) & 1) * 16; }
/// matrices 0, 1 are the left, right half of rows 0-7, 2, 3 of rows 8-15: B as stored, A from its transpose
DEVICE u32 lane_across(int stride) { return ((thread_id() & 7) + ((thread_id() >> 4) & 1) * 8) * stride + ((thread_id() >> 3) & 1) * 16; }

template <int M, int N> DEVICE void clear(float (&x)[M][N][4]) {
  UNROLL for (int m = 0; m < M; m++) UNROLL for (int n = 0; n < N; n++) UNROLL for (int i = 0; i < 4; i++) x[m][n][i] = 0.f;
}

/// acc (16 M x 8 N) += A B over STEPS steps of 16. a(fragment, step, m) and b(fragment, step, pair) load the operands: of A 16 rows, of
/// B 16 columns, which is what 2 M products take. They are loaded AHEAD of their use by the products of two such pairs.
template <int STEPS, int M, int N, class A, class B> DEVICE void multiply(float (&acc)[M][N][4], A a, B b) {
  static_assert(N % 2 == 0, "columns come in pairs of blocks");
  constexpr int PAIRS = N / 2, AHEAD = 1, BUFFERS = AHEAD + 1;
  u32 left[2][M][4], right[BUFFERS][4];
  auto fetch = [&](int i) {
    if (i % PAIRS == 0) UNROLL for (int m = 0; m < M; m++) a(left[i / PAIRS % 2][m], i / PAIRS, m);
    b(right[i % BUFFERS], i / PAIRS, i % PAIRS);
  };
  UNROLL for (int i = 0; i < AHEAD && i < STEPS * PAIRS; i++) fetch(i);
  UNROLL for (int k = 0; k < STEPS; k++) UNROLL for (int n = 0; n < PAIRS; n++) {
    const int i = k * PAIRS + n;
    if (i + AHEAD < STEPS * PAIRS) fetch(i + AHEAD);
    UNROLL for (int m = 0; m < M; m++) {
      mma<BF>(acc[m][2 * n], left[k % 2][m], right[i % BUFFERS][0], right[i % BUFFERS][1]);
      mma<BF>(acc[m][2 * n + 1], left[k % 2][m], right[i % BUFFERS][2], right[i % BUFFERS][3]);
    }
  }
}
