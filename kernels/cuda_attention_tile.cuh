// What the attention kernels on tensor cores share: how a tile of K or V lies in shared memory, how
// it gets there from the pages, and the softmax that makes the result of a (token, head) depend on
// its own sequence alone.
//
// The rule: keys are cut into tiles of kTileKeys at absolute positions. A tile's maximum m, sum l
// and product o are computed from nothing, by the same instructions in the same order in every
// kernel, and tiles are merged in ascending order:
//
//   m' = max(m, m_tile)   keep = 2^(m - m')   take = 2^(m_tile - m')
//   l' = l * keep + l_tile * take            o' = o * keep + o_tile * take
//
// Merging a tile into nothing (m = kNothing, l = 0, o = 0) gives that tile exactly, and merging a
// tile in which a row sees no key changes nothing: so it does not matter which block computes a
// tile, or which other rows share it. m is in units of log2.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda_tile.cuh"

namespace kernels {

inline constexpr int kPageKeys = 16;  // keys of a block of the cache
inline constexpr int kTileKeys = 64;  // keys of a tile
inline constexpr int kTilePages = kTileKeys / kPageKeys;
inline constexpr int kRowsPerFragment = 16;
inline constexpr int kWarps = 4;  // of a block
inline constexpr int kThreads = kWarps * kWarpSize;
inline constexpr float kLog2E = 1.4426950408889634f;
inline constexpr float kNothing = -1e30f;  // below every score, and still a number
inline constexpr float kMasked = -INFINITY;

// Rows of kHeadDim 16-bit numbers in shared memory, such that the eight rows of a matrix fragment
// lie in different banks: 16-byte chunks are permuted within a row, or rows are padded by a chunk.
template <int kHeadDim>
struct SharedRows {
  static constexpr int kChunks = kHeadDim / 8;
  static constexpr bool kPermuted = kChunks % 8 == 0;
  static constexpr int kRowBytes = kHeadDim * 2 + (kPermuted ? 0 : 16);

  static __device__ __forceinline__ int offset(int row, int chunk) {
    return row * kRowBytes + (kPermuted ? chunk ^ (row & 7) : chunk) * 16;
  }
};

// Where a lane reads its part of matrix fragments: an address from which those of all steps along a
// row, and of rows further down by multiples of eight, follow without a table. `shared` is 128-byte
// aligned.
template <int kHeadDim>
struct FragmentReader {
  using Rows = SharedRows<kHeadDim>;
  std::uint32_t lane_address;

  // 16 rows by 16 columns as the first operand of a product.
  static __device__ __forceinline__ FragmentReader of_rows(std::uint32_t shared, int lane) {
    return {shared + Rows::offset(lane & 15, lane >> 4)};
  }
  // 16 keys by 16 elements of K as the second operand: m[0], m[1] for the first eight keys.
  static __device__ __forceinline__ FragmentReader of_keys(std::uint32_t shared, int lane) {
    return {shared + Rows::offset(((lane >> 4) << 3) + (lane & 7), (lane >> 3) & 1)};
  }
  // 16 keys by 16 elements of V as the second operand: m[0], m[1] for the first eight elements.
  // To be read with load_matrices_transposed().
  static __device__ __forceinline__ FragmentReader of_values(std::uint32_t shared, int lane) {
    return of_rows(shared, lane);
  }

