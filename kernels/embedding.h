// Row lookup in an embedding table:
//
//   out[t, :] = weight[index[t], :]
//
// Two forms. `Embedding` copies rows of a plain table. `TokenEmbedding` is what the engine calls:
// it reads 32-bit token ids and unpacks rows of a packed weight, so that a table tied to the output
// head is kept in memory once.
#pragma once

#include <cstdint>

#include "kernels/cuda_stream.h"
#include "kernels/linear.h"
#include "kernels/thread_pool.h"
#include "kernels/types.h"

namespace kernels {

struct Embedding {
  void* out;                  // [num_tokens, hidden_size] of `type`
  const std::int64_t* index;  // [num_tokens], each in [0, vocab_size)
  const void* weight;         // [vocab_size, hidden_size] of `type`
  DType type;                 // kF32, kF16 or kBF16
  int num_tokens;             // 0 does nothing
  int vocab_size;
  int hidden_size;
  std::int64_t out_stride;     // elements from one row to the next
  std::int64_t weight_stride;  // elements from one row to the next
};

// Throws Error, having written nothing, if an index is outside the table or the type is not plain.
void embedding_cpu(const Embedding& op, ThreadPool& pool);

// The same on device memory. To refuse a bad index before anything is written it reads the indices
// back first, and so waits for the stream; the engine's form (cuda_embedding.h) gets ids that were
// checked on the host. Throws CudaError too, when a call fails.
void embedding_cuda(const Embedding& op, Stream stream);

// Throws Error unless each of indices [num_tokens] is in [0, vocab_size).
void check_embedding_indices(const std::int64_t* indices, int num_tokens, int vocab_size);

struct TokenEmbedding {
  float* out;                     // [num_tokens, weight.in_features]
  const std::int32_t* token_ids;  // [num_tokens], each in [0, weight.out_features)
  PackedWeight weight;            // [vocab_size, hidden_size]
  int num_tokens;                 // 0 does nothing
  std::int64_t out_stride;        // elements from one row to the next
};

// Throws Error, having written nothing, if a token id is outside the table.
void token_embedding_cpu(const TokenEmbedding& op, ThreadPool& pool);

}  // namespace kernels
