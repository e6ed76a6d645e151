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
//   pick    rows with filters only. Looks for the best score among the tokens that are kept for
//           sure and lists those within the bounds; the last block of a row finds the exact end
//           of the prefix among the listed ones and picks.
//
// Blocks of one row work on every num_groups-th of its tiles; the last one to finish (a ticket)
// puts the row together. If more tokens lie within the bounds than a block can order, or k is
// larger than the number of chunks, that block searches the whole row: exact, but slow.
//
// Bytes: the scan reads num_rows * vocab_size * 4; top-p reads them twice, and a third time what
// is kept. 256 rows of 151,936 are 156 MB: 36 us at 4.3 TB/s for each reading.
#include <algorithm>
#include <string>

#include "kernels/cuda_launch.cuh"
#include "kernels/cuda_sample_gumbel.cuh"
#include "kernels/cuda_sample_row.cuh"
#include "kernels/cuda_sample_select.cuh"

namespace kernels {
namespace {

using namespace cuda_sample_detail;

// ---- scan: edits ----

__device__ bool has_edits(const RowPlan& plan) {
  return plan.has_penalties || plan.mask_row >= 0 || plan.bias_begin < plan.bias_end;
}

struct Penalties {
  float repetition;
  float frequency;
  float presence;

  __device__ float applied(float logit, unsigned count, bool is_in_prompt) const {
    if (count == 0 && !is_in_prompt) return logit;
    logit = logit > 0 ? __fdiv_rn(logit, repetition) : __fmul_rn(logit, repetition);
    if (count == 0) return logit;
    const float minus_frequency = __fsub_rn(logit, __fmul_rn(frequency, static_cast<float>(count)));
    return __fsub_rn(minus_frequency, presence);
  }
};

// Penalties and the mask of one quad.
__device__ float4 edited_quad(const CudaSample& op, const RowPlan& plan, float4 quad, int token) {
  const std::int64_t words_per_row = (op.vocab_size + 31) / 32;
  float values[4] = {quad.x, quad.y, quad.z, quad.w};
  if (plan.has_penalties) {
    const std::int64_t slot = op.sampler_slots[plan.sequence];
    const Penalties penalties = {op.repetition_penalties[plan.sequence],
                                 op.frequency_penalties[plan.sequence],
                                 op.presence_penalties[plan.sequence]};
    const std::uint16_t* counts = op.output_counts + slot * op.vocab_size;
    const std::uint32_t in_prompt = op.prompt_bits[slot * words_per_row + token / 32] >> token % 32;
    for (int i = 0; i < 4; ++i) {
      if (token + i >= op.vocab_size) break;
      values[i] = penalties.applied(values[i], counts[token + i], (in_prompt >> i & 1u) != 0);
    }
  }
  if (plan.mask_row >= 0) {
    const std::uint32_t allowed =
        op.token_masks[plan.mask_row * words_per_row + token / 32] >> token % 32;
    for (int i = 0; i < 4; ++i) {
      // Adding keeps a NaN visible.
      if ((allowed >> i & 1u) == 0) values[i] += -INFINITY;
    }
  }
  return make_float4(values[0], values[1], values[2], values[3]);
}

// Sparse adjustments of the tokens in this block's tiles. The thread of a token's first adjustment
// applies all of that token's, in order. Returns true if an id is outside the row.
__device__ bool apply_adjustments(const CudaSample& op, const RowPlan& plan,
                                  const LogitView& view) {
  const int group = static_cast<int>(blockIdx.x);
  const int num_groups = static_cast<int>(gridDim.x);
  const auto is_new = [&](int i) {
    for (int j = plan.bias_begin; j < i; ++j) {
      if (op.bias_token_ids[j] == op.bias_token_ids[i]) return false;
    }
    return true;
  };
  bool is_bad = false;
  for (int i = plan.bias_begin + static_cast<int>(threadIdx.x); i < plan.bias_end;
       i += kNumThreads) {
    const int token = op.bias_token_ids[i];
    if (token < 0 || token >= op.vocab_size) {
      is_bad = true;
      continue;
    }
    if (token / kTokensPerTile % num_groups != group || !is_new(i)) continue;
    float logit = view.logits[token];
    for (int j = i; j < plan.bias_end; ++j) {
      if (op.bias_token_ids[j] == token) logit += op.bias_values[j];
    }
    view.logits[token] = logit;
  }
  return is_bad;
}

// Rewrites this block's tiles. Returns true if an adjustment's id is outside the row. A function of
// its own, because few rows need it and it would take registers from the others.
__device__ __noinline__ bool edit_tiles(const CudaSample& op, int row, int num_tiles) {
  const RowPlan plan = plan_of(op, row);
  const LogitView view(op, row);
  if (plan.has_penalties || plan.mask_row >= 0) {
    for (int tile = static_cast<int>(blockIdx.x); tile < num_tiles;
         tile += static_cast<int>(gridDim.x)) {
      for (int j = 0; j < kQuadsPerThread; ++j) {
        const int token = first_token_of(tile, j);
        if (token >= op.vocab_size) break;
        view.store(token, edited_quad(op, plan, view.load(token), token));
      }
    }
    __syncthreads();
  }
  bool is_bad = false;
  if (plan.bias_begin < plan.bias_end) {
    is_bad = apply_adjustments(op, plan, view);
    __syncthreads();
  }
  return is_bad;
}

// ---- scan ----

// A thread's largest logit and its lowest token, and what else is gathered on the way.
struct ScanResult {
  float largest = -INFINITY;
  int token = -1;
  bool is_bad = false;
  float lowest = INFINITY;
  float exp_maximum = -INFINITY;
  float exp_sum = 0;

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

