// Global memory: buffers that kernels may access, with what is known of each of their bytes.
#pragma once
#include <atomic>
#include <memory>
#include <string>
#include <vector>
#include "emulation.h"

namespace emulation {
struct Machine;

/// State of one byte.
enum ByteState : u8 { READABLE = 1, WRITABLE = 2, INITIALISED = 4 };

struct Buffer {
  u8 *begin, *end;
  std::string name;
  std::vector<u8> state;      // ByteState of each byte
  Buffer(u8* begin, size_t bytes, u8 state, std::string name);
  Buffer(const Buffer&) = delete;
  ~Buffer();
  /// Owned memory: guard pages on both sides, its end against the upper one (but for alignment to 16), filled with poison.
  static std::shared_ptr<Buffer> allocate(size_t bytes, std::string name);

  // Per two bytes: who stored them last (launch, block, thread; 0: nobody) and that warp's clock and epoch then.
  std::atomic<u64>* writer;
  u64* time;

 private:
  u8* map = nullptr;
  size_t map_bytes = 0;
};

/// The buffers at one moment, by address. Launches work on a snapshot.
class MemoryMap {
 public:
  /// The one that holds the address, null where none does.
  const Buffer* find(const void* address) const;
  /// The nearest one, for messages.
  const Buffer* nearest(const void* address) const;
  std::vector<std::shared_ptr<Buffer>> buffers;
};

std::shared_ptr<const MemoryMap> current_memory();
void add_buffer(std::shared_ptr<Buffer> buffer);
bool remove_buffer(const void* begin);
/// Sets and clears ByteState flags of a range, which must lie within one buffer.
bool change_state(const void* begin, size_t bytes, u8 set, u8 clear);

/// Checks a read of 16-byte units or elements by the running thread.
void check_global_read(Machine& m, const void* address, size_t bytes, size_t alignment, const char* what, Where where);
/// Checks a store by the running thread and marks the bytes as stored by it.
void check_global_write(Machine& m, void* address, size_t bytes, size_t alignment, const char* what, Where where);
void check_global_add(Machine& m, float* address, u32 count, Where where);
}  // namespace emulation
