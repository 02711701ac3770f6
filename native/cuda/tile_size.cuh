// The block shapes of the mma.sync kernels, chosen from the head dims and from the shared memory that a block may have.
// Everything here is decided at compile time; nothing depends on the lengths.
#pragma once
#include "tile.cuh"

/// The head dims as the products see them: whole steps of 16.
static constexpr int HEAD_DIM = round_up(K_HEAD_DIM, 16), VALUE_DIM = round_up(K_VALUE_DIM, 16);

/// How many blocks of that many bytes a multiprocessor holds: each costs 1 KB more, and a multiprocessor has 1 KB more than
/// one block may take (sm_80: 164 and 163 KB, sm_86: 100 and 99 KB, sm_90: 228 and 227 KB).
DEVICE constexpr int blocks_that_fit(int bytes) { return (K_SHARED_LIMIT + 1024) / (bytes + 1024); }

/// Forward: `rows` queries against `columns` keys at a time. Each warp owns rows / warps query rows with their O and m, l.
struct ForwardShape {
  int rows, columns, warps, stages, blocks;
  DEVICE constexpr int shared_bytes() const {
    const int operands = tile_bytes(rows, HEAD_DIM) + stages * (tile_bytes(columns, HEAD_DIM) + tile_bytes(columns, VALUE_DIM));
    return larger_constant(operands, tile_bytes(rows, VALUE_DIM));   // O is staged where the operands were
  }
};

/// Per 16 x 8 x 16 product, a warp of 32 rows reads 1/4 to 3/8 ldmatrix.x4 (4 cycles of the multiprocessor's shared memory
/// each), one of 16 rows 1/2 and more: four tensor cores take a product each 1.6 cycles on Hopper (2 on Ampere), so 32 rows
/// are worth their registers: O and S take 2 (d_v + 64) of the 255 for d_v <= 128. Two blocks of four warps share a
/// multiprocessor: one computes its softmax while the other multiplies.
DEVICE constexpr ForwardShape choose_forward_shape() {
  ForwardShape wide = {128, 64, 4, 2, 2};
  if (VALUE_DIM <= 128) {
    if (blocks_that_fit(wide.shared_bytes()) >= 2) return wide;
    wide.stages = 1;
    if (blocks_that_fit(wide.shared_bytes()) >= 2) return wide;
  }
  const ForwardShape narrow = {64, 64, 4, 1, 2};        // 16 rows for each warp: d_v 256 fills 128 registers with O
  if (blocks_that_fit(narrow.shared_bytes()) >= 2) return narrow;
  const ForwardShape alone = {128, 64, 8, 1, 1};        // one block: eight warps of 16 rows
  if (blocks_that_fit(alone.shared_bytes()) >= 1) return alone;
  return {64, 64, 4, 1, 1};                             // d = d_v = 256 on 99 KB: 192 rows of 528 bytes, to the byte
}
