// What a block has besides the core's machine when it runs on Hopper: barriers with phases, agents that work beside the warps
// (bulk copies, wgmma) and the checks that belong to them. One Hopper object for each machine, its state renewed for each block.
//
// Asynchronous work is done as late as the program allows: a load lands only when no thread can run any more (the seed chooses
// which), a wgmma computes and a store reads its source only at the wait that covers it. Until then accumulators and destinations hold
// poison, and the shared memory being read may not be written.
#pragma once
#include <deque>
#include <map>
#include <random>
#include "emulation_hopper.h"
#include "machine.h"
#include "tensor_map.h"

namespace emulation {
constexpr u32 WARPGROUP = 128, NAMED_BARRIERS = 16, MOST_TIMEOUTS = 1000;
/// A point in a warp's time.
struct Moment { u32 clock, epoch; };

/// In a phase it gathers the clocks of those that arrive; who waits for the phase takes them on. What asynchronous copies write is
/// attributed to an agent of the barrier: only who has waited for the phase sees it.
struct Mbarrier {
  u32 count, left, phase, agent;
  u32 thread, init_fences;   // who initialised it, and how many fences that thread had executed before
  Moment initialised;
  long long transactions;    // bytes expected and not yet arrived
  Where where;
  u32 gathering[AGENTS], released[AGENTS];
  struct { u32 phase, lanes; } waited[MAX_WARPS];   // lanes of a warp that have waited for the phase
};
/// bar.sync and bar.arrive.
struct NamedBarrier {
  u32 expected, arrived, generation;
  u32 arrived_warps, waiting_warps;   // bit masks
  Where where;
  u32 clock[AGENTS];
};
/// A load into shared memory on its way.
struct BulkLoad {
  u32 to, bytes, bar;
  const u8* from;          // contiguous, or
  TensorMapFields map;     // a box of it
  int at[4];
  Where where;
};
/// A store or reduction from shared memory that has not read its source yet.
struct BulkStore {
  bool tensor;
  u32 from, bytes, group;
  float* to;
  TensorMapFields map;
  int at[4];
  Where where;
};
struct HopperThread {
  std::vector<Moment> fences;        // fence.proxy.async
  std::vector<Moment> init_fences;   // fence.mbarrier_init
  std::vector<BulkStore> stores;     // issued, source not known to have been read
  u32 store_group;                   // bulk group now being filled
};
/// An issued wgmma.
struct Product {
  u32 n, group, accumulators;   // index into Warpgroup::accumulators
  bool bfloat16, in_registers, accumulate;
  bool a_mn_major, b_mn_major;
  std::vector<u32> a_pieces, b_pieces;   // shared addresses: [row][k / 8] when K-major, [k][row / 8] when MN-major
  const u32* registers[WARPGROUP];
  u32 a[WARPGROUP][4];
  Where where;
};
/// Accumulators in flight: their values live here, the threads' registers hold poison.
struct Accumulators {
  float* registers[WARPGROUP];
  u32 n, pending;               // products under way that write them
  std::vector<float> values;    // [64][n]
  Where where;
};
/// Registers that wgmmas of this warpgroup have used, and what was in them at the last wgmma_fence: they may not change until they are used.
struct FencedRegisters {
  const void* registers[WARPGROUP];
  u32 count;                    // of 32 bits, for each thread
  u64 sums[WARPGROUP];
};
struct Warpgroup {
  u32 arrived, generation, group;
  const char* operation;
  Where where;
  bool fenced;
  u32 registers;
  WarpgroupMultiply posted[WARPGROUP];
  std::deque<Product> products;
  std::vector<std::unique_ptr<Accumulators>> accumulators;
  std::vector<FencedRegisters> used;
};

struct Hopper : Extension {
  std::map<u32, Mbarrier> mbarriers;
  NamedBarrier named[NAMED_BARRIERS];
  std::vector<HopperThread> threads;
  std::deque<Warpgroup> warpgroups;   // not moved
  std::vector<BulkLoad> loads;
  u32 register_pool;   // registers of the block that no warp owns
  u32 timeouts;        // of mbarrier_try_wait, since a phase completed
  std::minstd_rand random;

  void start(Machine& m) override;
  bool idle(Machine& m) override;
  void returned(Machine& m, Fiber& f) override;
  void end(Machine& m) override;
};
inline Hopper& hopper(Machine& m) { return static_cast<Hopper&>(*m.extension); }

// ---- hopper_proxy.cpp: shared memory as asynchronous operations see it
/// Checks that the bytes (whole words) may be read by an asynchronous operation that warps first .. last (who: WHOLE_WARP) or one thread of
/// them issue: written, visible to those warps, and, where ordinary stores wrote them, fenced towards the asynchronous proxy by the writer
/// before that.
void check_asynchronous_read(Machine& m, u32 address, u32 bytes, u32 first, u32 last, u16 who, Where where);
/// Checks a destination of an asynchronous write and marks it as under way.
void begin_asynchronous_write(Machine& m, u32 address, u32 bytes, Where where);
/// Remembers a finished asynchronous read: warps first .. last (who: or one thread) know that it is over.
void end_asynchronous_read(Machine& m, u32 address, u32 bytes, u32 first, u32 last, u16 who);

// ---- hopper_barriers.cpp
/// The mbarrier at an address, if this thread may use it.
Mbarrier& use_mbarrier(Machine& m, u32 address, Where where);
/// Completes the phase if nothing is missing any more.
void settle_phase(Machine& m, Mbarrier& b);
/// Nothing can run: lets those return that are in mbarrier_try_wait; false if there are none, or they have polled in vain too often.
bool end_try_waits(Machine& m);
/// Wakes the fibers that wait for this kind of thing (the text given to wait_until).
void wake(Machine& m, const char* what);
extern const char *const AT_MBARRIER, *const AT_TRY_WAIT, *const AT_NAMED_BARRIER, *const AT_WARPGROUP, *const AT_REGISTERS;

// ---- hopper_wgmma.cpp
/// Rendezvous of the 128 threads of a warpgroup; true for the last one, which executes the instruction and calls finish_warpgroup.
bool arrive_at_warpgroup(Machine& m, const char* operation, Where where);
void finish_warpgroup(Machine& m);
template <class Execute> void warpgroup_collective(const char* operation, Where where, Execute execute) {
  Machine& m = *machine;
  if (!arrive_at_warpgroup(m, operation, where)) return;
  execute(m, hopper(m).warpgroups[m.current->thread / WARPGROUP]);
  finish_warpgroup(m);
}

// ---- hopper_copies.cpp
/// Lets one load arrive; false if there is none.
bool land_load(Machine& m);
}  // namespace emulation
