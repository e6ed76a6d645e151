// Attention of the one new token of each sequence.
//
// Tiles. Grid (splits, KV heads x groups of 16 query heads, sequences), 4 warps a block.
//   block   one sequence, one KV head, up to 16 of the query heads that share it (the rows of the
//           tensor cores' first operand), and a run of tiles of 64 keys: each K and V row is read
//           once. kStages tiles of K and V are in shared memory or on their way there.
//   warp    16 of a tile's 64 keys in q k; a quarter of head_dim in the product with V.
//   shared  q, kStages x (K, V), the 16 x 64 weights, the warps' maxima and sums.
//
// The new key and value come from qkv: the block that has the last tile turns and places them, in
// shared memory for itself and in the cache for later steps, so nothing waits for a cache write.
//
// Splits. The grid has as many for each sequence as fill the device, whatever the contexts are; a
// split without tiles ends at once. With more than one in use, each leaves (m, l, o) in the
// workspace and whoever arrives last merges them in ascending order. When the result must not
// depend on the batch, a split leaves one such part for every tile, as if there were no splits; the
// first split may merge its own, because they are the beginning of the chain.
//
// Memory traffic in bytes: K and V, 2 * sum(context_lens) * num_kv_heads * head_dim * 2; the rest
// is small. 256 sequences of 320 tokens, 2 KV heads of 128: 84 MB a layer, 20 us at 4.3 TB/s.
#include <algorithm>
#include <map>
#include <mutex>
#include <string>
#include <tuple>

#include "kernels/cuda_attention_decode.cuh"
#include "kernels/cuda_attention_kernels.h"
#include "kernels/cuda_launch.cuh"

namespace kernels {
namespace {

constexpr std::size_t kLeastSharedBytes =
    99 * 1024;  // a block may have on every device from 8.6 on
constexpr int kPortableClusterSize = 8;
constexpr int kClusterSizes[] = {16, 8, 4, 2};
constexpr int kTilesPerBlockOfCluster = 4;
constexpr int kMaxSplitParts = 1024;      // parts of all sequences together, one for each split
constexpr int kMaxInvariantParts = 8192;  // the same, one for each tile

template <class T, int kHeadDim, int kStages>
__global__ void __launch_bounds__(kThreads, 2)
    decode_kernel(const __grid_constant__ CudaAttention op,
                  const __grid_constant__ DecodePlan plan) {
  extern __shared__ __align__(128) unsigned char memory[];
  DecodeBlock<T, kHeadDim, kStages> block(op, plan, memory);
  const TileShares shares = share_tiles((block.context_len + kTileKeys - 1) / kTileKeys, plan);
  const TileRange range = range_of(shares, blockIdx.x);
  const bool has_work = range.begin < range.end;
  if (has_work) block.prepare(range, range.end == shares.num_tiles);
  wait_for_inputs();
  let_next_start();
  if (has_work) block.run(shares, range);
}

int heads_per_block(int num_heads, int num_kv_heads) {
  return std::min(num_heads / num_kv_heads, kRowsPerFragment);
}

int blocks_per_kv_head(int num_heads, int num_kv_heads) {
  return (num_heads / num_kv_heads + kRowsPerFragment - 1) / kRowsPerFragment;
}

std::size_t ticket_bytes(int pairs) {
  return (static_cast<std::size_t>(pairs) * sizeof(int) + 255) / 256 * 256;
}

int max_parts(bool is_batch_invariant) {
  return is_batch_invariant ? kMaxInvariantParts : kMaxSplitParts;
}

// What launch() needs to know for blocks in clusters along x.
struct ClusterLaunch {
  ClusterLaunch(const void* kernel, dim3 grid, int cluster_size, std::size_t shared_bytes,
                Stream stream) {
    allow_shared_bytes(kernel, shared_bytes);
    if (cluster_size > kPortableClusterSize) {
      CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1));
    }
    attributes[0].id = cudaLaunchAttributeClusterDimension;
    attributes[0].val.clusterDim.x = static_cast<unsigned>(cluster_size);
    attributes[0].val.clusterDim.y = 1;
    attributes[0].val.clusterDim.z = 1;
    attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[1].val.programmaticStreamSerializationAllowed = 1;
    config.gridDim = grid;
    config.blockDim = dim3(kThreads);
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream;
    config.attrs = attributes;
    config.numAttrs = 2;
  }
  ClusterLaunch(const ClusterLaunch&) = delete;
  ClusterLaunch& operator=(const ClusterLaunch&) = delete;

  cudaLaunchAttribute attributes[2]{};
  cudaLaunchConfig_t config{};
};

// Clusters of such blocks that the current device runs at a time. Asked once for each.
int max_active_clusters(const void* kernel, int cluster_size, std::size_t shared_bytes) {
  static std::mutex mutex;
  static std::map<std::tuple<int, const void*, int>, int> known;
  int device = 0;
  CUDA_CHECK(cudaGetDevice(&device));
  const std::lock_guard<std::mutex> lock(mutex);
  const auto [entry, is_new] = known.try_emplace({device, kernel, cluster_size}, 0);
  if (is_new) {
    ClusterLaunch launch(kernel, dim3(cluster_size), cluster_size, shared_bytes, nullptr);
    launch.config.numAttrs = 1;
    CUDA_CHECK(cudaOccupancyMaxActiveClusters(&entry->second, kernel, &launch.config));
  }
  return entry->second;
}

struct Splits {
  int num_splits;
  int cluster_size;
};