  __device__ __forceinline__ void add_exponentials(const Tile& values) {
    float maximum = exp_maximum;
#pragma unroll
    for (int j = 0; j < kQuadsPerThread; ++j) maximum = fmaxf(maximum, largest_of(values.quads[j]));
    if (maximum == -INFINITY) return;
    exp_sum *= __expf(exp_maximum - maximum);
    exp_maximum = maximum;
#pragma unroll
    for (int j = 0; j < kQuadsPerThread; ++j) {
      for_quad(values.quads[j], 0,
               [&](float value, int) { exp_sum += __expf(value - exp_maximum); });
    }
  }
};

__device__ __forceinline__ void store_chunk_maxima(const RowSpace& space, const Tile& values,
                                                   int tile) {
#pragma unroll
  for (int j = 0; j < kQuadsPerThread; ++j) {
    const float maximum = warp_max(largest_of(values.quads[j]));
    if (threadIdx.x % kWarpSize == 0) space.chunk_maxima[chunk_of(tile, j)] = maximum;
  }
}

struct ScanShared {
  GumbelSearch::Shared gumbel;
  double scores[kNumWarps];
  int tokens[kNumWarps];
  float lowest[kNumWarps];
  float exp_maxima[kNumWarps];
  float exp_sums[kNumWarps];
};

// Sums of exponentials of a warp's lanes as one.
__device__ void merge_exponentials(ScanResult& result) {
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
    const float maximum = __shfl_xor_sync(0xffffffffu, result.exp_maximum, offset);
    const float sum = __shfl_xor_sync(0xffffffffu, result.exp_sum, offset);
    const float larger = fmaxf(maximum, result.exp_maximum);
    if (larger == -INFINITY) continue;
    result.exp_sum =
        result.exp_sum * __expf(result.exp_maximum - larger) + sum * __expf(maximum - larger);
    result.exp_maximum = larger;
  }
}

// What the block found, in its first thread.
__device__ Partial merge_block(const RowPlan& plan, ScanResult result, ScanShared& shared) {
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  double score = result.largest;
  int token = result.token;
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
    const float other = __shfl_xor_sync(0xffffffffu, static_cast<float>(score), offset);
    const int other_token = __shfl_xor_sync(0xffffffffu, token, offset);
    keep_better(score, token, other, other_token);
    result.lowest = fminf(result.lowest, __shfl_xor_sync(0xffffffffu, result.lowest, offset));
  }
  if (plan.wants_logprobs) merge_exponentials(result);
  if (threadIdx.x % kWarpSize == 0) {
    shared.scores[warp] = score;
    shared.tokens[warp] = token;
    shared.lowest[warp] = result.lowest;
    shared.exp_maxima[warp] = result.exp_maximum;
    shared.exp_sums[warp] = result.exp_sum;
  }
  const bool is_bad = __syncthreads_or(result.is_bad) != 0;
  Partial all{-INFINITY, -1, is_bad, INFINITY, -INFINITY, 0};
  if (threadIdx.x != 0) return all;
  for (int i = 0; i < kNumWarps; ++i) {
    keep_better(all.score, all.token, shared.scores[i], shared.tokens[i]);
    all.lowest = fminf(all.lowest, shared.lowest[i]);
    all.exp_maximum = fmaxf(all.exp_maximum, shared.exp_maxima[i]);
  }
  for (int i = 0; i < kNumWarps; ++i) {
    if (shared.exp_sums[i] == 0) continue;
    all.exp_sum += shared.exp_sums[i] * __expf(shared.exp_maxima[i] - all.exp_maximum);
  }
  return all;
}

