// The shadow has one entry per 4-byte word. Where two threads use the halves of a word apart (16-bit accesses) it is split: entry 0
// then stands for the lower half, entry 1 for the upper one. A write of the whole word joins them again.
#include "shared_memory.h"
#include "global_memory.h"

namespace emulation {
constexpr u32 LOWER = 1, UPPER = 2;

void reset_shared(Machine& m) {
  const size_t words = (m.shared.size() + 3) / 4;
  memset(m.shared.data(), 0xff, m.shared.size());
  for (int half = 0; half < 2; half++) {
    m.shadow[half].assign(words, Shadow{});
    m.readers[half].resize(words * m.warps);   // not cleared: what is older than first_epoch does not count
  }
  for (auto& l : m.log) l.clear();
}

u8* shared_bytes(Machine& m, u32 address, u32 bytes, u32 alignment, Where where) {
  if (address % alignment) fail(where, "shared address %u is not aligned to %u bytes", address, alignment);
  if (address < SHARED_BASE || u64(address - SHARED_BASE) + bytes > m.shared.size())
    fail(where, "shared memory out of bounds: %u bytes at byte %d of %zu", bytes, int(address) - int(SHARED_BASE), m.shared.size());
  return &m.shared[address - SHARED_BASE];
}

// Which halves of word i do the bytes [begin, begin + bytes) touch?
static u32 halves_of(u32 begin, u32 bytes, u32 i) {
  const u32 lower = i * 4, end = begin + bytes;
  return (begin < lower + 2 && end > lower ? LOWER : 0) | (begin < lower + 4 && end > lower + 2 ? UPPER : 0);
}

static void split(Machine& m, u32 i) {
  m.shadow[0][i].split = 1;
  m.shadow[1][i] = m.shadow[0][i];
  memcpy(&m.readers[1][i * m.warps], &m.readers[0][i * m.warps], m.warps * sizeof(Reader));
}

// Calls visit(half, byte) for the shadow entries of word i that an access of these halves concerns.
template <class Visit> static void each_half(Machine& m, u32 i, u32 halves, Visit visit) {
  if (halves != (LOWER | UPPER) && !m.shadow[0][i].split) split(m, i);
  if (!m.shadow[0][i].split) return visit(0, i * 4);
  if (halves & LOWER) visit(0, i * 4);
  if (halves & UPPER) visit(1, i * 4 + 2);
}

static void read_entry(Machine& m, u32 i, int half, u32 byte, u32 w, u16 who, Where where) {
  const Shadow& s = m.shadow[half][i];
  if (s.pending == BARRIER_WORD) fail(where, "reads shared byte %u, part of an mbarrier", byte);
  if (s.pending) fail(where, "reads shared byte %u while an asynchronous copy into it is under way: a wait is missing", byte);
  if (!s.initialised) fail(where, "reads shared byte %u that was never written", byte);
  if (!m.options.races) return;
  if (s.writer != who && !ordered(m, s.writer / LANES, s.clock, s.epoch, w, who == WHOLE_WARP)) {
    if (s.writer < MAX_WARPS * LANES) fail(where, "race: reads shared byte %u, written by thread %u with no barrier between", byte, s.writer);
    fail(where, "race: reads shared byte %u, written by an asynchronous copy that this warp has not waited for", byte);
  }
  Reader& r = m.readers[half][i * m.warps + w];
  const Warp& warp = m.warp[w];
  r.who = r.epoch == warp.epoch && r.who != who ? WHOLE_WARP : who;
  r.epoch = warp.epoch;
  r.clock = warp.clock[w];
}

void note_read(Machine& m, u32 address, u32 bytes, u32 w, u16 who, Where where) {
  const u32 begin = address - SHARED_BASE;
  for (u32 i = begin / 4; i * 4 < begin + bytes; i++)
    each_half(m, i, halves_of(begin, bytes, i), [&](int half, u32 byte) { read_entry(m, i, half, byte, w, who, where); });
}

static void check_write_race(Machine& m, u32 i, int half, u32 byte, u32 thread, Where where) {
  const Shadow& s = m.shadow[half][i];
  const u32 w = thread / LANES;
  if (s.initialised && s.writer != thread && !ordered(m, s.writer / LANES, s.clock, s.epoch, w)) {
    if (s.writer < MAX_WARPS * LANES) fail(where, "race: writes shared byte %u, also written by thread %u with no barrier between", byte, s.writer);
    fail(where, "race: writes shared byte %u, also written by an asynchronous copy that this warp has not waited for", byte);
  }
  for (u32 u = 0; u < m.warps; u++) {
    const Reader& r = m.readers[half][i * m.warps + u];
    if (r.epoch >= m.first_epoch && !(u == w && r.who == thread) && !ordered(m, u, r.clock, r.epoch, w)) {
      if (r.who == WHOLE_WARP) fail(where, "race: writes shared byte %u, read by warp %u with no barrier between", byte, u);
      fail(where, "race: writes shared byte %u, read by thread %u with no barrier between", byte, r.who);
    }
  }
}

static void write_entry(Machine& m, u32 i, int half, u32 byte, u32 thread, bool pending, Where where) {
  Shadow& s = m.shadow[half][i];
  if (s.pending == BARRIER_WORD) fail(where, "writes shared byte %u, part of an mbarrier", byte);
  if (s.pending) fail(where, "writes shared byte %u while an asynchronous copy into it is under way", byte);
  if (s.reads) fail(where, "writes shared byte %u while an asynchronous operation still reads it", byte);
  if (m.options.races) check_write_race(m, i, half, byte, thread, where);
  const Warp& warp = m.warp[thread / LANES];
  s.clock = warp.clock[thread / LANES];
  s.epoch = warp.epoch;
  s.writer = u16(thread);
  s.initialised = 1;
  s.pending = pending;
  s.generic = 1 + m.fibers[thread].fences;
}

void note_write(Machine& m, u32 address, u32 bytes, u32 thread, bool pending, Where where) {
  const u32 begin = address - SHARED_BASE;
  for (u32 i = begin / 4; i * 4 < begin + bytes; i++) {
    const u32 halves = halves_of(begin, bytes, i);
    each_half(m, i, halves, [&](int half, u32 byte) { write_entry(m, i, half, byte, thread, pending, where); });
    if (halves == (LOWER | UPPER)) m.shadow[0][i].split = 0;   // readers before it are ordered before it: they may be forgotten or not
  }
}

void settle_copy(Machine& m, u32 address, u32 bytes, u32 writer, u32 clock, u32 epoch) {
  const u32 begin = (address - SHARED_BASE) / 4;
  for (u32 i = begin; i < begin + bytes / 4; i++) {
    Shadow& s = m.shadow[0][i];   // a copy writes whole words: not split
    s.pending = 0;
    s.writer = u16(writer);
    s.clock = clock;
    s.epoch = epoch;
    s.generic = writer < MAX_WARPS * LANES ? 1 + m.fibers[writer].fences : 0;
  }
}

void count_asynchronous_reads(Machine& m, u32 address, u32 bytes, int change) {
  const u32 begin = (address - SHARED_BASE) / 4;
  for (u32 i = begin; i < begin + (bytes + 3) / 4; i++)
    for (auto& shadow : m.shadow) shadow[i].reads = u16(shadow[i].reads + change);
}

// ---- accesses of a thread
static void log_access(Machine& m, u32 address, u32 bytes, Where where) {
  m.statistics.shared_accesses++;
  count_step(m, where);
  if (m.options.shared_conflicts) m.log[m.current->thread].push_back({address, bytes, where});
}

void shared_read(u32 address, void* to, u32 bytes, Where where) {
  Machine& m = *machine;
  const u8* p = shared_bytes(m, address, bytes, bytes, where);
  note_read(m, address, bytes, m.current->warp, u16(m.current->thread), where);
  log_access(m, address, bytes, where);
  memcpy(to, p, bytes);
}

void shared_write(u32 address, const void* from, u32 bytes, Where where) {
  Machine& m = *machine;
  u8* p = shared_bytes(m, address, bytes, bytes, where);
  note_write(m, address, bytes, m.current->thread, false, where);
  log_access(m, address, bytes, where);
  memcpy(p, from, bytes);
}

// ---- bank conflicts
// Passes over the banks beyond the first that one instruction takes, for the lanes that took part in it. A pass serves 128 bytes:
// all lanes with up to 4 bytes each, half a warp with 8, a quarter with 16. Lanes that address the same word share it.
static u32 extra_passes(const SharedLog* const* lanes) {
  u32 bytes = 4;
  for (u32 l = 0; l < LANES; l++) if (lanes[l]) bytes = lanes[l]->bytes > bytes ? lanes[l]->bytes : bytes;
  const u32 group = 128 / bytes;
  u32 extra = 0;
  for (u32 first = 0; first < LANES; first += group) {
    u32 words[LANES * 4], count = 0, in_bank[32] = {}, most = 1;
    for (u32 l = first; l < first + group && l < LANES; l++) {
      for (u32 b = 0; lanes[l] && b < lanes[l]->bytes; b += 4) {
        const u32 word = (lanes[l]->address + b) / 4;
        bool known = false;
        for (u32 i = 0; i < count && !known; i++) known = words[i] == word;
        if (known) continue;
        words[count++] = word;
        if (++in_bank[word % 32] > most) most = in_bank[word % 32];
      }
    }
    extra += most - 1;
  }
  return extra;
}

// The lanes of a warp run one after another here; the k-th accesses of all lanes since the last rendezvous are taken for one instruction
// where they come from the same place of the source.
void count_shared_conflicts(Machine& m, u32 w) {
  auto* log = &m.log[w * LANES];
  size_t longest = 0;
  for (u32 l = 0; l < LANES; l++) longest = log[l].size() > longest ? log[l].size() : longest;
  for (size_t k = 0; k < longest; k++) {
    const SharedLog* lanes[LANES] = {};
    const SharedLog* first = nullptr;
    for (u32 l = 0; l < LANES; l++) {
      if (k >= log[l].size()) continue;
      if (!first) first = &log[l][k];
      if (same(first->where, log[l][k].where) && first->bytes == log[l][k].bytes) lanes[l] = &log[l][k];
    }
    m.statistics.shared_conflicts += extra_passes(lanes);
  }
  for (u32 l = 0; l < LANES; l++) log[l].clear();
}

// ---- cp.async: the bytes arrive no sooner than at the wait that covers them; until then the destination is poisoned
void copy_async(u32 to, const void* from, bool ok, Where where) {
  Machine& m = *machine;
  Fiber& f = *m.current;
  u8* p = shared_bytes(m, to, 16, 16, where);
  if (ok) check_global_read(m, from, 16, 16, "cp.async", where);
  else if (u64(from) % 16) fail(where, "cp.async from %p, not aligned to 16 bytes (even where nothing is read)", from);
  note_write(m, to, 16, f.thread, true, where);
  memset(p, 0xff, 16);
  f.copies.push_back({to, from, ok, f.copy_group, where});
  m.statistics.copies++;
}

static void copy_arrived(Machine& m, const Copy& c) {
  const Fiber& f = *m.current;
  const Warp& w = m.my_warp();
  settle_copy(m, c.to, 16, f.thread, w.clock[f.warp], w.epoch);   // this thread sees it from now on, others after a barrier
  u8* to = &m.shared[c.to - SHARED_BASE];
  if (c.ok) memcpy(to, c.from, 16);
  else memset(to, 0, 16);
}

void copy_commit() { machine->current->copy_group++; }

void copy_wait(u32 groups, Where) {
  Machine& m = *machine;
  Fiber& f = *m.current;
  size_t done = 0;
  for (; done < f.copies.size() && f.copies[done].group + groups < f.copy_group; done++) copy_arrived(m, f.copies[done]);
  f.copies.erase(f.copies.begin(), f.copies.begin() + std::ptrdiff_t(done));
}
}  // namespace emulation
