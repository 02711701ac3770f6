// dQ is a sum over all blocks of keys: how a warpgroup's part of it, a 64 x N accumulator, gets into the float
// sums in memory (row-major, padded_dim columns).
#pragma once
#include "hopper.cuh"

/// Straight from registers: neighbouring lanes swap halves of their two rows, so that each has four columns of one.
template <int N> DEVICE void add_sums(float* sums, int row_stride, const float (&dq)[N / 2]) {
  const int lane = thread_id() % 32, row = thread_id() / 32 % 4 * 16 + lane / 4 + 8 * (lane & 1);
  const bool odd = lane & 1;
  float* to = sums + (i64)row * row_stride + (lane & 2) * 2;
  UNROLL for (int j = 0; j < N / 8; j++) {
    const float *top = dq + 4 * j, *bottom = top + 2;   // rows r and r + 8: even lanes keep the top one
    const float other0 = shuffle_xor(odd ? top[0] : bottom[0], 1), other1 = shuffle_xor(odd ? top[1] : bottom[1], 1);
    // selects: a reduction in each of two branches would be two of half a warp
    atomic_add4(to + 8 * j, odd ? other0 : top[0], odd ? other1 : top[1], odd ? bottom[0] : other0,
        odd ? bottom[1] : other1);
  }
}

/// Or by way of shared memory: 64 rows of COLUMNS floats as they lie in memory, which one thread then adds by one bulk
/// copy.
template <int COLUMNS_> struct StagedSums {
  static constexpr int COLUMNS = COLUMNS_;
  static constexpr u32 BYTES = 64 * COLUMNS * 4, BARRIER_BYTES = 16;
  static_assert(COLUMNS % 32 == 0, "rows of whole 128 bytes");
  u32 stage, barriers;
  DEVICE u32 written() const { return barriers; }     // by all warps that share the stage
  DEVICE u32 free() const { return barriers + 8; }    // the copy has read it

  DEVICE void init(int writing_warps) const {
    mbarrier_init(written(), writing_warps);
    mbarrier_init(free(), 1);
  }
  /// Columns that no product writes; by the threads of a block, before the barrier that ends its set-up.
  DEVICE void clear(int from, int thread, int threads) const {
    const int width = COLUMNS - from;
    for (int i = thread; i < 64 * width; i += threads) sts(stage + (i / width * COLUMNS + from + i % width) * 4, 0.f);
    fence_async();
  }

  /// acc (64 x N) -> columns `column` .. of the stage. Rows lie a multiple of 128 bytes apart: were all lanes to store
  /// the same 8 columns, 8 rows would meet in the same banks. So row r takes group k ^ r % 4 of four groups of 8
  /// columns in turn k: two rounds of swaps in registers.
  template <int N> DEVICE void write(const float (&acc)[N / 2], int column) const {
    const int lane = thread_id() % 32, row = thread_id() / 32 % 4 * 16 + lane / 4, turn = lane / 4 % 4;
    const u32 to = stage + (row * COLUMNS + column + lane % 4 * 2) * 4;
    UNROLL for (int group = 0; group < N / 8; group += 4) {
      constexpr int ALL = 4;
      const int n = N / 8 - group < ALL ? N / 8 - group : ALL;   // 2 or 4
      const int other = n == ALL ? turn : turn & 1;
      UNROLL for (int r = 0; r < 2; r++) {
        V2 v[ALL];
        UNROLL for (int k = 0; k < n; k++) v[k] = V2{as_u32(acc[4 * (group + k) + 2 * r]),
            as_u32(acc[4 * (group + k) + 2 * r + 1])};
        UNROLL for (int k = 0; k < n; k += 2) swap(other & 1, v[k], v[k + 1]);
        if (n == ALL) UNROLL for (int k = 0; k < 2; k++) swap(other & 2, v[k], v[k + 2]);
        UNROLL for (int k = 0; k < n; k++) sts(to + 8 * r * COLUMNS * 4 + group * 32 + (k ^ other) * 32, v[k]);
      }
    }
  }
  DEVICE static void swap(bool yes, V2& a, V2& b) {
    const V2 was = a;
    a.x = yes ? b.x : a.x; a.y = yes ? b.y : a.y;
    b.x = yes ? was.x : b.x; b.y = yes ? was.y : b.y;
  }
  /// By each writing warp: before and after write().
  DEVICE void begin(u32 parity) const { mbarrier_wait(free(), parity ^ 1); }
  DEVICE void end() const {
    fence_async();
    sync_warp();
    if (thread_id() % 32 == 0) mbarrier_arrive(written());
  }
  /// By one thread: adds what has been written to the rows at `sums`.
  DEVICE void add(float* sums, u32 parity) const {
    mbarrier_wait(written(), parity);
    bulk_add(sums, stage, BYTES);
    bulk_commit();
    bulk_wait_read<0>();
    mbarrier_arrive(free());
  }
};