// By one warp of the last block of a row.
__device__ void finish_scan(const CudaSample& op, const RowPlan& plan, const RowSpace& space) {
  const Partial all = merged_partials(space.partials, static_cast<int>(gridDim.x));
  if (threadIdx.x != 0) return;
  const bool is_sound = all.is_bad == 0 && all.token >= 0;
  if (is_sound && plan.kind == RowKind::kFiltered) {
    RowState state{};
    state.stage = Stage::kScanned;
    state.maximum = static_cast<float>(all.score);
    state.lowest = all.lowest;
    *space.state = state;
    return;
  }
  space.state->stage = Stage::kFinished;
  finish_row(op, plan, is_sound ? all.token : -1);
}

__global__ void __launch_bounds__(kNumThreads, 4)
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
  ScanResult result;
  if (has_edits(plan)) {
    result.is_bad = edit_tiles(op, row, num_tiles);
    values = load_tile(view, group);
  }
  const bool is_gumbel = plan.kind == RowKind::kNoFilter;
  const bool is_filtered = plan.kind == RowKind::kFiltered;
  GumbelSearch search(GumbelRow(op, plan), -INFINITY);
  for (int tile = group; tile < num_tiles; tile += num_groups) {
    if (tile != group) values = load_tile(view, tile);
    result.look_for_bad(values);
    if (is_gumbel) {
      search.consider(values, tile);
    } else {
      result.look_for_largest(values, tile);
    }
    if (is_filtered) result.look_for_lowest(values);
    if (is_filtered || plan.wants_logprobs) store_chunk_maxima(space, values, tile);
    if (plan.wants_logprobs) result.add_exponentials(values);
  }

  Partial partial = merge_block(plan, result, shared);
  if (is_gumbel) search.pick(shared.gumbel, partial.score, partial.token);
  if (threadIdx.x == 0) space.partials[group] = partial;
  if (is_last_block(space.ticket, num_groups) && threadIdx.x < kWarpSize) {
    finish_scan(op, plan, space);
  }
}

// ---- cut ----

// The bin of a logit, counted from the maximum down.
__device__ __forceinline__ float distance_of(float logit, const RowState& state) {
  return __fmul_rn(__fsub_rn(state.maximum, logit), state.scale);
}

// Bins as narrow as the row allows: up to the lowest logit, or to where masses round to zero.
__device__ float bin_scale(const RowState& state, const RowPlan& plan) {
  constexpr float kLeastExponent = 32;
  const float for_mass = kNumBins / kLeastExponent * plan.inverse_temperature;
  const float for_row = (kNumBins - 1) / (state.maximum - state.lowest);
  const float scale = fmaxf(for_mass, for_row);
  return scale <= 1e30f ? scale : 1e30f;  // also when all logits are equal
}

