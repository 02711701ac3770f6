// delta_i = sum_x dO_ix O_ix - dLSE_i for float and double operands: the first step of the backward pass. 16 threads for each row.
#include "exact_product.cuh"
#include "exact_work.cuh"

static constexpr int ROWS = 64;

KERNEL_SHAPE(THREADS, 0, ROWS, 0, 0, 2);

/// This thread's part of the sum over one row.
DEVICE Real part_of_row(const Real *o, const Real *g, int part) {
  Real sum = 0;
#if K_ALIGNED
  struct alignas(16) Group { Real x[VECTOR]; };
  UNROLL for (int column = part * VECTOR; column < K_VALUE_DIM; column += SIDE * VECTOR) {
    const Group a = ldg((const Group *)(o + column)), b = ldg((const Group *)(g + column));
    UNROLL for (int i = 0; i < VECTOR; i++) sum = fused(a.x[i], b.x[i], sum);
  }
#else
  for (int column = part; column < K_VALUE_DIM; column += SIDE) sum = fused(ldg(o + column), ldg(g + column), sum);
#endif
  return sum;
}

KERNEL(torchflash_backward_prepare_exact, THREADS, 2, PARAMETER(BackwardParameters) p) {
  const Work work(p.query_length, ROWS, p.heads);
  const Real *output = (const Real *)p.output.data + work.batch * p.output.batch + work.head * p.output.head;
  const Real *gradient = (const Real *)p.output_gradient.data + work.batch * p.output_gradient.batch + work.head * p.output_gradient.head;
  Real *delta = (Real *)p.delta + ((i64)work.batch * p.heads + work.head) * p.padded_queries;
  UNROLL for (int i = 0; i < ROWS; i += THREADS / SIDE) {
    const int row = work.tile * ROWS + i + thread_id() / SIDE, part = thread_id() % SIDE;
    Real sum = row < p.query_length ? part_of_row(output + row * p.output.row, gradient + row * p.output_gradient.row, part) : Real(0);
    UNROLL for (int mask = 1; mask < SIDE; mask *= 2) sum += shuffle_xor(sum, mask);
    if (part == 0 && row < p.query_length) {
      const i64 at = ((i64)work.batch * p.heads + work.head) * p.query_length + row;
      if (ldg((const Real *)p.sum + at) == 0) sum = 0; // nothing to attend to
      else if (p.log_sum_exp_gradient) sum -= ldg((const Real *)p.log_sum_exp_gradient + at);
      stg(delta + row, sum);
    }
  }
}
