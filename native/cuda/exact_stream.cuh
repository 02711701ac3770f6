// The stream of panels and bands through shared memory: a ring of stages, filled ahead by asynchronous copies.
#pragma once
#include "exact_product.cuh"
#include "dropout.cuh"
#include "parameters.cuh"

/// A weight that is dropped keeps its value, but has a negative sign: dS needs it.
DEVICE bool is_dropped(float p) { return as_u32(p) >> 31; }
DEVICE bool is_dropped(double p) { return is_dropped((float)p); }
/// Z o dP of a weight's dP.
DEVICE Real dropped(Real dp, Real p, Real factor) { return !DROPS ? dp : is_dropped(p) ? Real(0) : dp * factor; }
DEVICE Real weight_of(Real p) { return DROPS && is_dropped(p) ? -p : p; }

/// The rows of one head of an operand.
struct Rows {
  const Element *data;
  i64 stride;
  int count;
  DEVICE Rows(const View &view, int batch, int head, int count)
      : data((const Element *)view.data + batch * view.batch + head * view.head), stride(view.row), count(count) {}
  DEVICE const Element *at(int row) const { return data + row * stride; }
};

/// VECTOR elements from column `column` of a row on (zeros beyond the last row or column) to shared memory, asynchronously if the
/// operands allow it. `somewhere`: an address of the operand, not read from.
template <int DIM> DEVICE void copy_piece(u32 to, const Element *from, [[maybe_unused]] const Element *somewhere, bool row_exists, int column) {
#if K_ALIGNED && K_TYPE < 2
  struct alignas(VECTOR * sizeof(Element)) Group { Element x[VECTOR]; } g = {};
  if (row_exists && column < DIM) g = ldg((const Group *)from);
  Real x[VECTOR];
  UNROLL for (int i = 0; i < VECTOR; i++) x[i] = to_real(g.x[i]);
  store_shared<VECTOR>(to, x);
#elif K_ALIGNED
  const bool inside = row_exists && column < DIM;
  cp_async16(to, inside ? from : somewhere, inside);
#else
  Real x[VECTOR];
  UNROLL for (int i = 0; i < VECTOR; i++) x[i] = row_exists && column + i < DIM ? to_real(ldg(from + i)) : Real(0);
  store_shared<VECTOR>(to, x);
#endif
}

/// Where the pieces of a panel go, and the rows of a tile that lie in its slots: see RowsOfA and RowsOfB.
template <class Order> struct PanelPlaces {
  static constexpr int PIECES = Panel<PANEL_BYTES>::PIECES;
  DEVICE static int row(int slot) { return Order::row(slot); }
  DEVICE static u32 at(int slot, int piece) { return Panel<PANEL_BYTES>::at(slot, piece); }
};
template <class Cols> struct BandPlaces {
  static constexpr int PIECES = Cols::WIDTH / VECTOR;
  DEVICE static int row(int slot) { return slot; }
  DEVICE static u32 at(int slot, int piece) { return (slot * PIECES + piece) * 16; }
};

/// PIECES pieces from `column` on of the rows [first, first + ROWS). A thread copies the same piece of every STEP-th row, so that only
/// what all threads have in common changes from chunk to chunk.
template <class Places, int ROWS, int DIM> DEVICE void copy_block(u32 to, const Rows &from, int first, int column) {
  constexpr int PIECES = Places::PIECES, STEP = ROWS < THREADS / PIECES ? ROWS : THREADS / PIECES;
  const int slot = thread_id() / PIECES, piece = thread_id() % PIECES, row = Places::row(slot);
  const Element *block = from.at(first) + column;
  const i64 own = row * from.stride + piece * VECTOR;
  UNROLL for (int i = 0; i * STEP < ROWS; i++)
    if ((STEP * PIECES == THREADS || slot < STEP) && (ROWS % STEP == 0 || slot + i * STEP < ROWS))
      copy_piece<DIM>(to + Places::at(slot, piece) + i * STEP * PIECES * 16, block + own + i * STEP * from.stride, from.data,
                      first + row + i * STEP < from.count, column + piece * VECTOR);
}

/// Panel number `panel` of the rows [first, first + ROWS). Order: RowsOfA or RowsOfB.
template <class Order, int ROWS, int DIM> DEVICE void copy_panel(u32 to, const Rows &from, int first, int panel) {
  copy_block<PanelPlaces<Order>, ROWS, DIM>(to, from, first, panel * PANEL);
}

/// The rows [first, first + ROWS) as a band.
template <class Cols, int ROWS, int DIM> DEVICE void copy_band(u32 to, const Rows &from, int first) {
  copy_block<BandPlaces<Cols>, ROWS, DIM>(to, from, first, 0);
}

