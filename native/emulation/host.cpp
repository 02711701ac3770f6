#include "host.h"
#include <string>
#include "global_memory.h"
#include "launch.h"
#include "last_error.h"

namespace emulation {
thread_local std::string last_error;
static thread_local Statistics last_statistics;

bool launch_and_remember(const Kernel& kernel, u32 blocks, u32 threads, u32 shared_bytes, void** parameters) {
  Outcome outcome = launch(kernel, blocks, threads, shared_bytes, parameters, thread_options());
  last_statistics = outcome.statistics;
  last_error = outcome.message;
  return outcome.ok;
}
}  // namespace emulation

using namespace emulation;
#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT int emulation_launch(const Kernel* kernel, unsigned blocks, unsigned threads, unsigned shared_bytes, void** parameters) {
  return !launch_and_remember(*kernel, blocks, threads, shared_bytes, parameters);
}

EXPORT const char* emulation_last_error(void) { return last_error.c_str(); }

EXPORT const char* emulation_statistics(void) {
  static thread_local std::string text;
  text.clear();
#define X(name) text += #name " " + std::to_string(last_statistics.name) + "\n";
  EMULATION_STATISTICS(X)
#undef X
  return text.c_str();
}

EXPORT int emulation_set_option(const char* name, long long value) { return !set_option(thread_options(), name, value); }

EXPORT void* emulation_allocate(size_t bytes, const char* name) {
  auto buffer = Buffer::allocate(bytes, name);
  void* memory = buffer->begin;
  add_buffer(std::move(buffer));
  return memory;
}

EXPORT void emulation_free(void* memory) { remove_buffer(memory); }

EXPORT int emulation_register_host(void* memory, size_t bytes, int writable) {
  const u8 state = u8(READABLE | INITIALISED | (writable ? WRITABLE : 0));
  add_buffer(std::make_shared<Buffer>((u8*)memory, bytes, state, writable ? "a host buffer" : "an input in host memory"));
  return 0;
}

EXPORT int emulation_unregister_host(void* memory) { return !remove_buffer(memory); }
EXPORT int emulation_mark_initialised(void* memory, size_t bytes) { return !change_state(memory, bytes, INITIALISED, 0); }
EXPORT int emulation_mark_gap(void* memory, size_t bytes) { return !change_state(memory, bytes, 0, READABLE | WRITABLE | INITIALISED); }
EXPORT int emulation_mark_input(void* memory, size_t bytes) { return !change_state(memory, bytes, READABLE | INITIALISED, WRITABLE); }
