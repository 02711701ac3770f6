// The machine that executes one block: fibers, their scheduling, warp rendezvous, barriers and happens-before clocks.
//
// Every CUDA thread is a fiber. Warp collectives (mma, ldmatrix, shuffles, sync_warp) and sync_threads are rendezvous: a lane
// posts its operands and gives way; the lane that arrives last executes the instruction for all. A block runs on one host
// thread, blocks run side by side on several (launch.cpp). The seed of a launch sets the order in which lanes and warps run.
//
// Found on the way, each reported with block, thread and source line, which ends the launch:
//   * shared memory (shared_memory.h): bounds, alignment, use before initialisation, races, copies in flight
//   * global memory (global_memory.h): bounds, alignment, gaps, stores to inputs, elements stored by two threads
//   * here: divergence, deadlock, threads that returned too early, stack overflow, wild pointers
#pragma once
#include <cstdarg>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <vector>
#include "context.h"
#include "emulation.h"

namespace emulation {
constexpr u32 LANES = 32, MAX_WARPS = 32, AGENTS = 96;   // clocks: a warp's is its number, those of asynchronous agents follow from MAX_WARPS on
constexpr u16 WHOLE_WARP = 0xffff;

struct Machine;
class MemoryMap;
struct Buffer;

enum class State : u8 { Runnable, AtWarp, AtBlock, Waiting, Returned };   // Waiting: at something of an extension (see wait_until)
struct Copy { u32 to; const void* from; bool ok; u32 group; Where where; };
struct Fiber {
  Context context;
  u32 thread, warp, lane;
  State state;
  Where where;             // of the rendezvous it waits at
  const char* waiting;     // State::Waiting: for what
  u32 copy_group;          // cp.async group now being filled
  u32 fences;              // fence_async executed so far
  bool ahead;              // of its warp: this lane alone has waited for an mbarrier, until all lanes have or the warp synchronises
  u32 seen[AGENTS];        // where ahead: the clocks that were released there
  std::vector<Copy> copies;   // issued, not yet waited for
};
/// What a lane posts to a collective.
struct Operands { u32 a[4], b[2]; void* result; u32 address, bytes; };

/// Happens-before is kept per warp: clock[u] is how much of agent u's past this warp has synchronised with, clock[own number] its
/// own time, which moves on at every release. epoch counts what orders the lanes of one warp among themselves.
struct Warp {
  Operands operands[LANES];
  u32 arrived, at_barrier, returned, epoch;   // lanes at a collective, at sync_threads, ended
  u32 clock[AGENTS];
  u32 own_seen;            // all lanes have synchronised with what the warp had done up to this clock
  const char* operation;   // that the arrived lanes wait at
  Where where;
};

/// Per word of shared memory; see shared_memory.cpp. The last writer (thread, or WHOLE_WARP agents of an extension: writer / 32 is the
/// clock's agent), its clock and epoch; asynchronous copies into it and asynchronous reads of it that are under way.
struct Shadow {
  u32 clock, epoch;
  u16 writer, reads;
  u8 pending, initialised, split;
  u32 generic;   // 1 + how many fence_async its writer had executed, where ordinary stores wrote it; 0: an asynchronous operation did
};
constexpr u8 BARRIER_WORD = 2;   // Shadow::pending of an mbarrier: no ordinary access
/// Per word and warp: the last reader, a thread or WHOLE_WARP.
struct Reader { u32 clock = 0, epoch = 0; u16 who = 0; };

#define EMULATION_STATISTICS(X) \
  X(mma) X(ldmatrix) X(ldmatrix_conflicts) X(shuffles) X(copies) X(barriers) X(switches) X(atomics) \
  X(shared_accesses) X(shared_conflicts) X(blocks) X(wgmma) X(bulk_copies)
struct Statistics {
#define X(name) u64 name = 0;
  EMULATION_STATISTICS(X)
#undef X
  void add(const Statistics& other);
};

struct Options {
  u32 seed = 0;
  int workers = 1;
  bool races = true;              // happens-before checks
  bool conflicts_fail = true;     // a bank conflict of ldmatrix is an error
  bool shared_conflicts = false;  // count bank conflicts of lds and sts (slower)
  bool capturing = false;         // a graph, elsewhere: what the driver then forbids is an error
  u64 steps = 400000000;          // accesses and rendezvous of a block; one that takes more never ends
};

/// What is beyond the core (Hopper's asynchronous agents): called by the machine of each worker.
struct Extension {
  virtual ~Extension() = default;
  virtual void start(Machine&) {}                       // of a block
  virtual bool idle(Machine&) { return false; }         // no fiber can run: complete something asynchronous; false: there is nothing
  virtual void returned(Machine&, Fiber&) {}            // a thread has ended: fail() if it left something undone
  virtual void end(Machine&) {}                         // all threads have ended
};
/// Set by the extension's library part before main: makes one for a machine.
extern std::unique_ptr<Extension> (*make_extension)(Machine&);

struct SharedLog { u32 address; u32 bytes; Where where; };   // one access of one lane, for counting bank conflicts

struct Machine {
  // the launch
  u32 threads, warps, blocks;
  u64 launch;                    // its number
  Options options;
  const Kernel* kernel;
  void** parameters;
  const MemoryMap* memory;
  // the block
  u32 block;
  std::vector<Fiber> fibers;
  std::vector<Warp> warp;
  std::vector<u8> shared;
  std::vector<Shadow> shadow[2];   // per word: its lower (or both) halves, its upper half where split
  std::vector<Reader> readers[2];  // [word * warps + warp]
  std::vector<std::vector<SharedLog>> log;   // per thread
  u32 at_barrier, returned;
  u64 steps;
  u32 first_epoch = 1;             // epochs go on from block to block, so that no old one is taken for a new one
  Where barrier;
  bool failed;
  std::string message;
  Statistics statistics;
  // scheduling
  Fiber* current = nullptr;
  Context scheduler;
  u32 lane_stride;
  std::vector<u32> warp_order, warp_rank;
  Stacks stacks;
  const Buffer* last_buffer = nullptr;
  void* fault = nullptr;                    // address of an access violation, and a stack to report it on
  std::vector<char> fault_stack = std::vector<char>(64 << 10);
  std::unique_ptr<Extension> extension;