// Adds the masses of this block's tiles to the row's histogram.
__device__ void add_masses(const RowPlan& plan, const RowState& state, const LogitView& view,
                           int num_tiles, WideSums<kNumBins>& sums, const RowSpace& space) {
  sums.clear();
  __syncthreads();
  for (int tile = static_cast<int>(blockIdx.x); tile < num_tiles;
       tile += static_cast<int>(gridDim.x)) {
    const Tile values = load_tile(view, tile);
#pragma unroll
    for (int j = 0; j < kQuadsPerThread; ++j) {
      for_quad(values.quads[j], 0, [&](float logit, int) {
        const std::uint64_t mass =
            mass_of(weight_of(logit, state.maximum, plan.inverse_temperature));
        if (mass == 0) return;
        const float distance = distance_of(logit, state);
        sums.add(static_cast<int>(fminf(distance, kNumBins - 1)), mass);
      });
    }
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kNumBins; i += kNumThreads) {
    const std::uint64_t sum = sums.at(i);
    if (sum == 0) continue;
    atomicAdd(reinterpret_cast<unsigned long long*>(&space.histogram[i]),
              static_cast<unsigned long long>(sum));
  }
}

// By the last block of a row: finds the bin where top-p's target is reached and clears the
// histogram.
__device__ void cut_histogram(const RowPlan& plan, RowState& state, const RowSpace& space,
                              std::uint64_t (&warp_sums)[kNumWarps]) {
  constexpr int kBinsPerThread = kNumBins / kNumThreads;
  const int first = static_cast<int>(threadIdx.x) * kBinsPerThread;
  std::uint64_t sums[kBinsPerThread];
  std::uint64_t own = 0;
#pragma unroll
  for (int i = 0; i < kBinsPerThread; ++i) {
    sums[i] = __ldcg(reinterpret_cast<unsigned long long*>(&space.histogram[first + i]));
    own += sums[i];
    space.histogram[first + i] = 0;
  }
  const std::uint64_t through = block_prefix_sum(own, warp_sums);
  std::uint64_t total = 0;
  for (int warp = 0; warp < kNumWarps; ++warp) total += warp_sums[warp];
  std::uint64_t target = top_p_target(total, plan.top_p);
  if (through < target || through - own >= target) return;
  target -= through - own;
#pragma unroll
  for (int i = 0; i < kBinsPerThread; ++i) {
    if (sums[i] < target) {
      target -= sums[i];
      continue;
    }
    state.stage = Stage::kCut;
    state.sure_below = static_cast<float>(first + i);
    // The last bin takes all that is farther away.
    state.listed_below = first + i == kNumBins - 1 ? INFINITY : static_cast<float>(first + i + 1);
    state.target = target;
    *space.state = state;
    return;
  }
}

struct CutShared {
  union {
    WideSums<kNumBins> bins;
    SelectShared select;
  };
  std::uint64_t warp_sums[kNumWarps];
};

// By one block of a row.
__device__ void cut_top_k(const RowPlan& plan, RowState& state, int vocab_size,
                          const RowSpace& space, SelectShared& shared) {
  const int num_chunks = divide_up(vocab_size, kTokensPerChunk);
  state.scale = 1;
  state.stage = Stage::kCut;
  state.sure_below = 0;
  state.listed_below = INFINITY;
  if (vocab_size > kMaxListed) {
    if (plan.top_k <= num_chunks) {
      const std::uint64_t key =
          find_cut(ChunkRanks{space.chunk_maxima, num_chunks}, 0, CountOne{}, plan.top_k, shared);
      const float distance = distance_of(logit_of(static_cast<std::uint32_t>(key)), state);
      state.listed_below = nextafterf(distance, INFINITY);
    } else {
      state.stage = Stage::kWhole;
    }
  }
  if (threadIdx.x == 0) *space.state = state;
}

__global__ void __launch_bounds__(kNumThreads, 4)
    cut_kernel(const __grid_constant__ CudaSample op,
               const __grid_constant__ WorkspaceLayout layout) {
  __shared__ CutShared shared;
  let_next_start();
  wait_for_inputs();
  const int row = static_cast<int>(blockIdx.y);
  const RowSpace space = layout.row(op.workspace, row);
  RowState state = *space.state;
  if (state.stage != Stage::kScanned) return;
  const RowPlan plan = plan_of(op, row);
  if (plan.top_k > 0) {
    if (blockIdx.x == 0) cut_top_k(plan, state, op.vocab_size, space, shared.select);
    return;
  }
  if (plan.top_p < 1) {
    state.scale = bin_scale(state, plan);
    add_masses(plan, state, LogitView(op, row), divide_up(op.vocab_size, kTokensPerTile),
               shared.bins, space);
    if (!is_last_block(space.ticket, static_cast<int>(gridDim.x))) return;
    cut_histogram(plan, state, space, shared.warp_sums);
    return;
  }
  // Min-p alone needs no bounds.
  if (blockIdx.x != 0 || threadIdx.x != 0) return;
  state.stage = Stage::kCut;
  state.scale = 1;
  state.sure_below = state.listed_below = INFINITY;
  *space.state = state;
}

