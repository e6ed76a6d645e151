#include "kernels/write_kv.h"

#include <string>

#include "kernels/vector_kernels.h"

namespace kernels {
namespace {

constexpr int kTokensPerTask = 32;

void check(const WriteKv& op) {
  CHECK(op.cache_type == DType::kF16 || op.cache_type == DType::kF32,
        std::string("write_kv: a cache of ") + name_of(op.cache_type) +
            " is not supported; use f16 or f32");
  const std::int64_t num_slots = static_cast<std::int64_t>(op.num_blocks) * op.block_size;
  for (int t = 0; t < op.num_tokens; ++t) {
    CHECK(op.slot_mapping[t] >= 0 && op.slot_mapping[t] < num_slots,
          "write_kv: slot " + std::to_string(op.slot_mapping[t]) + " of token " +
              std::to_string(t) + " is outside the cache of " + std::to_string(num_slots) +
              " slots");
  }
}

}  // namespace

void write_kv_cpu(const WriteKv& op, ThreadPool& pool) {
  check(op);
  const VectorKernels& vector = vector_kernels(pool.isa());
  const std::int64_t element = bytes_per_block(op.cache_type);
  pool.parallel_for(op.num_tokens, kTokensPerTask, [&](int begin, int end) {
    for (int t = begin; t < end; ++t) {
      const std::int64_t block = op.slot_mapping[t] / op.block_size;
      const std::int64_t offset = op.slot_mapping[t] % op.block_size;
      for (int g = 0; g < op.num_kv_heads; ++g) {
        const std::int64_t row = (block * op.num_kv_heads + g) * op.block_size + offset;
        const std::int64_t at = row * op.head_dim * element;
        const std::int64_t from = static_cast<std::int64_t>(g) * op.head_dim;
        vector.convert_row(op.cache_type, static_cast<char*>(op.k_cache) + at,
                           op.k + t * op.k_stride + from, op.head_dim);
        vector.convert_row(op.cache_type, static_cast<char*>(op.v_cache) + at,
                           op.v + t * op.v_stride + from, op.head_dim);
      }
    }
  });
}

}  // namespace kernels
