// Where a prefix ends, in the order "larger logit first, lower id among equals", without sorting:
// 256 bins over the bits of the ranks (cuda_sample_row.cuh), from the highest in which they differ
// down, each time only within the bin where the running count or mass reaches its target. Sums are
// integers, so their order does not matter.
#pragma once

#include "kernels/cuda_sample_row.cuh"

namespace kernels {
namespace cuda_sample_detail {

inline constexpr int kDigitBits = 8;
inline constexpr int kNumDigits = 1 << kDigitBits;
static_assert(kNumDigits == kNumThreads, "a thread sums up one digit");

// Sums of up to 2^64 in two halves: shared memory adds 32 bits at a time.
template <int kSize>
struct WideSums {
  std::uint32_t low[kSize];
  std::uint32_t high[kSize];

  __device__ __forceinline__ void add(int i, std::uint64_t amount) {
    const std::uint32_t low_part = static_cast<std::uint32_t>(amount);
    const std::uint32_t before = atomicAdd(&low[i], low_part);
    const std::uint32_t carry = before + low_part < before ? 1 : 0;
    const std::uint32_t high_part = static_cast<std::uint32_t>(amount >> 32) + carry;
    if (high_part != 0) atomicAdd(&high[i], high_part);
  }
  __device__ __forceinline__ std::uint64_t at(int i) const {
    return static_cast<std::uint64_t>(high[i]) << 32 | low[i];
  }
  __device__ __forceinline__ void clear() {
    for (int i = static_cast<int>(threadIdx.x); i < kSize; i += kNumThreads) low[i] = high[i] = 0;
  }
};

struct SelectShared {
  WideSums<kNumDigits> sums;
  std::uint32_t counts[kNumDigits];
  std::uint64_t warp_sums[kNumWarps];
  std::uint64_t highest[kNumWarps];
  std::uint64_t target;
  int digit;  // -1: the whole is less than the target
  int num_members;
};

// Sum over this thread and those before it. All threads of the block together.
__device__ inline std::uint64_t block_prefix_sum(std::uint64_t x,
                                                 std::uint64_t (&warp_sums)[kNumWarps]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
#pragma unroll
  for (int offset = 1; offset < kWarpSize; offset *= 2) {
    const std::uint64_t before = __shfl_up_sync(0xffffffffu, x, offset);
    if (lane >= offset) x += before;
  }
  __syncthreads();
  if (lane == kWarpSize - 1) warp_sums[warp] = x;
  __syncthreads();
  for (int i = 0; i < warp; ++i) x += warp_sums[i];
  return x;
}

// Sum over the block, in every thread.
__device__ inline std::uint64_t block_sum(std::uint64_t x, std::uint64_t (&warp_sums)[kNumWarps]) {
  block_prefix_sum(x, warp_sums);
  std::uint64_t sum = 0;
  for (int i = 0; i < kNumWarps; ++i) sum += warp_sums[i];
  return sum;
}

// Smallest and largest rank of at least `floor`; the smallest is above the largest if none is.
template <class Source>
__device__ void rank_range(const Source& source, std::uint64_t floor, SelectShared& shared,
                           std::uint64_t& lowest, std::uint64_t& highest) {
  lowest = ~std::uint64_t{0};
  highest = 0;
  source.for_each([&](std::uint64_t rank) {
    if (rank < floor) return;
    lowest = min(lowest, rank);
    highest = max(highest, rank);
  });
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
    lowest = min(lowest, __shfl_xor_sync(0xffffffffu, lowest, offset));
    highest = max(highest, __shfl_xor_sync(0xffffffffu, highest, offset));
  }
  __syncthreads();
  if (threadIdx.x % kWarpSize == 0) {
    shared.warp_sums[threadIdx.x / kWarpSize] = lowest;
    shared.highest[threadIdx.x / kWarpSize] = highest;
  }
  __syncthreads();
  for (int warp = 0; warp < kNumWarps; ++warp) {
    lowest = min(lowest, shared.warp_sums[warp]);
    highest = max(highest, shared.highest[warp]);
  }
}

// The rank where measure(rank), summed over the ranks of at least `floor` from the largest down,
// reaches target > 0; `floor` if it never does. source.for_each(body) calls body(rank) for each
// element once, spread over the threads. A rank below the exact one will do if fewer than
// `tolerance` lie between them. All threads of the block together; all get the answer.
template <class Source, class Measure>
__device__ std::uint64_t find_cut(const Source& source, std::uint64_t floor, Measure measure,
                                  std::uint64_t target, SelectShared& shared, int tolerance = 1) {
  std::uint64_t lowest, highest;
  rank_range(source, floor, shared, lowest, highest);
  if (lowest > highest) return floor;
  int num_open_bits = 64 - __clzll(static_cast<long long>(lowest ^ highest));
  std::uint64_t prefix = highest >> num_open_bits;  // ranks have less than 64 bits
  bool is_first = true;
  for (;;) {
    const int shift = num_open_bits > kDigitBits ? num_open_bits - kDigitBits : 0;
    const std::uint64_t mask = (std::uint64_t{1} << (num_open_bits - shift)) - 1;
    __syncthreads();
    shared.sums.clear();
    shared.counts[threadIdx.x] = 0;
    if (threadIdx.x == 0) shared.digit = -1;
    __syncthreads();
    source.for_each([&](std::uint64_t rank) {
      if (rank < floor || rank >> num_open_bits != prefix) return;
      const int digit = static_cast<int>(rank >> shift & mask);
      shared.sums.add(digit, measure(rank));
      atomicAdd(&shared.counts[digit], 1u);
    });
    __syncthreads();
    const int digit = kNumDigits - 1 - static_cast<int>(threadIdx.x);
    const std::uint64_t own = shared.sums.at(digit);
    const std::uint64_t sum = block_prefix_sum(own, shared.warp_sums);
    if (sum >= target && sum - own < target) {
      shared.digit = digit;
      shared.target = target - (sum - own);
      shared.num_members = static_cast<int>(shared.counts[digit]);
    }
    __syncthreads();
    if (is_first && shared.digit < 0) return floor;
    is_first = false;
    target = shared.target;
    prefix = prefix << (num_open_bits - shift) | static_cast<std::uint64_t>(shared.digit);
    num_open_bits = shift;
    if (num_open_bits == 0) return prefix;
    if (tolerance > 1 && shared.num_members <= tolerance) return prefix << num_open_bits;
    if (shared.num_members == 1) break;
  }
  source.for_each([&](std::uint64_t rank) {
    if (rank >= floor && rank >> num_open_bits == prefix) shared.target = rank;
  });
  __syncthreads();
  return shared.target;
}

// ---- sources ----

// Ranks that a block has in shared memory.
struct ListedRanks {
  const std::uint64_t* ranks;
  int size;

