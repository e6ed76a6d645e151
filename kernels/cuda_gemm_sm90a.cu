// y = x W^T with what Hopper adds: products that a warpgroup of 128 threads starts and that read
// both operands from shared memory themselves, a copy engine, and clusters of blocks that reach
// into each other's shared memory.
//
// Math, for the block's rows r and tokens t and its part [k0, k1) of k:
//
//   sums[t][r] = sum_k W[r, k] x[t, k]          float, k ascending in steps of 16
//
// Tiles (kWarpgroupTiles). A step is 64 elements of k.
//   block       tile.rows x tile.tokens of sums, every step of its part of k
//   warpgroup   rows / warpgroups of them for all tokens, 64 rows an instruction
//   producer    one thread more: fills the ring by two copies a step, which also put the 16-byte
//               chunks where the tensor cores want them and write zeros beyond W, x and k
//   shared      a ring of tile.stages steps of W and x; `full` counts the bytes that arrive,
//   `empty`
//               the warps that are done with a step
//   cluster     with num_splits > 1 the blocks of one tile, each with its part of k; at the end
//               they share out the tile and add its parts from the lowest k to the highest, so
//               that the bits are the same every time. In a paired tile, two blocks of neighbouring
//               rows: each fetches half the tokens of a step and sends them to both
//
// Memory traffic: W and x once for each wave of blocks that share them through the L2, out once.
// With few tokens that is W, and what counts is bytes on their way: tile.stages steps a block. W is
// prefetched before the kernel waits for the one that writes x.
#include <utility>

#include "kernels/cuda_gemm.cuh"
#include "kernels/cuda_gemm_warpgroup.cuh"
#include "kernels/cuda_launch.cuh"

namespace kernels {
namespace {

constexpr int kBytesPerRow = kGemmStep * 2;
constexpr int kSlices = kGemmStep / 16;
constexpr int kWarpgroupSize = 128;
constexpr int kWarpsPerGroup = kWarpgroupSize / kWarpSize;
constexpr int kRingAlignment = 1024;  // the pattern of chunks repeats every 8 rows

// The sums of a tile over all of k: the parts that the blocks of the cluster have staged.
template <int kRows>
struct ClusterSums {
  std::uint32_t staged;
  int num_parts;

  __device__ __forceinline__ void operator()(float (&sums)[8], int token, int row) const {
    const std::uint32_t place =
        staged + static_cast<std::uint32_t>(token * (kRows + kStagedPad) + row) * 4;
#pragma unroll
    for (int i = 0; i < 8; ++i) sums[i] = 0;
#pragma unroll 4
    for (int part = 0; part < num_parts; ++part) {
      const float4 low = load_from_block(place, part);
      const float4 high = load_from_block(place + 16, part);
      sums[0] += low.x, sums[1] += low.y, sums[2] += low.z, sums[3] += low.w;
      sums[4] += high.x, sums[5] += high.y, sums[6] += high.z, sums[7] += high.w;
    }
  }
};

// The ring and its barriers, as addresses in shared memory.
template <int kIndex>
struct Ring {
  static constexpr WarpgroupTile kTile = kWarpgroupTiles[kIndex];
  static constexpr std::uint32_t kWeightBytes = kTile.rows * kBytesPerRow;
  static constexpr std::uint32_t kTokenBytes = kTile.tokens * kBytesPerRow;

  std::uint32_t steps;
  std::uint32_t barriers;

