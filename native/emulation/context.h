// Fibers' contexts and stacks: switching between them, and a guard page below each stack.
#pragma once
#include <cstddef>
#if !defined(__x86_64__) || defined(EMULATION_UCONTEXT)   // the latter to test what other processors use
#define USE_UCONTEXT 1
#include <ucontext.h>
#endif

namespace emulation {
struct Context {
#if USE_UCONTEXT
  ucontext_t context;
#else
  void* stack_pointer = nullptr;
#endif
};
/// Saves where this fiber is in `from` and goes on in `to`.
void switch_context(Context& from, Context& to);
/// Makes a context that starts in entry() at the top of a stack.
void make_context(Context& context, char* bottom, char* top, void (*entry)());

/// One stack for each thread of a block, with a guard page below it.
class Stacks {
 public:
  static constexpr size_t SIZE = 256 << 10, GUARD = 4096;
  Stacks() = default;
  Stacks(const Stacks&) = delete;
  ~Stacks();
  void reserve(size_t count);
  char* bottom(size_t i) const { return memory + i * SIZE + GUARD; }
  /// Skewed: equal offsets in all stacks would share cache sets.
  char* top(size_t i) const { return memory + (i + 1) * SIZE - i % 32 * 448; }
  bool is_guard(const void* address) const;

 private:
  char* memory = nullptr;
  size_t reserved = 0;
};

/// While it lives, an access violation of a fiber of this host thread is reported as a finding; others go to the handler that was there.
class FaultGuard {
 public:
  FaultGuard();
  ~FaultGuard();

 private:
  char* stack;
  struct Saved;
  Saved* saved;
};
}  // namespace emulation