  Machine();
  void prepare(u32 threads, u32 shared_bytes, const Options& options);
  void run_block(u32 block);
  Warp& my_warp() { return warp[current->warp]; }
  Operands& my_operands() { return warp[current->warp].operands[current->lane]; }
};

/// The machine of this host thread; null outside a launch.
extern thread_local Machine* machine;

/// Gives the block up with a message. Fibers hold no resources, so nothing is unwound.
[[noreturn, gnu::format(printf, 2, 3), gnu::cold, gnu::noinline]] void fail(Where where, const char* format, ...);
inline void count_step(Machine& m, Where where) {
  if (++m.steps > m.options.steps) fail(where, "an endless loop: a block has taken %llu accesses and rendezvous", m.options.steps);
}
/// The current fiber cannot go on: runs another one until this one is runnable again.
void give_way(Machine& m);
/// Waits (in the current fiber) until ready() holds; whoever makes it so calls wake_waiting.
template <class Ready> void wait_until(Machine& m, const char* what, Where where, Ready ready) {
  while (!ready()) {
    m.current->state = State::Waiting;
    m.current->waiting = what;
    m.current->where = where;
    give_way(m);
  }
}
void wake_waiting(Machine& m);

/// Posts this lane's arrival at a warp collective; true for the last one, which then executes it and calls finish_collective.
bool arrive_at_collective(Machine& m, const char* operation, Where where);
void finish_collective(Machine& m);
template <class Execute> void collective(const char* operation, Where where, Execute execute) {
  Machine& m = *machine;
  if (!arrive_at_collective(m, operation, where)) return;
  execute(m, m.my_warp());
  finish_collective(m);
}
bool same(Where a, Where b);
/// Fails where a thread of this warp has returned: its rendezvous can never be complete.
void require_whole_warp(Machine& m, const char* operation, Where where);

/// Did an access by agent u at (clock, epoch) happen before what the running lane of warp w, or all lanes of it, do now?
inline bool ordered(const Machine& m, u32 u, u32 clock, u32 epoch, u32 w, bool all_lanes = false) {
  const Warp& warp = m.warp[w];
  if (u == w ? epoch != warp.epoch || clock <= warp.own_seen : warp.clock[u] >= clock) return true;
  const Fiber& f = *m.current;
  return !all_lanes && f.ahead && f.warp == w && f.seen[u] >= clock;
}
/// clock := max(clock, other), agent by agent: what was released there has happened before what follows here.
inline void join(u32* clock, const u32* other) {
  for (u32 u = 0; u < AGENTS; u++) if (other[u] > clock[u]) clock[u] = other[u];
}
/// The lanes of a warp synchronise: what one of them has waited for, all have.
void synchronise_lanes(Machine& m, u32 w);
}  // namespace emulation
