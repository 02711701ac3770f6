// Keeps a NaN or an infinity of V out of the rows that do not see its key. A hidden key of a masked tile has P = 0, but the product of the
// tile adds 0 * NaN. That is rare, so it is mended where it shows: where stored values of O are not finite and some hidden key of the
// tiles is to blame, they are computed again without them, out of global memory.
#pragma once
#include "hopper.cuh"

/// Whether none of a thread's values is a NaN or an infinity.
template <int R> DEVICE bool all_finite(const float (&x)[R]) {
  float probe = 0.f;
  UNROLL for (int i = 0; i < R; i++) probe += 0.f * x[i];
  return probe == 0.f;
}
template <bool BF> DEVICE bool finite_pair(u32 x) {
  constexpr u32 EXPONENT = BF ? 0x7f80 : 0x7c00;
  return (x & EXPONENT) != EXPONENT && (x >> 16 & EXPONENT) != EXPONENT;
}
template <bool BF> DEVICE bool finite_octet(const V4& x) {
  return finite_pair<BF>(x.x) && finite_pair<BF>(x.y) && finite_pair<BF>(x.z) && finite_pair<BF>(x.w);
}
template <bool BF> DEVICE void unpack_octet(float (&to)[8], const V4& x) {
  const u32 pairs[4] = {x.x, x.y, x.z, x.w};
  UNROLL for (int i = 0; i < 4; i++) {
    to[2 * i] = to_float<BF>((u16)pairs[i]);
    to[2 * i + 1] = to_float<BF>((u16)(pairs[i] >> 16));
  }
}

/// A row of O as stored, with what it was made of. The four threads of a quad take the columns 8 (thread % 4) + 32 n, as store_row does.
template <bool BF, int DIM, int VALUE_DIM> struct StoredRow {
  const u16 *query, *key, *value;   // the row of Q, and the first of K and V
  u16* output;                      // the row of O
  i64 key_row, value_row;           // strides
  int seen, end;                    // keys of the row, and of the tiles that went into it
  float scale_log2;                 // with the sign that makes P = exp2(q·k scale_log2 - m |scale_log2|)
  float shift, sum;                 // m |scale_log2|, l

  DEVICE bool finite_value(int j, int column) const { return finite_octet<BF>(ldg((const V4*)(value + j * value_row + column))); }

  DEVICE bool hidden_to_blame(int column) const {
    for (int j = seen; j < end; j++)
      if (!finite_value(j, column)) return true;
    return false;
  }
  DEVICE float probability(int j) const {
    float s = 0.f, q[8], k[8];
    NO_UNROLL for (int x = 0; x < DIM; x += 8) {
      unpack_octet<BF>(q, ldg((const V4*)(query + x)));
      unpack_octet<BF>(k, ldg((const V4*)(key + j * key_row + x)));
      UNROLL for (int i = 0; i < 8; i++) s += q[i] * k[i];
    }
    return ex2(s * scale_log2 - shift);
  }
  DEVICE void recompute(int column) const {
    float o[8] = {0.f, 0.f, 0.f, 0.f, 0.f, 0.f, 0.f, 0.f}, v[8];
    for (int j = 0; j < seen; j++) {
      const float p = probability(j);
      unpack_octet<BF>(v, ldg((const V4*)(value + j * value_row + column)));
      UNROLL for (int i = 0; i < 8; i++) o[i] += p * v[i];
    }
    u32 pairs[4];
    UNROLL for (int i = 0; i < 4; i++) pairs[i] = pack2<BF>(o[2 * i] / sum, o[2 * i + 1] / sum);
    stg((V4*)(output + column), V4{pairs[0], pairs[1], pairs[2], pairs[3]});
  }
  DEVICE void mend() const {
    NO_UNROLL for (int column = 8 * (thread_id() % 4); column < VALUE_DIM; column += 32)
      if (!finite_octet<BF>(ldg((const V4*)(output + column))) && hidden_to_blame(column)) recompute(column);
  }
};
