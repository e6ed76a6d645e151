// The second pass, over rows with filters only: where does the kept prefix end? Rows whose prefix
// lies in a few chunks are finished here by one block; the others are left to pick_kernel.
#pragma once

#include "kernels/cuda_launch.cuh"
#include "kernels/cuda_sample_pick.cuh"

namespace kernels {
namespace cuda_sample_detail {

// Where distances are bins: as narrow as the row allows, up to the lowest logit or to where masses
// round to zero.
__device__ inline float bin_scale(const RowState& state) {
  constexpr float kLeastExponent = 32;
  const float for_mass = kNumBins / kLeastExponent * state.plan.inverse_temperature;
  const float for_row = (kNumBins - 1) / (state.maximum - state.lowest);
  const float scale = fmaxf(for_mass, for_row);
  return scale <= 1e30f ? scale : 1e30f;  // also when all logits are equal
}

// The whole part of a distance; the last bin takes all that is farther away.
__device__ __forceinline__ int bin_of(float distance) {
  // Rounding down at 2^23 leaves the whole part in the low bits; conversions are slower.
  const float shifted = __fadd_rd(fminf(distance, kNumBins - 1), 0x1p23f);
  return __float_as_int(shifted) & (kNumBins - 1);
}

// Adds the masses of this block's tiles to the row's histogram.
__device__ inline void add_masses(const RowState& state, const LogitView& view,
                                  WideSums<kNumBins>& bins, const RowSpace& space) {
  const int num_tiles = divide_up(view.vocab_size, kTokensPerTile);
  const float maximum = state.maximum;
  const float inverse_temperature = state.plan.inverse_temperature;
  const float scale = -bin_scale(state);
  bins.clear();
  __syncthreads();
  for (int tile = static_cast<int>(blockIdx.x); tile < num_tiles;
       tile += static_cast<int>(gridDim.x)) {
    const Tile values = load_tile(view, tile);
#pragma unroll
    for (int j = 0; j < kQuadsPerThread; ++j) {
      const float logits[4] = {values.quads[j].x, values.quads[j].y, values.quads[j].z,
                               values.quads[j].w};
      std::uint64_t masses[4];
      int places[4];
      std::uint32_t before[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float difference = __fsub_rn(logits[i], maximum);
        masses[i] = mass_of(__fmul_rn(difference, inverse_temperature));
        // Adding nothing somewhere else is cheaper than a branch, and than a queue at one bin.
        places[i] =
            masses[i] == 0 ? static_cast<int>(threadIdx.x) : bin_of(__fmul_rn(difference, scale));
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) before[i] = bins.add_low(places[i], masses[i]);
#pragma unroll
      for (int i = 0; i < 4; ++i) bins.add_high(places[i], masses[i], before[i]);
    }
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kNumBins; i += kNumThreads) {
    const std::uint64_t sum = bins.at(i);
    if (sum == 0) continue;
    atomicAdd(reinterpret_cast<unsigned long long*>(&space.histogram[i]),
              static_cast<unsigned long long>(sum));
  }
}

// By the last block of a row: finds the bin where top-p's target is reached and clears the
// histogram.
__device__ inline void cut_histogram(RowState& state, const RowSpace& space,
                                     std::uint64_t (&warp_sums)[kNumWarps]) {
  constexpr int kBinsPerThread = kNumBins / kNumThreads;
  const int first = static_cast<int>(threadIdx.x) * kBinsPerThread;
  std::uint64_t sums[kBinsPerThread];
  std::uint64_t own = 0;
#pragma unroll
  for (int i = 0; i < kBinsPerThread; ++i) {
    sums[i] = __ldcg(reinterpret_cast<unsigned long long*>(&space.histogram[first + i]));
  }
#pragma unroll
  for (int i = 0; i < kBinsPerThread; ++i) {
    own += sums[i];
    space.histogram[first + i] = 0;
  }
  const std::uint64_t through = block_prefix_sum(own, warp_sums);
  std::uint64_t total = 0;
#pragma unroll
  for (int warp = 0; warp < kNumWarps; ++warp) total += warp_sums[warp];
  const std::uint64_t target = top_p_target(total, state.plan.top_p);
  std::uint64_t before = through - own;
  if (through < target || before >= target) return;
#pragma unroll
  for (int i = 0; i < kBinsPerThread; ++i) {
    if (before + sums[i] < target) {
      before += sums[i];
      continue;
    }
    state.sure_below = static_cast<float>(first + i);
    // The last bin takes all that is farther away.
    state.listed_below = first + i == kNumBins - 1 ? INFINITY : static_cast<float>(first + i + 1);
    state.target = target;
    state.sure_mass = before;
    return;
  }
}

// Where min-p is certain to keep a token, and where it is certain to drop it.
__device__ inline void bound_min_p(RowState& state) {
  const float min_p = state.plan.min_p;
  state.min_p_sure_below = INFINITY;
  if (!(min_p > 0)) return;
  const float exponent = -logf(min_p);
  const float unit = state.plan.temperature * state.scale;
  state.min_p_sure_below = (exponent * 0.9999f - 1e-4f) * unit;
  const float dropped_from = (exponent * 1.0001f + 1e-4f) * unit;
  // If top-p ends farther out, it has no say. (Tiny weights are not compared to the last digit.)
  if (min_p > 1e-30f && dropped_from <= state.sure_below) {
    state.sure_below = state.listed_below = dropped_from;
  }
}

// The bounds of a row without a histogram: top-k, by the chunks' maxima, or min-p alone. False if
// k is too large for that.
__device__ inline bool cut_without_masses(RowState& state, int vocab_size, const RowSpace& space,
                                          SelectShared& shared) {
  const int num_chunks = divide_up(vocab_size, kTokensPerChunk);
  float sure_below = 0;
  float listed_below = INFINITY;
  const int top_k = state.plan.top_k;
  if (top_k == 0) {
    sure_below = INFINITY;
  } else if (vocab_size > kMaxListed) {
    if (top_k > num_chunks) return false;
    // The k likeliest are at or above the k-th largest maximum. A few more are as good.
    constexpr int kTolerance = 16;
    const std::uint64_t rank = find_cut(ChunkRanks{space.chunk_maxima, num_chunks}, 0, CountOne{},
                                        top_k, shared, kTolerance);
    const float distance = __fsub_rn(state.maximum, logit_of_rank(rank));
    listed_below = nextafterf(distance, INFINITY);
  }
  if (threadIdx.x == 0) {
    state.scale = 1;
    state.sure_below = sure_below;
    state.listed_below = listed_below;
    state.target = state.sure_mass = 0;
  }
  return true;
}

__global__ void __launch_bounds__(kNumThreads, kBlocksPerMultiprocessor)
    cut_kernel(const __grid_constant__ CudaSample op,
               const __grid_constant__ WorkspaceLayout layout) {
  __shared__ PickShared shared;
  let_next_start();
  wait_for_inputs();
  const int row = static_cast<int>(blockIdx.y);
  const RowSpace space = layout.row(op.workspace, row);
  RowState& state = shared.state;
  if (load_state(space, shared) != Stage::kScanned) return;
  const LogitView view(op, row);
  if (state.plan.top_k == 0 && state.plan.top_p < 1) {
    add_masses(state, view, shared.bins, space);
    if (!is_last_block(space.ticket)) return;
    if (threadIdx.x == 0) state.scale = bin_scale(state);
    cut_histogram(state, space, shared.select.warp_sums);
  } else {
    if (blockIdx.x != 0) return;
    if (!cut_without_masses(state, op.vocab_size, space, shared.select)) {
      if (threadIdx.x == 0) space.state->stage = Stage::kWhole;
      return;
    }
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    bound_min_p(state);
    state.stage = Stage::kCut;
  }
  __syncthreads();

  const auto is_wanted = [&](float logit) {
    return distance_of(logit, state) < state.listed_below;
  };
  const int size = gather(view, space.chunk_maxima, is_wanted, shared);
  if (size >= 0) {
    Best best = best_listed(size, state, state.target, shared);
    if (is_certain(best, shared)) {
      if (threadIdx.x != 0) return;
      finish_row(op, state.plan, best.token);
      space.state->stage = Stage::kFinished;
      return;
    }
    if (threadIdx.x == 0) state.stage = Stage::kWhole;
  }
  if (threadIdx.x == 0) *space.state = state;
}

}  // namespace cuda_sample_detail
}  // namespace kernels