  __device__ __forceinline__ std::uint32_t weight(int slot) const {
    return steps + slot * (kWeightBytes + kTokenBytes);
  }
  __device__ __forceinline__ std::uint32_t tokens(int slot) const {
    return weight(slot) + kWeightBytes;
  }
  __device__ __forceinline__ std::uint32_t full(int slot) const { return barriers + slot * 16; }
  __device__ __forceinline__ std::uint32_t empty(int slot) const { return full(slot) + 8; }
};

// The one thread that fills the ring.
template <int kIndex>
__device__ __forceinline__ void produce(const GemmArguments& args, const GemmBlock& block,
                                        const Ring<kIndex>& ring, const CUtensorMap* weight_map,
                                        const CUtensorMap* token_map) {
  const std::uint64_t weight_policy = args.is_weight_shared ? kKeepNormally : kDropFirst;
  const auto copy_weight = [&](int slot, int step) {
    barrier_expect(ring.full(slot), ring.kWeightBytes + ring.kTokenBytes);
    copy_box(ring.weight(slot), weight_map, (block.first_step + step) * kGemmStep, block.first_row,
             ring.full(slot), weight_policy);
  };
  const auto copy_tokens = [&](int slot, int step) {
    const int column = (block.first_step + step) * kGemmStep;
    if constexpr (Ring<kIndex>::kTile.is_paired) {
      constexpr int kHalf = Ring<kIndex>::kTile.tokens / 2;
      const int half = static_cast<int>(blockIdx.x % 2) * kHalf;
      copy_box_to_blocks(ring.tokens(slot) + half * kBytesPerRow, token_map, column,
                         block.first_token + half, ring.full(slot), 3, kKeepNormally);
    } else {
      copy_box(ring.tokens(slot), token_map, column, block.first_token, ring.full(slot),
               kKeepNormally);
    }
  };

  const int num_free = min(ring.kTile.stages, block.num_steps);
  for (int step = 0; step < num_free; ++step) copy_weight(step, step);
  wait_for_inputs();
  for (int step = 0; step < num_free; ++step) copy_tokens(step, step);
  int slot = 0;
  std::uint32_t parity = 0;
#pragma unroll 1
  for (int step = ring.kTile.stages; step < block.num_steps; ++step) {
    barrier_wait(ring.empty(slot), parity);
    copy_weight(slot, step);
    copy_tokens(slot, step);
    if (++slot == ring.kTile.stages) {
      slot = 0;
      parity ^= 1;
    }
  }
}

// What a warpgroup does: its rows of the tile for all tokens.
template <class T, int kIndex>
struct Consumer {
  static constexpr WarpgroupTile kTile = kWarpgroupTiles[kIndex];
  static constexpr int kRows = kTile.rows / kTile.warpgroups;
  static constexpr int kRowTiles = kRows / 64;
  static constexpr int kCount = kTile.tokens / 2;  // sums a thread has in 64 rows

  float sums[kRowTiles][kCount];

  __device__ __forceinline__ void multiply(std::uint32_t weight, std::uint32_t tokens,
                                           bool is_first) {
#pragma unroll
    for (int slice = 0; slice < kSlices; ++slice) {
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i) {
        multiply_add_tiles<T>(sums[i], swizzled_tile(weight + i * 64 * kBytesPerRow + slice * 32),
                              swizzled_tile(tokens + slice * 32), !is_first || slice > 0);
      }
    }
  }

  __device__ __forceinline__ void hold_sums() {
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) hold(sums[i]);
  }

  static __device__ __forceinline__ void release(const Ring<kIndex>& ring, int slot) {
    if (threadIdx.x % kWarpSize != 0) return;
    if constexpr (kTile.is_paired) {
      barrier_arrive_at(ring.empty(slot), 0);
      barrier_arrive_at(ring.empty(slot), 1);
    } else {
      barrier_arrive(ring.empty(slot));
    }
  }

  __device__ __forceinline__ void consume(const GemmBlock& block, const Ring<kIndex>& ring) {
    const std::uint32_t own = threadIdx.x / kWarpgroupSize * kRows * kBytesPerRow;
    int slot = 0;
    int last_slot = 0;
    std::uint32_t parity = 0;
#pragma unroll 1
    for (int step = 0; step < block.num_steps; ++step) {
      barrier_wait(ring.full(slot), parity);
      hold_sums();
      warpgroup_fence();
      multiply(ring.weight(slot) + own, ring.tokens(slot), step == 0);
      warpgroup_commit();
      warpgroup_wait<1>();
      if (step > 0) release(ring, last_slot);
      last_slot = slot;
      if (++slot == kTile.stages) {
        slot = 0;
        parity ^= 1;
      }
    }
    warpgroup_wait<0>();
    hold_sums();
  }