/// Chunk number `chunk` of the panels of the rows [first, first + ROWS): SPAN panels, or what is left of them.
template <int SPAN, int ROWS, int DIM, int PANELS> DEVICE void copy_panels(u32 to, const Rows &from, int first, int chunk) {
  UNROLL for (int i = 0; i < SPAN; i++)
    if (PANELS % SPAN == 0 || chunk * SPAN + i < PANELS)
      copy_panel<RowsOfB, ROWS, DIM>(to + i * ROWS * PANEL_BYTES, from, first, chunk * SPAN + i);
}

/// All panels of the rows [first, first + ROWS): a stationary tile.
template <int ROWS, int DIM, int PANELS> DEVICE void copy_tile(u32 to, const Rows &from, int first) {
  UNROLL for (int panel = 0; panel < PANELS; panel++) copy_panel<RowsOfA, ROWS, DIM>(to + panel * ROWS * PANEL_BYTES, from, first, panel);
}

/// Brings the chunks of `source` one after the other: source.next(address) copies the next one there, or nothing after the last.
template <class Source, int BYTES> struct Stream {
  static constexpr int SHARED = STAGES * BYTES;
  Source &source;
  u32 base;
  int stage = 0;

  /// The first chunks; whatever the threads copied before comes with them.
  DEVICE Stream(Source &source, u32 base) : source(source), base(base) {
    UNROLL for (int s = 0; s < STAGES - 1; s++) {
      source.next(base + s * BYTES);
      cp_async_commit();
    }
  }

  /// Address of the next chunk, there for all threads, until the next call. Every thread of the block calls it: it is a barrier.
  DEVICE u32 next() {
    cp_async_wait<STAGES - 2>();
    sync_threads(); // the chunk has landed for all, and all have done with the one before, whose stage is filled again
    source.next(base + (stage == 0 ? STAGES - 1 : stage - 1) * BYTES);
    cp_async_commit();
    const u32 chunk = base + stage * BYTES;
    stage = stage == STAGES - 1 ? 0 : stage + 1;
    return chunk;
  }
};

/// D = A Bᵀ of a stationary tile A and the next PANELS panels of the stream, SPAN to a chunk.
template <int PANELS, int SPAN, int R, int C, class S> DEVICE void stream_rows(Real (&d)[R][C], u32 a, S &stream, Lane lane) {
  UNROLL for (int r = 0; r < R; r++) UNROLL for (int c = 0; c < C; c++) d[r][c] = 0;
  u32 b = 0;
  NO_UNROLL for (int panel = 0; panel < PANELS; panel++) {
    b = panel % SPAN == 0 ? stream.next() : b + C * SIDE * PANEL_BYTES;
    product_of_rows(d, a + panel * R * SIDE * PANEL_BYTES, b, lane);
  }
}

/// D += P B, P in registers and B the next bands of the stream, of ROWS rows each. The rows of P belong to one half of a warp: some
/// columns of them at a time go through shared memory (`shared_p`), without a barrier of the block. OF_WEIGHTS: P is of weights, and those that are
/// dropped have a negative sign.
template <class Cols, int ROWS, bool OF_WEIGHTS = false, int R, int C, class S>
DEVICE void stream_bands(Real (&d)[R][Cols::COUNT], const Real (&p)[R][C], u32 shared_p, S &stream, Lane lane) {
  constexpr int PART = part_of_band(ROWS), BYTES = PART * (int)sizeof(Real), GROUP = SIDE * VECTOR, LANES = PART / VECTOR;
  u32 b = 0;
  UNROLL for (int g = 0; g < C / VECTOR; g++) // a loop that stays would index registers
    NO_UNROLL for (int part = 0; part < GROUP / PART; part++) {
      b = part % (ROWS / PART) == 0 ? stream.next() : b + PART * Cols::WIDTH * (int)sizeof(Real);
      if (lane.tx / LANES == part)
        UNROLL for (int r = 0; r < R; r++) {
          Real x[VECTOR];
          UNROLL for (int e = 0; e < VECTOR; e++) x[e] = OF_WEIGHTS && DROPS && is_dropped(p[r][g * VECTOR + e]) ? Real(0) : p[r][g * VECTOR + e];
          store_shared<VECTOR>(shared_p + Panel<BYTES>::at(lane.ty + SIDE * r, lane.tx % LANES), x);
        }
      sync_warp();
      product_with_rows<Cols, PART>(d, shared_p, b, lane);
      sync_warp();
    }
}
