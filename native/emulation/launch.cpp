#include "launch.h"
#include <atomic>
#include <cstdlib>
#include <mutex>
#include <sstream>
#include <thread>
#include "global_memory.h"

namespace emulation {
// ---- machines are kept for the next launch: their stacks and shadows are large
static std::mutex pool_lock;
static std::vector<std::unique_ptr<Machine>> pool;

static std::unique_ptr<Machine> take_machine() {
  std::lock_guard guard(pool_lock);
  if (pool.empty()) return std::make_unique<Machine>();
  auto m = std::move(pool.back());
  pool.pop_back();
  return m;
}

static void return_machine(std::unique_ptr<Machine> m) {
  std::lock_guard guard(pool_lock);
  pool.push_back(std::move(m));
}

// ---- a launch
struct Launch {
  const Kernel& kernel;
  u32 blocks, threads, shared_bytes;
  void** parameters;
  const Options& options;
  u64 number;
  std::shared_ptr<const MemoryMap> memory;
  std::atomic<u32> next{0};
  std::mutex lock;
  Outcome outcome;
};

static void work(Launch& launch) {
  auto m = take_machine();
  m->prepare(launch.threads, launch.shared_bytes, launch.options);
  m->blocks = launch.blocks;
  m->launch = launch.number;
  m->kernel = &launch.kernel;
  m->parameters = launch.parameters;
  m->memory = launch.memory.get();
  {
    FaultGuard guard;
    machine = m.get();
    for (u32 block; !m->failed && (block = launch.next++) < launch.blocks;) m->run_block(block);
    machine = nullptr;
  }
  std::lock_guard guard(launch.lock);
  launch.outcome.statistics.add(m->statistics);
  if (m->failed) {
    launch.next = launch.blocks;
    if (launch.outcome.ok) launch.outcome.message = m->message;
    launch.outcome.ok = false;
  }
  return_machine(std::move(m));
}

Outcome launch(const Kernel& kernel, u32 blocks, u32 threads, u32 shared_bytes, void** parameters, const Options& options) {
  static std::atomic<u64> launches{1};
  const std::string block = "a block of " + std::to_string(threads) + " threads";
  if (threads == 0 || threads % LANES || threads > MAX_WARPS * LANES) return {false, block + ": it must be of whole warps, and of 1024 at most", {}};
  if (threads > kernel.threads) return {false, block + ", the launch bounds say " + std::to_string(kernel.threads), {}};
  Launch l{kernel, blocks, threads, shared_bytes, parameters, options, launches++, current_memory(), {}, {}, {}};
  std::vector<std::thread> workers;
  for (int i = 1; i < options.workers && u32(i) < blocks; i++) workers.emplace_back([&] { work(l); });
  work(l);
  for (auto& w : workers) w.join();
  return l.outcome;
}

// ---- options
bool set_option(Options& options, const std::string& name, i64 value) {
  if (name == "seed") options.seed = u32(value);
  else if (name == "workers") options.workers = int(value);
  else if (name == "races") options.races = value != 0;
  else if (name == "conflicts_fail") options.conflicts_fail = value != 0;
  else if (name == "shared_conflicts") options.shared_conflicts = value != 0;
  else if (name == "capturing") options.capturing = value != 0;
  else if (name == "steps") options.steps = u64(value);
  else return false;
  return true;
}

static Options initial_options() {
  Options options;
  const char* text = getenv("TORCHFLASH_EMULATION");
  std::istringstream list(text ? text : "");
  for (std::string item; std::getline(list, item, ',');) {
    const size_t equals = item.find('=');
    if (equals != std::string::npos) set_option(options, item.substr(0, equals), atoll(item.c_str() + equals + 1));
  }
  return options;
}

Options& thread_options() {
  static thread_local Options options = initial_options();
  return options;
}
}  // namespace emulation
