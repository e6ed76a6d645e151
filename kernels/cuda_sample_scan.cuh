// The first pass over all rows: edits, the largest logit, the pick of rows without filters.
#pragma once

#include "kernels/cuda_launch.cuh"
#include "kernels/cuda_sample_edit.cuh"
#include "kernels/cuda_sample_gumbel.cuh"

namespace kernels {
namespace cuda_sample_detail {

// A thread's largest logit and its lowest token, and what else is gathered on the way.
struct ScanResult {
  float largest = -INFINITY;
  int token = -1;
  bool is_bad = false;
  float lowest = INFINITY;  // finite logit

  // Of the warp; the first of the largest.
  __device__ __forceinline__ Best best() const {
    const std::uint32_t key = key_of(largest);
    const std::uint32_t all = __reduce_max_sync(0xffffffffu, key);
    const unsigned first = key == all ? static_cast<unsigned>(token) : ~0u;
    return {logit_of(all), -INFINITY, static_cast<int>(__reduce_min_sync(0xffffffffu, first))};
  }

  __device__ __forceinline__ void look_for_largest(const Tile& values, int tile) {
#pragma unroll
    for (int j = 0; j < kQuadsPerThread; ++j) {
      if (!(largest_of(values.quads[j]) > largest)) continue;
      for_quad(values.quads[j], first_token_of(tile, j), [&](float value, int i) {
        if (value > largest) {
          largest = value;
          token = i;
        }
      });
    }
  }

  __device__ __forceinline__ void look_for_bad(const Tile& values) {
#pragma unroll
    for (int j = 0; j < kQuadsPerThread; ++j) {
      for_quad(values.quads[j], 0, [&](float value, int) { is_bad |= !(value <= FLT_MAX); });
    }
  }

  __device__ __forceinline__ void look_for_lowest(const Tile& values) {
#pragma unroll
    for (int j = 0; j < kQuadsPerThread; ++j) {
      for_quad(values.quads[j], 0, [&](float value, int) {
        if (value > -INFINITY) lowest = fminf(lowest, value);
      });
    }
  }
};

__device__ __forceinline__ void store_chunk_maxima(float* chunk_maxima, const Tile& values,
                                                   int tile) {
#pragma unroll
  for (int j = 0; j < kQuadsPerThread; ++j) {
    const float maximum = warp_largest(largest_of(values.quads[j]));
    if (threadIdx.x % kWarpSize == 0) chunk_maxima[chunk_of(tile, j)] = maximum;
  }
}

// Sum of exp(logit - maximum).
struct Exponentials {
  float maximum;
  float sum;

  __device__ __forceinline__ void add(float other_maximum, float other_sum) {
    if (other_sum == 0) return;
    const float larger = fmaxf(maximum, other_maximum);
    sum = sum * __expf(maximum - larger) + other_sum * __expf(other_maximum - larger);
    maximum = larger;
  }

