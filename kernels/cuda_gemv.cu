#include <string>

#include "kernels/cuda_gemv.cuh"
#include "kernels/cuda_gemv.h"

namespace kernels {
namespace {

using gemv::Tile;

// Tiles by the shape of W; measured by bench/kernels/gemv_cuda_bench.cu. With many rows a warp
// keeps whole rows to itself; with few, the warps of a block share the packs of a row.
using ManyRows = Tile<4, 1, 12, 4>;
using FewRows = Tile<8, 6, 1, 2>;      // 2,048 x 1,536; a power of two, as kSwiGlu needs
using FewestRows = Tile<3, 6, 2, 2>;   // 1,536 x 1,536
using FewLongRows = Tile<4, 7, 2, 3>;  // 1,536 x 8,960
// For devices whose blocks have less than kLargeShared bytes of shared memory.
using ManyRowsSmall = Tile<4, 1, 8, 4>;
using FewLongRowsSmall = Tile<4, 7, 1, 4>;
inline constexpr std::size_t kLargeShared = 160 * 1024;

// Calls body(Tile{}) with the tile for W.
template <class Body>
void with_tile(const CudaLinear& op, Body&& body) {
  const DeviceTraits& device = device_traits();
  const bool is_large = device.max_shared_bytes >= kLargeShared;
  // Two trips of every warp or more: then the last trip costs little.
  const int rows_of_trip = ManyRows::kRows * ManyRows::kWarpsN * device.num_multiprocessors;
  if (op.out_features >= 2 * rows_of_trip || op.in_features <= kWarpSize * gemv::kPackElements) {
    return is_large ? body(ManyRows{}) : body(ManyRowsSmall{});
  }
  if (op.in_features > 4096) return is_large ? body(FewLongRows{}) : body(FewLongRowsSmall{});
  const bool is_pair = op.output == LinearOutput::kSwiGlu;
  const bool is_fewest = op.out_features <= 1536 && !is_pair;
  return is_fewest ? body(FewestRows{}) : body(FewRows{});
}

template <int kTokens, class Tile>
std::size_t shared_bytes(const CudaLinear& op) {
  const int num_blocks = gemv::num_blocks_of<Tile>(op, device_traits().num_multiprocessors);
  return gemv::shared_layout<Tile, kTokens>(gemv::plan_of<Tile>(op, num_blocks)).total;
}

template <class T, int kTokens>
void launch_tokens(const CudaLinear& op, Stream stream) {
  with_tile(op, [&](auto tile) {
    gemv::launch_tile<T, kTokens, decltype(tile)>(op, device_traits().num_multiprocessors, stream);
  });
}

template <class T>
void launch_type(const CudaLinear& op, Stream stream) {
  switch (op.num_tokens) {
    case 1:
      return launch_tokens<T, 1>(op, stream);
    case 2:
      return launch_tokens<T, 2>(op, stream);
    case 3:
      return launch_tokens<T, 3>(op, stream);
    default:
      return launch_tokens<T, 4>(op, stream);
  }
}

}  // namespace

bool gemv_takes(const CudaLinear& op) {
  if (op.num_tokens < 1 || op.num_tokens > kMaxGemvTokens || op.is_batch_invariant) return false;
  if (op.type != DType::kF16 && op.type != DType::kBF16) return false;
  bool fits = false;
  with_tile(op, [&](auto tile) {
    // What four tokens need: the regime should not change between one token and the next.
    fits = shared_bytes<kMaxGemvTokens, decltype(tile)>(op) <= device_traits().max_shared_bytes;
  });
  return fits;
}

void cuda_gemv(const CudaLinear& op, Stream stream) {
  CHECK(gemv_takes(op), "cuda_gemv: " + std::to_string(op.num_tokens) + " tokens of " +
                            name_of(op.type) + " with " + std::to_string(op.in_features) +
                            " features are not its case; use cuda_linear");
  if (op.type == DType::kF16) {
    launch_type<__half>(op, stream);
  } else {
    launch_type<__nv_bfloat16>(op, stream);
  }
}

}  // namespace kernels
