#include "context.h"
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <cstdint>
#include <mutex>
#include <new>
#include "machine.h"

#if !USE_UCONTEXT
extern "C" void emulation_switch(void** save, void* to);
asm(R"(
.pushsection .text
.type emulation_switch,@function
.hidden emulation_switch
.globl emulation_switch
emulation_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp,(%rdi)
  movq %rsi,%rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emulation_switch,.-emulation_switch
.popsection
)");
#endif

namespace emulation {
#if !USE_UCONTEXT
void switch_context(Context& from, Context& to) { emulation_switch(&from.stack_pointer, to.stack_pointer); }

void make_context(Context& context, char*, char* top, void (*entry)()) {
  void** s = (void**)((uintptr_t)top & ~uintptr_t(15));
  *--s = nullptr;   // entry's return address: it never returns
  *--s = (void*)entry;
  for (int i = 0; i < 6; i++) *--s = nullptr;
  context.stack_pointer = s;
}
#else
void switch_context(Context& from, Context& to) { swapcontext(&from.context, &to.context); }

void make_context(Context& context, char* bottom, char* top, void (*entry)()) {
  getcontext(&context.context);
  context.context.uc_stack.ss_sp = bottom;
  context.context.uc_stack.ss_size = size_t(top - bottom);
  context.context.uc_link = nullptr;
  makecontext(&context.context, entry, 0);
}
#endif

// ---- stacks
Stacks::~Stacks() {
  if (memory) munmap(memory, reserved * SIZE);
}

void Stacks::reserve(size_t count) {
  if (count <= reserved) return;
  if (memory) munmap(memory, reserved * SIZE);
  void* p = mmap(nullptr, count * SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) { memory = nullptr; reserved = 0; throw std::bad_alloc(); }
  memory = (char*)p;
  reserved = count;
  for (size_t i = 0; i < count; i++) mprotect(memory + i * SIZE, GUARD, PROT_NONE);
}

bool Stacks::is_guard(const void* address) const {
  const char* a = (const char*)address;
  return memory && a >= memory && a < memory + reserved * SIZE && size_t(a - memory) % SIZE < GUARD;
}

// ---- access violations
static struct sigaction previous[2];
static const int signals[2] = {SIGSEGV, SIGBUS};

static void report_fault() {
  Machine& m = *machine;
  if (m.stacks.is_guard(m.fault)) fail({"", 0}, "stack overflow (a thread's registers and local arrays exceed %zu KiB)", Stacks::SIZE >> 10);
  fail({"", 0}, "access violation at %p: a pointer dereferenced other than by ldg, stg and the like, outside all buffers", m.fault);
}

static void on_fault(int signal, siginfo_t* info, void* context) {
#if defined(__x86_64__) || defined(__aarch64__)
  if (machine && machine->current) {   // go on as if report_fault had been called, on a stack of its own: it gives the block up
    machine->fault = info->si_addr;
    const uintptr_t top = (uintptr_t)(machine->fault_stack.data() + machine->fault_stack.size()) & ~uintptr_t(15);
    auto& registers = ((ucontext_t*)context)->uc_mcontext;
#ifdef __x86_64__
    registers.gregs[REG_RSP] = (greg_t)(top - 8);
    registers.gregs[REG_RIP] = (greg_t)report_fault;
#else
    registers.sp = top;
    registers.pc = (uintptr_t)report_fault;
#endif
    return;
  }
#endif
  const struct sigaction& old = previous[signal == SIGBUS];
  if (old.sa_flags & SA_SIGINFO) old.sa_sigaction(signal, info, context);
  else if (old.sa_handler == SIG_DFL) ::signal(signal, SIG_DFL);
  else if (old.sa_handler != SIG_IGN) old.sa_handler(signal);
}

struct FaultGuard::Saved { stack_t stack; };

FaultGuard::FaultGuard() : stack(new char[64 << 10]), saved(new Saved) {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    for (int i = 0; i < 2; i++) sigaction(signals[i], &action, &previous[i]);
  });
  stack_t own = {};
  own.ss_sp = stack;
  own.ss_size = 64 << 10;
  sigaltstack(&own, &saved->stack);
}

FaultGuard::~FaultGuard() {
  sigaltstack(&saved->stack, nullptr);
  delete saved;
  delete[] stack;
}
}  // namespace emulation
