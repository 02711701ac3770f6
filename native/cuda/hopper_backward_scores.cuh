// The arithmetic between the products of the backward pass, on accumulators of Sᵀ and dPᵀ: rows are keys, columns
// queries.
#pragma once
#include "parameters.cuh"
#include "hopper.cuh"

/// Which queries of a tile see the two keys of a thread; columns are counted from the thread's first.
struct VisibleQueries {
  int first[2], end;
  /// key: the thread's first; its second is 8 further. query: that of its first column.
  template <class P> DEVICE VisibleQueries(const P& p, int key, int query) {
    UNROLL for (int r = 0; r < 2; r++) {
      const i64 seen_from = key + 8 * r >= p.key_length ? (i64)1 << 31 : K_CAUSAL ? (i64)key + 8 * r - p.diagonal : 0,
          left = seen_from - query;
      first[r] = left < 0 ? 0 : left > 1024 ? 1024 : (int)left;
    }
    end = p.query_length - query;
  }
  DEVICE bool sees(int r, int column) const { return column >= first[r] && column < end; }
};
/// Of a tile whose queries all see all keys.
struct AllVisible {
  DEVICE bool sees(int, int) const { return true; }
};

/// s <- Pᵀ = exp2(Sᵀ factor - log_sum), 0 where the query does not see the key: by selection, a score that does not
/// count may overflow. log_sum: address of that of the thread's first column.
template <int N, class Visible> DEVICE void probabilities(float (&s)[N / 2], float factor, u32 log_sum,
    const Visible& visible) {
  UNROLL for (int j = 0; j < N / 8; j++) {
    const V2 l = lds<V2>(log_sum + j * 32);
    UNROLL for (int i = 0; i < 4; i++) {
      const float x = ex2(s[4 * j + i] * factor - as_float(i % 2 ? l.y : l.x));
      s[4 * j + i] = visible.sees(i / 2, 8 * j + i % 2) ? x : 0.f;
    }
  }
}

/// s <- dSᵀ = Pᵀ o (dPᵀ - delta), 0 where the query does not see the key: dP may be infinite or NaN there.
template <int N, class Visible> DEVICE void score_gradients(float (&s)[N / 2], const float (&dp)[N / 2], u32 delta,
    const Visible& visible) {
  UNROLL for (int j = 0; j < N / 8; j++) {
    const V2 d = lds<V2>(delta + j * 32);
    UNROLL for (int i = 0; i < 4; i++) {
      const float x = s[4 * j + i] * (dp[4 * j + i] - as_float(i % 2 ? d.y : d.x));
      s[4 * j + i] = visible.sees(i / 2, 8 * j + i % 2) ? x : 0.f;
    }
  }
}

/// Keeps the compiler from using the registers of an operand for something else, or their values, before here.
DEVICE void keep(u32 (&a)[4]) { UNROLL for (int i = 0; i < 4; i++) asm volatile("" : "+r"(a[i])); }

/// dp <- dSᵀ likewise, from P as an operand, unpacked piece by piece.
template <bool BF, int N, class Visible>
DEVICE void score_gradients(float (&dp)[N / 2], u32 (&operand)[N / 16][4], u32 delta, const Visible& visible) {
  UNROLL for (int j = 0; j < N / 8; j++) {
    if (j % 2 == 0) keep(operand[j / 2]);
    const V2 d = lds<V2>(delta + j * 32);
    UNROLL for (int i = 0; i < 4; i++) {
      const u32 pair = operand[j / 2][j % 2 * 2 + i / 2];
      const float probability = BF ? as_float(i % 2 ? pair & 0xffff0000u : pair << 16)
          : to_float<BF>((u16)(i % 2 ? pair >> 16 : pair));
      const float x = probability * (dp[4 * j + i] - as_float(i % 2 ? d.y : d.x));
      dp[4 * j + i] = visible.sees(i / 2, 8 * j + i % 2) ? x : 0.f;
    }
  }
}

/// Operands (64 rows x N columns, as accumulator_to_operand makes them) -> a tile in shared memory, from `row` and
/// `column` (a multiple of N) on.
template <class Tile, int N> DEVICE void store_operand(u32 tile, int row, int column, const u32 (&a)[N / 16][4]) {
  static_assert(Tile::PANEL == 64, "rows of 128 bytes");
  // matrices 0, 1: rows 0-7 and 8-15; 2, 3: 8 columns on
  const int lane = thread_id() % 32, r = row + thread_id() / 32 % 4 * 16 + lane % 16;
  const u32 first = tile + column / 64 * Tile::PANEL_BYTES + r * 128 + (((column / 8 % 8 + lane / 16) ^ r % 8) << 4);
  // 16-byte group 2 k + i of a row lies at (2 k + i) ^ r % 8 = 2 k ^ (i ^ r % 8): one register for all k
  UNROLL for (int k = 0; k < N / 16; k++)
    stmatrix4((first ^ (u32)(k % 4) << 5) + k / 4 * Tile::PANEL_BYTES, a[k][0], a[k][1], a[k][2], a[k][3]);
}
