#include "kernels/embedding.h"

#include <cstring>
#include <string>

#include "kernels/plain_type.h"

namespace kernels {
namespace {

// Rows a task copies: few enough that a prompt spreads over the threads.
constexpr int kRowsPerTask = 16;

// A bad id from the outside must never become a read outside the table, so all are looked at
// before anything is written.
template <typename Index>
void check_indices(const Index* indices, int num_tokens, int num_rows) {
  for (int t = 0; t < num_tokens; ++t) {
    CHECK(indices[t] >= 0 && indices[t] < num_rows,
          "embedding: index " + std::to_string(indices[t]) + " at position " + std::to_string(t) +
              " is outside the table of " + std::to_string(num_rows) + " rows");
  }
}

}  // namespace

void check_embedding_indices(const std::int64_t* indices, int num_tokens, int vocab_size) {
  check_indices(indices, num_tokens, vocab_size);
}

void embedding_cpu(const Embedding& op, ThreadPool& pool) {
  with_plain_type(op.type, "embedding", [&](auto zero) {
    using T = decltype(zero);
    check_indices(op.index, op.num_tokens, op.vocab_size);
    const std::size_t num_bytes = static_cast<std::size_t>(op.hidden_size) * sizeof(T);
    pool.parallel_for(op.num_tokens, kRowsPerTask, [&](int begin, int end) {
      for (int t = begin; t < end; ++t) {
        std::memcpy(static_cast<T*>(op.out) + t * op.out_stride,
                    static_cast<const T*>(op.weight) + op.index[t] * op.weight_stride, num_bytes);
      }
    });
  });
}

void token_embedding_cpu(const TokenEmbedding& op, ThreadPool& pool) {
  check_indices(op.token_ids, op.num_tokens, op.weight.out_features);
  pool.parallel_for(op.num_tokens, kRowsPerTask, [&](int begin, int end) {
    for (int t = begin; t < end; ++t) {
      unpack_row(op.weight, op.token_ids[t], op.out + t * op.out_stride);
    }
  });
}

}  // namespace kernels
