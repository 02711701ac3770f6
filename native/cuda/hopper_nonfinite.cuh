// Keeps a NaN or an infinity of V out of the rows that do not see its key. A hidden key of a masked tile has P = 0, but the product of the
// tile adds 0 * NaN. That is rare, so it is mended where it shows: in columns of O that are not finite, if some hidden key of the tiles
// is to blame, the row is computed again without them.
#pragma once
#include "hopper.cuh"

template <bool BF> DEVICE bool finite_pair(u32 x) {
  constexpr u32 EXPONENT = BF ? 0x7f80 : 0x7c00;
  return (x & EXPONENT) != EXPONENT && (x >> 16 & EXPONENT) != EXPONENT;
}
template <bool BF> DEVICE float dot_of_pair(u32 a, u32 b, float sum) {
  return to_float<BF>((u16)a) * to_float<BF>((u16)b) + (to_float<BF>((u16)(a >> 16)) * to_float<BF>((u16)(b >> 16)) + sum);
}

/// What a thread needs of one of its two rows (r: 0 or 1) of acc(64 x N): columns 8 j + 2 (thread % 4), + 1.
template <bool BF, int DIM, int VALUE_DIM, int N> struct HiddenKeys {
  const u16 *query, *key, *value;   // the row of Q, and the first of K and V
  i64 key_row, value_row;           // strides
  int seen, end;                    // keys of the row, and of the tiles that went into it
  float scale_log2, shift;          // P = exp2(s scale_log2 - shift), scale_log2 with the sign of the scale

  DEVICE u32 value_pair(int key, int j) const { return ldg((const u32*)(value + key * value_row + 8 * j + thread_id() % 4 * 2)); }

  DEVICE static bool finite(const float (&o)[N / 2], int r) {
    float probe = 0.f;
    UNROLL for (int j = 0; j < VALUE_DIM / 8; j++) probe += 0.f * o[4 * j + 2 * r] + 0.f * o[4 * j + 2 * r + 1];
    return probe == 0.f;
  }
  /// Whether a hidden key has a value in the thread's columns that is not finite.
  DEVICE bool to_blame() const {
    for (int j = seen; j < end; j++)
      for (int block = 0; block < VALUE_DIM / 8; block++)
        if (!finite_pair<BF>(value_pair(j, block))) return true;
    return false;
  }
  DEVICE float score(int j) const {
    float s = 0.f;
    for (int x = 0; x < DIM; x += 8) {
      const V4 q = ldg((const V4*)(query + x)), k = ldg((const V4*)(key + j * key_row + x));
      s = dot_of_pair<BF>(q.x, k.x, dot_of_pair<BF>(q.y, k.y, dot_of_pair<BF>(q.z, k.z, dot_of_pair<BF>(q.w, k.w, s))));
    }
    return s;
  }
  /// O of the row again, key by key; ends when no column is finite any more, by right.
  DEVICE void recompute(float (&o)[N / 2], int r) const {
    UNROLL for (int j = 0; j < VALUE_DIM / 8; j++) o[4 * j + 2 * r] = o[4 * j + 2 * r + 1] = 0.f;
    bool any = true;
    NO_UNROLL for (int j = 0; j < seen && any; j++) {
      const float p = ex2(score(j) * scale_log2 - shift);
      any = false;
      UNROLL for (int block = 0; block < VALUE_DIM / 8; block++) {
        const u32 v = value_pair(j, block);
        o[4 * block + 2 * r] += p * to_float<BF>((u16)v);
        o[4 * block + 2 * r + 1] += p * to_float<BF>((u16)(v >> 16));
        any |= 0.f * o[4 * block + 2 * r] + 0.f * o[4 * block + 2 * r + 1] == 0.f;
      }
    }
  }
};
