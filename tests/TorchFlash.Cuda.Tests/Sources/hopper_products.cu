// C = A B by TMA and wgmma, in every layout that descriptors can tell of: EmulationHopperProductTests.cs compares with plain sums.
#include "hopper.cuh"

constexpr int DEPTH = 64, GROUP = 128, MOST_COLUMNS = 256;
constexpr u32 A_BYTES = 64 * DEPTH * 2, B_BYTES = MOST_COLUMNS * DEPTH * 2, SHARED_BYTES = A_BYTES + B_BYTES + 1024;
KERNEL_SHAPE(GROUP, (int)SHARED_BYTES);

/// Rows of M or N by DEPTH in shared memory, in panels of S bytes along k, or along the rows where MN.
template <int ROWS, bool MN, int S> struct Tile {
  static constexpr int PANEL = (MN ? DEPTH : ROWS) * S, PANELS = (MN ? ROWS : DEPTH) * 2 / S;
  DEVICE static void load(u32 to, const TensorMap* map, u32 bar) {
    for (int p = 0; p < PANELS; p++) tma_load(to + p * PANEL, map, bar, p * S / 2, 0, 0, 0);
  }
  DEVICE static u64 descriptor(u32 base, int k) {
    constexpr Swizzle W = (Swizzle)S;
    if (MN) return S == SWIZZLE_NONE ? wgmma_descriptor<W>(base + k * S, 8 * S, PANEL) : wgmma_descriptor<W>(base + k * S, PANEL, 8 * S);
    if (S == SWIZZLE_NONE) return wgmma_descriptor<W>(base + k / 8 * PANEL, PANEL, 8 * S);
    return wgmma_descriptor<W>(base + k * 2 / S * PANEL + k * 2 % S, 16, 8 * S);
  }
};

template <int N, bool BF, bool MA, int SA, bool MB, int SB>
DEVICE void product(const TensorMap* map_a, const TensorMap* map_b, float* c, bool from_registers) {
  typedef Tile<64, MA, SA> A;
  typedef Tile<N, MB, SB> B;
  const u32 a = shared_base(), b = a + A_BYTES, bar = b + B_BYTES;
  const int t = thread_id(), row = t / 32 * 16 + t % 32 / 4;
  if (t == 0) {
    mbarrier_init(bar, 1);
    mbarrier_fence_init();
    mbarrier_expect(bar, A_BYTES + N * DEPTH * 2);
    A::load(a, map_a, bar);
    B::load(b, map_b, bar);
  }
  sync_threads();
  mbarrier_wait(bar, 0);
  float d[N / 2];
  u32 r[DEPTH / 16][4];
  for (float& x : d) x = 1.f;
  for (int k = 0; k < DEPTH / 16; k++) for (int i = 0; from_registers && i < 4; i++) {
    const u32 byte = (k * 16 + i / 2 * 8 + t % 4 * 2) * 2, at = a + byte / SA * A::PANEL + (row + i % 2 * 8) * SA + byte % SA;
    r[k][i] = lds<u32>(at ^ (at >> 7) % (SA / 16) << 4);
  }
  wgmma_fence();
  for (int k = 0; k < DEPTH; k += 16) {
    if (from_registers) wgmma_rs<N, BF, MB>(d, r[k / 16], B::descriptor(b, k), true);
    else wgmma_ss<N, BF, MA, MB>(d, A::descriptor(a, k), B::descriptor(b, k), true);
  }
  wgmma_commit();
  wgmma_wait<0>();
  wgmma_pin(d);
  for (int j = 0; j < N / 8; j++) for (int i = 0; i < 4; i++) stg(c + (row + i / 2 * 8) * N + j * 8 + t % 4 * 2 + i % 2, d[4 * j + i]);
}

struct Choice { float* c; int columns, half, a_mn, a_swizzle, b_mn, b_swizzle, from_registers; };

template <int N, bool BF, bool MA, int SA, bool MB> DEVICE void choose_b_swizzle(const Choice& x, const TensorMap* a, const TensorMap* b) {
  switch (x.b_swizzle) {
    case 16: product<N, BF, MA, SA, MB, 16>(a, b, x.c, x.from_registers); break;
    case 32: product<N, BF, MA, SA, MB, 32>(a, b, x.c, x.from_registers); break;
    case 64: product<N, BF, MA, SA, MB, 64>(a, b, x.c, x.from_registers); break;
    default: product<N, BF, MA, SA, MB, 128>(a, b, x.c, x.from_registers);
  }
}
template <int N, bool BF, bool MA, bool MB> DEVICE void choose_a_swizzle(const Choice& x, const TensorMap* a, const TensorMap* b) {
  switch (x.a_swizzle) {
    case 16: choose_b_swizzle<N, BF, MA, 16, MB>(x, a, b); break;
    case 32: choose_b_swizzle<N, BF, MA, 32, MB>(x, a, b); break;
    case 64: choose_b_swizzle<N, BF, MA, 64, MB>(x, a, b); break;
    default: choose_b_swizzle<N, BF, MA, 128, MB>(x, a, b);
  }
}
/// Every layout for 64 columns.
template <bool BF> DEVICE void choose_layout(const Choice& x, const TensorMap* a, const TensorMap* b) {
  if (x.a_mn && x.b_mn) choose_a_swizzle<64, BF, true, true>(x, a, b);
  else if (x.a_mn) choose_a_swizzle<64, BF, true, false>(x, a, b);
  else if (x.b_mn) choose_a_swizzle<64, BF, false, true>(x, a, b);
  else choose_a_swizzle<64, BF, false, false>(x, a, b);
}
/// The usual layout for any number of columns.
template <int N> DEVICE void choose_columns(const Choice& x, const TensorMap* a, const TensorMap* b) {
  if (x.columns == N) product<N, true, false, 128, false, 128>(a, b, x.c, x.from_registers);
  else if constexpr (N > 16) choose_columns<N - 16>(x, a, b);
}

KERNEL(torchflash_hopper_products, GROUP, 1, PARAMETER(Choice) x, PARAMETER(TensorMap) a, PARAMETER(TensorMap) b) {
  if (x.columns != 64) choose_columns<MOST_COLUMNS>(x, &a, &b);
  else if (x.half) choose_layout<false>(x, &a, &b);
  else choose_layout<true>(x, &a, &b);
}
