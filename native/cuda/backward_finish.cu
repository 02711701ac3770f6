// After the backward kernel of the 16-bit types: dQ = scale * (sum of dS K), from the float32 sums of the workspace.
#include "work.cuh"
#include "tile.cuh"

struct Finish {
  static constexpr int ROWS = 64, THREADS = 256, CHUNKS = (K_HEAD_DIM + 7) / 8;   // of eight elements
  const BackwardParameters& p;
  DEVICE Finish(const BackwardParameters& parameters) : p(parameters) {}

  DEVICE void run() const {
    const WorkUnit unit = work_by_head(block_id(), (p.query_length + ROWS - 1) / ROWS, p.heads);
    const int first = unit.tile * ROWS, rows = smaller(ROWS, p.query_length - first);
    const i64 rows_before = ((i64)unit.batch * p.heads + unit.head) * p.padded_queries + first;
    const float *sums = p.query_accumulator + rows_before * p.padded_dim, *log_sum = p.log_sum + rows_before;
    u16* out = head_of<u16>(p.query_gradient, unit.batch, unit.head) + first * p.query_gradient.row;
    const float scale = (float)p.scale;
    for (int i = thread_id(); i < rows * CHUNKS; i += THREADS) {
      const int row = i / CHUNKS, column = i % CHUNKS * 8;
      const float* from = sums + (i64)row * p.padded_dim + column;
      u16* to = out + row * p.query_gradient.row + column;
      const V4 zero = {0, 0, 0, 0};
      const bool empty = ldg(log_sum + row) == infinity();   // nothing to attend to: 0, whatever the hidden keys are
      const V4 a = empty ? zero : ldg((const V4*)from), b = empty ? zero : ldg((const V4*)(from + 4));
      const V4 packed = {pack2<BF>(as_float(a.x) * scale, as_float(a.y) * scale), pack2<BF>(as_float(a.z) * scale, as_float(a.w) * scale),
                         pack2<BF>(as_float(b.x) * scale, as_float(b.y) * scale), pack2<BF>(as_float(b.z) * scale, as_float(b.w) * scale)};
#if K_ALIGNED
      stg((V4*)to, packed);
#else
      const u32 pair[4] = {packed.x, packed.y, packed.z, packed.w};
      UNROLL for (int x = 0; x < 8; x++)
        if (column + x < K_HEAD_DIM) stg(to + x, (u16)(pair[x / 2] >> x % 2 * 16));
#endif
    }
  }
};

KERNEL_SHAPE(Finish::THREADS, 0, Finish::ROWS, 0, 0, 8);

KERNEL(torchflash_backward_finish, Finish::THREADS, 1, PARAMETER(BackwardParameters) p) { Finish(p).run(); }
