// The number of threads to begin with. libtorch 1 takes half of the processors, supposing two hardware threads a core;
// libtorch 2, and so TorchSharp's, counts the cores. This makes the former do as the latter.
#include <ATen/Parallel.h>
#include <torch/csrc/api/include/torch/version.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <set>
#include <string>
#include <thread>

#if TORCH_VERSION_MAJOR < 2
namespace {

int cores() {
  const unsigned processors = std::thread::hardware_concurrency();
  std::set<std::string> cores;
  for (unsigned i = 0; i < processors; ++i) {
    std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(i) + "/topology/thread_siblings_list");
    std::string siblings;
    if (std::getline(file, siblings)) cores.insert(siblings);
  }
  return static_cast<int>(cores.empty() ? std::max(processors / 2, 1u) : cores.size());
}

[[maybe_unused]] const bool applied = [] {
  const bool chosen = std::getenv("OMP_NUM_THREADS") || std::getenv("MKL_NUM_THREADS");
  if (!chosen) at::set_num_threads(cores());
  return true;
}();

} // namespace
#endif
