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
    add_high(i, amount, add_low(i, amount));
  }
  // In two steps, so that several additions can be under way.
  __device__ __forceinline__ std::uint32_t add_low(int i, std::uint64_t amount) {
    return atomicAdd(&low[i], static_cast<std::uint32_t>(amount));
  }
  __device__ __forceinline__ void add_high(int i, std::uint64_t amount, std::uint32_t low_before) {
    const std::uint32_t carry =
        low_before + static_cast<std::uint32_t>(amount) < low_before ? 1 : 0;
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
  std::uint32_t lowest[kNumWarps];
  std::uint32_t highest[kNumWarps];
  std::uint64_t target;
  std::uint64_t found;
  int digit;  // -1: the whole is less than the target
  int num_members;
};

// Sum over this thread and those before it. All threads of the block together.
template <class Sum>
__device__ Sum block_prefix_sum(Sum x, std::uint64_t (&warp_sums)[kNumWarps]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
#pragma unroll
  for (int offset = 1; offset < kWarpSize; offset *= 2) {
    const Sum before = __shfl_up_sync(0xffffffffu, x, offset);
    if (lane >= offset) x += before;
  }
  __syncthreads();
  if (lane == kWarpSize - 1) warp_sums[warp] = x;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kNumWarps - 1; ++i) {
    if (i < warp) x += static_cast<Sum>(warp_sums[i]);
  }
  return x;
}

// Sum over the block, in every thread.
__device__ inline std::uint64_t block_sum(std::uint64_t x, std::uint64_t (&warp_sums)[kNumWarps]) {
  block_prefix_sum(x, warp_sums);
  std::uint64_t sum = 0;
#pragma unroll
  for (int i = 0; i < kNumWarps; ++i) sum += warp_sums[i];
  return sum;
}

// How many of a rank's low bits differ among the ranks of at least `floor`; -1 if there are none.
// `highest` becomes one of them.
template <class Source>
__device__ int num_open_bits_of(const Source& source, std::uint64_t floor, SelectShared& shared,
                                std::uint32_t& highest) {
  std::uint32_t lowest = ~0u;
  highest = 0;
  bool is_empty = true;
  source.for_each([&](std::uint64_t rank) {
    if (rank < floor) return;
    const std::uint32_t key = static_cast<std::uint32_t>(rank >> kIdBits);
    lowest = min(lowest, key);
    highest = max(highest, key);
    is_empty = false;
  });
  lowest = __reduce_min_sync(0xffffffffu, lowest);
  highest = __reduce_max_sync(0xffffffffu, highest);
  if (threadIdx.x % kWarpSize == 0) {
    shared.lowest[threadIdx.x / kWarpSize] = lowest;
    shared.highest[threadIdx.x / kWarpSize] = highest;
  }
  if (__syncthreads_and(is_empty)) return -1;
#pragma unroll
  for (int warp = 0; warp < kNumWarps; ++warp) {
    lowest = min(lowest, shared.lowest[warp]);
    highest = max(highest, shared.highest[warp]);
  }
  return kIdBits + 32 - __clz(static_cast<int>(lowest ^ highest));
}

// The rank where measure(rank), summed over the ranks of at least `floor` from the largest down,
// reaches target > 0; `floor` if it never does. source.for_each(body) calls body(rank) for each
// element once, spread over the threads. A rank below the exact one will do if fewer than
// `tolerance` lie between them. All threads of the block together; all get the answer.
template <class Source, class Measure>
__device__ std::uint64_t find_cut(const Source& source, std::uint64_t floor, Measure measure,
                                  std::uint64_t target, SelectShared& shared, int tolerance = 1) {
  using Sum = typename Measure::Sum;
  std::uint32_t highest;
  int num_open_bits = num_open_bits_of(source, floor, shared, highest);
  if (num_open_bits < 0) return floor;
  std::uint64_t prefix = (static_cast<std::uint64_t>(highest) << kIdBits) >> num_open_bits;
  for (bool is_first = true;; is_first = false) {
    const int shift = num_open_bits > kDigitBits ? num_open_bits - kDigitBits : 0;
    const std::uint32_t mask = (1u << (num_open_bits - shift)) - 1;
    shared.sums.clear();
    shared.counts[threadIdx.x] = 0;
    if (threadIdx.x == 0) shared.digit = -1;
    __syncthreads();
    source.for_each([&](std::uint64_t rank) {
      if (rank < floor || rank >> num_open_bits != prefix) return;
      const int digit = static_cast<int>(static_cast<std::uint32_t>(rank >> shift) & mask);
      shared.sums.add(digit, measure(rank));
      atomicAdd(&shared.counts[digit], 1u);
    });
    __syncthreads();
    const int digit = kNumDigits - 1 - static_cast<int>(threadIdx.x);
    const Sum own = static_cast<Sum>(shared.sums.at(digit));
    const Sum sum = block_prefix_sum(own, shared.warp_sums);
    if (sum >= target && sum - own < target) {
      shared.digit = digit;
      shared.target = target - (sum - own);
      shared.num_members = static_cast<int>(shared.counts[digit]);
    }
    __syncthreads();
    if (is_first && shared.digit < 0) return floor;
    target = shared.target;
    prefix = prefix << (num_open_bits - shift) | static_cast<std::uint64_t>(shared.digit);
    num_open_bits = shift;
    const int num_members = shared.num_members;
    if (num_open_bits == 0) return prefix;
    if (tolerance > 1 && num_members <= tolerance) return prefix << num_open_bits;
    if (num_members == 1) break;
    __syncthreads();
  }
  source.for_each([&](std::uint64_t rank) {
    if (rank >= floor && rank >> num_open_bits == prefix) shared.found = rank;
  });
  __syncthreads();
  return shared.found;
}

// ---- sources and measures ----

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

// The largest logits of a row's chunks. Equal ones are counted, but not told apart.
struct ChunkRanks {
  const float* maxima;
  int size;

  template <class Body>
  __device__ __forceinline__ void for_each(Body body) const {
    for (int i = static_cast<int>(threadIdx.x); i < size; i += kNumThreads) {
      body(static_cast<std::uint64_t>(key_of(maxima[i])) << kIdBits);
    }
  }
};

struct CountOne {
  using Sum = std::uint32_t;
  __device__ __forceinline__ std::uint64_t operator()(std::uint64_t) const { return 1; }
};

struct MassOf {
  using Sum = std::uint64_t;
  float maximum;
  float inverse_temperature;
  __device__ __forceinline__ std::uint64_t operator()(std::uint64_t rank) const {
    return mass_of(exponent_of(logit_of_rank(rank), maximum, inverse_temperature));
  }
};

}  // namespace cuda_sample_detail
}  // namespace kernels
