// dsink_h = -sum over rows of exp(sink_h - LSE) delta: the gradient of every head's sink, after the kernel that prepares delta. One block for each head.
#include "exact_scores.cuh"

static constexpr int THREADS = 256;

KERNEL_SHAPE(THREADS, THREADS * (int)sizeof(Real), 0, 0, 0, 1);

struct SinkGradientParameters : BackwardParameters {
  const Real *sinks;   // [H]
  Real *gradient;      // [H]: written
};

KERNEL(torchflash_backward_sinks, THREADS, 1, PARAMETER(SinkGradientParameters) p) {
  const int head = block_id(), thread = thread_id();
  const Real factor = factor_of_scores(p), score = ldg(p.sinks + head) * Real(1.4426950408889634073599);
  Real sum = 0;
  NO_UNROLL for (int b = 0; b < p.batch; b++) {
    const i64 rows = (i64)b * p.heads + head;
    Real of_batch = 0;
    NO_UNROLL for (int i = thread; i < p.query_length; i += THREADS) {
      const Real m = ldg((const Real *)p.maximum + rows * p.query_length + i), l = ldg((const Real *)p.sum + rows * p.query_length + i);
      if (l != 0) of_batch = fused(exp2_of(score - m * factor) / l, ldg((const Real *)p.delta + rows * p.padded_queries + i), of_batch);
    }
    sum += of_batch;
  }
  sts(shared_base() + thread * (u32)sizeof(Real), sum);
  for (int half = THREADS / 2; half > 0; half /= 2) {
    sync_threads();
    if (thread < half) {
      sum += lds<Real>(shared_base() + (thread + half) * (u32)sizeof(Real));
      sts(shared_base() + thread * (u32)sizeof(Real), sum);
    }
  }
  if (thread == 0) stg(p.gradient + head, -sum);
}
