// Copies of whole KV blocks in all layers.
#include <cstdint>
#include <random>
#include <vector>

#include "kernels/cuda_copy_blocks.h"
#include "test/kernels/device_buffer.cuh"
#include "test/kernels/tap.h"

namespace {

struct Sizes {
  int num_layers;
  int num_blocks;
  int block_bytes;
};

// Copies `pairs` on the host and on the device; every other byte must stay what it was.
void check_copies(tap::Report& report, const Sizes& sizes, const std::vector<std::int32_t>& pairs) {
  const std::size_t half = std::size_t(sizes.num_blocks) * sizes.block_bytes;
  std::mt19937 random(sizes.block_bytes);
  std::vector<unsigned char> want(2 * sizes.num_layers * half);
  for (unsigned char& byte : want) byte = static_cast<unsigned char>(random());
  testing::DeviceBuffer<unsigned char> cache(want);
  testing::DeviceBuffer<std::int32_t> pairs_on_device(pairs);

  kernels::CudaCopyBlocks op{};
  op.cache = cache.data();
  op.pairs = pairs_on_device.data();
  op.num_copies = static_cast<int>(pairs.size() / 2);
  op.num_layers = sizes.num_layers;
  op.num_blocks = sizes.num_blocks;
  op.block_bytes = sizes.block_bytes;
  kernels::cuda_copy_blocks(op, nullptr);

  for (int i = 0; i < 2 * sizes.num_layers; ++i) {
    for (std::size_t c = 0; c < pairs.size(); c += 2) {
      const auto from = want.begin() + i * half + std::size_t(pairs[c]) * sizes.block_bytes;
      const auto to = want.begin() + i * half + std::size_t(pairs[c + 1]) * sizes.block_bytes;
      std::copy(from, from + sizes.block_bytes, to);
    }
  }
  const std::vector<unsigned char> got = cache.download();
  report.same_bits(got.data(), want.data(), want.size(),
                   std::to_string(op.num_copies) + " copies of " +
                       std::to_string(sizes.block_bytes) + " bytes in " +
                       std::to_string(sizes.num_layers) + " layers");
}

}  // namespace

int main() {
  if (!testing::has_device()) return 0;
  tap::Report report;
  check_copies(report, {28, 40, 8192}, {3, 7, 39, 0});
  check_copies(report, {1, 3, 16}, {2, 1});
  check_copies(report, {5, 20, 16 * 3 * 64 * 2}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 4, 11});
  check_copies(report, {2, 8, 8 * 16 * 256 * 4}, {7, 0, 7, 1});
  check_copies(report, {2, 4, 2048}, {});
  kernels::CudaCopyBlocks op{};
  op.block_bytes = 24;
  op.num_copies = 1;
  report.throws([&] { kernels::cuda_copy_blocks(op, nullptr); }, {"block_bytes is 24", "16"},
                "a block that is no multiple of 16 bytes is refused");
  return report.finish();
}