// Splits for each pair, in the largest clusters that fit, that give each multiprocessor a block; 1
// if there are too many pairs for that.
Splits splits_in_clusters(const void* kernel, std::size_t shared_bytes, int pairs) {
  const DeviceTraits& traits = device_traits();
  if (traits.compute_capability < 90 || shared_bytes > traits.max_shared_bytes) return {1, 1};
  for (const int size : kClusterSizes) {
    const int num_clusters = traits.num_multiprocessors / pairs / size;  // of each pair
    if (num_clusters > 0 &&
        max_active_clusters(kernel, size, shared_bytes) >= num_clusters * pairs) {
      return {num_clusters * size, size};
    }
  }
  return {1, 1};
}

template <class T, int kHeadDim, int kStages>
void launch_decode(const CudaAttention& op, int pairs, const Splits& splits, Stream stream) {
  constexpr std::size_t kBytes = DecodeShared<kHeadDim, kStages>::kBytes;
  const int num_parts = max_parts(op.is_batch_invariant);
  DecodePlan plan{};
  plan.rows = heads_per_block(op.num_heads, op.num_kv_heads);
  plan.row_groups = blocks_per_kv_head(op.num_heads, op.num_kv_heads);
  plan.num_splits = splits.num_splits;
  plan.cluster_size = splits.cluster_size;
  plan.cluster_tiles = plan.cluster_size > 1 ? plan.cluster_size * kTilesPerBlockOfCluster : 0;
  // A part is only left where there are splits, and then pairs are few.
  plan.parts_per_pair = plan.num_splits == 1 ? 1 : num_parts / pairs;
  plan.parts_per_tile = op.is_batch_invariant ? 1 : 0;
  unsigned char* workspace = static_cast<unsigned char*>(op.workspace);
  plan.tickets = reinterpret_cast<int*>(workspace);
  plan.states = reinterpret_cast<float*>(workspace + ticket_bytes(pairs));
  plan.products = plan.states + static_cast<std::size_t>(num_parts) * 2 * plan.rows;

  const auto kernel = decode_kernel<T, kHeadDim, kStages>;
  const dim3 grid(plan.num_splits, op.num_kv_heads * plan.row_groups, op.num_decodes);
  if (plan.cluster_size == 1) {
    return launch(kernel, grid, dim3(kThreads), kBytes, stream, op, plan);
  }
  ClusterLaunch launch(reinterpret_cast<const void*>(kernel), grid, plan.cluster_size, kBytes,
                       stream);
  CUDA_CHECK(cudaLaunchKernelEx(&launch.config, kernel, op, plan));
}

// Tiles under way: as many as let two blocks share a multiprocessor, so that the blocks of the next
// layer can fill theirs while these still work.
//
// Up to half a block for each multiprocessor, sequences are split over clusters, one block a
// multiprocessor: clusters that need two everywhere do not all fit at a time. Beyond, over as many
// blocks as fit.
template <class T, int kHeadDim>
void launch_for_head(const CudaAttention& op, Stream stream) {
  constexpr int kDeep = kHeadDim == 64 ? 6 : 3;
  constexpr int kShallow = kHeadDim <= 128 ? 3 : 1;
  constexpr std::size_t kDeepBytes = DecodeShared<kHeadDim, kDeep>::kBytes;
  constexpr std::size_t kShallowBytes = DecodeShared<kHeadDim, kShallow>::kBytes;
  const DeviceTraits& traits = device_traits();
  const int pairs =
      op.num_decodes * op.num_kv_heads * blocks_per_kv_head(op.num_heads, op.num_kv_heads);
  const void* deep_kernel = reinterpret_cast<const void*>(decode_kernel<T, kHeadDim, kDeep>);
  Splits splits = splits_in_clusters(deep_kernel, kDeepBytes, pairs);
  if (splits.num_splits > 1) {
    return launch_decode<T, kHeadDim, kDeep>(op, pairs, splits, stream);
  }
  const int blocks =
      traits.num_multiprocessors * (kShallowBytes <= traits.max_shared_bytes / 2 ? 2 : 1);
  splits.num_splits = std::max(1, std::min(blocks, kMaxSplitParts) / pairs);
  if constexpr (kShallowBytes > kLeastSharedBytes) {
    if (kShallowBytes > traits.max_shared_bytes) {
      return launch_decode<T, kHeadDim, kShallow - 1>(op, pairs, splits, stream);
    }
  }
  launch_decode<T, kHeadDim, kShallow>(op, pairs, splits, stream);
}

template <class T>
void launch_for_type(const CudaAttention& op, Stream stream) {
  switch (op.head_dim) {
    case 64:
      return launch_for_head<T, 64>(op, stream);
    case 80:
      return launch_for_head<T, 80>(op, stream);
    case 96:
      return launch_for_head<T, 96>(op, stream);
    case 128:
      return launch_for_head<T, 128>(op, stream);
    default:
      return launch_for_head<T, 256>(op, stream);
  }
}

}  // namespace

std::size_t attention_decode_workspace_bytes(int max_sequences, int num_heads, int num_kv_heads,
                                             int head_dim, bool is_batch_invariant) {
  const int pairs = max_sequences * num_kv_heads * blocks_per_kv_head(num_heads, num_kv_heads);
  return ticket_bytes(pairs) + static_cast<std::size_t>(max_parts(is_batch_invariant)) *
                                   heads_per_block(num_heads, num_kv_heads) * (head_dim + 2) *
                                   sizeof(float);
}

void launch_attention_decode(const CudaAttention& op, Stream stream) {
  if (op.type == DType::kF16) return launch_for_type<__half>(op, stream);
  launch_for_type<__nv_bfloat16>(op, stream);
}

}  // namespace kernels
