// Attention of a step's tokens on CUDA, from the projection's q, k and v to the input of the output
// projection: norm of the heads of q and k (Qwen3), rotation, K and V into the paged cache, causal
// attention over it (paged_attention.h has the formula).
//
// Decodes come first: sequences [0, num_decodes) have one token each, token s being sequence s.
// Sequences [num_decodes, num_sequences) have any number of new tokens from 1 over any context.
//
// Rows that only fill up a CUDA graph have context_lens 0: they read and write nothing.
//
// Every score and sum is float; Numerics::kReference rounds to `type` where the common PyTorch
// implementation stores a tensor (normalised head before and after its weight; cosine, sine, both
// products and their sum in the rotation; probabilities as operands of the second product).
//
// An exception to the first rule of cuda_launch.cuh: block tables, context lengths and the K and V
// of tokens of earlier steps are read before wait_for_inputs(). That is right because nothing of a
// step starts before they are in memory: its inputs come by a copy, its first kernels
// (cuda_copy_blocks, cuda_embedding) do not let the next one start before the step before has
// ended, and no other kernel of the step writes them.
//
// `is_batch_invariant`: the bits of a token's output depend on its own sequence's tokens alone: not
// on the batch, on how the prompt was cut into chunks, or on whether it came as prefill or decode.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda_linear.h"
#include "kernels/cuda_stream.h"
#include "kernels/types.h"

namespace kernels {

// All pointers are to device memory, 16-byte aligned unless they are to integers.
struct CudaAttention {
  void* out;  // [num_tokens, num_heads * head_dim] of `type`
  void* qkv;  // [num_tokens, (num_heads + 2 * num_kv_heads) * head_dim]: q, then k, then v;
              // q and k may be overwritten
  const void* q_norm;  // [head_dim] of `type`, or null
  const void* k_norm;  // [head_dim] of `type`, or null
  float norm_epsilon;
  const float* rope_table;                 // [max_context_len, head_dim]: cosines, then sines
  void* k_cache;                           // this layer's [num_blocks, num_kv_heads, 16, head_dim]
  void* v_cache;                           // the same shape, of `type`
  const std::int32_t* positions;           // [num_tokens]
  const std::int32_t* slot_mapping;        // [num_tokens], block * 16 + offset
  const std::int32_t* block_tables;        // ragged: sequence s begins at block_table_starts[s]
  const std::int32_t* block_table_starts;  // [num_sequences]
  const std::int32_t* query_starts;        // [num_sequences + 1], prefix sums of new tokens
  const std::int32_t* context_lens;        // [num_sequences], after this step
  DType type;                              // kF32, kF16 or kBF16: activations and cache
  Numerics numerics;
  bool is_batch_invariant;
  int num_tokens;
  int num_sequences;
  int num_decodes;
  int max_query_len;  // the most new tokens any sequence has in this step; 1 if all are decodes
  int num_heads;      // a multiple of num_kv_heads
  int num_kv_heads;
  int head_dim;  // a multiple of 8, at most 256
  float scale;
  void* workspace;  // cuda_attention_workspace_bytes(..)
};

// Bytes of workspace for every step of at most these sizes. Zero before the first call; each call
// leaves its counters zero.
std::size_t cuda_attention_workspace_bytes(int max_tokens, int max_sequences, int max_context_len,
                                           int num_heads, int num_kv_heads, int head_dim,
                                           bool is_batch_invariant);

// Launches depend on num_tokens, num_sequences, num_decodes and max_query_len alone, never on
// values in device memory: a CUDA graph of it stays right when contexts grow. Throws Error on sizes
// or types outside the ranges above, CudaError when a launch fails.
void cuda_attention(const CudaAttention& op, Stream stream);

}  // namespace kernels
