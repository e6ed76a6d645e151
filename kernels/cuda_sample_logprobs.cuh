// Log-probabilities of the picked token and of the likeliest ones, for the rows that want them.
#pragma once

#include "kernels/cuda_launch.cuh"
#include "kernels/cuda_sample_pick.cuh"

namespace kernels {
namespace cuda_sample_detail {

struct LogprobShared {
  PickShared pick;
  std::uint64_t kept[kMaxTopLogprobs];
  std::uint64_t top[kMaxTopLogprobs];  // the same in order
  float log_sum;
  int num_kept;
};

// Log of the row's sum of exponentials. By one warp.
__device__ inline float log_sum_of(const Partial* partials, int num_partials) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  float maximum = -INFINITY;
  for (int i = lane; i < num_partials; i += kWarpSize) {
    maximum = fmaxf(maximum, partials[i].exp_maximum);
  }
  maximum = warp_max(maximum);
  float sum = 0;
  for (int i = lane; i < num_partials; i += kWarpSize) {
    if (partials[i].exp_sum > 0) {
      sum += partials[i].exp_sum * expf(partials[i].exp_maximum - maximum);
    }
  }
  return maximum + logf(warp_sum(sum));
}

// Puts the `count` first tokens of a source, by rank, into shared.top in order; banned ones are
// left out.
template <class Source>
__device__ void order_top(const Source& source, int count, LogprobShared& shared) {
  const std::uint64_t floor = find_cut(source, 0, CountOne{}, count, shared.pick.select);
  source.for_each([&](std::uint64_t rank) {
    if (rank < floor || logit_of_rank(rank) == -INFINITY) return;
    shared.kept[atomicAdd(&shared.num_kept, 1)] = rank;
  });
  __syncthreads();
  const int size = shared.num_kept;
  if (static_cast<int>(threadIdx.x) < size) {
    const std::uint64_t own = shared.kept[threadIdx.x];
    int place = 0;
    for (int i = 0; i < size; ++i) place += shared.kept[i] > own ? 1 : 0;
    shared.top[place] = own;
  }
  __syncthreads();
}

__device__ inline void find_top(const LogitView& view, const RowSpace& space, int count,
                                LogprobShared& shared) {
  float least = -INFINITY;
  if (view.vocab_size > kMaxListed) {
    constexpr int kTolerance = 16;
    const ChunkRanks chunks = {space.chunk_maxima, divide_up(view.vocab_size, kTokensPerChunk)};
    least = logit_of_rank(find_cut(chunks, 0, CountOne{}, count, shared.pick.select, kTolerance));
  }
  const auto is_wanted = [=](float logit) { return logit >= least && logit > -INFINITY; };
  const int size = gather(view, space.chunk_maxima, is_wanted, shared.pick);
  if (size < 0) {
    order_top(RowRanks{view}, count, shared);
  } else {
    order_top(ListedRanks{shared.pick.list, size}, count, shared);
  }
}

__global__ void __launch_bounds__(kNumThreads)
    logprob_kernel(const __grid_constant__ CudaSample op,
                   const __grid_constant__ WorkspaceLayout layout, int num_partials) {
  __shared__ LogprobShared shared;
  let_next_start();
  wait_for_inputs();
  const int row = static_cast<int>(blockIdx.x);
  const int sequence = op.row_sequences[row];
  if (sequence < 0) return;
  const int num_top = op.num_top_logprobs[sequence];
  if (num_top < 0) return;
  const int token = op.sampled_token_ids[sequence];
  const LogitView view(op, row);
  const RowSpace space = layout.row(op.workspace, row);
  if (threadIdx.x == 0) {
    shared.num_kept = 0;
    shared.pick.list_size = shared.pick.num_chunks = 0;
  }
  if (threadIdx.x < kWarpSize) {
    const float log_sum = log_sum_of(space.partials, num_partials);
    if (threadIdx.x == 0) {
      shared.log_sum = log_sum;
      op.sampled_logprobs[sequence] = token < 0 ? NAN : view.logits[token] - log_sum;
    }
  }
  __syncthreads();
  const int count = min(min(num_top, kMaxTopLogprobs), op.vocab_size);
  if (token >= 0 && count > 0) find_top(view, space, count, shared);
  for (int i = static_cast<int>(threadIdx.x); i < kMaxTopLogprobs; i += kNumThreads) {
    const bool is_there = i < shared.num_kept;
    const std::int64_t at = static_cast<std::int64_t>(sequence) * kMaxTopLogprobs + i;
    op.top_token_ids[at] = is_there ? token_of_rank(shared.top[i]) : -1;
    op.top_logprobs[at] = is_there ? logit_of_rank(shared.top[i]) - shared.log_sum : NAN;
  }
}

}  // namespace cuda_sample_detail
}  // namespace kernels
