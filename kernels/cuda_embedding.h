// Input embeddings on CUDA, and the one place where the token that the step before sampled enters
// the next step without having been known to the host:
//
//   id         = token_ids[t] >= 0 ? token_ids[t] : previous_token_ids[-1 - token_ids[t]]
//   out[t, :]  = weight[id, :]
//
// An id that is still negative then (a row that could not be sampled) reads row 0: whatever comes
// of it is discarded, because its sequence has ended.
#pragma once

#include <cstdint>

#include "kernels/cuda_stream.h"
#include "kernels/types.h"

namespace kernels {

// All pointers are to device memory.
struct CudaEmbedding {
  void* out;                               // [num_tokens, hidden_size] of `type`
  const std::int32_t* token_ids;           // [num_tokens], each below vocab_size
  const std::int32_t* previous_token_ids;  // by row of the step before
  const void* weight;                      // [vocab_size, hidden_size] of `type`
  DType type;                              // kF32, kF16 or kBF16
  int num_tokens;                          // 0 does nothing
  int hidden_size;                         // a multiple of 8
};

// Throws CudaError when the launch fails.
void cuda_embedding(const CudaEmbedding& op, Stream stream);

// Copies rows of activations: out[r, :] = x[row_tokens[r], :], or zeros where row_tokens[r] < 0.
// Only the last token of a sequence is sampled, so only its row goes on to the logits.
struct CudaGatherRows {
  void* out;                       // [num_rows, hidden_size] of `type`
  const void* x;                   // [.., hidden_size] of `type`
  const std::int32_t* row_tokens;  // [num_rows]
  DType type;
  int num_rows;  // 0 does nothing
  int hidden_size;
};

void cuda_gather_rows(const CudaGatherRows& op, Stream stream);

}  // namespace kernels
