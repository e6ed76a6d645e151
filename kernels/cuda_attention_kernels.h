// The three ways cuda_attention() computes, each a launcher of its own. Sizes and types have been
// checked when these are called.
#pragma once

#include <cstddef>

#include "kernels/cuda_attention.h"

namespace kernels {

// Whether tensor cores take a head of this size; the plain kernel takes every other.
inline bool is_tensor_core_head(DType type, int head_dim) {
  return type != DType::kF32 &&
         (head_dim == 64 || head_dim == 80 || head_dim == 96 || head_dim == 128 || head_dim == 256);
}

// Bytes of workspace of launch_attention_decode.
std::size_t attention_decode_workspace_bytes(int max_sequences, int num_heads, int num_kv_heads,
                                             int head_dim, bool is_batch_invariant);

// Sequences [0, num_decodes), from the raw row of qkv to the output, in one kernel.
void launch_attention_decode(const CudaAttention& op, Stream stream);

// Sequences [num_decodes, num_sequences), whose q is turned and whose K and V are in the cache.
void launch_attention_prefill(const CudaAttention& op, Stream stream);

// All sequences, for any type and head size; q is turned and K and V are in the cache.
void launch_attention_plain(const CudaAttention& op, Stream stream);

}  // namespace kernels
