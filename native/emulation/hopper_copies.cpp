// Bulk copies: TMA boxes, contiguous loads, reductions.
#include <algorithm>
#include "global_memory.h"
#include "hopper.h"
#include "shared_memory.h"

namespace emulation {
namespace {
// ---- boxes of a tensor map
const TensorMapFields& fields_of(const TensorMap* map, Where where) {
  const TensorMapFields& f = *(const TensorMapFields*)map;
  if ((uintptr_t)map % 64) fail(where, "a tensor map at an address not aligned to 64 bytes");
  if (f.magic != TENSOR_MAP_MAGIC) fail(where, "not a tensor map");
  if (f.rank != 4) fail(where, "a copy in 4 dimensions with a tensor map of %u", f.rank);
  if (f.swizzle_bytes > 16 && f.box[0] * f.element_bytes != f.swizzle_bytes)
    fail(where, "a box of %u bytes in a swizzle of %u: the emulation knows only rows as wide as the swizzle",
         f.box[0] * f.element_bytes, f.swizzle_bytes);
  return f;
}
u32 row_bytes(const TensorMapFields& f) { return f.box[0] * f.element_bytes; }
u32 box_bytes(const TensorMapFields& f) { return row_bytes(f) * f.box[1] * f.box[2] * f.box[3]; }

// Calls visit(row of the box, elements [begin, end) of it that lie within the tensor, address of the first) for each row.
template <class Visit> void each_row(const TensorMapFields& f, const int (&at)[4], Visit visit) {
  u32 row = 0;
  for (u32 i3 = 0; i3 < f.box[3]; i3++) for (u32 i2 = 0; i2 < f.box[2]; i2++) for (u32 i1 = 0; i1 < f.box[1]; i1++, row++) {
    const i64 c[4] = {at[0], i64(at[1]) + i1, i64(at[2]) + i2, i64(at[3]) + i3};
    bool inside = true;
    for (int d = 1; d < 4; d++) inside = inside && c[d] >= 0 && c[d] < i64(f.sizes[d]);
    const i64 begin = std::max<i64>(0, -c[0]), end = std::min<i64>(f.box[0], i64(f.sizes[0]) - c[0]);
    if (!inside || begin >= end) { visit(row, 0u, 0u, (u8*)nullptr); continue; }
    i64 offset = (c[0] + begin) * f.element_bytes;
    for (int d = 1; d < 4; d++) offset += c[d] * i64(f.strides[d]);
    visit(row, u32(begin), u32(end), f.address + offset);
  }
}

// Shared address of the 16 bytes at `byte` of a row.
u32 swizzled(const TensorMapFields& f, u32 base, u32 row, u32 byte) {
  const u32 a = base + row * row_bytes(f) + byte;
  return a ^ ((a >> 7) % (f.swizzle_bytes / 16)) << 4;
}

void check_box_address(Machine& m, const TensorMapFields& f, u32 address, const char* what, Where where) {
  const u32 alignment = f.swizzle_bytes == 16 ? 128 : 8u * f.swizzle_bytes;
  if (address % alignment)
    fail(where, "%s: shared address %u is not aligned to %u bytes, as the swizzle of %u wants", what, address, alignment, f.swizzle_bytes);
  shared_bytes(m, address, box_bytes(f), 128, where);
}

void check_bulk(Machine& m, u32 shared, const void* global, u32 bytes, const char* what, Where where) {
  if (bytes % 16 || bytes == 0) fail(where, "%s of %u bytes, not a multiple of 16", what, bytes);
  if ((uintptr_t)global % 16) fail(where, "%s: the global address is not aligned to 16 bytes", what);
  shared_bytes(m, shared, bytes, 16, where);
}

// ---- loads
void issue_load(Machine& m, BulkLoad load) {
  begin_asynchronous_write(m, load.to, load.bytes, load.where);
  hopper(m).loads.push_back(load);
  m.statistics.bulk_copies++;
}

void fill_box(Machine& m, const BulkLoad& load) {
  const TensorMapFields& f = load.map;
  std::vector<u8> row(row_bytes(f));
  each_row(f, load.at, [&](u32 r, u32 begin, u32 end, const u8* from) {
    std::fill(row.begin(), row.end(), u8(0));
    if (from) memcpy(row.data() + begin * f.element_bytes, from, (end - begin) * f.element_bytes);
    for (u32 b = 0; b < row.size(); b += 16) memcpy(&m.shared[swizzled(f, load.to, r, b) - SHARED_BASE], row.data() + b, 16);
  });
}

// ---- stores
void issue_store(Machine& m, BulkStore store) {
  const Fiber& f = *m.current;
  HopperThread& thread = hopper(m).threads[f.thread];
  check_asynchronous_read(m, store.from, store.bytes, f.warp, f.warp, u16(f.thread), store.where);
  count_asynchronous_reads(m, store.from, store.bytes, 1);
  store.group = thread.store_group;
  thread.stores.push_back(store);
  m.statistics.bulk_copies++;
}

void store_box(Machine& m, const BulkStore& store) {
  const TensorMapFields& f = store.map;
  std::vector<u8> row(row_bytes(f));
  each_row(f, store.at, [&](u32 r, u32 begin, u32 end, u8* to) {
    if (!to) return;
    for (u32 b = 0; b < row.size(); b += 16) memcpy(row.data() + b, &m.shared[swizzled(f, store.from, r, b) - SHARED_BASE], 16);
    const u32 bytes = (end - begin) * f.element_bytes;
    check_global_write(m, to, bytes, f.element_bytes, "tma_store", store.where);
    memcpy(to, row.data() + begin * f.element_bytes, bytes);
  });
}

void perform_store(Machine& m, const BulkStore& store) {
  const Fiber& f = *m.current;
  if (store.tensor) {
    store_box(m, store);
  } else {
    for (u32 i = 0; i < store.bytes / 4; i += 4) check_global_add(m, store.to + i, 4, store.where);
    const u8* from = &m.shared[store.from - SHARED_BASE];
    for (u32 i = 0; i < store.bytes / 4; i++) {
      float x;
      memcpy(&x, from + 4 * i, 4);
      std::atomic_ref<float>(store.to[i]).fetch_add(x);
    }
  }
  end_asynchronous_read(m, store.from, store.bytes, f.warp, f.warp, u16(f.thread));
}
}  // namespace

void tensor_prefetch(const TensorMap* map, Where where) { fields_of(map, where); }

void tensor_load(u32 to, const TensorMap* map, u32 bar, const int (&at)[4], Where where) {
  Machine& m = *machine;
  const TensorMapFields& f = fields_of(map, where);
  use_mbarrier(m, bar, where);
  check_box_address(m, f, to, "tma_load", where);
  each_row(f, at, [&](u32, u32 begin, u32 end, const u8* from) {
    if (from) check_global_read(m, from, (end - begin) * f.element_bytes, f.element_bytes, "tma_load", where);
  });
  issue_load(m, {to, box_bytes(f), bar, nullptr, f, {at[0], at[1], at[2], at[3]}, where});
}

void bulk_load(u32 to, const void* from, u32 bytes, u32 bar, Where where) {
  Machine& m = *machine;
  use_mbarrier(m, bar, where);
  check_bulk(m, to, from, bytes, "bulk_load", where);
  check_global_read(m, from, bytes, 16, "bulk_load", where);
  issue_load(m, {to, bytes, bar, (const u8*)from, {}, {}, where});
}

bool land_load(Machine& m) {
  Hopper& h = hopper(m);
  if (h.loads.empty()) return false;
  const auto chosen = h.loads.begin() + std::ptrdiff_t(m.options.seed ? h.random() % h.loads.size() : 0);
  const BulkLoad load = *chosen;
  h.loads.erase(chosen);
  if (load.from) memcpy(&m.shared[load.to - SHARED_BASE], load.from, load.bytes);
  else fill_box(m, load);
  Mbarrier& b = h.mbarriers.at(load.bar);
  settle_copy(m, load.to, load.bytes, b.agent * LANES, b.phase + 1, 0);
  b.transactions -= load.bytes;
  if (b.left == 0 && b.transactions < 0)
    fail(load.where, "copies bring %lld bytes more than the mbarrier at shared byte %u expects in this phase",
         -b.transactions, load.bar - SHARED_BASE);
  settle_phase(m, b);
  return true;
}

void tensor_store(const TensorMap* map, u32 from, const int (&at)[4], Where where) {
  Machine& m = *machine;
  const TensorMapFields& f = fields_of(map, where);
  check_box_address(m, f, from, "tma_store", where);
  issue_store(m, {true, from, box_bytes(f), 0, nullptr, f, {at[0], at[1], at[2], at[3]}, where});
}

void bulk_add(float* to, u32 from, u32 bytes, Where where) {
  Machine& m = *machine;
  check_bulk(m, from, to, bytes, "bulk_add", where);
  issue_store(m, {false, from, bytes, 0, to, {}, {}, where});
}

void bulk_commit() {
  Machine& m = *machine;
  hopper(m).threads[m.current->thread].store_group++;
}

// The writes to global memory are done here too when only the reads are waited for: nothing of this block may look at them before the end.
void bulk_wait(u32 groups, bool, Where) {
  Machine& m = *machine;
  HopperThread& t = hopper(m).threads[m.current->thread];
  size_t done = 0;
  for (; done < t.stores.size() && t.stores[done].group + groups < t.store_group; done++) perform_store(m, t.stores[done]);
  t.stores.erase(t.stores.begin(), t.stores.begin() + std::ptrdiff_t(done));
}
}  // namespace emulation
