// One to four tokens times a weight matrix: the kernel behind cuda_gemv.h.
//
// Math: y[m, n] = sum_k norm(x)[m, k] * W[n, k], then the bias and one of LinearOutput.
//
// Such a layer is nothing but the reading of W, so everything serves that stream:
//
//   lane      16 bytes of a row at a time (a pack: 8 elements), copied asynchronously into a ring
//             in shared memory. A lane reads back only what it copied itself, so the loop has no
//             barrier, and the bytes in flight do not depend on how many warps run.
//   warp      kRows rows side by side (a batch), 32 packs of each (512 bytes) a step: the packs of
//   x
//             are read from shared memory and widened once for all rows.
//   block     kWarpsK warps share the packs of a row, kWarpsN batches are under way side by side; a
//             contiguous strip of the rows, so that a block's DRAM pages are its own.
//   ring      kStages steps of every warp: kStages * kRows * kThreads * 16 bytes a block in flight.
//             4.3 TB/s times 1 us over 132 multiprocessors is 33 KB; twice that keeps the bus full.
//
// The ring is filled before wait_for_inputs(), while the kernel before still runs or drains. The
// next kernel may start, and do the same, once x is here.
//
// Shared memory: the ring | x, kTokens * packs * 16 bytes | partial sums of kWarpsK warps | the
// norm's sums. Registers: kRows * kTokens sums and one step of W a lane.
//
// Order of a sum over k, the same on every run: a lane's packs ascending, then the lanes in a
// tree, then the warps ascending.
#pragma once

#include <algorithm>
#include <string>

#include "kernels/cuda_launch.cuh"
#include "kernels/cuda_linear.h"
#include "kernels/cuda_tile.cuh"

namespace kernels {
namespace gemv {

inline constexpr int kPackElements = 8;
inline constexpr int kPackBytes = 16;

template <int kRows_, int kWarpsK_, int kWarpsN_, int kStages_>
struct Tile {
  static constexpr int kRows = kRows_;
  static constexpr int kWarpsK = kWarpsK_;
  static constexpr int kWarpsN = kWarpsN_;
  static constexpr int kStages = kStages_;
  static constexpr int kWarps = kWarpsK * kWarpsN;
  static constexpr int kThreads = kWarps * kWarpSize;
  static constexpr int kStepPacks = kWarpsK * kWarpSize;
  // kSwiGlu: gate and up of a pair are neighbours in a batch, whose pairs lie in one group.
  static constexpr bool kHoldsPairs = kRows % 2 == 0 && 2 * kGateUpGroup % kRows == 0;
};

// What the host works out once for a launch.
struct Plan {
  int num_packs;          // of a row of W
  int num_steps;          // of kStepPacks packs that cover a row
  int num_batches;        // of kRows rows that cover W
  int num_block_batches;  // most that one block has
};

struct SharedLayout {
  int x;  // offsets in bytes; the ring is at 0
  int partials;
  int norm_sums;
  int total;
};

template <class Tile, int kTokens>
__host__ __device__ inline SharedLayout shared_layout(const Plan& plan) {
  const int warp_batches = (plan.num_block_batches + Tile::kWarpsN - 1) / Tile::kWarpsN;
  const int warp_steps = warp_batches * plan.num_steps;
  const int num_stages = warp_steps < Tile::kStages ? warp_steps : Tile::kStages;
  SharedLayout layout;
  layout.x = num_stages * Tile::kRows * Tile::kThreads * kPackBytes;
  layout.partials = layout.x + kTokens * plan.num_steps * Tile::kStepPacks * kPackBytes;
  const int num_partials =
      Tile::kWarpsK == 1 ? 0 : plan.num_block_batches * Tile::kRows * kTokens * Tile::kWarpsK;
  layout.norm_sums = layout.partials + num_partials * static_cast<int>(sizeof(float));
  layout.total = layout.norm_sums + kTokens * Tile::kWarps * static_cast<int>(sizeof(float));
  return layout;
}

// ---- device code ----

// Row of W behind row `row` of the computation: kSwiGlu computes gate and up of a pair one after
// the other, W has them kGateUpGroup rows apart.
__device__ __forceinline__ int weight_row(LinearOutput output, int row) {
  if (output != LinearOutput::kSwiGlu) return row;
  const int pair = row / 2;
  return pair / kGateUpGroup * (2 * kGateUpGroup) + pair % kGateUpGroup + row % 2 * kGateUpGroup;
}

// Volatile, so that it stays in front of the copy that overwrites the slot.
__device__ __forceinline__ uint4 load_shared(std::uint32_t address) {
  uint4 value;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "r"(address));
  return value;
}

// Activations bypass the L1 cache: this block may have been resident since before they were
// written.
__device__ __forceinline__ uint4 load_activations(const void* pointer) {
  return __ldcg(static_cast<const uint4*>(pointer));
}

template <class T>
__device__ __forceinline__ float load_activation(const T* pointer) {
  const unsigned short bits = __ldcg(reinterpret_cast<const unsigned short*>(pointer));
  return as_float(*reinterpret_cast<const T*>(&bits));
}

template <class T>
__device__ __forceinline__ void unpack(const uint4& pack, float (&values)[kPackElements]) {
  const std::uint32_t words[4] = {pack.x, pack.y, pack.z, pack.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 pair = unpack2<T>(words[i]);
    values[2 * i] = pair.x;
    values[2 * i + 1] = pair.y;
  }
}

// Walks a warp's steps through W in the order in which they are consumed.
template <class Tile>
struct WeightCursor {
  const char* row;        // this lane's first pack of the batch's first row
  const char* first_row;  // the same in row 0 of W
  std::int64_t row_bytes;
  std::int64_t odd_row_bytes;   // from an even row of the computation to the next
  std::int64_t even_row_bytes;  // from an even row to the next even one
  int batch;
  int end_batch;
  int step;
  int num_steps;
  int pack;  // this lane's first
  int num_packs;
  int num_rows;
  LinearOutput output;

