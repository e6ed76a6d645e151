// Causal attention with grouped heads over plain K and V, the contract form:
//
//   g         = h / (num_heads / num_kv_heads)
//   score[j]  = dot(q[i, h, :], k[j, g, :]) * scale       for j <= i + kv_len - query_len
//   out[i, h] = sum_j softmax(score)[j] * v[j, g, :]
//
// The diagonal is aligned bottom-right: the last query sees every key. The engine reads K and V
// from the paged cache instead (paged_attention.h); both run the same tiles (attention_tile.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda_stream.h"
#include "kernels/thread_pool.h"
#include "kernels/types.h"

namespace kernels {

struct SelfAttention {
  void* out;      // [query_len, num_heads, value_dim] of `type`
  const void* q;  // [query_len, num_heads, head_dim]
  const void* k;  // [kv_len, num_kv_heads, head_dim]
  const void* v;  // [kv_len, num_kv_heads, value_dim]
  DType type;     // kF32, kF16 or kBF16
  int query_len;  // 0 does nothing; at most kv_len
  int kv_len;
  int num_heads;  // a multiple of num_kv_heads
  int num_kv_heads;
  int head_dim;   // 1..256
  int value_dim;  // 1..256
  float scale;
  std::int64_t out_stride;  // elements from one token to the next; heads are side by side
  std::int64_t q_stride;
  std::int64_t k_stride;
  std::int64_t v_stride;
  // self_attention_scratch_bytes(op, threads), 64-byte aligned; CUDA does without
  void* scratch;
};

// Bytes of scratch for the fields above on a pool of `num_threads`; `scratch` itself is not read.
std::size_t self_attention_scratch_bytes(const SelfAttention& op, int num_threads);

// Throws Error, naming the value, on sizes outside the ranges above or another type.
void self_attention_cpu(const SelfAttention& op, ThreadPool& pool);

// The same on device memory; throws CudaError too, when the launch fails.
void self_attention_cuda(const SelfAttention& op, Stream stream);

// What both refuse before anything is read.
void check_self_attention(const SelfAttention& op);

}  // namespace kernels
