// Keeps a NaN or an infinity of Q, K or dO out of the gradients of rows that its row does not see. A hidden pair of a masked tile has P = dS = 0,
// but 0 * NaN is NaN. It is rare: so where the scores or dP of a masked tile (hidden pairs included) are not all finite, the tiles in shared
// memory are made finite before the products that sum over hidden pairs, and what of dO is lost by that is added to dV by hand.
//   Q -> 0: a row i with such a value has NaN for log_sum, so P_ij and dS_ij are NaN where they count, and dK_j takes it from there.
//   K -> 0, infinities to the largest number (scores of -inf stay far below all others): log_sum of the rows that see it is NaN likewise.
//   dO -> 0: dS_ij is NaN already; dV_j of the keys that row i sees gets the values as they were.
#pragma once
#include "hopper_tile.cuh"

/// Bit 15 of each half that is NaN or infinite.
template <bool BF> DEVICE u32 non_finite_halves(u32 pair) { return ((pair & 0x7fff7fffu) + (BF ? 0x00800080u : 0x04000400u)) & 0x80008000u; }

/// 0 for a NaN; for an infinity 0 or, with KEEP_INFINITY, the largest number of its sign.
template <bool BF, bool KEEP_INFINITY> DEVICE u32 finite_pair(u32 pair) {
  u32 result = pair;
  UNROLL for (int shift = 0; shift < 32; shift += 16) {
    const u32 half = pair >> shift & 0xffffu, infinity = BF ? 0x7f80u : 0x7c00u, magnitude = half & 0x7fffu;
    if (magnitude < infinity) continue;
    const u32 to = KEEP_INFINITY && magnitude == infinity ? half - 1 : 0;
    result = (result & ~(0xffffu << shift)) | to << shift;
  }
  return result;
}

/// Makes what this thread finds of a tile finite; `threads` threads share it.
template <bool BF, bool KEEP_INFINITY> DEVICE void make_finite(u32 tile, u32 bytes, int thread, int threads) {
  NO_UNROLL for (u32 at = tile + 16 * thread; at < tile + bytes; at += 16 * threads) {
    V4 x = lds<V4>(at);
    if (((non_finite_halves<BF>(x.x) | non_finite_halves<BF>(x.y)) | (non_finite_halves<BF>(x.z) | non_finite_halves<BF>(x.w))) == 0) continue;
    x.x = finite_pair<BF, KEEP_INFINITY>(x.x);
    x.y = finite_pair<BF, KEEP_INFINITY>(x.y);
    x.z = finite_pair<BF, KEEP_INFINITY>(x.z);
    x.w = finite_pair<BF, KEEP_INFINITY>(x.w);
    sts(at, x);
  }
}

/// Whether some of a thread's values is a NaN or an infinity.
template <int R> DEVICE bool any_non_finite(const float (&x)[R]) {
  float probe = 0.f;
  UNROLL for (int i = 0; i < R; i++) probe += 0.f * x[i];
  return !(probe == 0.f);
}

/// acc (64 x N: sums over the tile's rows, of its columns from `column` on) += what is not finite in the tile's rows, where sees(r, row) for the
/// thread's two rows r of the sum.
template <bool BF, class Tile, int N, class Sees> DEVICE void add_non_finite(float (&acc)[N / 2], u32 tile, int column, const Sees& sees) {
  tile += column / Tile::PANEL * Tile::PANEL_BYTES + thread_id() % 4 * 4;   // column: a multiple of a panel's
  NO_UNROLL for (int row = 0; row < Tile::ROWS; row++, tile += Tile::SWIZZLE) {
    const u32 swizzle = (row * Tile::SWIZZLE >> 7) % (Tile::SWIZZLE / 16) << 4;
    UNROLL for (int j = 0; j < N / 8; j++) {
      const u32 pair = lds<u32>(tile + 8 * j / Tile::PANEL * Tile::PANEL_BYTES + ((u32)(8 * j % Tile::PANEL * 2) ^ swizzle));
      const u32 found = non_finite_halves<BF>(pair);
      if (found == 0) continue;
      UNROLL for (int r = 0; r < 2; r++) {
        if (!sees(r, row)) continue;
        if (found & 0x8000u) acc[4 * j + 2 * r] += to_float<BF>((u16)pair);
        if (found >> 31) acc[4 * j + 2 * r + 1] += to_float<BF>((u16)(pair >> 16));
      }
    }
  }
}
