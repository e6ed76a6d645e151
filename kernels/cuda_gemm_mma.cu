// y = x W^T on tensor cores with what every GPU from 8.0 on has: cp.async, ldmatrix, mma.m16n8k16.
//
// Math, for the block's rows r and tokens t and its part [k0, k1) of k:
//
//   sums[t][r] = sum_k W[r, k] x[t, k]          float, k ascending in steps of 16
//
// Tiles (kMmaTiles). A step is 64 elements of k.
//   block      tile.rows x tile.tokens of sums, every step of its part of k
//   warp       rows / row_warps x tokens / token_warps of them, as fragments of 16 x 8
//   shared     a ring of tile.stages steps of W and x. A row of a step is 128 bytes, all 32 banks;
//              its eight 16-byte chunks stand at chunk ^ (row % 8), so that the eight rows ldmatrix
//              reads at once, as well as the eight chunks a row is written in, lie in different
//              banks
//   registers  the fragments of two sixteenths of k: one is multiplied while the other is read
//
// Rows beyond out_features, tokens beyond num_tokens and k beyond in_features are copied as zeros.
//
// With several blocks along k, each leaves its sums in the workspace, and the one that arrives last
// adds them, always from the lowest k to the highest, whoever was last: the same bits every time.
//
// Memory traffic: W and x once for each wave of blocks that share them through the L2, out once.
// With few tokens that is W, and what counts is bytes on their way: stages - 1 steps a block. W is
// prefetched before the kernel waits for the one that writes x.
#include <utility>

#include "kernels/cuda_gemm.cuh"
#include "kernels/cuda_launch.cuh"

namespace kernels {
namespace {

constexpr int kChunksPerRow = 8;   // of 16 bytes
constexpr int kBytesPerRow = 128;  // in shared memory: a step of one row
constexpr int kSliceSize = 16;     // k of one tensor-core instruction
constexpr int kSlices = kGemmStep / kSliceSize;

__device__ __forceinline__ std::uint64_t weight_policy(bool is_shared) {
  std::uint64_t policy;
  if (is_shared) {
    asm volatile("createpolicy.fractional.L2::evict_normal.b64 %0;" : "=l"(policy));
  } else {
    asm volatile("createpolicy.fractional.L2::evict_first.b64 %0;" : "=l"(policy));
  }
  return policy;
}

__device__ __forceinline__ void copy_weight_if(bool condition, std::uint32_t shared,
                                               const void* global, std::uint64_t policy) {
  const int num_bytes = condition ? 16 : 0;
  asm volatile(
      "cp.async.cg.shared.global.L2::cache_hint.L2::128B [%0], [%1], 16, %2, %3;" ::"r"(shared),
      "l"(global), "r"(num_bytes), "l"(policy));
}

// Copies a step of kRows rows of W or x into the ring, threads 8 abreast along a row.
template <class T, int kRows, int kThreads>
class Loader {
 public:
  __device__ __forceinline__ Loader(const T* matrix, std::int64_t stride, int first_row,
                                    int num_rows, int num_columns)
      : matrix_(matrix),
        stride_(stride),
        row_(first_row + static_cast<int>(threadIdx.x) / kChunksPerRow),
        column_(static_cast<int>(threadIdx.x) % kChunksPerRow * 8),
        num_rows_(num_rows),
        num_columns_(num_columns) {
    const int row = threadIdx.x / kChunksPerRow;
    offset_ = row * kBytesPerRow + ((threadIdx.x % kChunksPerRow) ^ (row % 8)) * 16;
    source_ = matrix_ + row_ * stride_ + column_;
  }

