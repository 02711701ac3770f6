// wgmma: issued by a warpgroup, computed at the wait that covers it.
#include <algorithm>
#include "hopper.h"
#include "matrix_operand.h"
#include "shared_memory.h"

#ifdef __x86_64__
#define FAST __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define FAST
#endif

namespace emulation {
namespace {
constexpr u32 ROWS = 64, DEPTH = 16, POISON = 0xffbadbad;   // a NaN
constexpr u32 WARPGROUP_WARPS = 4;

// ---- fragments: thread t holds d[4 j + 2 r + c] = D(16 (t / 32) + 8 r + t % 32 / 4, 8 j + 2 (t % 4) + c)
u32 fragment_row(u32 t, u32 r) { return t / LANES * 16 + r * 8 + t % LANES / 4; }

void gather(Accumulators& x) {
  for (u32 t = 0; t < WARPGROUP; t++) for (u32 r = 0; r < 2; r++) {
    float* row = &x.values[fragment_row(t, r) * x.n + t % 4 * 2];
    for (u32 j = 0; j < x.n / 8; j++) memcpy(row + 8 * j, x.registers[t] + 4 * j + 2 * r, 8);
  }
}
void scatter(const Accumulators& x) {
  for (u32 t = 0; t < WARPGROUP; t++) for (u32 r = 0; r < 2; r++) {
    const float* row = &x.values[fragment_row(t, r) * x.n + t % 4 * 2];
    for (u32 j = 0; j < x.n / 8; j++) memcpy(x.registers[t] + 4 * j + 2 * r, row + 8 * j, 8);
  }
}
void poison(const Accumulators& x) {
  for (float* registers : x.registers) {
    const u32 bits = POISON;
    for (u32 i = 0; i < x.n / 2; i++) memcpy(registers + i, &bits, 4);
  }
}
void check_poison(const Accumulators& x, Where where) {
  for (u32 t = 0; t < WARPGROUP; t++) for (u32 i = 0; i < x.n / 2; i++) {
    u32 bits;
    memcpy(&bits, x.registers[t] + i, 4);
    if (bits != POISON)
      fail(where, "accumulator %u of thread %u of the warpgroup was written while the wgmma of line %d was under way", i, t, x.where.line);
  }
}

// ---- registers between wgmma_fence and the wgmma that uses them
u64 checksum(const void* registers, u32 count) {   // a multiple of 4
  typedef u32 V4U __attribute__((vector_size(16), aligned(4), may_alias));
  V4U sum = {1, 2, 3, 4}, weight = {0x9e3779b1u, 0x85ebca77u, 0xc2b2ae3du, 0x27d4eb2fu};
  for (u32 i = 0; i < count; i += 4, weight += 2) sum += *(const V4U*)((const u32*)registers + i) * weight;
  return (u64(sum[0] ^ sum[1]) << 32) + (sum[2] ^ sum[3]) + sum[0];
}
// Those in flight hold poison: nobody reads them here.
void remember_fenced(Warpgroup& g) {
  for (FencedRegisters& used : g.used)
    for (u32 t = 0; t < WARPGROUP; t++) used.sums[t] = checksum(used.registers[t], used.count);
}
template <class Register> void check_fenced(Warpgroup& g, const char* what, u32 count, Register register_of, Where where) {
  for (const FencedRegisters& used : g.used) {
    if (used.registers[0] != register_of(0) || used.count != count) continue;
    for (u32 t = 0; t < WARPGROUP; t++)
      if (used.sums[t] != checksum(register_of(t), count))
        fail(where, "%s of thread %u of the warpgroup were written between wgmma_fence and this wgmma", what, t);
    return;
  }
  FencedRegisters& used = g.used.emplace_back();
  used.count = count;
  for (u32 t = 0; t < WARPGROUP; t++) used.registers[t] = register_of(t);
}

// ---- operands
float half_table[65536];
[[maybe_unused]] const bool half_table_filled = [] {
  for (u32 i = 0; i < 65536; i++) half_table[i] = from_half(u16(i));
  return true;
}();
float to_float(u16 x, bool bfloat16) {
  if (!bfloat16) return half_table[x];
  return as_float(u32(x) << 16);
}

// values[k * rows + r] of an operand in shared memory
void load_operand(const Machine& m, const std::vector<u32>& pieces, bool mn_major, u32 rows, bool bfloat16, float* values) {
  for (u32 i = 0; i < pieces.size(); i++) {
    u16 x[8];
    memcpy(x, &m.shared[pieces[i] - SHARED_BASE], 16);
    if (mn_major) {
      float* to = values + i / (rows / 8) * rows + i % (rows / 8) * 8;
      for (u32 e = 0; e < 8; e++) to[e] = to_float(x[e], bfloat16);
    } else {
      float* to = values + i % 2 * 8 * rows + i / 2;
      for (u32 e = 0; e < 8; e++) to[e * rows] = to_float(x[e], bfloat16);
    }
  }
}
void load_registers(const Product& p, float* values) {
  for (u32 t = 0; t < WARPGROUP; t++) for (u32 i = 0; i < 4; i++) {
    const u32 row = fragment_row(t, i & 1), k = t % 4 * 2 + (i >> 1) * 8;
    values[k * ROWS + row] = to_float(u16(p.a[t][i]), p.bfloat16);
    values[(k + 1) * ROWS + row] = to_float(u16(p.a[t][i] >> 16), p.bfloat16);
  }
}

// D[64][n] += A B of a[16][64], b[16][n]; n is a multiple of 16
FAST void multiply(float* d, const float* a, const float* b, u32 n) {
  typedef float V8 __attribute__((vector_size(32), aligned(4), may_alias));
  for (u32 column = 0; column < n; column += 16) {
    for (u32 row = 0; row < ROWS; row += 4) {
      V8 sum[4][2];
      for (u32 i = 0; i < 4; i++) for (u32 j = 0; j < 2; j++) sum[i][j] = *(const V8*)(d + (row + i) * n + column + 8 * j);
      for (u32 k = 0; k < DEPTH; k++) {
        const V8 b0 = *(const V8*)(b + k * n + column), b1 = *(const V8*)(b + k * n + column + 8);
        for (u32 i = 0; i < 4; i++) {
          sum[i][0] += a[k * ROWS + row + i] * b0;
          sum[i][1] += a[k * ROWS + row + i] * b1;
        }
      }
      for (u32 i = 0; i < 4; i++) for (u32 j = 0; j < 2; j++) *(V8*)(d + (row + i) * n + column + 8 * j) = sum[i][j];
    }
  }
}

// ---- issue
std::vector<u32> operand_pieces(Machine& m, u64 descriptor, bool mn_major, u32 rows, const char* name, Where where) {
  const std::string wrong = MatrixOperand::check(descriptor, mn_major, rows);
  if (!wrong.empty()) fail(where, "the descriptor of %s: %s", name, wrong.c_str());
  const MatrixOperand operand(descriptor, mn_major);
  std::vector<u32> pieces(rows * 2);
  for (u32 i = 0; i < pieces.size(); i++) {
    pieces[i] = mn_major ? operand.piece(i % (rows / 8), i / (rows / 8)) : operand.piece(i / 2, i % 2);
    shared_bytes(m, pieces[i], 16, 16, where);
  }
  return pieces;
}

// A: each warp reads its own 16 rows. B: all of them read it all.
u32 warp_of_piece(u32 i, bool mn_major) { return mn_major ? i % 8 / 2 : i / 32; }

void begin_reads(Machine& m, const Product& p, u32 first) {
  for (u32 i = 0; i < p.a_pieces.size(); i++) {
    const u32 w = first + warp_of_piece(i, p.a_mn_major);
    check_asynchronous_read(m, p.a_pieces[i], 16, w, w, WHOLE_WARP, p.where);
    count_asynchronous_reads(m, p.a_pieces[i], 16, 1);
  }
  for (u32 piece : p.b_pieces) {
    check_asynchronous_read(m, piece, 16, first, first + WARPGROUP_WARPS - 1, WHOLE_WARP, p.where);
    count_asynchronous_reads(m, piece, 16, 1);
  }
}
void end_reads(Machine& m, const Product& p, u32 first) {
  for (u32 i = 0; i < p.a_pieces.size(); i++) {
    const u32 w = first + warp_of_piece(i, p.a_mn_major);
    end_asynchronous_read(m, p.a_pieces[i], 16, w, w, WHOLE_WARP);
  }
  for (u32 piece : p.b_pieces) end_asynchronous_read(m, piece, 16, first, first + WARPGROUP_WARPS - 1, WHOLE_WARP);
}

void check_agreement(const Warpgroup& g, Where where) {
  const WarpgroupMultiply& x = g.posted[0];
  for (const WarpgroupMultiply& y : g.posted) {
    if (x.n != y.n || x.bfloat16 != y.bfloat16 || x.transpose_a != y.transpose_a || x.transpose_b != y.transpose_b || !x.a != !y.a)
      fail(where, "the threads of a warpgroup are at different wgmmas");
    if (x.b_descriptor != y.b_descriptor || (!x.a && x.a_descriptor != y.a_descriptor))
      fail(where, "the threads of a warpgroup have different descriptors");
    if (x.accumulate != y.accumulate) fail(where, "the threads of a warpgroup do not agree on accumulating");
  }
}

bool overlap(const float* a, u32 na, const float* b, u32 nb) { return a < b + nb / 2 && b < a + na / 2; }

// The accumulators in flight of this wgmma, taken out of the threads' registers if they are not in flight yet.
u32 take_accumulators(Warpgroup& g, Where where) {
  const WarpgroupMultiply& x = g.posted[0];
  for (u32 i = 0; i < g.accumulators.size(); i++) {
    Accumulators* held = g.accumulators[i].get();
    if (!held || !overlap(held->registers[0], held->n, x.d, x.n)) continue;
    if (held->registers[0] != x.d || held->n != x.n)
      fail(where, "a wgmma on accumulators of another shape, under way since line %d", held->where.line);
    return i;
  }
  u32 free = 0;
  while (free < g.accumulators.size() && g.accumulators[free]) free++;
  if (free == g.accumulators.size()) g.accumulators.emplace_back();
  g.accumulators[free] = std::make_unique<Accumulators>();
  Accumulators& held = *g.accumulators[free];
  if (x.accumulate) check_fenced(g, "accumulators", x.n / 2, [&](u32 t) { return g.posted[t].d; }, where);
  for (u32 t = 0; t < WARPGROUP; t++) held.registers[t] = g.posted[t].d;
  held.n = x.n;
  held.pending = 0;
  held.where = where;
  held.values.resize(ROWS * x.n);
  gather(held);
  poison(held);
  return free;
}

void issue(Machine& m, Warpgroup& g, Where where) {
  check_agreement(g, where);
  if (!g.fenced) fail(where, "a wgmma without a wgmma_fence after the last wgmma_wait");
  const WarpgroupMultiply& x = g.posted[0];
  const u32 first = m.current->thread / WARPGROUP * WARPGROUP_WARPS;
  Product& p = g.products.emplace_back();
  p.n = x.n;
  p.group = g.group;
  p.bfloat16 = x.bfloat16;
  p.in_registers = x.a != nullptr;
  p.accumulate = x.accumulate;
  p.a_mn_major = x.transpose_a;
  p.b_mn_major = x.transpose_b;
  p.where = where;
  if (p.in_registers) {
    check_fenced(g, "A registers", 4, [&](u32 t) { return g.posted[t].a; }, where);
    for (u32 t = 0; t < WARPGROUP; t++) {
      p.registers[t] = g.posted[t].a;
      memcpy(p.a[t], g.posted[t].a, 16);
    }
  } else {
    p.a_pieces = operand_pieces(m, x.a_descriptor, x.transpose_a, ROWS, "A", where);
  }
  p.b_pieces = operand_pieces(m, x.b_descriptor, x.transpose_b, x.n, "B", where);
  begin_reads(m, p, first);
  p.accumulators = take_accumulators(g, where);
  g.accumulators[p.accumulators]->pending++;
  m.statistics.wgmma++;
}

// ---- completion
void compute(Machine& m, Warpgroup& g, Where where) {
  const Product& p = g.products.front();
  // Not on a fiber's small stack, and not in the thread-local block either: all of that is static, since `machine` is initial-exec, and
  // glibc has little room there for a library that is loaded at run time.
  static thread_local std::vector<float> operands(DEPTH * (ROWS + 256));
  float *a = operands.data(), *b = a + DEPTH * ROWS;
  if (p.in_registers) {
    for (u32 t = 0; t < WARPGROUP; t++)
      if (memcmp(p.registers[t], p.a[t], 16))
        fail(where, "the A registers of thread %u of the warpgroup were changed while the wgmma of line %d was under way", t, p.where.line);
    load_registers(p, a);
  } else {
    load_operand(m, p.a_pieces, p.a_mn_major, ROWS, p.bfloat16, a);
  }
  load_operand(m, p.b_pieces, p.b_mn_major, p.n, p.bfloat16, b);
  Accumulators& x = *g.accumulators[p.accumulators];
  if (!p.accumulate) std::fill(x.values.begin(), x.values.end(), 0.f);
  multiply(x.values.data(), a, b, p.n);
  end_reads(m, p, m.current->thread / WARPGROUP * WARPGROUP_WARPS);
  x.pending--;
}

void wait(Machine& m, Warpgroup& g, u32 groups, Where where) {
  for (; !g.products.empty() && g.products.front().group + groups < g.group; g.products.pop_front()) compute(m, g, where);
  for (auto& x : g.accumulators) {
    if (!x || x->pending) continue;
    check_poison(*x, where);
    scatter(*x);
    x.reset();
  }
  g.fenced = false;
}
}  // namespace

// ---- rendezvous of a warpgroup
bool arrive_at_warpgroup(Machine& m, const char* operation, Where where) {
  Fiber& f = *m.current;
  require_whole_warp(m, operation, where);
  if ((f.thread / WARPGROUP + 1) * WARPGROUP > m.threads) fail(where, "%s by threads that are no whole warpgroup", operation);
  if (m.my_warp().arrived)
    fail(where, "diverged: this lane is at %s, others of its warp at %s (line %d)", operation, m.my_warp().operation, m.my_warp().where.line);
  Warpgroup& g = hopper(m).warpgroups[f.thread / WARPGROUP];
  if (g.arrived == 0) {
    g.operation = operation;
    g.where = where;
  } else if (g.operation != operation || !same(g.where, where)) {
    fail(where, "diverged: this thread is at %s, others of its warpgroup at %s (line %d)", operation, g.operation, g.where.line);
  }
  f.where = where;
  if (++g.arrived == WARPGROUP) return true;
  const u32 generation = g.generation;
  wait_until(m, AT_WARPGROUP, where, [&] { return g.generation != generation; });
  return false;
}

void finish_warpgroup(Machine& m) {
  const u32 first = m.current->thread / WARPGROUP * WARPGROUP;
  Warpgroup& g = hopper(m).warpgroups[first / WARPGROUP];
  g.arrived = 0;
  g.generation++;
  for (u32 t = first; t < first + WARPGROUP; t++)
    if (m.fibers[t].state == State::Waiting && m.fibers[t].waiting == AT_WARPGROUP) m.fibers[t].state = State::Runnable;
}

void warpgroup_fence(Where where) {
  warpgroup_collective("wgmma_fence", where, [](Machine&, Warpgroup& g) {
    g.fenced = true;
    remember_fenced(g);
  });
}
void warpgroup_commit(Where where) {
  warpgroup_collective("wgmma_commit", where, [](Machine&, Warpgroup& g) { g.group++; });
}
void warpgroup_wait(u32 groups, Where where) {
  warpgroup_collective("wgmma_wait", where, [=](Machine& m, Warpgroup& g) { wait(m, g, groups, where); });
}
void warpgroup_multiply(const WarpgroupMultiply& multiply, Where where) {
  Machine& m = *machine;
  const u32 thread = m.current->thread;
  if ((thread / WARPGROUP + 1) * WARPGROUP <= m.threads) hopper(m).warpgroups[thread / WARPGROUP].posted[thread % WARPGROUP] = multiply;
  warpgroup_collective("wgmma", where, [=](Machine& m, Warpgroup& g) { issue(m, g, where); });
}
}  // namespace emulation
