// stmatrix: lane l addresses row l % 8 of matrix l / 8; lane l holds of each matrix row l / 4, columns 2 (l % 4), + 1.
#include "emulation_hopper.h"
#include "machine.h"
#include "shared_memory.h"

namespace emulation {
// Eight rows of 16 bytes are one pass where they lie in eight different bank groups.
static u32 store_conflicts(const Warp& w) {
  u32 extra = 0;
  for (u32 i = 0; i < 4; i++) {
    u32 in_bank[8] = {}, most = 1;
    for (u32 row = 0; row < 8; row++) {
      u32& n = in_bank[w.operands[i * 8 + row].address / 16 % 8];
      if (++n > most) most = n;
    }
    extra += most - 1;
  }
  return extra;
}

static void store_matrices(Machine& m, Warp& w, bool transpose, Where where) {
  u16 matrix[4][8][8];
  for (u32 l = 0; l < LANES; l++) for (u32 i = 0; i < 4; i++) for (u32 c = 0; c < 2; c++) {
    const u32 row = l / 4, column = l % 4 * 2 + c;
    matrix[i][transpose ? column : row][transpose ? row : column] = u16(w.operands[l].a[i] >> 16 * c);
  }
  for (u32 l = 0; l < LANES; l++) {
    const u32 a = w.operands[l].address;
    u8* p = shared_bytes(m, a, 16, 16, where);
    note_write(m, a, 16, m.current->warp * LANES + l, false, where);
    memcpy(p, matrix[l / 8][l % 8], 16);
  }
  const u32 conflicts = store_conflicts(w);
  m.statistics.shared_conflicts += conflicts;
  if (conflicts && m.options.conflicts_fail) fail(where, "bank conflict: this stmatrix takes %u more passes than needed", conflicts);
}

void matrix_store(u32 address, const u32 (&fragments)[4], bool transpose, Where where) {
  Operands& o = machine->my_operands();
  o.address = address;
  memcpy(o.a, fragments, 16);
  collective(transpose ? "stmatrix.trans" : "stmatrix", where, [=](Machine& m, Warp& w) { store_matrices(m, w, transpose, where); });
}
}  // namespace emulation
