// What the tensor-core kernels of a linear layer share: how the work is cut into blocks, and what
// happens to a finished tile. cuda_gemm.cu chooses among them.
//
// The product is taken as W x^T: rows of W are the 16-row (or 64-row) operand of the tensor cores
// and tokens the 8-column one, for every number of tokens, so that eight of them waste nothing.
// Both operands are contiguous in k, which is what the tensor cores want.
//
// A block owns `rows` x `tokens` of y and, with num_splits > 1, a contiguous part of k.
#pragma once

#include <cstdint>

#include "kernels/cuda_gemm.h"
#include "kernels/cuda_tile.cuh"

namespace kernels {

// Elements of k a block takes at a time: 128 bytes, the reach of the shared memory's 32 banks.
inline constexpr int kGemmStep = 64;

// What a kernel is told. The operator's fields mean what they mean in CudaLinear.
struct GemmArguments {
  void* out;
  const void* x;
  const void* weight;
  const void* bias;
  LinearOutput output;
  Numerics numerics;
  bool has_wide_rows;     // every row of out starts at a multiple of 16 bytes
  bool is_weight_shared;  // several blocks read the same part of W: it should stay in the L2
  int num_tokens;
  int in_features;
  int out_features;
  std::int64_t x_stride;
  std::int64_t out_stride;
  int num_row_tiles;
  int num_token_tiles;
  int num_splits;        // parts of k
  int num_rows_abreast;  // row tiles that are walked through together, see tile_of()
  float* partials;       // [num tiles, num_splits, rows * tokens]
  unsigned* arrivals;    // [num tiles], zero before and after
};

// A finished tile waits in shared memory as one row of `rows + kStagedPad` floats a token. The pad
// makes both the fragments' writes (4 tokens x 8 rows at a time) and the reads along rows free of
// bank conflicts.
inline constexpr int kStagedPad = 4;

// Dynamic shared memory of a block: the ring of steps, and later the finished tile in its place.
template <class Tile>
constexpr std::size_t shared_bytes(const Tile& tile) {
  const std::size_t ring =
      static_cast<std::size_t>(tile.stages) * (tile.rows + tile.tokens) * kGemmStep * 2;
  const std::size_t staged =
      sizeof(float) * static_cast<std::size_t>(tile.tokens) * (tile.rows + kStagedPad);
  return ring > staged ? ring : staged;
}

// The part of the product a block computes.
struct GemmBlock {
  int tile;
  int split;
  int first_row;
  int first_token;
  int first_step;  // of kGemmStep elements
  int num_steps;
};

// Which kernel computes a product and how its k is split.
struct GemmPlan {
  bool uses_warpgroups;  // the kernel for compute capability 9.0
  int tile;              // index into its table of tiles
  int num_splits;
};

// Most parts k is cut into, tiles that may be cut, and floats their sums may take.
inline constexpr int kMaxSplits = 8;
inline constexpr int kMaxSplitTiles = 4096;
inline constexpr std::int64_t kMaxPartials = 6 * 1024 * 1024;

// Whether the current device has the instructions of the kernel for 9.0.
bool has_warpgroups();

// The plan cuda_gemm() follows on the current device.
GemmPlan plan_gemm(int num_tokens, int in_features, int out_features, bool is_batch_invariant);

// cuda_gemm() with a plan of the caller's, to find out which is best. num_splits is at most
// kMaxSplits and the number of steps in in_features, and the sums of all splits of all tiles must
// fit the limits above.
void cuda_gemm_as_planned(const CudaLinear& op, const GemmPlan& plan, Stream stream);

// Tiles of the kernel for 8.0 and newer, in cuda_gemm_mma.cu. `stages` parts of W and x of one
// step each are in shared memory or on their way there.
struct MmaTile {
  int rows;
  int tokens;
  int stages;
  int row_warps;  // the tile is cut among row_warps x token_warps warps
  int token_warps;
  int blocks;  // a multiprocessor should hold: bounds the registers
};

inline constexpr MmaTile kMmaTiles[] = {
    {64, 8, 8, 4, 1, 3},     //
    {64, 16, 7, 4, 1, 3},    //
    {64, 32, 6, 4, 1, 3},    //
    {64, 64, 5, 2, 2, 2},    //
    {128, 16, 5, 4, 1, 2},   //
    {128, 32, 4, 4, 1, 2},   //
    {128, 64, 4, 4, 2, 2},   //
    {128, 128, 3, 4, 2, 1},  //
    {128, 128, 3, 2, 2, 1},  //
};
// 99 KB, the most 8.9 gives a block, hold every one of them.
inline constexpr int kNumMmaTiles = sizeof kMmaTiles / sizeof kMmaTiles[0];

void launch_gemm_mma(const GemmArguments& arguments, int tile, DType type, Stream stream);

// Tiles of the kernel for 9.0, in cuda_gemm_sm90a.cu.
struct WarpgroupTile {
  int rows;
  int tokens;
  int stages;
  int warpgroups;  // the rows are cut among them, in multiples of 64
  int blocks;      // a multiprocessor should hold: bounds the registers
  bool is_paired;  // two blocks share their tokens' way into shared memory; num_splits must be 1
};

inline constexpr WarpgroupTile kWarpgroupTiles[] = {
    {64, 8, 8, 1, 3, false},     //
    {64, 16, 7, 1, 3, false},    //
    {64, 32, 6, 1, 3, false},    //
    {64, 64, 4, 1, 3, false},    //
    {64, 64, 6, 1, 2, false},    //
    {128, 8, 6, 2, 2, false},    //
    {128, 16, 6, 2, 2, false},   //
    {128, 32, 5, 2, 2, false},   //
    {128, 64, 4, 2, 2, false},   //
    {64, 128, 4, 1, 2, false},   //
    {128, 128, 3, 2, 2, false},  //
    {64, 256, 5, 1, 1, false},   //
    {128, 256, 4, 2, 1, false},  //
    {128, 128, 3, 2, 2, true},   //
    {128, 256, 4, 2, 1, true},   //
};
inline constexpr int kNumWarpgroupTiles = sizeof kWarpgroupTiles / sizeof kWarpgroupTiles[0];

void launch_gemm_sm90a(const GemmArguments& arguments, int tile, DType type, Stream stream);

#ifdef __CUDACC__

// Blocks that run at the same time should share what they read. With many row tiles and many token
// tiles they form rectangles: num_rows_abreast row tiles, all token tiles, then the next rows.
__device__ __forceinline__ GemmBlock block_of(const GemmArguments& args, int rows, int tokens,
                                              int index) {
  GemmBlock block;
  block.tile = index / args.num_splits;
  block.split = index - block.tile * args.num_splits;
  const int group_size = args.num_rows_abreast * args.num_token_tiles;
  const int group = block.tile / group_size;
  const int first = group * args.num_rows_abreast;
  const int abreast = min(args.num_rows_abreast, args.num_row_tiles - first);
  const int within = block.tile - group * group_size;
  block.first_row = (first + within % abreast) * rows;
  block.first_token = within / abreast * tokens;
  const int num_steps = (args.in_features + kGemmStep - 1) / kGemmStep;
  block.first_step = block.split * num_steps / args.num_splits;
  block.num_steps = (block.split + 1) * num_steps / args.num_splits - block.first_step;
  return block;
}

// ---- a finished tile ----

// 8 neighbouring elements of a row in memory, as float. Read past the L1, in which a kernel that
// began early could find what a kernel before has since overwritten.
template <class T>
__device__ __forceinline__ void load_row(float (&values)[8], const T* from, int count,
                                         bool is_wide) {
  if (is_wide && count == 8) {
    const uint4 bits = __ldcg(reinterpret_cast<const uint4*>(from));
    const std::uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 pair = unpack2<T>(words[i]);
      values[2 * i] = pair.x;
      values[2 * i + 1] = pair.y;
    }
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) values[i] = i < count ? as_float(__ldcg(from + i)) : 0.0f;
  }
}

