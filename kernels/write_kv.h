// Puts the K and V rows of a step's tokens into one layer of the paged cache:
//
//   block, offset = slot_mapping[t] / block_size, slot_mapping[t] % block_size
//   k_cache[block, g, offset, :] = k[t, g, :]            and the same for v
//
// float16 rounds to nearest even; what is beyond its range becomes infinity.
#pragma once

#include <cstdint>

#include "kernels/thread_pool.h"
#include "kernels/types.h"

namespace kernels {

struct WriteKv {
  void* k_cache;     // [num_blocks, num_kv_heads, block_size, head_dim] of `cache_type`
  void* v_cache;     // the same shape
  DType cache_type;  // kF16 or kF32
  const float* k;    // [num_tokens, num_kv_heads, head_dim]
  const float* v;    // [num_tokens, num_kv_heads, head_dim]
  const std::int32_t* slot_mapping;  // [num_tokens], each in [0, num_blocks * block_size)
  int num_tokens;                    // 0 does nothing
  int num_blocks;
  int num_kv_heads;
  int head_dim;
  int block_size;         // tokens
  std::int64_t k_stride;  // elements from one token to the next; heads are side by side
  std::int64_t v_stride;
};

// Throws Error, having written nothing, if a slot is outside the cache or the type is another.
void write_kv_cpu(const WriteKv& op, ThreadPool& pool);

}  // namespace kernels