// ---- pick ----

struct PickShared {
  std::uint64_t list[kMaxListed];
  GumbelSearch::Shared gumbel;
  SelectShared select;
  Partial merged;
  int list_size;
  int list_begin;
};

__device__ __forceinline__ bool passes_min_p(const RowPlan& plan, const RowState& state,
                                             float logit) {
  return !(plan.min_p > 0) ||
         weight_of(logit, state.maximum, plan.inverse_temperature) >= plan.min_p;
}

// The best of what top-k, top-p and min-p leave of a source. `target` of top-p, or 0: not known.
template <class Source>
__device__ void pick_from(const Source& source, const RowPlan& plan, const RowState& state,
                          std::uint64_t target, const GumbelRow& row, PickShared& shared,
                          double& score, int& token) {
  std::uint64_t floor = 0;
  if (plan.top_k > 0) {
    floor = find_cut(source, 0, CountOne{}, plan.top_k, shared.select);
  }
  if (plan.top_p < 1) {
    const MassOf mass_of_rank = {state.maximum, plan.inverse_temperature};
    if (target == 0) {
      std::uint64_t mass = 0;
      source.for_each([&](std::uint64_t rank) {
        if (rank >= floor) mass += mass_of_rank(rank);
      });
      target = top_p_target(block_sum(mass, shared.select.warp_sums), plan.top_p);
    }
    floor = find_cut(source, floor, mass_of_rank, target, shared.select);
  }
  GumbelSearch search(row, state.maximum);
  source.for_each([&](std::uint64_t rank) {
    const float logit = logit_of_rank(rank);
    if (rank < floor || !passes_min_p(plan, state, logit)) return;
    search.consider(logit, token_of_rank(rank), row.word_of(token_of_rank(rank)));
  });
  search.pick(shared.gumbel, score, token);
}

// One block's tiles: the best of what is surely kept, and a list of what may be.
__device__ void pick_from_tiles(const CudaSample& op, const RowPlan& plan, const RowState& state,
                                const LogitView& view, const RowSpace& space, GumbelSearch& search,
                                PickShared& shared) {
  const int num_tiles = divide_up(op.vocab_size, kTokensPerTile);
  for (int tile = static_cast<int>(blockIdx.x); tile < num_tiles;
       tile += static_cast<int>(gridDim.x)) {
    Tile values;
    bool is_wanted[kQuadsPerThread];
#pragma unroll
    for (int j = 0; j < kQuadsPerThread; ++j) {
      const float maximum = space.chunk_maxima[chunk_of(tile, j)];
      is_wanted[j] = distance_of(maximum, state) < state.listed_below;
    }
#pragma unroll
    for (int j = 0; j < kQuadsPerThread; ++j) {
      values.quads[j] = make_float4(-INFINITY, -INFINITY, -INFINITY, -INFINITY);
      if (is_wanted[j]) values.quads[j] = view.load(first_token_of(tile, j));
    }
#pragma unroll
    for (int j = 0; j < kQuadsPerThread; ++j) {
      if (!is_wanted[j]) continue;
      const int first = first_token_of(tile, j);
      const auto sort_out = [&](float& logit, int token) {
        const float distance = distance_of(logit, state);
        if (distance < state.sure_below && passes_min_p(plan, state, logit)) return;
        if (distance >= state.sure_below && distance < state.listed_below) {
          const int i = atomicAdd(&shared.list_size, 1);
          if (i < kMaxListed) shared.list[i] = rank_of(logit, token);
        }
        logit = -INFINITY;
      };
      sort_out(values.quads[j].x, first);
      sort_out(values.quads[j].y, first + 1);
      sort_out(values.quads[j].z, first + 2);
      sort_out(values.quads[j].w, first + 3);
    }
    search.consider(values, tile);
  }
}