  // Lays the sums down as [tokens][rows + kStagedPad] floats.
  __device__ __forceinline__ void stage(float* staged) const {
    constexpr int kPitch = kTile.rows + kStagedPad;
    const int lane = threadIdx.x % kWarpSize;
    const int warp = threadIdx.x / kWarpSize % kWarpsPerGroup;
    const int row = threadIdx.x / kWarpgroupSize * kRows + warp * 16 + lane / 4;
    float* place = staged + lane % 4 * 2 * kPitch + row;
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
      for (int j = 0; j < kCount / 4; ++j) {
        float* corner = place + j * 8 * kPitch + i * 64;
        corner[0] = sums[i][4 * j];
        corner[kPitch] = sums[i][4 * j + 1];
        corner[8] = sums[i][4 * j + 2];
        corner[kPitch + 8] = sums[i][4 * j + 3];
      }
    }
  }
};

// A barrier of the warpgroups alone.
template <int kThreads>
__device__ __forceinline__ void consumers_sync() {
  asm volatile("bar.sync 1, %0;" ::"n"(kThreads) : "memory");
}

template <class T, int kIndex>
__global__ void __launch_bounds__(kWarpgroupTiles[kIndex].warpgroups* kWarpgroupSize + kWarpSize,
                                  kWarpgroupTiles[kIndex].blocks)
    gemm_sm90a_kernel(const __grid_constant__ GemmArguments args,
                      const __grid_constant__ CUtensorMap weight_map,
                      const __grid_constant__ CUtensorMap token_map) {
  constexpr WarpgroupTile kTile = kWarpgroupTiles[kIndex];
  constexpr int kConsumers = kTile.warpgroups * kWarpgroupSize;
  extern __shared__ unsigned char unaligned[];
  __shared__ __align__(16) std::uint64_t barriers[2 * kTile.stages];

  let_next_start();
  const GemmBlock block = block_of(args, kTile.rows, kTile.tokens, blockIdx.x);
  const std::uint32_t start = shared_address(unaligned);
  const std::uint32_t skipped = (kRingAlignment - start % kRingAlignment) % kRingAlignment;
  const Ring<kIndex> ring{start + skipped, shared_address(barriers)};
  if (threadIdx.x == 0) {
    for (int slot = 0; slot < kTile.stages; ++slot) {
      barrier_init(ring.full(slot), 1);
      barrier_init(ring.empty(slot), kTile.warpgroups * kWarpsPerGroup * (kTile.is_paired ? 2 : 1));
    }
    barrier_init_fence();
  }
  if constexpr (kTile.is_paired) {
    cluster_arrive();
    cluster_wait();
  } else {
    __syncthreads();
  }

  if (threadIdx.x >= kConsumers) {
    if (threadIdx.x == kConsumers) produce<kIndex>(args, block, ring, &weight_map, &token_map);
    return;
  }
  wait_for_inputs();
  Consumer<T, kIndex> consumer;
  consumer.consume(block, ring);
  if constexpr (kTile.is_paired) {
    // The other block's last arrivals come here; it must not find this block gone.
    cluster_arrive();
    cluster_wait();
  }

  consumers_sync<kConsumers>();  // the ring is free
  float* staged = reinterpret_cast<float*>(unaligned + skipped);
  consumer.stage(staged);
  const int num_items = kernels::num_items<kTile.rows, kTile.tokens>(args.output);
  if (args.num_splits == 1) {
    consumers_sync<kConsumers>();
    const Share share{static_cast<int>(threadIdx.x), num_items, kConsumers};
    store_tile<T, kTile.rows>(args, block, StagedSums<kTile.rows>{staged}, share);
    return;
  }
  cluster_arrive();
  cluster_wait();
  const int first = block.split * num_items / args.num_splits;
  const int end = (block.split + 1) * num_items / args.num_splits;
  const Share share{first + static_cast<int>(threadIdx.x), end, kConsumers};
  store_tile<T, kTile.rows>(args, block, ClusterSums<kTile.rows>{ring.steps, args.num_splits},
                            share);
  cluster_arrive();  // others may still read what is staged here
  cluster_wait();
}