  __device__ __forceinline__ void start_batch() {
    step = 0;
    row = first_row + weight_row(output, batch * Tile::kRows) * row_bytes;
  }

  __device__ __forceinline__ void advance() {
    if (++step == num_steps) {
      batch += Tile::kWarpsN;
      start_batch();
    }
  }

  __device__ __forceinline__ const char* address(int r) const {
    return row + step * (Tile::kStepPacks * kPackBytes) + r / 2 * even_row_bytes +
           r % 2 * odd_row_bytes;
  }

  // Begins the copies of one step; beyond the end there is nothing left to copy.
  __device__ __forceinline__ void copy(std::uint32_t slot) const {
    if (batch >= end_batch) return;
    const bool has_pack = pack + step * Tile::kStepPacks < num_packs;
    const int rows_left = num_rows - batch * Tile::kRows;
#pragma unroll
    for (int r = 0; r < Tile::kRows; ++r) {
      copy_async_if(has_pack && r < rows_left, slot + r * Tile::kThreads * kPackBytes, address(r));
    }
  }
};

// One level of sum_over_warp: lanes that differ in the bit kOffset share the kCount values out.
template <int kCount, int kOffset>
__device__ __forceinline__ float halve_sums(const float (&sums)[kCount], int lane) {
  if constexpr (kOffset == 0) {
    return sums[0];
  } else if constexpr (kCount == 1) {
    const float next[1] = {sums[0] + __shfl_xor_sync(0xffffffffu, sums[0], kOffset)};
    return halve_sums<1, kOffset / 2>(next, lane);
  } else {
    constexpr int kHalf = kCount / 2;
    const bool is_upper = (lane & kOffset) != 0;
    float next[kHalf];
#pragma unroll
    for (int i = 0; i < kHalf; ++i) {
      const float mine = is_upper ? sums[i + kHalf] : sums[i];
      const float other = is_upper ? sums[i] : sums[i + kHalf];
      next[i] = mine + __shfl_xor_sync(0xffffffffu, other, kOffset);
    }
    return halve_sums<kHalf, kOffset / 2>(next, lane);
  }
}

// Smallest power of two that is not below `count`.
__host__ __device__ constexpr int power_above(int count) {
  int power = 1;
  while (power < count) power *= 2;
  return power;
}

// Lanes that end up with the same sum.
__host__ __device__ constexpr int lanes_per_sum(int count) {
  return kWarpSize / power_above(count);
}

// Sums each value over the warp; lane l returns the sum of value l / lanes_per_sum(kCount). Every
// level halves the values a lane still carries instead of adding all of them.
template <int kCount>
__device__ __forceinline__ float sum_over_warp(const float (&values)[kCount], int lane) {
  static_assert(kCount <= kWarpSize, "a batch has more sums than a warp has lanes");
  float sums[power_above(kCount)];
#pragma unroll
  for (int i = 0; i < power_above(kCount); ++i) sums[i] = i < kCount ? values[i] : 0.0f;
  return halve_sums<power_above(kCount), kWarpSize / 2>(sums, lane);
}

// Writes one result: y of `row`, for kSwiGlu gate (y) and up of the pair that begins there.
template <class T>
__device__ __forceinline__ void write_result(const CudaLinear& op, int token, int row, float y,
                                             float up, float residual) {
  const bool rounds = op.numerics == Numerics::kReference;
  if (rounds) y = rounded<T>(y);
  const std::int64_t out_row = token * op.out_stride;
  switch (op.output) {
    case LinearOutput::kStore:
      static_cast<T*>(op.out)[out_row + row] = narrow<T>(y);
      return;
    case LinearOutput::kAddResidual:
      static_cast<T*>(op.out)[out_row + row] = narrow<T>(residual + y);
      return;
    case LinearOutput::kSwiGlu: {
      if (rounds) up = rounded<T>(up);
      float activated = y / (1.0f + expf(-y));
      if (rounds) activated = rounded<T>(activated);
      static_cast<T*>(op.out)[out_row + row / 2] = narrow<T>(activated * up);
      return;
    }
    case LinearOutput::kLogits:
      static_cast<float*>(op.out)[out_row + row] = y;
      return;
  }
}

template <class T>
__device__ __forceinline__ float bias_of(const CudaLinear& op, int row) {
  if (op.bias == nullptr) return 0;
  return as_float(static_cast<const T*>(op.bias)[weight_row(op.output, row)]);
}

template <class T>
__device__ __forceinline__ float residual_of(const CudaLinear& op, int token, int row) {
  if (op.output != LinearOutput::kAddResidual) return 0;
  return load_activation(static_cast<const T*>(op.out) + token * op.out_stride + row);
}

// Normalises the packs of x that this thread staged itself. `sums` has the square sums by token
// and warp; `first_weight` is the norm's weight for the thread's first pack.
template <class T, int kTokens, class Tile>
__device__ __forceinline__ void normalise(const CudaLinear& op, const Plan& plan, uint4* x,
                                          const float* sums, const uint4& first_weight) {
  const int token_packs = plan.num_steps * Tile::kStepPacks;
  const bool rounds = op.numerics == Numerics::kReference;
  float scale[kTokens];
#pragma unroll
  for (int m = 0; m < kTokens; ++m) {
    float sum = 0;
#pragma unroll
    for (int w = 0; w < Tile::kWarps; ++w) sum += sums[m * Tile::kWarps + w];
    scale[m] = rsqrtf(sum / static_cast<float>(op.in_features) + op.norm_epsilon);
  }
  for (int p = threadIdx.x; p < plan.num_packs; p += Tile::kThreads) {
    const uint4 weight_pack =
        p < Tile::kThreads ? first_weight : static_cast<const uint4*>(op.norm_weight)[p];
    float weight[kPackElements];
    unpack<T>(weight_pack, weight);
#pragma unroll
    for (int m = 0; m < kTokens; ++m) {
      float values[kPackElements];
      unpack<T>(x[m * token_packs + p], values);
#pragma unroll
      for (int i = 0; i < kPackElements; ++i) {
        const float normalised = values[i] * scale[m];
        values[i] = (rounds ? rounded<T>(normalised) : normalised) * weight[i];
      }
      x[m * token_packs + p] =
          make_uint4(pack2<T>(values[0], values[1]), pack2<T>(values[2], values[3]),
                     pack2<T>(values[4], values[5]), pack2<T>(values[6], values[7]));
    }
  }
}

// Brings x into shared memory, normalised if the layer has a norm, with zeros behind each token.
// Ends with a barrier.
template <class T, int kTokens, class Tile>
__device__ __forceinline__ void stage_x(const CudaLinear& op, const Plan& plan, uint4* x,
                                        float* sums, const uint4& first_weight) {
  constexpr int kLoads = 3;  // of each token in flight: one trip covers 8,960 elements
  const int token_packs = plan.num_steps * Tile::kStepPacks;
  const bool has_norm = op.norm_weight != nullptr;
  float squares[kTokens] = {};
  for (int begin = threadIdx.x; begin < token_packs; begin += kLoads * Tile::kThreads) {
    uint4 packs[kLoads][kTokens];
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const int p = begin + i * Tile::kThreads;
#pragma unroll
      for (int m = 0; m < kTokens; ++m) {
        packs[i][m] = make_uint4(0, 0, 0, 0);
        if (p < plan.num_packs) {
          packs[i][m] = load_activations(static_cast<const T*>(op.x) + m * op.x_stride +
                                         static_cast<std::int64_t>(p) * kPackElements);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const int p = begin + i * Tile::kThreads;
      if (p >= token_packs) break;
#pragma unroll
      for (int m = 0; m < kTokens; ++m) {
        x[m * token_packs + p] = packs[i][m];
        if (!has_norm) continue;
        float values[kPackElements];
        unpack<T>(packs[i][m], values);
#pragma unroll
        for (int j = 0; j < kPackElements; ++j) {
          squares[m] = fmaf(values[j], values[j], squares[m]);
        }
      }
    }
  }
  if (has_norm) {
#pragma unroll
    for (int m = 0; m < kTokens; ++m) {
      const float sum = warp_sum(squares[m]);
      if (threadIdx.x % kWarpSize == 0) {
        sums[m * Tile::kWarps + threadIdx.x / kWarpSize] = sum;
      }
    }
    __syncthreads();
    normalise<T, kTokens, Tile>(op, plan, x, sums, first_weight);
  }
  __syncthreads();
}

// sums[m * kRows + r] += the products of one step.
template <class T, int kTokens, class Tile>
__device__ __forceinline__ void multiply_step(const uint4 (&weights)[Tile::kRows], const uint4* x,
                                              int token_packs,
                                              float (&sums)[Tile::kRows * kTokens]) {
  float activations[kTokens][kPackElements];
#pragma unroll
  for (int m = 0; m < kTokens; ++m) unpack<T>(x[m * token_packs], activations[m]);
#pragma unroll
  for (int r = 0; r < Tile::kRows; ++r) {
    float weight[kPackElements];
    unpack<T>(weights[r], weight);
#pragma unroll
    for (int i = 0; i < kPackElements; ++i) {
#pragma unroll
      for (int m = 0; m < kTokens; ++m) {
        float& sum = sums[m * Tile::kRows + r];
        sum = fmaf(weight[i], activations[m][i], sum);
      }
    }
  }
}

// Adds up what the kWarpsK warps left for every row of the block, and writes the results. The
// first result of a thread comes with its bias and residual, read long before.
template <class T, int kTokens, class Tile>
__device__ __forceinline__ void write_block(const CudaLinear& op, const float* partials,
                                            int first_batch, int end_batch, float first_bias,
                                            float first_residual) {
  constexpr int kSums = Tile::kRows * kTokens;
  const auto total = [&](int i) {
    float sum = 0;
#pragma unroll
    for (int w = 0; w < Tile::kWarpsK; ++w) sum += partials[i * Tile::kWarpsK + w];
    return sum;
  };
  for (int i = threadIdx.x; i < (end_batch - first_batch) * kSums; i += Tile::kThreads) {
    const int token = i % kSums / Tile::kRows;
    const int row = (first_batch + i / kSums) * Tile::kRows + i % Tile::kRows;
    const bool is_pair = op.output == LinearOutput::kSwiGlu;
    if (row >= op.out_features || (is_pair && row % 2 != 0)) continue;
    const bool is_first = i < Tile::kThreads;
    const float bias = is_first ? first_bias : bias_of<T>(op, row);
    const float residual = is_first ? first_residual : residual_of<T>(op, token, row);
    const float up = is_pair ? total(i + 1) + bias_of<T>(op, row + 1) : 0;
    write_result<T>(op, token, row, total(i) + bias, up, residual);
  }
}

template <class T, int kTokens, class Tile>
__global__ void __launch_bounds__(Tile::kThreads)
    gemv_kernel(const __grid_constant__ CudaLinear op, const __grid_constant__ Plan plan) {
  extern __shared__ __align__(16) unsigned char shared[];
  constexpr int kSums = Tile::kRows * kTokens;
  constexpr int kStageBytes = Tile::kRows * Tile::kThreads * kPackBytes;
  const SharedLayout layout = shared_layout<Tile, kTokens>(plan);
  const int lane = threadIdx.x % kWarpSize;
  const int warp_k = threadIdx.x / kWarpSize % Tile::kWarpsK;
  const int warp_n = threadIdx.x / kWarpSize / Tile::kWarpsK;
  const int num_blocks = static_cast<int>(gridDim.x);
  const int block = static_cast<int>(blockIdx.x);
  const int first_batch = static_cast<int>(std::int64_t{block} * plan.num_batches / num_blocks);
  const int end_batch = static_cast<int>(std::int64_t{block + 1} * plan.num_batches / num_blocks);
  const int pack = warp_k * kWarpSize + lane;

  WeightCursor<Tile> cursor;
  cursor.row_bytes = std::int64_t{plan.num_packs} * kPackBytes;
  cursor.first_row = static_cast<const char*>(op.weight) + pack * kPackBytes;
  const bool is_pair = op.output == LinearOutput::kSwiGlu;
  cursor.odd_row_bytes = (is_pair ? kGateUpGroup : 1) * cursor.row_bytes;
  cursor.even_row_bytes = (is_pair ? 1 : 2) * cursor.row_bytes;
  cursor.batch = first_batch + warp_n;
  cursor.end_batch = end_batch;
  cursor.num_steps = plan.num_steps;
  cursor.pack = pack;
  cursor.num_packs = plan.num_packs;
  cursor.num_rows = op.out_features;
  cursor.output = op.output;
  cursor.start_batch();

  const std::uint32_t ring = shared_address(shared) + threadIdx.x * kPackBytes;
#pragma unroll
  for (int s = 0; s < Tile::kStages; ++s) {
    cursor.copy(ring + s * kStageBytes);
    commit_copies();
    cursor.advance();
  }
  uint4 norm_weight = make_uint4(0, 0, 0, 0);
  if (op.norm_weight != nullptr && threadIdx.x < plan.num_packs) {
    norm_weight = static_cast<const uint4*>(op.norm_weight)[threadIdx.x];
  }
  // The result this thread writes first, if warps share rows.
  const int first_i = threadIdx.x;
  const int first_row = (first_batch + first_i / kSums) * Tile::kRows + first_i % Tile::kRows;
  const bool has_result = Tile::kWarpsK > 1 && first_i < (end_batch - first_batch) * kSums &&
                          first_row < op.out_features;
  const float first_bias = has_result ? bias_of<T>(op, first_row) : 0;

  wait_for_inputs();
  const float first_residual =
      has_result ? residual_of<T>(op, first_i % kSums / Tile::kRows, first_row) : 0;
  uint4* const x = reinterpret_cast<uint4*>(shared + layout.x);
  float* const partials = reinterpret_cast<float*>(shared + layout.partials);
  stage_x<T, kTokens, Tile>(op, plan, x, reinterpret_cast<float*>(shared + layout.norm_sums),
                            norm_weight);
  // Not earlier: the next kernel fills its ring in one burst, and x would queue behind it.
  let_next_start();

  const int token_packs = plan.num_steps * Tile::kStepPacks;
  std::uint32_t slot = 0;
  for (int batch = first_batch + warp_n; batch < end_batch; batch += Tile::kWarpsN) {
    float sums[kSums] = {};
    for (int step = 0; step < plan.num_steps; ++step) {
      wait_for_copies<Tile::kStages - 1>();
      uint4 weights[Tile::kRows];
#pragma unroll
      for (int r = 0; r < Tile::kRows; ++r) {
        weights[r] = load_shared(ring + slot + r * Tile::kThreads * kPackBytes);
      }
      __syncwarp();  // the slot has been read before it is filled again
      cursor.copy(ring + slot);
      commit_copies();
      cursor.advance();
      slot = slot == (Tile::kStages - 1) * kStageBytes ? 0 : slot + kStageBytes;
      multiply_step<T, kTokens, Tile>(weights, x + step * Tile::kStepPacks + pack, token_packs,
                                      sums);
    }
    constexpr int kLanes = lanes_per_sum(kSums);
    const float sum = sum_over_warp(sums, lane);
    const int i = lane / kLanes;
    const bool owns_sum = lane % kLanes == 0 && i < kSums;
    if constexpr (Tile::kWarpsK > 1) {
      if (owns_sum) partials[((batch - first_batch) * kSums + i) * Tile::kWarpsK + warp_k] = sum;
    } else {
      const int row = batch * Tile::kRows + i % Tile::kRows;
      const bool is_inside = owns_sum && row < op.out_features;
      const float y = is_inside ? sum + bias_of<T>(op, row) : 0;
      const float up = __shfl_down_sync(0xffffffffu, y, kLanes);
      if (is_inside && !(is_pair && row % 2 != 0)) {
        const int token = i / Tile::kRows;
        write_result<T>(op, token, row, y, up, residual_of<T>(op, token, row));
      }
    }
  }
  if constexpr (Tile::kWarpsK > 1) {
    __syncthreads();
    write_block<T, kTokens, Tile>(op, partials, first_batch, end_batch, first_bias, first_residual);
  }
}

// ---- launcher ----

inline int divided_up(int a, int b) { return (a + b - 1) / b; }

template <class Tile>
int num_blocks_of(const CudaLinear& op, int max_blocks) {
  return std::min(max_blocks, divided_up(divided_up(op.out_features, Tile::kRows), Tile::kWarpsN));
}

template <class Tile>
Plan plan_of(const CudaLinear& op, int num_blocks) {
  Plan plan;
  plan.num_packs = op.in_features / kPackElements;
  plan.num_steps = divided_up(plan.num_packs, Tile::kStepPacks);
  plan.num_batches = divided_up(op.out_features, Tile::kRows);
  plan.num_block_batches = divided_up(plan.num_batches, num_blocks);
  return plan;
}

// At most `max_blocks` blocks; op.num_tokens is kTokens.
template <class T, int kTokens, class Tile>
void launch_tile(const CudaLinear& op, int max_blocks, Stream stream) {
  CHECK(Tile::kHoldsPairs || op.output != LinearOutput::kSwiGlu,
        "gemv: a tile of " + std::to_string(Tile::kRows) + " rows does not hold whole pairs");
  const int num_blocks = num_blocks_of<Tile>(op, max_blocks);
  const Plan plan = plan_of<Tile>(op, num_blocks);
  launch(gemv_kernel<T, kTokens, Tile>, dim3(num_blocks), dim3(Tile::kThreads),
         shared_layout<Tile, kTokens>(plan).total, stream, op, plan);
}

}  // namespace gemv
}  // namespace kernels
