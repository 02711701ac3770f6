// mbarriers, named barriers and setmaxnreg.
#include "hopper.h"
#include <algorithm>
#include "shared_memory.h"

namespace emulation {
const char* const AT_MBARRIER = "an mbarrier";
const char* const AT_TRY_WAIT = "mbarrier_try_wait";
const char* const AT_NAMED_BARRIER = "a named barrier";
const char* const AT_WARPGROUP = "a warpgroup's instruction";
const char* const AT_REGISTERS = "registers_increase";

void wake(Machine& m, const char* what) {
  for (Fiber& f : m.fibers) if (f.state == State::Waiting && f.waiting == what) f.state = State::Runnable;
}

// ---- mbarriers
void mbarrier_init(u32 bar, u32 arrivals, Where where) {
  Machine& m = *machine;
  Hopper& h = hopper(m);
  const Fiber& f = *m.current;
  shared_bytes(m, bar, 8, 8, where);
  if (arrivals == 0 || arrivals >= 1 << 20) fail(where, "an mbarrier for %u arrivals", arrivals);
  if (h.mbarriers.count(bar)) fail(where, "the mbarrier at shared byte %u is initialised again", bar - SHARED_BASE);
  if (h.mbarriers.size() == AGENTS - MAX_WARPS) fail(where, "more than %u mbarriers", AGENTS - MAX_WARPS);
  note_write(m, bar, 8, f.thread, false, where);
  for (u32 i = 0; i < 2; i++) m.shadow[0][(bar - SHARED_BASE) / 4 + i].pending = BARRIER_WORD;
  Mbarrier b{};
  b.count = b.left = arrivals;
  b.agent = MAX_WARPS + u32(h.mbarriers.size());
  b.thread = f.thread;
  b.init_fences = u32(h.threads[f.thread].init_fences.size());
  b.initialised = {m.my_warp().clock[f.warp], m.my_warp().epoch};
  b.where = where;
  h.mbarriers.emplace(bar, b);
}

void mbarrier_fence_init() {
  Machine& m = *machine;
  const Fiber& f = *m.current;
  hopper(m).threads[f.thread].init_fences.push_back({m.my_warp().clock[f.warp], m.my_warp().epoch});
}

Mbarrier& use_mbarrier(Machine& m, u32 bar, Where where) {
  Hopper& h = hopper(m);
  const Fiber& f = *m.current;
  const auto found = h.mbarriers.find(bar);
  if (found == h.mbarriers.end()) fail(where, "no mbarrier at shared byte %d", int(bar) - int(SHARED_BASE));
  Mbarrier& b = found->second;
  const bool own = b.thread == f.thread;
  if (!own && !ordered(m, b.thread / LANES, b.initialised.clock, b.initialised.epoch, f.warp))
    fail(where, "race: an mbarrier is used with no barrier after its initialisation by thread %u", b.thread);
  const auto& fences = h.threads[b.thread].init_fences;
  if (fences.size() <= b.init_fences) fail(where, "an mbarrier is used, but no mbarrier_fence_init followed its initialisation");
  const Moment& fence = fences[b.init_fences];
  if (!own && !ordered(m, b.thread / LANES, fence.clock, fence.epoch, f.warp))
    fail(where, "an mbarrier is used with no barrier after the mbarrier_fence_init that follows its initialisation");
  return b;
}

void settle_phase(Machine& m, Mbarrier& b) {
  if (b.left || b.transactions) return;
  b.phase++;
  b.gathering[b.agent] = b.phase;
  b.left = b.count;
  memcpy(b.released, b.gathering, sizeof b.released);
  hopper(m).timeouts = 0;
  wake(m, AT_MBARRIER);
  wake(m, AT_TRY_WAIT);
}

void mbarrier_arrive(u32 bar, bool expect, u32 bytes, Where where) {
  Machine& m = *machine;
  Mbarrier& b = use_mbarrier(m, bar, where);
  Warp& w = m.my_warp();
  if (b.left == 0) fail(where, "more arrivals in a phase than the mbarrier's %u (its phase still waits for %lld bytes)", b.count, b.transactions);
  if (expect) b.transactions += bytes;
  if (b.transactions >= 1 << 20) fail(where, "an mbarrier expects %lld bytes; its counter holds less than 2^20", b.transactions);
  join(b.gathering, w.clock);
  if (m.current->ahead) join(b.gathering, m.current->seen);
  w.clock[m.current->warp]++;   // what follows is not released by this arrival
  b.left--;
  settle_phase(m, b);
}

static bool phase_done(const Mbarrier& b, u32 parity) { return (b.phase & 1) != parity; }

// This lane takes on what was released in the last completed phase; its warp, when all lanes have.
static void acquire_phase(Machine& m, Mbarrier& b) {
  Fiber& f = *m.current;
  Warp& w = m.my_warp();
  if (!f.ahead) memset(f.seen, 0, sizeof f.seen);
  join(f.seen, b.released);
  f.ahead = true;
  auto& waited = b.waited[f.warp];
  if (waited.phase != b.phase) waited = {b.phase, 0};
  waited.lanes |= 1u << f.lane;
  if (waited.lanes != 0xffffffff) return;
  const u32 time = w.clock[f.warp];
  join(w.clock, b.released);
  w.clock[f.warp] = time;
  if (b.released[f.warp] > w.own_seen) w.own_seen = b.released[f.warp];
}

void mbarrier_wait(u32 bar, u32 parity, Where where) {
  Machine& m = *machine;
  Mbarrier& b = use_mbarrier(m, bar, where);
  if (parity > 1) fail(where, "an mbarrier's parity is 0 or 1, not %u", parity);
  wait_until(m, AT_MBARRIER, where, [&] { return phase_done(b, parity); });
  acquire_phase(m, b);
}

bool mbarrier_try_wait(u32 bar, u32 parity, Where where) {
  Machine& m = *machine;
  Mbarrier& b = use_mbarrier(m, bar, where);
  if (parity > 1) fail(where, "an mbarrier's parity is 0 or 1, not %u", parity);
  if (!phase_done(b, parity)) {   // suspended once: until a phase completes, or nothing else can run (the hardware's time limit)
    Fiber& f = *m.current;
    f.state = State::Waiting;
    f.waiting = AT_TRY_WAIT;
    f.where = where;
    give_way(m);
  }
  if (!phase_done(b, parity)) return false;
  acquire_phase(m, b);
  return true;
}

bool end_try_waits(Machine& m) {
  Hopper& h = hopper(m);
  if (h.timeouts++ == MOST_TIMEOUTS) return false;   // they only poll: a deadlock
  bool any = false;
  for (const Fiber& f : m.fibers) any = any || (f.state == State::Waiting && f.waiting == AT_TRY_WAIT);
  wake(m, AT_TRY_WAIT);
  return any;
}

// ---- named barriers
static void complete_named_barrier(Machine& m, NamedBarrier& b) {
  for (u32 w = 0; w < m.warps; w++) {
    if (!(b.waiting_warps >> w & 1)) continue;
    join(m.warp[w].clock, b.clock);   // of its own time it knows more than the barrier
    m.warp[w].clock[w]++;
    m.warp[w].epoch++;
  }
  b.arrived = b.arrived_warps = b.waiting_warps = 0;
  memset(b.clock, 0, sizeof b.clock);
  b.generation++;
  m.statistics.barriers++;
  wake(m, AT_NAMED_BARRIER);
}

// A whole warp arrives.
static void arrive_at_named_barrier(Machine& m, u32 id, u32 count, bool wait, Where where) {
  NamedBarrier& b = hopper(m).named[id];
  const u32 own = m.current->warp;
  if (b.arrived == 0) {
    b.expected = count;
    b.where = where;
  } else if (b.expected != count) {
    fail(where, "named barrier %u: this warp says %u threads, the first one (line %d) %u", id, count, b.where.line, b.expected);
  }
  if (b.arrived_warps >> own & 1) fail(where, "named barrier %u: warp %u arrives twice before it completes", id, own);
  b.arrived_warps |= 1u << own;
  if (wait) b.waiting_warps |= 1u << own;
  synchronise_lanes(m, own);
  join(b.clock, m.warp[own].clock);
  if (!wait) m.warp[own].clock[own]++;
  b.arrived += LANES;
  if (b.arrived == b.expected) complete_named_barrier(m, b);
}

void named_barrier(u32 id, u32 count, bool wait, Where where) {
  Machine& m = *machine;
  if (id < 1 || id >= NAMED_BARRIERS) fail(where, "named barrier %u: 1 to 15 may be used", id);
  if (count == 0 || count % LANES || count > m.threads) fail(where, "named barrier %u: %u threads of the block's %u", id, count, m.threads);
  NamedBarrier& b = hopper(m).named[id];
  m.my_operands().a[0] = id;
  m.my_operands().a[1] = count;
  collective(wait ? "named_sync" : "named_arrive", where, [&](Machine& m, Warp& w) {
    for (const Operands& o : w.operands)
      if (o.a[0] != id || o.a[1] != count)
        fail(where, "the lanes of a warp are at different named barriers: %u of %u and %u of %u threads", id, count, o.a[0], o.a[1]);
    for (Operands& o : w.operands) o.a[2] = b.generation;
    arrive_at_named_barrier(m, id, count, wait, where);
  });
  const u32 generation = m.my_operands().a[2];
  if (wait) wait_until(m, AT_NAMED_BARRIER, where, [&] { return b.generation != generation; });
}

// ---- setmaxnreg: warpgroups give registers to the block's pool and take from it; taking waits until there are enough
void registers_change(u32 count, bool increase, Where where) {
  const char* operation = increase ? "registers_increase" : "registers_decrease";
  if (count < 24 || count > 256 || count % 8) fail(where, "%s: %u registers; 24 to 256 in steps of 8 are possible", operation, count);
  warpgroup_collective(operation, where, [&](Machine& m, Warpgroup& g) {
    Hopper& h = hopper(m);
    if (increase ? count < g.registers : count > g.registers) fail(where, "%s from %u to %u registers", operation, g.registers, count);
    if (increase) return;
    h.register_pool += (g.registers - count) * WARPGROUP;
    g.registers = count;
    wake(m, AT_REGISTERS);
  });
  if (!increase) return;
  Machine& m = *machine;
  Hopper& h = hopper(m);
  Warpgroup& g = h.warpgroups[m.current->thread / WARPGROUP];
  wait_until(m, AT_REGISTERS, where, [&] { return g.registers == count || (count - g.registers) * WARPGROUP <= h.register_pool; });
  h.register_pool -= (count - g.registers) * WARPGROUP;
  g.registers = count;
}
}  // namespace emulation
