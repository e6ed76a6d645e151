// Sampling without sorting, in three kernels (and a fourth for log-probabilities) whose launches do
// not depend on what the rows ask for:
//
//   scan    reads every row once. Penalties, adjustments and masks are applied in place first, by
//           the block whose tokens they concern. Greedy rows and rows with temperature alone are
//           finished here; for rows with filters the maximum is left, and the largest logit of
//           each chunk of 128 tokens.
//   cut     rows with filters only. Bounds within which the kept prefix ends:
//             top-k      the k-th largest of the chunks' maxima: all of the k likeliest tokens are
//                        at or above it, and few others
//             top-p      masses summed in 2,048 bins of equal width below the maximum; the bin in
//                        which the target is reached
//           If what is kept lies in few chunks, one block puts those tokens in order and picks.
//   pick    the rest. All blocks look for the best score among the tokens that are kept for sure
//           and list those within the bounds; the last block of a row finds the exact end of the
//           prefix among the listed ones and picks.
//
// Blocks of one row work on every num_groups-th of its tiles; the last one to finish (a ticket)
// puts the row together. If more tokens lie within the bounds than a block can order, if k is
// larger than the number of chunks, or if two scores are too close for float, one block searches
// the whole row: exact, but slow.
//
// Bytes: the scan reads num_rows * vocab_size * 4; top-p reads them twice, and what is kept a third
// time if that is much. 256 rows of 151,936 are 156 MB: 36 us at 4.3 TB/s for each reading.
#include <algorithm>
#include <string>

#include "kernels/cuda_launch.cuh"
#include "kernels/cuda_sample_cut.cuh"
#include "kernels/cuda_sample_logprobs.cuh"
#include "kernels/cuda_sample_pick.cuh"
#include "kernels/cuda_sample_scan.cuh"

namespace kernels {
namespace {

using namespace cuda_sample_detail;

// Which of this warp's loads, of up to eight of the block's tiles from `first_tile` on, have a
// token within the bounds: bit kQuadsPerThread * i + j is quad j of the i-th of these tiles.
__device__ __forceinline__ unsigned wanted_quads(const RowState& state, const float* chunk_maxima,
                                                 int first_tile, int num_tiles) {
  static_assert(kQuadsPerThread == 4, "a warp's lanes look at eight tiles");
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int tile = first_tile + lane / kQuadsPerThread * static_cast<int>(gridDim.x);
  bool is_wanted = false;
  if (tile < num_tiles) {
    const float maximum = chunk_maxima[chunk_of(tile, lane % kQuadsPerThread)];
    is_wanted = distance_of(maximum, state) < state.listed_below;
  }
  return __ballot_sync(0xffffffffu, is_wanted);
}

// What is not kept for sure becomes -infinity; what may be kept is listed.
__device__ __forceinline__ void sort_out(float4& quad, int first, PickShared& shared) {
  const RowState& state = shared.state;
  float logits[4] = {quad.x, quad.y, quad.z, quad.w};
  float distances[4];
  unsigned unsure = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    distances[i] = distance_of(logits[i], state);
    const bool is_listed = distances[i] >= state.sure_below && distances[i] < state.listed_below;
    const bool has_close_weight =
        distances[i] < state.sure_below && !(distances[i] < state.min_p_sure_below);
    if (is_listed || has_close_weight) unsure |= 1u << i;
  }
  if (unsure != 0) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if ((unsure >> i & 1u) == 0) continue;
      if (distances[i] < state.sure_below) {
        if (!passes_min_p(state, logits[i])) distances[i] = INFINITY;
        continue;
      }
      const int at = atomicAdd(&shared.list_size, 1);
      if (at < kMaxListed) shared.list[at] = rank_of(logits[i], first + i);
    }
  }
  quad.x = distances[0] < state.sure_below ? logits[0] : -INFINITY;
  quad.y = distances[1] < state.sure_below ? logits[1] : -INFINITY;
  quad.z = distances[2] < state.sure_below ? logits[2] : -INFINITY;
  quad.w = distances[3] < state.sure_below ? logits[3] : -INFINITY;
}

// One block's tiles: the best of what is kept for sure, and a list of what may be.
__device__ Best pick_from_tiles(const LogitView& view, const RowSpace& space, PickShared& shared) {
  const RowState& state = shared.state;
  const int num_groups = static_cast<int>(gridDim.x);
  const int num_tiles = divide_up(view.vocab_size, kTokensPerTile);
  GumbelSearch search(state.plan, state.maximum);
  unsigned wanted = 0;
  int num_ahead = 0;  // tiles that `wanted` still tells of
  for (int tile = static_cast<int>(blockIdx.x); tile < num_tiles; tile += num_groups) {
    if (num_ahead == 0) {
      wanted = wanted_quads(state, space.chunk_maxima, tile, num_tiles);
      num_ahead = kWarpSize / kQuadsPerThread;
    }
    const unsigned quads = wanted & ((1u << kQuadsPerThread) - 1);
    wanted >>= kQuadsPerThread;
    --num_ahead;
    if (quads == 0) continue;
    Tile values;
#pragma unroll
    for (int j = 0; j < kQuadsPerThread; ++j) {
      values.quads[j] = make_float4(-INFINITY, -INFINITY, -INFINITY, -INFINITY);
      if ((quads >> j & 1u) != 0) values.quads[j] = view.load(first_token_of(tile, j));
    }
#pragma unroll
    for (int j = 0; j < kQuadsPerThread; ++j) {
      if ((quads >> j & 1u) != 0) sort_out(values.quads[j], first_token_of(tile, j), shared);
    }
    search.consider(values, tile);
  }
  return search.best(state.plan.temperature);
}

