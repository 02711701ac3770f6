// Launching a kernel: its blocks on worker threads, the outcome, and the options of this host thread.
#pragma once
#include "machine.h"

namespace emulation {
struct Outcome {
  bool ok = true;
  std::string message;
  Statistics statistics;
};
Outcome launch(const Kernel& kernel, u32 blocks, u32 threads, u32 shared_bytes, void** parameters, const Options& options);
/// Those of this host thread. The environment variable TORCHFLASH_EMULATION, "seed=3,workers=2", sets what every thread starts with.
Options& thread_options();
/// Sets an option by name; false where there is none of that name.
bool set_option(Options& options, const std::string& name, i64 value);
}  // namespace emulation
