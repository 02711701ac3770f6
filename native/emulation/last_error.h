// The finding of this host thread's last failed call, and the launch that leaves one.
#pragma once
#include <string>
#include "emulation.h"

namespace emulation {
extern thread_local std::string last_error;
bool launch_and_remember(const Kernel& kernel, u32 blocks, u32 threads, u32 shared_bytes, void** parameters);
}  // namespace emulation
