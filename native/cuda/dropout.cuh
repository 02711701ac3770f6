// Which attention weights are dropped: Dropout.cs, bit for bit. A function of the seed and the weight's place alone, so that every kernel finds the
// same ones: Philox4x32-10 (Salmon et al., SC 2011) of the counter (key / 4, query, head, batch), a word for each of four keys.
#pragma once
#include "device.cuh"

#ifndef K_DROPOUT
#define K_DROPOUT 0
#endif
static constexpr bool DROPS = K_DROPOUT != 0;

/// What the host passes after a kernel's parameters (CudaEngine.cs).
struct DropoutParameters {
  u64 seed;
  i64 threshold;   // what a word, as a signed number, must at least be for its weight to be kept
  double factor;   // 1 / (1 - p), which kept weights are multiplied by
};

/// The dropout of one query head.
struct Dropout {
  u32 low, high, head, batch;
  int threshold;

  DEVICE void words(u32 (&x)[4], int query, int key) const {
    x[0] = (u32)key >> 2, x[1] = query, x[2] = head, x[3] = batch;
    u32 k0 = low, k1 = high;
    UNROLL for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
      const u64 a = (u64)0xD2511F53u * x[0], b = (u64)0xCD9E8D57u * x[2];
      x[0] = (u32)(b >> 32) ^ x[1] ^ k0, x[1] = (u32)b, x[2] = (u32)(a >> 32) ^ x[3] ^ k1, x[3] = (u32)a;
    }
  }
  DEVICE u32 keeps(u32 word) const { return (int)word >= threshold; }
  DEVICE u32 bits(const u32 (&w)[4]) const { return keeps(w[0]) | keeps(w[1]) << 1 | keeps(w[2]) << 2 | keeps(w[3]) << 3; }

  /// Bit e: whether the weight of key + e is kept, up to the next multiple of four.
  DEVICE u32 of_keys(int query, int key) const {
    u32 w[4];
    words(w, query, key);
    return bits(w) >> key % 4;
  }

  /// Bit i: whether the lane's element i of a 16 x 8 block is kept, whose rows are queries. `query`: the lane's first one, `key`: the block's first
  /// one. The four keys of a word lie in two lanes: one computes them of the upper row, the other of the lower.
  DEVICE u32 of_block(int query, int key) const {
    const int lane = thread_id() % 4;
    const bool odd = lane % 2;
    u32 w[4];
    words(w, query + (odd ? 8 : 0), key + lane / 2 * 4);
    const u32 own = bits(w), others = shuffle_xor(own, 1);
    return odd ? others >> 2 | own >> 2 << 2 : (own & 3) | (others & 3) << 2;
  }

  /// The same of a block whose rows are keys. `key`: the block's first one, `query`: the lane's first one. The four keys lie in four lanes, each of
  /// which computes them for one of the elements that all four have.
  DEVICE u32 of_transposed_block(int key, int query) const {
    const int lane = thread_id() % 32, mine = lane / 4 % 4;
    u32 w[4];
    words(w, query + mine % 2, key + mine / 2 * 8 + lane / 16 * 4);
    const u32 own = bits(w) << 4 * mine, pair = own | shuffle_xor(own, 4), all = pair | shuffle_xor(pair, 8);   // four bits for each element
    return (all >> mine & 1) | (all >> (4 + mine) & 1) << 1 | (all >> (8 + mine) & 1) << 2 | (all >> (12 + mine) & 1) << 3;
  }
};
