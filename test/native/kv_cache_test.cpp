#include "native/kv_cache.h"

#include <cstring>
#include <string>
#include <vector>

#include "test/kernels/tap.h"

namespace {

constexpr int kBlocks = 5;
constexpr int kLayers = 3;

kvasir::ModelSpec spec_of(kernels::DType type) {
  kvasir::ModelSpec spec{};
  spec.config.num_layers = kLayers;
  spec.config.num_kv_heads = 2;
  spec.config.head_dim = 8;
  spec.limits.num_blocks = kBlocks;
  spec.limits.block_size = 16;
  spec.kv_cache_type = type;
  return spec;
}

// Blocks 4 -> 0 and 4 -> 2 are copied in K and V of every layer, and nothing else changes.
void test_copies(tap::Report& report, kernels::DType type) {
  const kvasir::KvCache cache(spec_of(type));
  const std::size_t block_bytes = cache.num_bytes() / (2 * kLayers * kBlocks);
  // Every byte tells its plane and block; the planes lie behind each other.
  auto* const bytes = static_cast<unsigned char*>(cache.keys(0));
  const auto value_of = [&](std::size_t plane, std::size_t block) {
    return static_cast<int>(plane * kBlocks + block);
  };
  for (std::size_t i = 0; i < 2 * kLayers * kBlocks; ++i) {
    std::memset(bytes + i * block_bytes, static_cast<int>(i), block_bytes);
  }
  const std::vector<std::int32_t> pairs = {4, 0, 4, 2};
  cache.copy_blocks(pairs.data(), 2);

  const std::vector<std::size_t> sources = {4, 1, 4, 3, 4};
  bool is_right = true;
  for (std::size_t plane = 0; plane < 2 * kLayers; ++plane) {
    for (std::size_t block = 0; block < kBlocks; ++block) {
      const unsigned char* const begin = bytes + (plane * kBlocks + block) * block_bytes;
      for (std::size_t i = 0; i < block_bytes; ++i) {
        is_right &= begin[i] == value_of(plane, sources[block]);
      }
    }
  }
  const std::string name = kernels::name_of(type);
  report.ok(is_right, name + ": whole blocks of every layer, and only those");
  cache.copy_blocks(nullptr, 0);
  report.ok(cache.values(kLayers - 1) == bytes + (2 * kLayers - 1) * kBlocks * block_bytes,
            name + ": values of the last layer end the cache");
}

}  // namespace

int main() {
  tap::Report report;
  test_copies(report, kernels::DType::kF16);
  test_copies(report, kernels::DType::kF32);
  return report.finish();
}