  // copy(condition, shared address, global address) for every chunk this thread moves.
  template <class Copy>
  __device__ __forceinline__ void load(std::uint32_t shared, int step, Copy copy) const {
    const int column = step * kGemmStep;
    const bool is_inside = column_ + column < num_columns_;
#pragma unroll
    for (int first = 0; first < kRows; first += kRowsAtOnce) {
      if (kRowsAtOnce > kRows && threadIdx.x >= kRows * kChunksPerRow) break;
      // Outside the matrix the address only has to be one; nothing is read there.
      const bool is_copied = is_inside && row_ + first < num_rows_;
      const T* source = is_copied ? source_ + first * stride_ + column : matrix_;
      copy(is_copied, shared + offset_ + first * kBytesPerRow, source);
    }
  }

 private:
  static constexpr int kRowsAtOnce = kThreads / kChunksPerRow;

  const T* matrix_;
  const T* source_;
  std::int64_t stride_;
  std::uint32_t offset_;
  int row_;
  int column_;
  int num_rows_;
  int num_columns_;
};

// A warp's sums and the operands they are made from.
template <class T, int kRows, int kTokens>
struct WarpTile {
  static constexpr int kRowTiles = kRows / 16;
  static constexpr int kTokenTiles = kTokens / 8;

  float sums[kRowTiles][kTokenTiles][4] = {};
  std::uint32_t a[2][kRowTiles][4];
  std::uint32_t b[2][kTokenTiles][2];

  // Reads slice `slice` of a step. `rows` and `tokens` are the addresses of the warp's first row
  // and token; both are multiples of 8 from the start of the step.
  __device__ __forceinline__ void load(int buffer, std::uint32_t rows, std::uint32_t tokens,
                                       int slice) {
    const int lane = threadIdx.x % kWarpSize;
    const int swizzle = lane % 8;
    // Matrices of 8 x 8: rows 0-7 and 8-15 of the first half of the slice, then of the second.
    const std::uint32_t row_address =
        rows + (lane % 16) * kBytesPerRow + ((2 * slice + lane / 16) ^ swizzle) * 16;
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) {
      load_matrices(a[buffer][i], row_address + i * 16 * kBytesPerRow);
    }
    // Both halves of the slice for tokens 0-7, then for 8-15.
    const std::uint32_t token_address = tokens + (lane / 16 * 8 + lane % 8) * kBytesPerRow +
                                        ((2 * slice + lane / 8 % 2) ^ swizzle) * 16;
    if constexpr (kTokenTiles == 1) {
      load_matrices(b[buffer][0], token_address - lane / 16 * 8 * kBytesPerRow);
    } else {
#pragma unroll
      for (int i = 0; i < kTokenTiles; i += 2) {
        std::uint32_t pair[4];
        load_matrices(pair, token_address + i * 8 * kBytesPerRow);
        b[buffer][i][0] = pair[0];
        b[buffer][i][1] = pair[1];
        b[buffer][i + 1][0] = pair[2];
        b[buffer][i + 1][1] = pair[3];
      }
    }
  }

  __device__ __forceinline__ void multiply(int buffer) {
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
      for (int j = 0; j < kTokenTiles; ++j) {
        multiply_add<T>(sums[i][j], a[buffer][i], b[buffer][j][0], b[buffer][j][1]);
      }
    }
  }

  // Lays the sums down as [tokens][pitch] floats; `staged` is the place of the warp's first.
  __device__ __forceinline__ void stage(float* staged, int pitch) const {
    const int lane = threadIdx.x % kWarpSize;
    float* place = staged + lane % 4 * 2 * pitch + lane / 4;
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
      for (int j = 0; j < kTokenTiles; ++j) {
        float* corner = place + j * 8 * pitch + i * 16;
        corner[0] = sums[i][j][0];
        corner[pitch] = sums[i][j][1];
        corner[8] = sums[i][j][2];
        corner[pitch + 8] = sums[i][j][3];
      }
    }
  }
};

