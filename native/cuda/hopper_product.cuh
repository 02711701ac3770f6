// Products of tiles by a warpgroup: 64 rows of M, the K loop of wgmma, nothing committed or waited for.
// The caller frames them: wgmma_fence(); products; wgmma_commit(); ... wgmma_wait<n>(); wgmma_pin(accumulator).
#pragma once
#include "hopper_tile.cuh"

/// acc(64 x N) (+)= A B over K: A from shared memory (rows from a_row of the tile at a, or columns where A_MAJOR is MN_MAJOR), B from
/// shared memory (its N from b_column on). `accumulate` false: acc is overwritten.
template <bool BF, int N, int K, class A, Major A_MAJOR, class B, Major B_MAJOR>
DEVICE void product_shared(float (&acc)[N / 2], u32 a, int a_row, u32 b, int b_column, bool accumulate) {
  static_assert(K % 16 == 0 && N % 16 == 0 && N <= 256, "the shapes of wgmma");
  const u64 a_first = A::template operand<A_MAJOR>(a, a_row), b_first = B::template operand<B_MAJOR>(b, b_column);
  UNROLL for (int k = 0; k < K; k += 16)
    wgmma_ss<N, BF, A_MAJOR == MN_MAJOR, B_MAJOR == MN_MAJOR>(
        acc, wgmma_advance(a_first, A::template step<A_MAJOR>(k)), wgmma_advance(b_first, B::template step<B_MAJOR>(k)), accumulate || k > 0);
}

/// The same with A in registers: a[k / 16] are the operands of accumulator_to_operand.
template <bool BF, int N, int K, class B, Major B_MAJOR>
DEVICE void product_registers(float (&acc)[N / 2], const u32 (&a)[K / 16][4], u32 b, int b_column, bool accumulate) {
  static_assert(K % 16 == 0 && N % 16 == 0 && N <= 256, "the shapes of wgmma");
  const u64 b_first = B::template operand<B_MAJOR>(b, b_column);
  UNROLL for (int k = 0; k < K; k += 16)
    wgmma_rs<N, BF, B_MAJOR == MN_MAJOR>(acc, a[k / 16], wgmma_advance(b_first, B::template step<B_MAJOR>(k)), accumulate || k > 0);
}

/// An accumulator (64 x N) rounded to 16 bits, as the A operand (64 x N, k = its columns) of the next product: the layouts agree but for
/// the order, A pairs being (row, k), (row + 8, k), (row, k + 8), (row + 8, k + 8).
template <bool BF, int N> DEVICE void accumulator_to_operand(u32 (&a)[N / 16][4], const float (&acc)[N / 2]) {
  UNROLL for (int k = 0; k < N / 16; k++)
    UNROLL for (int i = 0; i < 4; i++) a[k][i] = pack2<BF>(acc[8 * k + 2 * i], acc[8 * k + 2 * i + 1]);
}
