#include "native/kv_cache.h"

#include <cstring>

namespace kvasir {

namespace {

std::size_t block_bytes(const ModelSpec& spec) {
  std::uint64_t num_bytes =
      static_cast<std::uint64_t>(kernels::bytes_per_block(spec.kv_cache_type));
  for (const int factor :
       {spec.limits.block_size, spec.config.num_kv_heads, spec.config.head_dim}) {
    num_bytes = checked_multiply(num_bytes, static_cast<std::uint64_t>(factor), "KV cache");
  }
  return num_bytes;
}

}  // namespace

KvCache::KvCache(const ModelSpec& spec)
    : type_(spec.kv_cache_type),
      num_planes_(2 * spec.config.num_layers),
      block_bytes_(block_bytes(spec)),
      plane_bytes_(checked_multiply(
          block_bytes_, static_cast<std::uint64_t>(spec.limits.num_blocks), "KV cache")),
      memory_(checked_multiply(plane_bytes_, static_cast<std::uint64_t>(num_planes_), "KV cache"),
              "KV cache") {}

void KvCache::copy_blocks(const std::int32_t* block_copies, int num_copies) const {
  for (int plane = 0; plane < num_planes_; ++plane) {
    std::byte* const blocks = memory_.data() + static_cast<std::size_t>(plane) * plane_bytes_;
    for (int i = 0; i < num_copies; ++i) {
      const auto source = static_cast<std::size_t>(block_copies[2 * i]);
      const auto destination = static_cast<std::size_t>(block_copies[2 * i + 1]);
      std::memcpy(blocks + destination * block_bytes_, blocks + source * block_bytes_,
                  block_bytes_);
    }
  }
}

}  // namespace kvasir
