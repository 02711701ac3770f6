// Shared memory between the generic proxy (ordinary loads and stores) and the asynchronous one (bulk copies, wgmma). The PTX memory model
// wants a fence.proxy.async on the way from a store to an asynchronous access of the same bytes; here: in the thread that stored, before
// the barrier that orders the store before the access. An asynchronous operation's completion needs none.
#include "hopper.h"
#include "shared_memory.h"

namespace emulation {
namespace {
// What decides whether a word may be read: neighbouring words mostly agree, and are then checked once.
struct Key {
  u32 clock = 0, epoch = 0, generic = 0;
  int writer = -1;
  bool operator==(const Key&) const = default;
};

// Has warp w seen the first fence that this thread executed after it had executed `before` of them?
bool fenced(Machine& m, u32 thread, u32 before, u32 w, u16 who) {
  const auto& fences = hopper(m).threads[thread].fences;
  if (fences.size() <= before) return false;
  const Moment& at = fences[before];
  return who == thread || ordered(m, thread / LANES, at.clock, at.epoch, w, who == WHOLE_WARP);
}

void check_writer(Machine& m, const Shadow& s, u32 byte, u32 first, u32 last, u16 who, Where where) {
  const bool stored = s.writer < MAX_WARPS * LANES;
  for (u32 w = first; w <= last; w++) {
    if (m.options.races && s.writer != who && !ordered(m, s.writer / LANES, s.clock, s.epoch, w, who == WHOLE_WARP)) {
      if (stored)
        fail(where, "race: an asynchronous operation of warp %u reads shared byte %u, written by thread %u with no barrier between",
             w, byte, s.writer);
      fail(where, "race: an asynchronous operation of warp %u reads shared byte %u, whose copy this warp has not waited for", w, byte);
    }
    if (s.generic && !fenced(m, s.writer, s.generic - 1, w, who))
      fail(where, "an asynchronous operation reads shared byte %u, stored by thread %u without a fence_async before the barrier between",
           byte, s.writer);
  }
}
}  // namespace

void fence_async() {
  Machine& m = *machine;
  Fiber& f = *m.current;
  const Warp& w = m.my_warp();
  hopper(m).threads[f.thread].fences.push_back({w.clock[f.warp], w.epoch});
  f.fences++;
}

void check_asynchronous_read(Machine& m, u32 address, u32 bytes, u32 first, u32 last, u16 who, Where where) {
  static thread_local Key known;
  known = Key();
  const u32 begin = (address - SHARED_BASE) / 4;
  for (u32 i = begin; i < begin + bytes / 4; i++) {
    for (int half = 0; half < 1 + m.shadow[0][i].split; half++) {
      const Shadow& s = m.shadow[half][i];
      const u32 byte = i * 4 + u32(half) * 2;
      if (s.pending) fail(where, "an asynchronous operation reads shared byte %u while a copy into it is under way: a wait is missing", byte);
      if (!s.initialised) fail(where, "an asynchronous operation reads shared byte %u that was never written", byte);
      const Key key{s.clock, s.epoch, s.generic, s.writer};
      if (key == known) continue;
      check_writer(m, s, byte, first, last, who, where);
      known = key;
    }
  }
}

void begin_asynchronous_write(Machine& m, u32 address, u32 bytes, Where where) {
  const Fiber& f = *m.current;
  const u32 begin = (address - SHARED_BASE) / 4;
  for (u32 i = begin; i < begin + bytes / 4; i++) {
    for (int half = 0; half < 1 + m.shadow[0][i].split; half++) {
      const Shadow& s = m.shadow[half][i];
      if (s.initialised && s.generic && !s.pending && !fenced(m, s.writer, s.generic - 1, f.warp, u16(f.thread)))
        fail(where, "a bulk copy overwrites shared byte %u, stored by thread %u without a fence_async before the barrier between", i * 4, s.writer);
    }
  }
  note_write(m, address, bytes, f.thread, true, where);
  memset(&m.shared[address - SHARED_BASE], 0xff, bytes);
}

void end_asynchronous_read(Machine& m, u32 address, u32 bytes, u32 first, u32 last, u16 who) {
  count_asynchronous_reads(m, address, bytes, -1);
  const u32 begin = (address - SHARED_BASE) / 4;
  for (u32 i = begin; i < begin + bytes / 4; i++)
    for (int half = 0; half < 1 + m.shadow[0][i].split; half++)
      for (u32 w = first; w <= last; w++) m.readers[half][i * m.warps + w] = {m.warp[w].clock[w], m.warp[w].epoch, who};
}
}  // namespace emulation
