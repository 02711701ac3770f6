// The block shapes of the mma.sync kernels, chosen from the head dims and from the shared memory that a block may have.
// Everything here is decided at compile time; nothing depends on the lengths.
#pragma once
#include "tile.cuh"

// For measurements: what is defined replaces what is chosen below. M: queries, N: keys of a tile.
#ifndef K_BLOCK_M
#define K_BLOCK_M 0
#endif
#ifndef K_BLOCK_N
#define K_BLOCK_N 0
#endif
#ifndef K_WARPS
#define K_WARPS 0
#endif
#ifndef K_STAGES
#define K_STAGES 0
#endif

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

DEVICE constexpr ForwardShape forward_shape() {
  ForwardShape shape = choose_forward_shape();
  if (K_BLOCK_M) shape.rows = K_BLOCK_M;
  if (K_BLOCK_N) shape.columns = K_BLOCK_N;
  if (K_WARPS) shape.warps = K_WARPS;
  if (K_STAGES) shape.stages = K_STAGES;
  if (K_BLOCK_M || K_BLOCK_N || K_WARPS || K_STAGES)   // as many blocks as fit, but 255 registers for each thread
    shape.blocks = larger_constant(1, blocks_that_fit(shape.shared_bytes()) * shape.warps > 8 ? 8 / shape.warps : blocks_that_fit(shape.shared_bytes()));
  return shape;
}

/// Backward, key-stationary: `keys` keys against `queries` queries at a time. For Sᵀ and dPᵀ the warps are key_groups x query
/// groups; for dK and dV the query groups become groups of columns; for dQ they are row_groups x groups of columns.
struct BackwardShape {
  int keys, queries, warps, key_groups, row_groups, query_stages, gradient_stages;
  DEVICE constexpr int scores_bytes() const { return tile_bytes(keys, queries); }   // Pᵀ or dSᵀ
  DEVICE constexpr int query_bytes() const { return query_stages * (tile_bytes(queries, HEAD_DIM) + queries * 4); }         // Q, log-sum
  DEVICE constexpr int gradient_bytes() const { return gradient_stages * (tile_bytes(queries, VALUE_DIM) + queries * 4); }  // dO, delta
  DEVICE constexpr int operand_bytes() const { return tile_bytes(keys, HEAD_DIM) + tile_bytes(keys, VALUE_DIM); }           // K, V
  DEVICE constexpr int shared_bytes() const { return operand_bytes() + query_bytes() + gradient_bytes() + 2 * scores_bytes(); }
};

/// The larger shapes first; of each, two buffers for Q and dO where they fit. dK and dV take keys (d + d_v) of the 64 K
/// registers of a multiprocessor: 128 keys fill half of them at d = 128, so there is one block of eight warps, and 64 keys do so at 256.
/// A warp's part of Sᵀ is 32 keys x 32 or 64 queries: 1/2 or 3/8 ldmatrix.x4 for each product.
DEVICE constexpr BackwardShape choose_backward_shape() {
  const int widest = larger_constant(HEAD_DIM, VALUE_DIM);
  const BackwardShape shapes[] = {{128, 128, 8, 4, 4}, {128, 64, 8, 4, 2}, {64, 64, 8, 2, 2}, {64, 32, 8, 4, 2}, {32, 32, 4, 2, 2}};
  const int first = widest <= 64 ? 0 : widest <= 128 ? 1 : 2;
  for (int i = first; i < 5; i++) {
    const int stages[3][2] = {{2, 2}, {2, 1}, {1, 1}};
    for (int j = 0; j < 3; j++) {
      BackwardShape shape = shapes[i];
      shape.query_stages = stages[j][0];
      shape.gradient_stages = stages[j][1];
      if (shape.shared_bytes() <= K_SHARED_LIMIT) return shape;
    }
  }
  return {};
}

DEVICE constexpr BackwardShape backward_shape() {
  BackwardShape shape = choose_backward_shape();
  if (K_WARPS) shape.warps = K_WARPS;
  if (K_BLOCK_N) shape.key_groups = (shape.keys = K_BLOCK_N) / 32;
  if (K_BLOCK_M) shape.row_groups = (shape.queries = K_BLOCK_M) / 32;
  if (K_STAGES) shape.query_stages = shape.gradient_stages = K_STAGES;
  return shape;
}

/// Of `columns` columns, what each of `groups` groups of warps computes: whole steps of 16. Where the groups do not divide the
/// columns, the last ones begin early and recompute what is not theirs (a group owns its columns from group * width on).
DEVICE constexpr int group_width(int columns, int groups) { return round_up((columns + groups - 1) / groups, 16); }
DEVICE constexpr int group_begin(int columns, int width, int group) { return group * width < columns - width ? group * width : columns - width; }

/// dQ alone, query-stationary: a warp owns 16 rows of dQ; S, dP, dS stay in its registers.
struct QueryShape {
  int rows, columns, warps, stages, blocks;
  DEVICE constexpr int shared_bytes() const {
    return tile_bytes(rows, HEAD_DIM) + tile_bytes(rows, VALUE_DIM) + stages * (tile_bytes(columns, HEAD_DIM) + tile_bytes(columns, VALUE_DIM));
  }
};
DEVICE constexpr QueryShape choose_query_shape() {
  const QueryShape shapes[] = {{128, 64, 8, 2, 1}, {128, 64, 8, 1, 1}, {64, 32, 4, 1, 1}};
  for (int i = 0; i < 3; i++)
    if (shapes[i].shared_bytes() <= K_SHARED_LIMIT) return shapes[i];
  return {};
}