// Appends the block's list to the row's, whose size grows beyond what there is room for, too.
__device__ void append_list(const RowSpace& space, PickShared& shared) {
  __syncthreads();
  const int size = shared.list_size;
  if (size == 0) return;
  if (threadIdx.x == 0) {
    shared.list_begin =
        static_cast<int>(atomicAdd(space.num_listed, static_cast<std::uint32_t>(size)));
  }
  __syncthreads();
  const int begin = shared.list_begin;
  if (begin + size > kMaxListed) return;
  for (int i = static_cast<int>(threadIdx.x); i < size; i += kNumThreads) {
    space.list[begin + i] = shared.list[i];
  }
}

// By the last block of a row: the pick, or -1 in `certain` if it takes the whole row.
__device__ int pick_from_list(const RowSpace& space, PickShared& shared, bool& certain) {
  const RowState& state = shared.state;
  const int size = static_cast<int>(__ldcg(space.num_listed));
  __syncthreads();
  if (threadIdx.x == 0) *space.num_listed = 0;
  certain = size <= kMaxListed;
  if (!certain) return -1;
  for (int i = static_cast<int>(threadIdx.x); i < size; i += kNumThreads) {
    shared.list[i] = __ldcg(reinterpret_cast<unsigned long long*>(&space.list[i]));
  }
  __syncthreads();
  const std::uint64_t target = state.target == 0 ? 0 : state.target - state.sure_mass;
  Best best = best_listed(size, state, target, shared);
  if (threadIdx.x < kWarpSize) {
    best.merge(merged_partials(space.partials, static_cast<int>(gridDim.x)).best);
  }
  certain = is_certain(best, shared);
  return best.token;
}

__global__ void __launch_bounds__(kNumThreads, kBlocksPerMultiprocessor)
    pick_kernel(const __grid_constant__ CudaSample op,
                const __grid_constant__ WorkspaceLayout layout) {
  __shared__ PickShared shared;
  let_next_start();
  wait_for_inputs();
  const int row = static_cast<int>(blockIdx.y);
  const RowSpace space = layout.row(op.workspace, row);
  const Stage stage = load_state(space, shared);
  if (stage == Stage::kFinished) return;
  const LogitView view(op, row);
  bool is_done = false;
  int token = -1;
  if (stage == Stage::kWhole) {
    if (blockIdx.x != 0) return;
  } else {
    const Best own = pick_from_tiles(view, space, shared);
    append_list(space, shared);
    const Best best = merged_block(own, shared.bests);
    if (threadIdx.x == 0) space.partials[blockIdx.x].best = best;
    if (!is_last_block(space.ticket)) return;
    token = pick_from_list(space, shared, is_done);
  }
  if (!is_done) token = pick_from_row(view, shared.state, shared);
  if (threadIdx.x == 0) finish_row(op, shared.state.plan, token);
}

// ---- launches ----

// Blocks that share a row: one for each tile for few rows; for many, what fills the device once.
int num_groups_of(int num_rows, int num_tiles) {
  const int num_blocks = kBlocksPerMultiprocessor * device_traits().num_multiprocessors;
  return std::clamp(num_blocks / num_rows, 1, num_tiles);
}

}  // namespace

std::size_t cuda_sample_workspace_bytes(int max_rows, int vocab_size) {
  return static_cast<std::size_t>(max_rows) * WorkspaceLayout::of(vocab_size).row_bytes;
}

void cuda_sample(const CudaSample& op, Stream stream) {
  CHECK(op.vocab_size >= 1 && op.vocab_size <= kMaxVocabSize,
        "cuda_sample: vocab_size " + std::to_string(op.vocab_size) + " is not in 1.." +
            std::to_string(kMaxVocabSize));
  if (op.num_rows == 0) return;
  const WorkspaceLayout layout = WorkspaceLayout::of(op.vocab_size);
  const int num_groups = num_groups_of(op.num_rows, divide_up(op.vocab_size, kTokensPerTile));
  const dim3 grid(num_groups, op.num_rows);
  launch(scan_kernel, grid, kNumThreads, 0, stream, op, layout);
  launch(cut_kernel, grid, kNumThreads, 0, stream, op, layout);
  launch(pick_kernel, grid, kNumThreads, 0, stream, op, layout);
  if (op.num_top_logprobs != nullptr) {
    launch(logprob_kernel, op.num_rows, kNumThreads, 0, stream, op, layout, num_groups);
  }
}

}  // namespace kernels