  template <class Body>
  __device__ __forceinline__ void for_each(Body body) const {
    for (int i = static_cast<int>(threadIdx.x); i < size; i += kNumThreads) body(ranks[i]);
  }
};

// All tokens of a row.
struct RowRanks {
  LogitView view;

  template <class Body>
  __device__ __forceinline__ void for_each(Body body) const {
    for (int i = static_cast<int>(threadIdx.x); i < view.vocab_size; i += kNumThreads) {
      body(rank_of(view.logits[i], i));
    }
  }
};

// The largest logits of a row's chunks. The rank is the key alone: equal ones are counted, but not
// told apart.
struct ChunkRanks {
  const float* maxima;
  int size;

  template <class Body>
  __device__ __forceinline__ void for_each(Body body) const {
    for (int i = static_cast<int>(threadIdx.x); i < size; i += kNumThreads) {
      body(key_of(maxima[i]));
    }
  }
};

struct CountOne {
  __device__ __forceinline__ std::uint64_t operator()(std::uint64_t) const { return 1; }
};

struct MassOf {
  float maximum;
  float inverse_temperature;
  __device__ __forceinline__ std::uint64_t operator()(std::uint64_t rank) const {
    return mass_of(exponent_of(logit_of_rank(rank), maximum, inverse_temperature));
  }
};

}  // namespace cuda_sample_detail
}  // namespace kernels