// Leaves this block's sums in the workspace. Returns false in every block of a tile but the last
// to arrive, which gets the sums over all of k.
template <int kThreads, class Warp>
__device__ __forceinline__ bool gather_splits(const GemmArguments& args, const GemmBlock& block,
                                              Warp& warp) {
  constexpr int kVectors = Warp::kRowTiles * Warp::kTokenTiles;
  constexpr int kTileSize = kVectors * kThreads;  // float4
  __shared__ bool is_last;
  float4* tile_partials = reinterpret_cast<float4*>(args.partials) +
                          static_cast<std::int64_t>(block.tile) * args.num_splits * kTileSize +
                          threadIdx.x;
  float4* own = tile_partials + block.split * kTileSize;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const float(&sums)[4] = warp.sums[i / Warp::kTokenTiles][i % Warp::kTokenTiles];
    own[i * kThreads] = make_float4(sums[0], sums[1], sums[2], sums[3]);
  }
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    unsigned* arrivals = args.arrivals + block.tile;
    is_last = atomicAdd(arrivals, 1u) == static_cast<unsigned>(args.num_splits - 1);
    if (is_last) *arrivals = 0;
  }
  __syncthreads();
  if (!is_last) return false;
  __threadfence();
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    float(&sums)[4] = warp.sums[i / Warp::kTokenTiles][i % Warp::kTokenTiles];
    sums[0] = sums[1] = sums[2] = sums[3] = 0;
  }
  for (int split = 0; split < args.num_splits; ++split) {
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const float4 part = __ldcg(tile_partials + split * kTileSize + i * kThreads);
      float(&sums)[4] = warp.sums[i / Warp::kTokenTiles][i % Warp::kTokenTiles];
      sums[0] += part.x;
      sums[1] += part.y;
      sums[2] += part.z;
      sums[3] += part.w;
    }
  }
  return true;
}