// Appends the block's list to the row's. The row's size grows beyond what there is room for, too.
__device__ void append_list(const RowSpace& space, PickShared& shared) {
  __syncthreads();
  if (threadIdx.x == 0 && shared.list_size > 0) {
    shared.list_begin =
        static_cast<int>(atomicAdd(space.num_listed, static_cast<std::uint32_t>(shared.list_size)));
  }
  __syncthreads();
  const int begin = shared.list_begin;
  if (begin + shared.list_size > kMaxListed) return;
  for (int i = static_cast<int>(threadIdx.x); i < shared.list_size; i += kNumThreads) {
    space.list[begin + i] = shared.list[i];
  }
}

// By the last block of a row.
__device__ void finish_pick(const CudaSample& op, const RowPlan& plan, const RowState& state,
                            const LogitView& view, const RowSpace& space, const GumbelRow& row,
                            PickShared& shared) {
  double score;
  int token;
  const std::uint32_t size = __ldcg(space.num_listed);
  __syncthreads();
  if (threadIdx.x == 0) *space.num_listed = 0;
  if (state.stage == Stage::kWhole || size > kMaxListed) {
    pick_from(RowRanks{view}, plan, state, 0, row, shared, score, token);
  } else {
    for (std::uint32_t i = threadIdx.x; i < size; i += kNumThreads) {
      shared.list[i] = __ldcg(reinterpret_cast<unsigned long long*>(&space.list[i]));
    }
    __syncthreads();
    const ListedRanks listed = {shared.list, static_cast<int>(size)};
    pick_from(listed, plan, state, state.target, row, shared, score, token);
    if (threadIdx.x < kWarpSize) {
      const Partial sure = merged_partials(space.partials, static_cast<int>(gridDim.x));
      keep_better(score, token, sure.score, sure.token);
    }
  }
  if (threadIdx.x == 0) finish_row(op, plan, token);
}

__global__ void __launch_bounds__(kNumThreads, 4)
    pick_kernel(const __grid_constant__ CudaSample op,
                const __grid_constant__ WorkspaceLayout layout) {
  __shared__ PickShared shared;
  let_next_start();
  wait_for_inputs();
  const int row = static_cast<int>(blockIdx.y);
  const RowSpace space = layout.row(op.workspace, row);
  const RowState state = *space.state;
  if (state.stage == Stage::kFinished) return;
  const RowPlan plan = plan_of(op, row);
  const LogitView view(op, row);
  const GumbelRow gumbel_row(op, plan);
  if (state.stage == Stage::kWhole) {
    if (blockIdx.x == 0) finish_pick(op, plan, state, view, space, gumbel_row, shared);
    return;
  }
  if (threadIdx.x == 0) {
    shared.list_size = 0;
    shared.list_begin = 0;
  }
  __syncthreads();
  GumbelSearch search(gumbel_row, state.maximum);
  pick_from_tiles(op, plan, state, view, space, search, shared);
  append_list(space, shared);
  Partial partial{};
  search.pick(shared.gumbel, partial.score, partial.token);
  if (threadIdx.x == 0) {
    space.partials[blockIdx.x].score = partial.score;
    space.partials[blockIdx.x].token = partial.token;
  }
  if (!is_last_block(space.ticket, static_cast<int>(gridDim.x))) return;
  finish_pick(op, plan, state, view, space, gumbel_row, shared);
}

// ---- log-probabilities ----

struct LogprobShared {
  std::uint64_t list[kMaxListed];
  std::uint64_t kept[kMaxTopLogprobs];
  std::uint64_t top[kMaxTopLogprobs];  // the same in order
  SelectShared select;
  float log_sum;
  int list_size;
  int num_top;
};

