// Before the backward kernels of the 16-bit types: for each query delta = rowsum(dO o O) - dLSE and its log-sum, so that
// P = exp2(s scale_log2 - log_sum); zeroes the sums of dQ. Rows beyond the last query and rows that see no key get
// log_sum = +inf, delta = 0: their P and dS are 0.
#include "work.cuh"
#include "tile.cuh"

struct Prepare {
  static constexpr int ROWS = 128, THREADS = 256, CHUNKS = (K_VALUE_DIM + 7) / 8;
  static constexpr int LANES = CHUNKS > 16 ? 32 : CHUNKS > 8 ? 16 : 8;   // of one row, eight elements each

  const BackwardParameters& p;
  const WorkUnit unit;
  const i64 rows;      // of the heads before, in the workspace
  DEVICE Prepare(const BackwardParameters& parameters)
      : p(parameters), unit(work_by_head(block_id(), (p.query_length + ROWS - 1) / ROWS, p.heads)),
        rows(((i64)unit.batch * p.heads + unit.head) * p.padded_queries) {}

  /// The part of sum_x dO_ix O_ix that is this lane's.
  DEVICE float partial_delta(int row, int chunk) const {
    const u16* o = head_of<u16>(p.output, unit.batch, unit.head) + row * p.output.row + chunk * 8;
    const u16* g = head_of<u16>(p.output_gradient, unit.batch, unit.head) + row * p.output_gradient.row + chunk * 8;
    float sum = 0.f;
#if K_ALIGNED
    const V4 a = ldg((const V4*)o), b = ldg((const V4*)g);
    const u32 x[4] = {a.x, a.y, a.z, a.w}, y[4] = {b.x, b.y, b.z, b.w};
    UNROLL for (int i = 0; i < 4; i++) {
      sum += to_float<BF>((u16)x[i]) * to_float<BF>((u16)y[i]);
      sum += to_float<BF>((u16)(x[i] >> 16)) * to_float<BF>((u16)(y[i] >> 16));
    }
#else
    for (int i = 0; i < 8 && chunk * 8 + i < K_VALUE_DIM; i++) sum += to_float<BF>(ldg(o + i)) * to_float<BF>(ldg(g + i));
#endif
    return sum;
  }

  DEVICE void write(int row, float delta) const {
    float log_sum = infinity();
    if (row < p.query_length) {
      const i64 at = ((i64)unit.batch * p.heads + unit.head) * p.query_length + row;
      const float m = ldg((const float*)p.maximum + at), l = ldg((const float*)p.sum + at);
      if (l == 0.f) delta = 0.f;
      else {                                                                   // (NaN is not 0)
        log_sum = m * p.scale_log2 + lg2(l);
        if (p.log_sum_exp_gradient) delta -= ldg((const float*)p.log_sum_exp_gradient + at);
      }
    }
    stg(p.log_sum + rows + row, log_sum);
    stg((float*)p.delta + rows + row, delta);
  }

  DEVICE void run() const {
    const int first = unit.tile * ROWS;
    if (!K_DETERMINISTIC) {
      V4* sums = (V4*)(p.query_accumulator + (rows + first) * p.padded_dim);
      for (int i = thread_id(); i < ROWS * p.padded_dim / 4; i += THREADS) stg(sums + i, V4{0, 0, 0, 0});
    }
    const int chunk = thread_id() % LANES;
    NO_UNROLL for (int row = first + thread_id() / LANES; row < first + ROWS; row += THREADS / LANES) {
      float delta = row < p.query_length && chunk < CHUNKS ? partial_delta(row, chunk) : 0.f;
      UNROLL for (int mask = LANES / 2; mask > 0; mask /= 2) delta += shuffle_xor(delta, mask);
      if (chunk == 0) write(row, delta);
    }
  }
};

KERNEL_SHAPE(Prepare::THREADS, 0, Prepare::ROWS, 0, 0, 8);

KERNEL(torchflash_backward_prepare, Prepare::THREADS, 1, PARAMETER(BackwardParameters) p) { Prepare(p).run(); }
