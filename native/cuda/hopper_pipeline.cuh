// Rings of shared memory stages between one loading thread and the warps that use what it loads.
#pragma once
#include "hopper.cuh"

/// Where a thread stands in a ring: the stage, and the parity of the round. Producer and consumers each count for
/// themselves.
template <int STAGES> struct RingPosition {
  int stage = 0;
  u32 parity = 0;
  DEVICE void advance() {
    if (++stage == STAGES) { stage = 0; parity ^= 1; }
  }
};

/// Two mbarriers a stage: `full` completes when the loads into it have landed, `empty` when every consuming warp has
/// let go of it.
template <int STAGES> struct Ring {
  static constexpr u32 BYTES = 16 * STAGES;
  u32 barriers;   // address

  DEVICE u32 full(int stage) const { return barriers + 8 * stage; }
  DEVICE u32 empty(int stage) const { return barriers + 8 * (STAGES + stage); }

  /// By one thread; then mbarrier_fence_init() and a barrier of the block.
  DEVICE void init(int consumer_warps) const {
    UNROLL for (int stage = 0; stage < STAGES; stage++) {
      mbarrier_init(full(stage), 1);
      mbarrier_init(empty(stage), consumer_warps);
    }
  }

  /// Producer: waits until the stage is free and announces the bytes that it will load into it, whose barrier is
  /// full(at.stage).
  /// In the first round nobody has let go of anything yet: the parity before the first is taken as completed.
  DEVICE void acquire(const RingPosition<STAGES>& at, u32 bytes) const {
    mbarrier_wait(empty(at.stage), at.parity ^ 1);
    mbarrier_expect(full(at.stage), bytes);
  }
  /// Consumer: waits until the stage has been loaded.
  DEVICE void wait(const RingPosition<STAGES>& at) const { mbarrier_wait(full(at.stage), at.parity); }
  /// Consumer, each warp once: the stage is no longer read (its products have been waited for).
  DEVICE void release(const RingPosition<STAGES>& at) const {
    if (thread_id() % 32 == 0) mbarrier_arrive(empty(at.stage));
  }
};