template <class T, int kIndex>
__global__ void __launch_bounds__(
    kMmaTiles[kIndex].row_warps* kMmaTiles[kIndex].token_warps* kWarpSize, kMmaTiles[kIndex].blocks)
    gemm_mma_kernel(const __grid_constant__ GemmArguments args) {
  constexpr MmaTile kTile = kMmaTiles[kIndex];
  constexpr int kThreads = kTile.row_warps * kTile.token_warps * kWarpSize;
  constexpr int kWarpRows = kTile.rows / kTile.row_warps;
  constexpr int kWarpTokens = kTile.tokens / kTile.token_warps;
  constexpr int kAhead = kTile.stages - 1;  // steps on their way while one is multiplied
  constexpr std::uint32_t kStageBytes = (kTile.rows + kTile.tokens) * kBytesPerRow;
  constexpr std::uint32_t kTokensOffset = kTile.rows * kBytesPerRow;
  extern __shared__ __align__(128) unsigned char shared[];

  let_next_start();
  const GemmBlock block = block_of(args, kTile.rows, kTile.tokens, blockIdx.x);
  const std::uint32_t ring = shared_address(shared);
  const Loader<T, kTile.rows, kThreads> weight_loader(static_cast<const T*>(args.weight),
                                                      args.in_features, block.first_row,
                                                      args.out_features, args.in_features);
  const Loader<T, kTile.tokens, kThreads> token_loader(static_cast<const T*>(args.x), args.x_stride,
                                                       block.first_token, args.num_tokens,
                                                       args.in_features);
  const std::uint64_t policy = weight_policy(args.is_weight_shared);
  const auto load_weight = [&](int step) {
    weight_loader.load(ring + step % kTile.stages * kStageBytes, block.first_step + step,
                       [&](bool condition, std::uint32_t to, const T* from) {
                         copy_weight_if(condition, to, from, policy);
                       });
  };
  const auto load_tokens = [&](int step) {
    token_loader.load(ring + step % kTile.stages * kStageBytes + kTokensOffset,
                      block.first_step + step,
                      [&](bool condition, std::uint32_t to, const T* from) {
                        copy_async_if(condition, to, from);
                      });
  };

  // What is behind a commit completes in order. Where the kernel before may still run, W of all
  // stages goes ahead of it; elsewhere a stage is complete as soon as its own copies are.
#if __CUDA_ARCH__ >= 900
#pragma unroll 1
  for (int step = 0; step < min(kAhead, block.num_steps); ++step) load_weight(step);
#endif
  wait_for_inputs();
#pragma unroll 1
  for (int step = 0; step < kAhead; ++step) {
    if (step < block.num_steps) {
#if __CUDA_ARCH__ < 900
      load_weight(step);
#endif
      load_tokens(step);
    }
    commit_copies();
  }

  const int warp_index = threadIdx.x / kWarpSize;
  const int warp_row = warp_index % kTile.row_warps * kWarpRows;
  const int warp_token = warp_index / kTile.row_warps * kWarpTokens;
  const std::uint32_t rows = ring + warp_row * kBytesPerRow;
  const std::uint32_t tokens = ring + kTokensOffset + warp_token * kBytesPerRow;
  WarpTile<T, kWarpRows, kWarpTokens> warp;

  wait_for_copies<kAhead - 1>();
  __syncthreads();
  warp.load(0, rows, tokens, 0);
  std::uint32_t stage = 0;  // offset of the stage being multiplied
#pragma unroll 1
  for (int step = 0; step < block.num_steps; ++step) {
    const std::uint32_t next =
        stage + kStageBytes == kTile.stages * kStageBytes ? 0 : stage + kStageBytes;
#pragma unroll
    for (int slice = 0; slice < kSlices; ++slice) {
      if (slice == kSlices - 1) {
        // The next step has arrived, and every warp has read all of this one.
        wait_for_copies<kAhead - 1>();
        __syncthreads();
        warp.load((slice + 1) % 2, rows + next, tokens + next, 0);
      } else {
        warp.load((slice + 1) % 2, rows + stage, tokens + stage, slice + 1);
      }
      if (slice == 0) {
        // Into the stage read in the step before, which every warp has left behind.
        if (step + kAhead < block.num_steps) {
          load_weight(step + kAhead);
          load_tokens(step + kAhead);
        }
        commit_copies();
      }
      warp.multiply(slice % 2);
    }
    stage = next;
  }
  wait_for_copies<0>();

  if (args.num_splits > 1 && !gather_splits<kThreads>(args, block, warp)) return;
  __syncthreads();  // the ring is free
  constexpr int kPitch = kTile.rows + kStagedPad;
  float* staged = reinterpret_cast<float*>(shared);
  warp.stage(staged + warp_token * kPitch + warp_row, kPitch);
  __syncthreads();
  const Share share{static_cast<int>(threadIdx.x), num_items<kTile.rows, kTile.tokens>(args.output),
                    kThreads};
  store_tile<T, kTile.rows>(args, block, StagedSums<kTile.rows>{staged}, share);
}

using GemmKernel = void (*)(GemmArguments);

template <class T, int... kIndices>
GemmKernel kernel_of(int tile, std::integer_sequence<int, kIndices...>) {
  static constexpr GemmKernel kKernels[] = {gemm_mma_kernel<T, kIndices>...};
  return kKernels[tile];
}

}  // namespace

void launch_gemm_mma(const GemmArguments& arguments, int index, DType type, Stream stream) {
  const MmaTile& tile = kMmaTiles[index];
  constexpr auto kIndices = std::make_integer_sequence<int, kNumMmaTiles>();
  const GemmKernel kernel = type == DType::kF16 ? kernel_of<__half>(index, kIndices)
                                                : kernel_of<__nv_bfloat16>(index, kIndices);
  const int num_blocks = arguments.num_row_tiles * arguments.num_token_tiles * arguments.num_splits;
  launch(kernel, num_blocks, tile.row_warps * tile.token_warps * kWarpSize, shared_bytes(tile),
         stream, arguments);
}

}  // namespace kernels