  __device__ __forceinline__ std::uint32_t at(int first_row, int step) const {
    if constexpr (Rows::kPermuted) {
      return (lane_address ^ ((step & 3) << 5)) + (step >> 2) * 128 + first_row * Rows::kRowBytes;
    } else {
      return lane_address + step * 32 + first_row * Rows::kRowBytes;
    }
  }
};

// 2^x to 2 ulp; 2^0 is 1.
__device__ __forceinline__ float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// d = a b for the first product of a sum, d += a b for the others.
template <class T>
__device__ __forceinline__ void add_product(bool is_first, float (&d)[4],
                                            const std::uint32_t (&a)[4], std::uint32_t b0,
                                            std::uint32_t b1) {
  if (is_first) {
    multiply<T>(d, a, b0, b1);
  } else {
    multiply_add<T>(d, a, b0, b1);
  }
}

// The maximum and the sum of a row over the four lanes that share it. Both are the same in any
// order of the lanes.
__device__ __forceinline__ float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}
__device__ __forceinline__ float quad_sum(float x) {
  x = __fadd_rn(x, __shfl_xor_sync(0xffffffffu, x, 1));
  return __fadd_rn(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

// The maximum of a tile's row in units of log2, from its largest product q k.
__device__ __forceinline__ float tile_maximum(float largest, float scale_log2) {
  return fmaxf(__fmul_rn(largest, scale_log2), kNothing);
}

__device__ __forceinline__ float weight_of(float product, float scale_log2, float maximum) {
  return exp2_approx(__fmaf_rn(product, scale_log2, -maximum));
}

// The sum of a lane's four weights within 16 keys; a tile's row has four of them, added as
// (s0 + s1) + (s2 + s3) before the sum over the quad.
__device__ __forceinline__ float sum4(float a, float b, float c, float d) {
  return __fadd_rn(__fadd_rn(a, b), __fadd_rn(c, d));
}

// What is known of a row after some of its tiles, but for o.
struct RowState {
  float maximum = kNothing;
  float sum = 0;
};

struct MergeWeights {
  float keep;
  float take;
};

__device__ __forceinline__ MergeWeights merge_tile(RowState& row, float maximum, float sum) {
  const float merged = fmaxf(row.maximum, maximum);
  const MergeWeights weights{exp2_approx(row.maximum - merged), exp2_approx(maximum - merged)};
  row.maximum = merged;
  row.sum = __fmaf_rn(sum, weights.take, __fmul_rn(row.sum, weights.keep));
  return weights;
}

__device__ __forceinline__ float merge_product(float o, float tile_o, MergeWeights weights) {
  return __fmaf_rn(tile_o, weights.take, __fmul_rn(o, weights.keep));
}

// The pages of one sequence and one head of K and V.
template <class T>
struct Pages {
  const T* k;  // the head's first page
  const T* v;
  std::int64_t stride;      // elements from one block to the next
  const std::int32_t* ids;  // the sequence's block table
  int num_keys;             // to be read

  // The blocks of eight tiles from `tile` on, one a lane. Loaded ahead: they are addresses.
  __device__ __forceinline__ int load_ids(int tile, int lane) const {
    const int page = tile * kTilePages + lane;
    return page * kPageKeys < num_keys ? ids[page] : 0;
  }
};

// Starts the copy of a tile of K and of V into shared memory by the whole block. Its four blocks
// are the `ids` of the lanes from `first_lane` on. What lies beyond the keys to be read becomes
// zero, but for the key `skipped`: whoever has it writes it.
template <class T, int kHeadDim>
__device__ __forceinline__ void copy_tile(std::uint32_t shared_k, std::uint32_t shared_v,
                                          const Pages<T>& from_pages, int tile, int ids,
                                          int first_lane, int skipped) {
  using Rows = SharedRows<kHeadDim>;
  const Pages<T> pages = from_pages;                  // which may be in shared memory
  constexpr int kPieces = kPageKeys * Rows::kChunks;  // 16 bytes each, of a page
  constexpr int kPasses = (kPieces + kThreads - 1) / kThreads;
  const int thread = threadIdx.x;
  const int first_key = tile * kTileKeys;
  // Rows of a page lie a page's offset apart whatever the page: the permutation repeats every
  // eight.
  const auto copy_page = [&](int page, auto copy_row) {
    const int block = __shfl_sync(0xffffffffu, ids, first_lane + page);
    const std::int64_t from = block * pages.stride + thread * 8;
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      const int piece = pass * kThreads + thread;
      if (kPieces % kThreads != 0 && piece >= kPieces) break;
      const int row = piece / Rows::kChunks;
      const int to = Rows::offset(row, piece % Rows::kChunks) + page * kPageKeys * Rows::kRowBytes;
      copy_row(first_key + page * kPageKeys + row, to, from + pass * kThreads * 8);
    }
  };
  if (first_key + kTileKeys <= pages.num_keys) {
#pragma unroll
    for (int page = 0; page < kTilePages; ++page) {
      copy_page(page, [&](int /*key*/, int to, std::int64_t from) {
        copy_async(shared_k + to, pages.k + from);
        copy_async(shared_v + to, pages.v + from);
      });
    }
  } else {
#pragma unroll 1
    for (int page = 0; page < kTilePages; ++page) {
      copy_page(page, [&](int key, int to, std::int64_t from) {
        if (key == skipped) return;
        copy_async_if(key < pages.num_keys, shared_k + to, pages.k + from);
        copy_async_if(key < pages.num_keys, shared_v + to, pages.v + from);
      });
    }
  }
}

}  // namespace kernels
