#include "hopper.h"
#include <algorithm>

namespace emulation {
// Registers for each thread that the compiler may use under these launch bounds, which setmaxnreg starts from.
static u32 registers_at_launch(const Machine& m) {
  const u32 blocks = std::max(1u, m.kernel->blocks);
  return std::min(256u, 65536 / (m.kernel->threads * blocks) / 8 * 8);
}

void Hopper::start(Machine& m) {
  mbarriers.clear();
  loads.clear();
  memset(named, 0, sizeof named);
  threads.resize(m.threads);
  for (HopperThread& t : threads) {
    t.fences.clear();
    t.init_fences.clear();
    t.stores.clear();
    t.store_group = 0;
  }
  warpgroups.resize((m.threads + WARPGROUP - 1) / WARPGROUP);
  for (Warpgroup& g : warpgroups) {
    g.arrived = g.generation = g.group = 0;
    g.fenced = false;
    g.registers = registers_at_launch(m);
    g.products.clear();
    g.accumulators.clear();
    g.used.clear();
  }
  register_pool = timeouts = 0;
  random.seed(m.options.seed + m.block * 977);
}

bool Hopper::idle(Machine& m) {
  if (m.returned == m.threads) return false;   // what is still under way comes too late
  return land_load(m) || end_try_waits(m);
}

void Hopper::returned(Machine&, Fiber& f) {
  const HopperThread& t = threads[f.thread];
  if (!t.stores.empty())
    fail(t.stores[0].where, "a thread returned with %zu bulk stores whose reads of shared memory it has not waited for", t.stores.size());
  const Warpgroup& g = warpgroups[f.thread / WARPGROUP];
  if (g.arrived) fail(g.where, "diverged: a thread has returned, others of its warpgroup are at %s", g.operation);
  if (!g.products.empty()) fail(g.products.front().where, "a thread returned with wgmmas under way");
}

// The last thread has returned.
void Hopper::end(Machine& m) {
  const auto found = [&m](Where where, const std::string& text) {
    m.message = "line " + std::to_string(where.line) + ": the block ended with " + text + " [block " + std::to_string(m.block) + "]";
    m.failed = true;
  };
  for (const auto& [address, b] : mbarriers)
    if (b.transactions) found(b.where, "an mbarrier that is " + std::to_string(b.transactions) + " bytes short of its expectation");
  if (!loads.empty()) found(loads[0].where, std::to_string(loads.size()) + " bulk loads under way");
}

static std::unique_ptr<Extension> make_hopper(Machine&) { return std::make_unique<Hopper>(); }
[[maybe_unused]] static const bool registered = (make_extension = make_hopper, true);
}  // namespace emulation