  __device__ __forceinline__ void add(const Tile& values) {
    float largest = -INFINITY;
#pragma unroll
    for (int j = 0; j < kQuadsPerThread; ++j) largest = fmaxf(largest, largest_of(values.quads[j]));
    if (largest == -INFINITY) return;
    float own = 0;
#pragma unroll
    for (int j = 0; j < kQuadsPerThread; ++j) {
      for_quad(values.quads[j], 0, [&](float value, int) { own += __expf(value - largest); });
    }
    add(largest, own);
  }
};

// Of this thread's tokens; for rows without filters, whose loop has no registers to spare.
__device__ __noinline__ Exponentials sum_exponentials(const CudaSample& op, int row,
                                                      float* chunk_maxima) {
  const LogitView view(op, row);
  const int num_tiles = divide_up(op.vocab_size, kTokensPerTile);
  Exponentials all{-INFINITY, 0};
  for (int tile = static_cast<int>(blockIdx.x); tile < num_tiles;
       tile += static_cast<int>(gridDim.x)) {
    const Tile values = load_tile(view, tile);
    all.add(values);
    store_chunk_maxima(chunk_maxima, values, tile);
  }
  return all;
}

struct ScanShared {
  RowPlan plan;
  Best bests[kNumWarps];
  float lowest[kNumWarps];
  Exponentials exponentials[kNumWarps];
};

// Leaves the warp's sum in shared memory.
__device__ __noinline__ void merge_exponentials(Exponentials own, ScanShared& shared) {
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
    own.add(__shfl_xor_sync(0xffffffffu, own.maximum, offset),
            __shfl_xor_sync(0xffffffffu, own.sum, offset));
  }
  if (threadIdx.x % kWarpSize == 0) shared.exponentials[threadIdx.x / kWarpSize] = own;
}

// By one warp of the last block of a row.
__device__ inline void finish_scan(const CudaSample& op, const RowPlan& plan, const LogitView& view,
                                   const RowSpace& space) {
  const Partial all = merged_partials(space.partials, static_cast<int>(gridDim.x));
  if (threadIdx.x != 0) return;
  const bool is_sound = all.is_bad == 0 && all.best.score > -INFINITY;
  const bool is_close = plan.kind == RowKind::kNoFilter &&
                        all.best.second >= all.best.score - score_margin(all.best.score);
  const bool is_filtered = plan.kind == RowKind::kFiltered;
  if (!is_sound || (!is_filtered && !is_close)) {
    space.state->stage = Stage::kFinished;
    finish_row(op, plan, is_sound ? all.best.token : -1);
    return;
  }
  RowState state{};
  state.stage = is_filtered ? Stage::kScanned : Stage::kWhole;
  state.maximum = is_filtered ? static_cast<float>(all.best.score) : view.logits[all.best.token];
  state.lowest = all.lowest;
  state.plan = plan;
  *space.state = state;
}

__global__ void __launch_bounds__(kNumThreads, kBlocksPerMultiprocessor)
    scan_kernel(const __grid_constant__ CudaSample op,
                const __grid_constant__ WorkspaceLayout layout) {
  __shared__ ScanShared shared;
  let_next_start();
  wait_for_inputs();
  const int row = static_cast<int>(blockIdx.y);
  const int group = static_cast<int>(blockIdx.x);
  const int num_groups = static_cast<int>(gridDim.x);
  const int num_tiles = divide_up(op.vocab_size, kTokensPerTile);
  const LogitView view(op, row);
  const RowSpace space = layout.row(op.workspace, row);

  Tile values = load_tile(view, group);
  const RowPlan plan = plan_of(op, row);
  if (plan.kind == RowKind::kSkipped || plan.kind == RowKind::kUnsound) {
    if (group != 0 || threadIdx.x != 0) return;
    space.state->stage = Stage::kFinished;
    if (plan.kind == RowKind::kUnsound) op.sampled_token_ids[plan.sequence] = -1;
    return;
  }
  // In shared memory, so that it need not stay in registers.
  if (threadIdx.x == 0) shared.plan = plan;
  __syncthreads();
  ScanResult result;
  const bool has_noise_only = plan.kind == RowKind::kNoFilter;
  const bool is_filtered = plan.kind == RowKind::kFiltered;
  const bool wants_logprobs = plan.wants_logprobs;
  bool is_edited = has_dense_edits(plan);
  if (has_adjustments(plan) || (is_edited && has_noise_only)) {
    result.is_bad = edit_in_place(op, shared.plan, row);
    values = load_tile(view, group);
    is_edited = false;
  }
  Best own;
  // A loop for each kind of row: what one of them keeps in registers, the others do not pay for.
  if (has_noise_only) {
    if (wants_logprobs) merge_exponentials(sum_exponentials(op, row, space.chunk_maxima), shared);
    GumbelSearch search(shared.plan, -INFINITY);
    for (int tile = group; tile < num_tiles; tile += num_groups) {
      if (tile != group) values = load_tile(view, tile);
      result.look_for_bad(values);
      search.consider(values, tile);
    }
    own = search.best(shared.plan.temperature);
  } else {
    Exponentials exponentials{-INFINITY, 0};
    for (int tile = group; tile < num_tiles; tile += num_groups) {
      if (tile != group) values = load_tile(view, tile);
      if (is_edited) edit_tile(op, shared.plan, view, tile, values);
      result.look_for_bad(values);
      result.look_for_largest(values, tile);
      if (wants_logprobs) exponentials.add(values);
      if (is_filtered) result.look_for_lowest(values);
      if (is_filtered || wants_logprobs) store_chunk_maxima(space.chunk_maxima, values, tile);
    }
    if (wants_logprobs) merge_exponentials(exponentials, shared);
    own = result.best();
    const float lowest = -warp_largest(-result.lowest);
    if (threadIdx.x % kWarpSize == 0) shared.lowest[threadIdx.x / kWarpSize] = lowest;
  }

  Partial partial;
  partial.is_bad = __syncthreads_or(result.is_bad);
  partial.best = merged_block(own, shared.bests);
  partial.lowest = INFINITY;
  if (shared.plan.kind == RowKind::kFiltered) {
    for (int i = 0; i < kNumWarps; ++i) partial.lowest = fminf(partial.lowest, shared.lowest[i]);
  }
  if (shared.plan.wants_logprobs) {
    Exponentials all{-INFINITY, 0};
    for (int i = 0; i < kNumWarps; ++i) {
      all.add(shared.exponentials[i].maximum, shared.exponentials[i].sum);
    }
    partial.exp_maximum = all.maximum;
    partial.exp_sum = all.sum;
  }
  if (threadIdx.x == 0) space.partials[group] = partial;
  if (is_last_block(space.ticket) && threadIdx.x < kWarpSize) {
    finish_scan(op, shared.plan, view, space);
  }
}

}  // namespace cuda_sample_detail
}  // namespace kernels