template <class T>
__device__ __forceinline__ void store_row(T* to, const float (&values)[8], int count,
                                          bool is_wide) {
  if (is_wide && count == 8) {
    uint4 bits;
    bits.x = pack2<T>(values[0], values[1]);
    bits.y = pack2<T>(values[2], values[3]);
    bits.z = pack2<T>(values[4], values[5]);
    bits.w = pack2<T>(values[6], values[7]);
    *reinterpret_cast<uint4*>(to) = bits;
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (i < count) to[i] = narrow<T>(values[i]);
    }
  }
}

__device__ __forceinline__ void store_row(float* to, const float (&values)[8], int count,
                                          bool is_wide) {
  if (is_wide && count == 8) {
    reinterpret_cast<float4*>(to)[0] = make_float4(values[0], values[1], values[2], values[3]);
    reinterpret_cast<float4*>(to)[1] = make_float4(values[4], values[5], values[6], values[7]);
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (i < count) to[i] = values[i];
    }
  }
}

// The sums of a tile in this block's shared memory. sums(token, row) are those of 8 rows.
template <int kRows>
struct StagedSums {
  const float* staged;

  __device__ __forceinline__ void operator()(float (&sums)[8], int token, int row) const {
    const float4* from =
        reinterpret_cast<const float4*>(staged + token * (kRows + kStagedPad) + row);
    const float4 low = from[0];
    const float4 high = from[1];
    sums[0] = low.x, sums[1] = low.y, sums[2] = low.z, sums[3] = low.w;
    sums[4] = high.x, sums[5] = high.y, sums[6] = high.z, sums[7] = high.w;
  }
};

