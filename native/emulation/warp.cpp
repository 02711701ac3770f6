// The warp's collectives: products of matrices, loads of 8x8 matrices, shuffles.
#include "machine.h"
#include "shared_memory.h"

#if defined(__x86_64__) && defined(__GLIBC__)
#define FAST __attribute__((target_clones("arch=haswell", "default")))
#else
#define FAST
#endif

namespace emulation {
// ---- ldmatrix
// Eight lanes' rows of 16 bytes are one pass where they lie in eight different bank groups.
static u32 matrix_conflicts(const Warp& w, u32 count) {
  u32 extra = 0;
  for (u32 i = 0; i < count; i++) {
    u32 in_bank[8] = {}, most = 1;
    for (u32 row = 0; row < 8; row++) {
      bool repeated = false;   // the same row again is read once
      for (u32 other = 0; other < row; other++) repeated |= w.operands[i * 8 + other].address == w.operands[i * 8 + row].address;
      if (repeated) continue;
      u32& n = in_bank[w.operands[i * 8 + row].address / 16 % 8];
      if (++n > most) most = n;
    }
    extra += most - 1;
  }
  return extra;
}

static void load_matrices(Machine& m, Warp& w, u32 count, bool transpose, Where where) {
  m.statistics.ldmatrix++;
  u16 matrix[4][8][8];
  for (u32 l = 0; l < count * 8; l++) {
    const u32 a = w.operands[l].address;
    const u8* p = shared_bytes(m, a, 16, 16, where);
    note_read(m, a, 16, m.current->warp, WHOLE_WARP, where);
    memcpy(matrix[l / 8][l % 8], p, 16);
  }
  const u32 conflicts = matrix_conflicts(w, count);
  m.statistics.ldmatrix_conflicts += conflicts;
  if (conflicts && m.options.conflicts_fail) fail(where, "bank conflict: this ldmatrix takes %u more passes than needed", conflicts);
  for (u32 l = 0; l < LANES; l++) {
    u32* result = (u32*)w.operands[l].result;
    const u32 g = l / 4, t = l % 4 * 2;
    for (u32 i = 0; i < count; i++) {
      const auto& x = matrix[i];
      result[i] = transpose ? x[t][g] | u32(x[t + 1][g]) << 16 : x[g][t] | u32(x[g][t + 1]) << 16;
    }
  }
}

void matrix_load(u32* fragments, u32 address, u32 count, bool transpose, Where where) {
  static const char* const names[2][2] = {{"ldmatrix.x2", "ldmatrix.x2.trans"}, {"ldmatrix.x4", "ldmatrix.x4.trans"}};
  Operands& o = machine->my_operands();
  o.address = address;
  o.result = fragments;
  collective(names[count == 4][transpose], where, [=](Machine& m, Warp& w) { load_matrices(m, w, count, transpose, where); });
}

// ---- mma.m16n8k16
typedef float Row __attribute__((vector_size(32)));
struct Product { float a[16][16]; Row b[16], d[16]; };

static inline float as_bfloat16(u32 x) { return __builtin_bit_cast(float, x << 16); }
static inline float as_half(u32 x) { return float(__builtin_bit_cast(_Float16, u16(x))); }

FAST static void unpack_operands(const Warp& w, Product& p, bool bfloat16) {
  float* b = (float*)p.b;
  for (u32 l = 0; l < LANES; l++) {
    const Operands& o = w.operands[l];
    const u32 g = l / 4, t = l % 4 * 2;
    float x[12];
    const u32 pairs[6] = {o.a[0], o.a[1], o.a[2], o.a[3], o.b[0], o.b[1]};
    if (bfloat16) for (u32 i = 0; i < 6; i++) { x[2 * i] = as_bfloat16(pairs[i]); x[2 * i + 1] = __builtin_bit_cast(float, pairs[i] & 0xffff0000u); }
    else for (u32 i = 0; i < 6; i++) { x[2 * i] = as_half(pairs[i]); x[2 * i + 1] = as_half(pairs[i] >> 16); }
    for (u32 i = 0; i < 4; i++) memcpy(&p.a[g + (i & 1) * 8][t + (i >> 1) * 8], x + 2 * i, 8);
    for (u32 i = 0; i < 2; i++) { b[(t + i * 8) * 8 + g] = x[8 + 2 * i]; b[(t + i * 8 + 1) * 8 + g] = x[9 + 2 * i]; }
  }
}

FAST static void multiply(Product& p) {
  for (u32 i = 0; i < 16; i++) {
    Row sum = p.d[i];
    for (u32 k = 0; k < 16; k++) sum += p.a[i][k] * p.b[k];
    p.d[i] = sum;
  }
}

static void multiply_matrices(Machine& m, Warp& w, bool bfloat16) {
  m.statistics.mma++;
  Product p;
  unpack_operands(w, p, bfloat16);
  float(*d)[8] = (float(*)[8])p.d;
  for (u32 l = 0; l < LANES; l++) {
    const float* x = (const float*)w.operands[l].result;
    memcpy(&d[l / 4][l % 4 * 2], x, 8);
    memcpy(&d[l / 4 + 8][l % 4 * 2], x + 2, 8);
  }
  multiply(p);
  for (u32 l = 0; l < LANES; l++) {
    float* x = (float*)w.operands[l].result;
    memcpy(x, &d[l / 4][l % 4 * 2], 8);
    memcpy(x + 2, &d[l / 4 + 8][l % 4 * 2], 8);
  }
}

void matrix_multiply(float* d, const u32* a, u32 b0, u32 b1, bool bfloat16, Where where) {
  Operands& o = machine->my_operands();
  memcpy(o.a, a, 16);
  o.b[0] = b0;
  o.b[1] = b1;
  o.result = d;
  collective(bfloat16 ? "mma.bf16" : "mma.f16", where, [=](Machine& m, Warp& w) { multiply_matrices(m, w, bfloat16); });
}

// ---- shuffles
void shuffle(void* value, u32 bytes, int lane, bool exclusive_or, Where where) {
  Operands& o = machine->my_operands();
  o.a[2] = u32(exclusive_or ? int(machine->current->lane) ^ lane : lane);
  o.bytes = bytes;
  memcpy(o.a, value, bytes);   // 4 or 8 bytes
  o.result = value;
  collective(exclusive_or ? "shuffle_xor" : "shuffle", where, [where](Machine& m, Warp& w) {
    m.statistics.shuffles++;
    for (Operands& to : w.operands) memcpy(to.result, w.operands[to.a[2] % LANES].a, to.bytes);
  });
}

// ---- 16-bit numbers, rounded to nearest even
u16 to_bfloat16(float x) {
  const u32 bits = __builtin_bit_cast(u32, x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
  return u16((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
}
u16 to_half(float x) { return x != x ? 0x7fff : __builtin_bit_cast(u16, _Float16(x)); }
float from_half(u16 x) { return as_half(x); }
}  // namespace emulation
