// NaN and infinity in tiles that not every row sees whole. A hidden pair has weight 0, but 0 * NaN is NaN: a product would
// carry a value that is not finite to rows that do not see it. So where a masked tile has one (rare), it is added to the rows
// that see it, its weight being of no matter, and the product is made with 0 in its place.
#pragma once
#include "tile.cuh"

/// Bit 15 of each half that is NaN or infinite.
DEVICE u32 non_finite_halves(u32 pair) { return ((pair & 0x7fff7fffu) + (BF ? 0x00800080u : 0x04000400u)) & 0x80008000u; }

/// Zero for what is not finite.
DEVICE u32 finite_part(u32 pair) { return pair & ~((non_finite_halves(pair) >> 15) * 0xffffu); }

/// One word for each warp in the padding of a tile's first rows (four to a row), twice: for this turn and the next one.
template <int COLUMNS, int WARPS> struct WarpFlags {
  u32 tile;
  DEVICE u32 at(int turn, int warp) const { return tile + ((turn & 1) * ((WARPS + 3) / 4) + warp / 4) * tile_stride(COLUMNS) + COLUMNS * 2 + warp % 4 * 4; }
  /// Before a barrier: whether some lane of this warp has found something.
  DEVICE void raise(int turn, bool found) const {
    const bool any = any_in_warp(found);
    if (thread_id() % 32 == 0) sts(at(turn, thread_id() / 32), (u32)any);
  }
  /// After it: whether some warp has.
  DEVICE bool raised(int turn) const {
    u32 any = 0;
    UNROLL for (int warp = 0; warp < WARPS; warp++) any |= lds<u32>(at(turn, warp));
    return any != 0;
  }
};

/// Whether what this thread has loaded into a tile is not all finite.
template <class Loader> DEVICE bool finds_non_finite(const Loader& loader, u32 tile) {
  u32 found = 0;
  loader.each_chunk(tile, [&](u32 at) {
    const V4 x = lds<V4>(at);
    found |= non_finite_halves(x.x) | non_finite_halves(x.y) | non_finite_halves(x.z) | non_finite_halves(x.w);
  });
  return found != 0;
}

/// Replaces by 0 what is not finite, in what this thread has loaded.
template <class Loader> DEVICE void make_finite(const Loader& loader, u32 tile) {
  loader.each_chunk(tile, [&](u32 at) {
    const V4 x = lds<V4>(at);
    sts(at, V4{finite_part(x.x), finite_part(x.y), finite_part(x.z), finite_part(x.w)});
  });
}

/// sum (16 M x 8 N, columns from the address on) += what is not finite in the tile's rows, where the sum's row sees that row:
/// sees(row of the tile, m, r) for row r * 8 + lane / 4 of the m-th 16.
template <int COLUMNS, int M, int N, class Sees> DEVICE void add_non_finite(float (&sum)[M][N][4], u32 tile, int rows, Sees sees) {
  const u32 lane = tile + thread_id() % 4 * 4;
  NO_UNROLL for (int row = 0; row < rows; row++)
    UNROLL for (int n = 0; n < N; n++) {
      const u32 pair = lds<u32>(lane + row * tile_stride(COLUMNS) + n * 16), found = non_finite_halves(pair);
      if (found == 0) continue;
      UNROLL for (int m = 0; m < M; m++) UNROLL for (int r = 0; r < 2; r++) {
        if (!sees(row, m, r)) continue;
        if (found & 0x8000u) sum[m][n][2 * r] += to_float<BF>((u16)pair);
        if (found >> 31) sum[m][n][2 * r + 1] += to_float<BF>((u16)(pair >> 16));
      }
    }
}