// Log of the row's sum of exponentials. By one warp.
__device__ float log_sum_of(const Partial* partials, int num_partials) {
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

// Lists the tokens of at least `logit`, leaving out banned ones; the size grows beyond the list.
__device__ void list_from(float logit, const LogitView& view, const RowSpace& space,
                          LogprobShared& shared) {
  const int num_chunks = divide_up(view.vocab_size, kTokensPerChunk);
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  for (int base = warp * kWarpSize; base < num_chunks; base += kNumThreads) {
    const int own = base + lane;
    const bool is_wanted = own < num_chunks && space.chunk_maxima[own] >= logit;
    for (unsigned wanted = __ballot_sync(0xffffffffu, is_wanted); wanted != 0;
         wanted &= wanted - 1) {
      const int token = (base + __ffs(static_cast<int>(wanted)) - 1) * kTokensPerChunk + 4 * lane;
      for_quad(view.load(token), token, [&](float value, int t) {
        if (!(value >= logit) || value == -INFINITY) return;
        const int i = atomicAdd(&shared.list_size, 1);
        if (i < kMaxListed) shared.list[i] = rank_of(value, t);
      });
    }
  }
  __syncthreads();
}

// Puts the `count` first of the source, by rank, into shared.top in order.
template <class Source>
__device__ void order_top(const Source& source, int count, LogprobShared& shared) {
  const std::uint64_t floor = find_cut(source, 0, CountOne{}, count, shared.select);
  source.for_each([&](std::uint64_t rank) {
    if (rank < floor || logit_of_rank(rank) == -INFINITY) return;
    shared.kept[atomicAdd(&shared.num_top, 1)] = rank;
  });
  __syncthreads();
  const int size = shared.num_top;
  if (static_cast<int>(threadIdx.x) >= size) return;
  const std::uint64_t own = shared.kept[threadIdx.x];
  int place = 0;
  for (int i = 0; i < size; ++i) place += shared.kept[i] > own ? 1 : 0;
  shared.top[place] = own;
}

__global__ void __launch_bounds__(kNumThreads)
    logprob_kernel(const __grid_constant__ CudaSample op,
                   const __grid_constant__ WorkspaceLayout layout, int num_partials) {
  __shared__ LogprobShared shared;
  let_next_start();
  wait_for_inputs();
  const int row = static_cast<int>(blockIdx.x);
  const int sequence = op.row_sequences[row];
  if (sequence < 0 || op.num_top_logprobs[sequence] < 0) return;
  const int count = min(min(op.num_top_logprobs[sequence], kMaxTopLogprobs), op.vocab_size);
  const int token = op.sampled_token_ids[sequence];
  const LogitView view(op, row);
  const RowSpace space = layout.row(op.workspace, row);
  if (threadIdx.x == 0) shared.list_size = shared.num_top = 0;
  if (threadIdx.x < kWarpSize) {
    const float log_sum = log_sum_of(space.partials, num_partials);
    if (threadIdx.x == 0) {
      shared.log_sum = log_sum;
      op.sampled_logprobs[sequence] = token < 0 ? NAN : view.logits[token] - log_sum;
    }
  }
  __syncthreads();
  if (token >= 0 && count > 0) {
    float least = -INFINITY;
    if (op.vocab_size > kMaxListed) {
      const ChunkRanks chunks = {space.chunk_maxima, divide_up(op.vocab_size, kTokensPerChunk)};
      const std::uint64_t key = find_cut(chunks, 0, CountOne{}, count, shared.select);
      least = logit_of(static_cast<std::uint32_t>(key));
    }
    list_from(least, view, space, shared);
    if (shared.list_size > kMaxListed) {
      order_top(RowRanks{view}, count, shared);
    } else {
      order_top(ListedRanks{shared.list, shared.list_size}, count, shared);
    }
    __syncthreads();
  }
  for (int i = static_cast<int>(threadIdx.x); i < kMaxTopLogprobs; i += kNumThreads) {
    const bool is_there = i < shared.num_top;
    const std::int64_t at = static_cast<std::int64_t>(sequence) * kMaxTopLogprobs + i;
    op.top_token_ids[at] = is_there ? token_of_rank(shared.top[i]) : -1;
    op.top_logprobs[at] = is_there ? logit_of_rank(shared.top[i]) - shared.log_sum : NAN;
  }
}

// ---- launches ----

// Blocks that share a row: all tiles at once for few rows; for many, what fills the device twice.
int num_groups_of(int num_rows, int num_tiles) {
  constexpr int kBlocksPerMultiprocessor = 8;
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
