// What the host passes to a kernel. The C# side declares the same structs field by field (Cuda/Launch/KernelParameters.cs).
#pragma once
#include "device.cuh"

/// One operand [B, H, N, d]: element (b, h, n, x) is data[b * batch + h * head + n * row + x]. Strides are in elements, of any
/// sign; the last one is 1.
struct View {
  void* data;
  i64 batch, head, row;
};

/// O = softmax(scale Q Kᵀ) V. Statistics are contiguous [B, H, Nq] arrays of the compute type (float; double for K_TYPE 3):
///   m_i = max_j s_ij or up to 8 / (|scale| log2 e) below it (16-bit types), l_i = sum_j exp(|scale| (s_ij - m_i)), where s_ij = sign(scale) q_i·k_j;
///   a row without keys has m = -inf, l = 0.
struct ForwardParameters {
  View query, key, value, output;
  void *maximum, *sum;        // m, l: written
  int batch, heads, group;    // B; H, heads of query and output; query heads for each head of key and value (H = group * key heads)
  int query_length, key_length;
  int diagonal;               // K_CAUSAL: query i sees the keys j <= i + diagonal (0: top-left, Nk - Nq: bottom-right; may be negative)
  int head_dim, value_dim;    // d of query and key, d_v of value and output; equal to K_HEAD_DIM, K_VALUE_DIM
  float scale_log2;           // |scale| log2(e), in float; log2(e) with a program that modifies scores, which then have the scale
  double scale;
};

/// dQ, dK, dV from dO. All that a step of the backward pass needs; each kernel uses its part.
struct BackwardParameters {
  View query, key, value, output, output_gradient;
  View query_gradient, key_gradient, value_gradient;   // written, in the operands' type
  void *maximum, *sum;        // m, l of the forward pass
  void *delta;                // workspace, compute type, [B, H, padded_queries]: delta_i = sum_x dO_ix O_ix - dLSE_i, 0 for a row of nothing
  float *log_sum;             // workspace, [B, H, padded_queries] (16-bit types): m_i |scale| log2(e) + log2(l_i), +inf for a row without keys
  float *query_accumulator;   // workspace, [B, H, padded_queries, padded_dim] (16-bit types, not K_DETERMINISTIC): sum of dS K, unscaled
  void *log_sum_exp_gradient; // [B, H, Nq], compute type: dLSE; null: none
  int batch, heads, group;
  int query_length, key_length;
  int diagonal;
  int head_dim, value_dim;
  int padded_queries;         // query_length rounded up to 128
  int padded_dim;             // head_dim rounded up to 32
  float scale_log2;
  double scale;
};

/// W = 1/H sum over heads of P, from the statistics of the forward pass.
struct WeightsParameters {
  View query, key;
  View weights;               // [B, Nq, Nk], written; the head stride is not used
  void *maximum, *sum;
  int batch, heads, group;
  int query_length, key_length;
  int diagonal;
  int head_dim;
  float scale_log2;
  double scale;
};
