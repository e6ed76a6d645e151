// How a row of logits is cut up and loaded.
//
// A row is cut into tiles of 4,096 tokens, one for a block of 256 threads at a time. A warp's load
// of 16 bytes a lane covers 128 neighbouring tokens, a chunk; the largest logit of each chunk is
// kept, so that later passes can leave out most of the row.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda_sample.h"
#include "kernels/cuda_tile.cuh"
#include "kernels/host_device.h"

namespace kernels {
namespace cuda_sample_detail {

inline constexpr int kNumThreads = 256;
inline constexpr int kNumWarps = kNumThreads / kWarpSize;
// All blocks of a launch fit on the device at once unless there are more rows than this times its
// multiprocessors.
inline constexpr int kBlocksPerMultiprocessor = 4;
inline constexpr int kQuadsPerThread = 4;
inline constexpr int kTokensPerTile = 4 * kQuadsPerThread * kNumThreads;
inline constexpr int kTokensPerChunk = 4 * kWarpSize;
inline constexpr int kChunksPerTile = kTokensPerTile / kTokensPerChunk;

KERNELS_HOST_DEVICE constexpr int divide_up(int a, int b) { return (a + b - 1) / b; }

struct Tile {
  float4 quads[kQuadsPerThread];
};

// One row of logits.
struct LogitView {
  float* logits;
  int vocab_size;
  bool is_aligned;  // to 16 bytes

  __device__ LogitView(const CudaSample& op, int row)
      : logits(op.logits + row * op.logits_stride),
        vocab_size(op.vocab_size),
        is_aligned(reinterpret_cast<std::uintptr_t>(logits) % 16 == 0) {}

  // Four tokens; behind the end of the row -infinity.
  __device__ __forceinline__ float4 load(int token) const {
    if (is_aligned && token + 4 <= vocab_size) {
      return *reinterpret_cast<const float4*>(logits + token);
    }
    const auto at = [&](int i) { return i < vocab_size ? logits[i] : -INFINITY; };
    return make_float4(at(token), at(token + 1), at(token + 2), at(token + 3));
  }

  __device__ __forceinline__ void store(int token, float4 values) const {
    if (is_aligned && token + 4 <= vocab_size) {
      *reinterpret_cast<float4*>(logits + token) = values;
      return;
    }
    if (token < vocab_size) logits[token] = values.x;
    if (token + 1 < vocab_size) logits[token + 1] = values.y;
    if (token + 2 < vocab_size) logits[token + 2] = values.z;
    if (token + 3 < vocab_size) logits[token + 3] = values.w;
  }
};

// This thread's first token of a quad of a tile.
__device__ __forceinline__ int first_token_of(int tile, int quad) {
  return tile * kTokensPerTile + 4 * (quad * kNumThreads + static_cast<int>(threadIdx.x));
}

// The chunk that this warp's loads of that quad cover.
__device__ __forceinline__ int chunk_of(int tile, int quad) {
  return tile * kChunksPerTile + quad * kNumWarps + static_cast<int>(threadIdx.x) / kWarpSize;
}

__device__ __forceinline__ Tile load_tile(const LogitView& view, int tile) {
  Tile values;
  // All but a row's last tile; one decision for all loads keeps them together.
  if (view.is_aligned && (tile + 1) * kTokensPerTile <= view.vocab_size) {
    const float4* const quads =
        reinterpret_cast<const float4*>(view.logits + first_token_of(tile, 0));
#pragma unroll
    for (int j = 0; j < kQuadsPerThread; ++j) values.quads[j] = quads[j * kNumThreads];
    return values;
  }
#pragma unroll
  for (int j = 0; j < kQuadsPerThread; ++j) {
    values.quads[j] = view.load(first_token_of(tile, j));
  }
  return values;
}

// Calls body(value, token) for the four of a quad.
template <class Body>
__device__ __forceinline__ void for_quad(const float4& quad, int token, Body body) {
  body(quad.x, token);
  body(quad.y, token + 1);
  body(quad.z, token + 2);
  body(quad.w, token + 3);
}

__device__ __forceinline__ float largest_of(const float4& quad) {
  return fmaxf(fmaxf(quad.x, quad.y), fmaxf(quad.z, quad.w));
}

}  // namespace cuda_sample_detail
}  // namespace kernels
