// For the tokens of a step that come as prefill: norm of the heads of q and k (Qwen3), their
// rotation, and K and V into the paged cache:
//
//   q[t, h, :]   = turn(norm(q[t, h, :]), positions[t])                          in place
//   k_cache[slot_mapping[t]] = turn(norm(k[t, g, :]), positions[t])
//   v_cache[slot_mapping[t]] = v[t, g, :]
//
// norm and turn are those of cuda_attention.h.
#pragma once

#include <cstdint>

#include "kernels/cuda_stream.h"
#include "kernels/types.h"

namespace kernels {

// How the heads of one tensor (q or k) are treated.
struct HeadTreatment {
  const void* norm_weight;  // [head_dim] of the activations' type, or null
  float norm_epsilon;
  bool is_reference;  // Numerics::kReference
  int head_dim;
};

// All pointers are to device memory.
struct CudaRopeWrite {
  void* qkv;  // [num_tokens, (num_heads + 2 * num_kv_heads) * head_dim]; q is turned in place
  HeadTreatment q_treatment;
  HeadTreatment k_treatment;
  const float* rope_table;           // [.., head_dim]: cosines, then sines
  void* k_cache;                     // this layer's [num_blocks, num_kv_heads, 16, head_dim]
  void* v_cache;                     // the same shape
  const std::int32_t* positions;     // [num_tokens]
  const std::int32_t* slot_mapping;  // [num_tokens], block * 16 + offset
  const std::int32_t* context_lens;  // [num_decodes], of the first tokens: 0 marks a padding row,
                                     // which is left alone
  DType type;                        // kF32, kF16 or kBF16
  int num_tokens;                    // 0 does nothing
  int num_decodes;                   // at most num_tokens
  int num_heads;
  int num_kv_heads;
  int head_dim;  // a multiple of 8, at most 256
};

// Throws CudaError when the launch fails.
void cuda_rope_write(const CudaRopeWrite& op, Stream stream);

}  // namespace kernels
