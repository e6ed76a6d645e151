#include "native/kv_cache.h"

namespace kvasir {

namespace {

std::size_t plane_bytes(const ModelSpec& spec) {
  const std::string what = "KV cache";
  std::uint64_t num_bytes =
      static_cast<std::uint64_t>(kernels::bytes_per_block(spec.kv_cache_type));
  for (const int factor : {spec.limits.num_blocks, spec.limits.block_size, spec.config.num_kv_heads,
                           spec.config.head_dim}) {
    num_bytes = checked_multiply(num_bytes, static_cast<std::uint64_t>(factor), what);
  }
  return num_bytes;
}

}  // namespace

KvCache::KvCache(const ModelSpec& spec)
    : type_(spec.kv_cache_type),
      plane_bytes_(plane_bytes(spec)),
      memory_(checked_multiply(plane_bytes_, 2 * static_cast<std::uint64_t>(spec.config.num_layers),
                               "KV cache"),
              "KV cache") {}

}  // namespace kvasir
