// Copies whole blocks of the KV cache, K and V in all layers: what a sequence that forks off
// another needs before it can write into a block the other still fills.
//
// Runs before a step's forward pass. Its blocks never let the next kernel start early, so whatever
// follows on the stream finds the copies made, even what it reads before wait_for_inputs().
#pragma once

#include <cstdint>

#include "kernels/cuda_stream.h"
#include "kernels/types.h"

namespace kernels {

struct CudaCopyBlocks {
  void* cache;                // device: [num_layers, 2, num_blocks, block_bytes]
  const std::int32_t* pairs;  // device: [num_copies, 2], source and destination block. No block is
                              // a destination twice, or a source and a destination.
  int num_copies;             // 0 does nothing
  int num_layers;
  int num_blocks;
  std::int64_t block_bytes;  // num_kv_heads * 16 * head_dim elements; a multiple of 16
};

// Throws Error if block_bytes is not a multiple of 16, CudaError when the launch fails.
void cuda_copy_blocks(const CudaCopyBlocks& op, Stream stream);

}  // namespace kernels