using GemmKernel = void (*)(GemmArguments, CUtensorMap, CUtensorMap);

template <class T, int... kIndices>
GemmKernel kernel_of(int tile, std::integer_sequence<int, kIndices...>) {
  static constexpr GemmKernel kKernels[] = {gemm_sm90a_kernel<T, kIndices>...};
  return kKernels[tile];
}

using EncodeTiled = decltype(&cuTensorMapEncodeTiled);

// The driver's own function, asked for at run time: the addon must load where there is no driver.
EncodeTiled encode_tiled() {
  static const EncodeTiled function = [] {
    constexpr unsigned kVersion = 12000;
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result{};
    CUDA_CHECK(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, kVersion,
                                                cudaEnableDefault, &result));
    CHECK(result == cudaDriverEntryPointSuccess,
          "the CUDA driver has no cuTensorMapEncodeTiled; it must be of CUDA 12.0 or newer");
    return reinterpret_cast<EncodeTiled>(found);
  }();
  return function;
}

// How the copy engine sees a matrix: rows of `columns` elements, taken in boxes of box_rows rows
// and one step of k.
CUtensorMap map_of(const void* matrix, DType type, int rows, int columns, std::int64_t stride,
                   int box_rows) {
  const cuuint64_t sizes[2] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(stride) * 2};
  const cuuint32_t box[2] = {kGemmStep, static_cast<cuuint32_t>(box_rows)};
  const cuuint32_t element_strides[2] = {1, 1};
  CUtensorMap map;
  const CUresult result = encode_tiled()(
      &map,
      type == DType::kF16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2,
      const_cast<void*>(matrix), sizes, strides, box, element_strides,
      CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  CHECK(result == CUDA_SUCCESS, "linear: no tensor map for " + std::to_string(rows) + " rows of " +
                                    std::to_string(columns) + " elements, " +
                                    std::to_string(stride) + " apart: CUresult " +
                                    std::to_string(result));
  return map;
}

}  // namespace

void launch_gemm_sm90a(const GemmArguments& arguments, int index, DType type, Stream stream) {
  const WarpgroupTile& tile = kWarpgroupTiles[index];
  GemmArguments args = arguments;
  // Both blocks of a pair need a row tile; the copy engine finds zeros beyond the last row.
  if (tile.is_paired) args.num_row_tiles += args.num_row_tiles % 2;
  const CUtensorMap weight_map =
      map_of(args.weight, type, args.out_features, args.in_features, args.in_features, tile.rows);
  const CUtensorMap token_map =
      map_of(args.x, type, args.num_tokens, args.in_features, args.x_stride,
             tile.is_paired ? tile.tokens / 2 : tile.tokens);
  constexpr auto kIndices = std::make_integer_sequence<int, kNumWarpgroupTiles>();
  const GemmKernel kernel = type == DType::kF16 ? kernel_of<__half>(index, kIndices)
                                                : kernel_of<__nv_bfloat16>(index, kIndices);
  const std::size_t bytes = shared_bytes(tile) + kRingAlignment;
  allow_shared_bytes(reinterpret_cast<const void*>(kernel), bytes);

  cudaLaunchAttribute attributes[2]{};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  const unsigned cluster_size = tile.is_paired ? 2 : args.num_splits;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim.x = cluster_size;
  attributes[1].val.clusterDim.y = 1;
  attributes[1].val.clusterDim.z = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = args.num_row_tiles * args.num_token_tiles * args.num_splits;
  config.blockDim = tile.warpgroups * kWarpgroupSize + kWarpSize;
  config.dynamicSmemBytes = bytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = cluster_size > 1 ? 2 : 1;
  CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, args, weight_map, token_map));
}

}  // namespace kernels
