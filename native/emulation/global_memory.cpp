#include "global_memory.h"
#include <sys/mman.h>
#include <algorithm>
#include <mutex>
#include <new>
#include "machine.h"

namespace emulation {
// ---- buffers
static void* map_zeroed(size_t bytes, int protection) {
  void* p = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  return p;
}

Buffer::Buffer(u8* b, size_t bytes, u8 s, std::string n) : begin(b), end(b + bytes), name(std::move(n)), state(bytes, s) {
  const size_t units = bytes / 2 + 2;   // mapped: pages that nobody stores to cost nothing
  writer = (std::atomic<u64>*)map_zeroed(units * 8, PROT_READ | PROT_WRITE);
  time = (u64*)map_zeroed(units * 8, PROT_READ | PROT_WRITE);
}

Buffer::~Buffer() {
  const size_t units = size_t(end - begin) / 2 + 2;
  munmap(writer, units * 8);
  munmap(time, units * 8);
  if (map) munmap(map, map_bytes);
}

std::shared_ptr<Buffer> Buffer::allocate(size_t bytes, std::string name) {
  constexpr size_t PAGE = 4096;
  const size_t length = (bytes + 15) / 16 * 16, body = (length + PAGE - 1) / PAGE * PAGE, total = body + 2 * PAGE;
  u8* map = (u8*)map_zeroed(total, PROT_NONE);
  mprotect(map + PAGE, body, PROT_READ | PROT_WRITE);
  memset(map + PAGE, 0xff, body);
  auto buffer = std::make_shared<Buffer>(map + PAGE + body - length, bytes, READABLE | WRITABLE, std::move(name));
  buffer->map = map;
  buffer->map_bytes = total;
  return buffer;
}

const Buffer* MemoryMap::find(const void* address) const {
  auto after = std::upper_bound(buffers.begin(), buffers.end(), (const u8*)address, [](const u8* a, const auto& b) { return a < b->begin; });
  while (after != buffers.begin()) {   // registered views of one storage may overlap
    const Buffer* b = (--after)->get();
    if (address < b->end) return b;
  }
  return nullptr;
}

const Buffer* MemoryMap::nearest(const void* address) const {
  const Buffer* best = nullptr;
  size_t best_distance = 4096;
  for (auto& b : buffers) {
    const u8* a = (const u8*)address;
    const size_t distance = a < b->begin ? size_t(b->begin - a) : a >= b->end ? size_t(a - b->end) : 0;
    if (distance < best_distance) { best = b.get(); best_distance = distance; }
  }
  return best;
}

static std::mutex memory_lock;
static std::shared_ptr<const MemoryMap> memory = std::make_shared<MemoryMap>();

std::shared_ptr<const MemoryMap> current_memory() {
  std::lock_guard guard(memory_lock);
  return memory;
}

void add_buffer(std::shared_ptr<Buffer> buffer) {
  std::lock_guard guard(memory_lock);
  auto next = std::make_shared<MemoryMap>(*memory);
  auto at = std::upper_bound(next->buffers.begin(), next->buffers.end(), buffer, [](const auto& a, const auto& b) { return a->begin < b->begin; });
  next->buffers.insert(at, std::move(buffer));
  memory = next;
}

bool remove_buffer(const void* begin) {
  std::lock_guard guard(memory_lock);
  auto next = std::make_shared<MemoryMap>(*memory);
  auto at = std::find_if(next->buffers.begin(), next->buffers.end(), [&](const auto& b) { return b->begin == begin; });
  if (at == next->buffers.end()) return false;
  next->buffers.erase(at);   // one: what was registered twice is there until it is unregistered twice
  memory = next;
  return true;
}

bool change_state(const void* begin, size_t bytes, u8 set, u8 clear) {
  auto now = current_memory();
  Buffer* b = const_cast<Buffer*>(now->find(begin));
  if (!b || (const u8*)begin + bytes > b->end) return false;
  for (size_t i = size_t((const u8*)begin - b->begin), e = i + bytes; i < e; i++) b->state[i] = u8((b->state[i] & ~clear) | set);
  return true;
}

// ---- checks. A unit is two bytes.
// A writer is launch (23 bits), block (30), thread (11).
constexpr u32 BLOCK_SHIFT = 11, LAUNCH_SHIFT = 41;
constexpr u64 THREAD_MASK = 0x7ff, BLOCK_MASK = 0x3fffffff, ATOMIC_WRITER = THREAD_MASK;   // as thread: sums of many
static u64 writer_id(const Machine& m) { return m.launch << LAUNCH_SHIFT | (m.block & BLOCK_MASK) << BLOCK_SHIFT | m.current->thread; }
static bool same_launch(u64 a, u64 b) { return a >> LAUNCH_SHIFT == b >> LAUNCH_SHIFT; }

static Buffer& locate(Machine& m, const void* address, size_t bytes, size_t alignment, const char* what, Where where) {
  const u8* a = (const u8*)address;
  const Buffer* b = m.last_buffer;
  if (size_t(address) % alignment) fail(where, "global %s at %p, not aligned to %zu bytes", what, address, alignment);
  if (!b || a < b->begin || a >= b->end) {
    b = m.memory->find(address);
    if (!b) {
      const Buffer* near = m.memory->nearest(address);
      if (near) fail(where, "global %s out of bounds: byte %td of the %td of %s", what, a - near->begin, near->end - near->begin, near->name.c_str());
      fail(where, "global %s at %p, in no buffer", what, address);
    }
    m.last_buffer = b;
  }
  const std::ptrdiff_t first = a - b->begin, size = b->end - b->begin;
  if (a + bytes > b->end)
    fail(where, "global %s out of bounds: bytes %td to %td of the %td of %s", what, first, first + std::ptrdiff_t(bytes) - 1, size, b->name.c_str());
  return const_cast<Buffer&>(*b);
}

static void require_state(const Buffer& b, size_t i, size_t bytes, u8 needed, const char* what, Where where) {
  for (size_t k = i; k < i + bytes; k++) {
    const u8 missing = u8(needed & ~b.state[k]);
    if (!missing) continue;
    if ((missing & READABLE) || ((missing & WRITABLE) && !(b.state[k] & READABLE)))
      fail(where, "global %s in a gap of %s, byte %zu", what, b.name.c_str(), k);
    if (missing & WRITABLE) fail(where, "global %s into the input %s, byte %zu", what, b.name.c_str(), k);
    fail(where, "global %s of byte %zu of %s, which was never written", what, k, b.name.c_str());
  }
}

// Has what `writer` stored at `time` in this launch happened before what the running thread does?
static bool happened_before(const Machine& m, u64 writer, u64 time) {
  const u64 me = writer_id(m);
  if (!same_launch(writer, me) || writer == me) return true;
  if (writer >> BLOCK_SHIFT != me >> BLOCK_SHIFT || (writer & THREAD_MASK) == ATOMIC_WRITER) return false;
  return ordered(m, u32(writer & THREAD_MASK) / LANES, u32(time >> 32), u32(time), m.current->warp);
}

void check_global_read(Machine& m, const void* address, size_t bytes, size_t alignment, const char* what, Where where) {
  const Buffer& b = locate(m, address, bytes, alignment, what, where);
  const size_t i = size_t((const u8*)address - b.begin);
  require_state(b, i, bytes, READABLE | INITIALISED, what, where);
  if (!m.options.races) return;
  for (size_t k = i / 2; k < (i + bytes + 1) / 2; k++) {
    const u64 writer = b.writer[k].load(std::memory_order_relaxed);
    if (writer && !happened_before(m, writer, b.time[k]))
      fail(where, "race: global %s of byte %zu of %s, stored by another thread in this launch", what, k * 2, b.name.c_str());
  }
}

void check_global_write(Machine& m, void* address, size_t bytes, size_t alignment, const char* what, Where where) {
  Buffer& b = locate(m, address, bytes, alignment, what, where);
  const size_t i = size_t((u8*)address - b.begin);
  require_state(b, i, bytes, WRITABLE, what, where);
  const u64 me = writer_id(m);
  const Warp& w = m.my_warp();
  for (size_t k = i / 2; k < (i + bytes + 1) / 2; k++) {
    const u64 old = b.writer[k].exchange(me, std::memory_order_relaxed);
    if (old != me && same_launch(old, me)) {
      if ((old & THREAD_MASK) == ATOMIC_WRITER)
        fail(where, "global %s to byte %zu of %s, which is also added to atomically in this launch", what, k * 2, b.name.c_str());
      fail(where, "byte %zu of %s is stored by two threads: thread %u of block %u, and this one", k * 2, b.name.c_str(),
           u32(old & THREAD_MASK), u32(old >> BLOCK_SHIFT & BLOCK_MASK));
    }
    b.time[k] = u64(w.clock[m.current->warp]) << 32 | w.epoch;
  }
  for (size_t k = i; k < i + bytes; k++) b.state[k] |= INITIALISED;
}

void check_global_add(Machine& m, float* address, u32 count, Where where) {
  Buffer& b = locate(m, address, count * 4, count * 4, "atomic addition", where);
  const size_t i = size_t((u8*)address - b.begin);
  require_state(b, i, count * 4, READABLE | WRITABLE | INITIALISED, "atomic addition", where);
  const u64 me = (writer_id(m) & ~THREAD_MASK) | ATOMIC_WRITER;
  for (size_t k = i / 2; k < (i + count * 4 + 1) / 2; k++) {
    const u64 old = b.writer[k].exchange(me, std::memory_order_relaxed);
    if (same_launch(old, me) && (old & THREAD_MASK) != ATOMIC_WRITER && !happened_before(m, old, b.time[k]))
      fail(where, "atomic addition to byte %zu of %s, which another thread stores in this launch", k * 2, b.name.c_str());
  }
}

// ---- accesses of a thread
void global_read(const void* address, void* to, u32 bytes, Where where) {
  count_step(*machine, where);
  check_global_read(*machine, address, bytes, bytes, "load", where);
  memcpy(to, address, bytes);
}

void global_write(void* address, const void* from, u32 bytes, Where where) {
  count_step(*machine, where);
  check_global_write(*machine, address, bytes, bytes, "store", where);
  memcpy(address, from, bytes);
}

void global_add(float* address, const float* values, u32 count, Where where) {
  Machine& m = *machine;
  count_step(m, where);
  check_global_add(m, address, count, where);
  m.statistics.atomics += count;
  for (u32 i = 0; i < count; i++) std::atomic_ref<float>(address[i]).fetch_add(values[i], std::memory_order_relaxed);
}

}  // namespace emulation