// 8 rows of y for one token, in place of the sums: with the bias.
template <class T>
__device__ __forceinline__ void finish_row(float (&y)[8], const void* bias, int row, int count,
                                           bool is_rounded) {
  float biases[8] = {};
  if (bias != nullptr) load_row(biases, static_cast<const T*>(bias) + row, count, true);
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    y[i] += biases[i];
    if (is_rounded) y[i] = rounded<T>(y[i]);
  }
}

// The items [first, end) of a tile, 8 outputs of one token each, for the threads that share them.
struct Share {
  int first;  // this thread's
  int end;
  int stride;
};

// out = silu(gate) * up for the tile, whose rows are groups of 16 of each in turn.
template <class T, int kRows, class Sums>
__device__ __forceinline__ void store_gated_tile(const GemmArguments& args, const GemmBlock& block,
                                                 const Sums& sums, const Share& share) {
  constexpr int kChunks = kRows / 16;
  const bool is_rounded = args.numerics == Numerics::kReference;
  for (int item = share.first; item < share.end; item += share.stride) {
    const int token = item / kChunks;
    const int chunk = item % kChunks;
    const int row = chunk / 2 * 2 * kGateUpGroup + chunk % 2 * 8;
    if (block.first_token + token >= args.num_tokens) break;
    if (block.first_row + row >= args.out_features) continue;
    float gate[8];
    float up[8];
    sums(gate, token, row);
    sums(up, token, row + kGateUpGroup);
    finish_row<T>(gate, args.bias, block.first_row + row, 8, is_rounded);
    finish_row<T>(up, args.bias, block.first_row + row + kGateUpGroup, 8, is_rounded);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float silu = gate[i] / (1.0f + (is_rounded ? expf(-gate[i]) : __expf(-gate[i])));
      up[i] *= is_rounded ? rounded<T>(silu) : silu;
    }
    T* out = static_cast<T*>(args.out) + (block.first_token + token) * args.out_stride +
             block.first_row / 2 + chunk * 8;
    store_row(out, up, 8, args.has_wide_rows);
  }
}

// Applies what stands behind the product to a tile of kRows rows, whose items are counted along
// the rows of one token after the other, and stores it.
template <class T, int kRows, class Sums>
__device__ __forceinline__ void store_tile(const GemmArguments& args, const GemmBlock& block,
                                           const Sums& sums, const Share& share) {
  if (args.output == LinearOutput::kSwiGlu) {
    store_gated_tile<T, kRows>(args, block, sums, share);
    return;
  }
  constexpr int kChunks = kRows / 8;
  const bool is_rounded = args.numerics == Numerics::kReference;
  for (int item = share.first; item < share.end; item += share.stride) {
    const int token = item / kChunks;
    const int row = item % kChunks * 8;
    const int count = min(8, args.out_features - block.first_row - row);
    if (block.first_token + token >= args.num_tokens) break;
    if (count <= 0) continue;
    float y[8];
    sums(y, token, row);
    finish_row<T>(y, args.bias, block.first_row + row, count, is_rounded);
    const std::int64_t place =
        (block.first_token + token) * args.out_stride + block.first_row + row;
    if (args.output == LinearOutput::kLogits) {
      store_row(static_cast<float*>(args.out) + place, y, count, args.has_wide_rows);
      continue;
    }
    T* out = static_cast<T*>(args.out) + place;
    if (args.output == LinearOutput::kAddResidual) {
      float residual[8];
      load_row(residual, out, count, args.has_wide_rows);
#pragma unroll
      for (int i = 0; i < 8; ++i) y[i] += residual[i];
    }
    store_row(out, y, count, args.has_wide_rows);
  }
}

// How many items a tile has.
template <int kRows, int kTokens>
__device__ __forceinline__ int num_items(LinearOutput output) {
  return kTokens * kRows / (output == LinearOutput::kSwiGlu ? 16 : 8);
}

#endif

}  // namespace kernels
