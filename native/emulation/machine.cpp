#include "machine.h"
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include "shared_memory.h"

namespace emulation {
thread_local Machine* machine = nullptr;
std::unique_ptr<Extension> (*make_extension)(Machine&) = nullptr;

void Statistics::add(const Statistics& other) {
#define X(name) name += other.name;
  EMULATION_STATISTICS(X)
#undef X
}

static const char* base_name(const char* path) {
  const char* slash = path ? strrchr(path, '/') : nullptr;
  return slash ? slash + 1 : path;
}

bool same(Where a, Where b) { return a.line == b.line && (a.file == b.file || strcmp(a.file, b.file) == 0); }

// ---- giving up
static std::string format_message(const char* format, va_list arguments) {
  char text[600];
  vsnprintf(text, sizeof text, format, arguments);
  return text;
}

void fail(Where where, const char* format, ...) {
  Machine& m = *machine;
  va_list arguments;
  va_start(arguments, format);
  std::string text = format_message(format, arguments);
  va_end(arguments);
  char at[200], who[100];
  const Fiber& f = *m.current;
  if (where.line) snprintf(at, sizeof at, "%s:%d: ", base_name(where.file), where.line);
  else snprintf(at, sizeof at, "%s", "");
  snprintf(who, sizeof who, " [block %u, thread %u, warp %u lane %u]", m.block, f.thread, f.warp, f.lane);
  m.message = at + text + who;
  m.failed = true;
  Context abandoned;
  switch_context(abandoned, m.scheduler);
  abort();
}

static std::string deadlock_message(Machine& m) {
  std::string text = "deadlock:";
  u32 returned = 0;
  std::vector<bool> counted(m.threads);
  for (u32 i = 0; i < m.threads; i++) {
    const Fiber& f = m.fibers[i];
    if (f.state == State::Returned) { returned++; continue; }
    if (counted[i]) continue;
    u32 count = 0;
    for (u32 k = i; k < m.threads; k++) {
      const Fiber& g = m.fibers[k];
      if (g.state == f.state && same(g.where, f.where)) { counted[k] = true; count++; }
    }
    const char* at = f.state == State::AtWarp ? m.warp[f.warp].operation : f.state == State::AtBlock ? "sync_threads" : f.waiting;
    char part[200];
    snprintf(part, sizeof part, " %u threads (%u ...) at %s (%s:%d),", count, i, at ? at : "?", base_name(f.where.file), f.where.line);
    text += part;
  }
  char tail[100];
  snprintf(tail, sizeof tail, " %u returned [block %u]", returned, m.block);
  return text + tail;
}

// ---- scheduling
static void resume(Machine& m, Fiber& from, Fiber& to) {
  m.current = &to;
  m.statistics.switches++;
  switch_context(from.context, to.context);
}

void give_way(Machine& m) {
  Fiber& me = *m.current;
  const u32 base = me.warp * LANES;
  for (u32 i = 1, lane = me.lane; i < LANES; i++) {   // the lanes of this warp first
    lane = (lane + m.lane_stride) % LANES;
    if (m.fibers[base + lane].state == State::Runnable) return resume(m, me, m.fibers[base + lane]);
  }
  do {
    if (me.state == State::Runnable) return;
    for (u32 k = 1; k <= m.warps; k++) {
      const u32 w = m.warp_order[(m.warp_rank[me.warp] + k) % m.warps];
      for (u32 i = 0, lane = m.options.seed % LANES; i < LANES; i++, lane = (lane + m.lane_stride) % LANES)
        if (m.fibers[w * LANES + lane].state == State::Runnable) return resume(m, me, m.fibers[w * LANES + lane]);
    }
  } while (m.extension && m.extension->idle(m));   // nothing can run: let an asynchronous operation complete
  switch_context(me.context, m.scheduler);   // all done, or deadlock: run_block tells which
}

void wake_waiting(Machine& m) {
  for (Fiber& f : m.fibers) if (f.state == State::Waiting) f.state = State::Runnable;
}

// ---- rendezvous
void require_whole_warp(Machine& m, const char* operation, Where where) {
  Warp& w = m.my_warp();
  if (w.returned) fail(where, "%s with %u threads of this warp missing: they have returned", operation, w.returned);
}

bool arrive_at_collective(Machine& m, const char* operation, Where where) {
  Fiber& f = *m.current;
  Warp& w = m.my_warp();
  count_step(m, where);
  require_whole_warp(m, operation, where);
  if (w.at_barrier)
    fail(where, "diverged: this lane is at %s, others of its warp at sync_threads (%s:%d)", operation, base_name(m.barrier.file), m.barrier.line);
  if (w.arrived == 0) {
    w.operation = operation;
    w.where = where;
  } else if (w.operation != operation || !same(w.where, where)) {
    fail(where, "diverged: this lane is at %s, others of its warp at %s (%s:%d)", operation, w.operation, base_name(w.where.file), w.where.line);
  }
  f.where = where;
  if (++w.arrived == LANES) return true;
  f.state = State::AtWarp;
  give_way(m);
  return false;
}

void finish_collective(Machine& m) {
  Fiber& f = *m.current;
  m.my_warp().arrived = 0;
  for (u32 i = 0; i < LANES; i++) m.fibers[f.warp * LANES + i].state = State::Runnable;
  if (m.options.shared_conflicts) count_shared_conflicts(m, f.warp);
}

void synchronise_lanes(Machine& m, u32 w) {
  Warp& warp = m.warp[w];
  const u32 time = warp.clock[w];
  for (u32 l = 0; l < LANES; l++) {
    Fiber& f = m.fibers[w * LANES + l];
    if (f.ahead) join(warp.clock, f.seen);
    f.ahead = false;
  }
  warp.clock[w] = time;
}

void sync_warp(Where where) {
  collective("sync_warp", where, [](Machine& m, Warp& w) {
    synchronise_lanes(m, m.current->warp);
    w.epoch++;
  });
}

// All threads that have not returned are here: their warps have seen each other's past.
static void release_barrier(Machine& m) {
  m.at_barrier = 0;
  m.statistics.barriers++;
  u32 clock[AGENTS] = {};
  for (u32 i = 0; i < m.warps; i++) if (!m.warp[i].returned) synchronise_lanes(m, i);
  for (Warp& w : m.warp) if (!w.returned) join(clock, w.clock);
  for (u32 i = 0; i < m.warps; i++) {
    Warp& w = m.warp[i];
    if (w.returned) continue;
    w.at_barrier = 0;
    memcpy(w.clock, clock, sizeof clock);
    w.clock[i]++;
    w.epoch++;
    if (m.options.shared_conflicts) count_shared_conflicts(m, i);
  }
  for (Fiber& f : m.fibers) if (f.state == State::AtBlock) f.state = State::Runnable;
}

void sync_threads(Where where) {
  Machine& m = *machine;
  Fiber& f = *m.current;
  count_step(m, where);
  require_whole_warp(m, "sync_threads", where);
  if (m.my_warp().arrived) {
    const Warp& w = m.my_warp();
    fail(where, "diverged: this lane is at sync_threads, others of its warp at %s (%s:%d)", w.operation, base_name(w.where.file), w.where.line);
  }
  if (m.at_barrier && !same(m.barrier, where)) {
    fail(where, "threads are at different sync_threads (others at %s:%d)", base_name(m.barrier.file), m.barrier.line);
  }
  m.barrier = f.where = where;
  f.state = State::AtBlock;
  m.my_warp().at_barrier++;
  if (++m.at_barrier + m.returned < m.threads) { give_way(m); return; }
  release_barrier(m);
}

// ---- a thread's life
// A thread has left the kernel: nothing may be under way, and none of its warp may still be waiting for it.
static void thread_returned(Machine& m) {
  Fiber& f = *m.current;
  Warp& w = m.my_warp();
  if (!f.copies.empty()) fail(f.copies[0].where, "a thread returned with %zu cp.async copies not waited for", f.copies.size());
  if (w.arrived) fail(w.where, "diverged: a lane has returned, others of its warp are at %s", w.operation);
  if (w.at_barrier) fail(m.barrier, "diverged: a lane has returned, others of its warp are at sync_threads");
  if (m.extension) m.extension->returned(m, f);
  f.state = State::Returned;
  w.returned++;
  m.returned++;
  if (m.at_barrier && m.at_barrier + m.returned == m.threads) release_barrier(m);
}

static void fiber_main() {
  Machine& m = *machine;
  m.kernel->entry(m.kernel->body, m.parameters);
  thread_returned(m);
  give_way(m);
  abort();
}

// ---- blocks
Machine::Machine() {
  if (make_extension) extension = make_extension(*this);
}

void Machine::prepare(u32 thread_count, u32 shared_bytes, const Options& launch_options) {
  threads = thread_count;
  warps = threads / LANES;
  options = launch_options;
  statistics = Statistics();
  failed = false;
  last_buffer = nullptr;
  fibers.resize(threads);
  warp.resize(warps);
  log.resize(options.shared_conflicts ? threads : 0);
  for (u32 i = 0; i < threads; i++) {
    fibers[i].thread = i;
    fibers[i].warp = i / LANES;
    fibers[i].lane = i % LANES;
  }
  stacks.reserve(threads);
  shared.resize(shared_bytes);
  std::mt19937 random(options.seed);
  lane_stride = (options.seed * 2 + 1) % LANES;   // odd: visits every lane
  warp_order.resize(warps);
  warp_rank.resize(warps);
  for (u32 i = 0; i < warps; i++) warp_order[i] = i;
  if (options.seed) for (u32 i = warps; i > 1; i--) std::swap(warp_order[i - 1], warp_order[random() % i]);
  for (u32 i = 0; i < warps; i++) warp_rank[warp_order[i]] = i;
}

void Machine::run_block(u32 number) {
  block = number;
  if (first_epoch > 1u << 31) {
    for (auto& r : readers) r.clear();
    first_epoch = 1;
  }
  at_barrier = returned = 0;
  steps = 0;
  statistics.blocks++;
  reset_shared(*this);
  for (u32 i = 0; i < warps; i++) {
    Warp& w = warp[i];
    w.arrived = w.at_barrier = w.returned = 0;
    w.epoch = first_epoch;
    memset(w.clock, 0, sizeof w.clock);
    w.clock[i] = 1;
    w.own_seen = 0;
  }
  for (Fiber& f : fibers) {
    f.state = State::Runnable;
    f.copy_group = f.fences = 0;
    f.ahead = false;
    f.copies.clear();
    make_context(f.context, stacks.bottom(f.thread), stacks.top(f.thread), fiber_main);
  }
  if (extension) extension->start(*this);
  current = &fibers[warp_order[0] * LANES];
  switch_context(scheduler, current->context);
  if (!failed && returned < threads) {
    message = deadlock_message(*this);
    failed = true;
  }
  if (!failed && extension) extension->end(*this);
  current = nullptr;
  for (const Warp& w : warp) first_epoch = std::max(first_epoch, w.epoch + 1);
}

int thread_id() { return int(machine->current->thread); }
int block_id() { return int(machine->block); }
int grid_size() { return int(machine->blocks); }
}  // namespace emulation
