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

// All blocks of a launch fit on the device at once if there are no more rows than this times its
// multiprocessors.
constexpr int kBlocksPerMultiprocessor = 4;

// ---- scan: edits ----

__device__ __forceinline__ bool has_edits(const RowPlan& plan) {
  return plan.has_penalties || plan.mask_row >= 0 || plan.bias_begin < plan.bias_end;
}

struct Penalties {
  float repetition;
  float frequency;
  float presence;

  __device__ float applied(float logit, unsigned count) const {
    logit = logit > 0 ? __fdiv_rn(logit, repetition) : __fmul_rn(logit, repetition);
    if (count == 0) return logit;
    const float minus_frequency = __fsub_rn(logit, __fmul_rn(frequency, static_cast<float>(count)));
    return __fsub_rn(minus_frequency, presence);
  }
};

// Counts of four tokens.
__device__ ushort4 load_counts(const std::uint16_t* counts, int token, int vocab_size) {
  if (token + 4 <= vocab_size && reinterpret_cast<std::uintptr_t>(counts + token) % 8 == 0) {
    return *reinterpret_cast<const ushort4*>(counts + token);
  }
  const auto at = [&](int i) { return i < vocab_size ? counts[i] : std::uint16_t{0}; };
  return make_ushort4(at(token), at(token + 1), at(token + 2), at(token + 3));
}

__device__ void apply_penalties(const CudaSample& op, const RowPlan& plan, const LogitView& view,
                                int tile) {
  const std::int64_t slot = op.sampler_slots[plan.sequence];
  const Penalties penalties = {op.repetition_penalties[plan.sequence],
                               op.frequency_penalties[plan.sequence],
                               op.presence_penalties[plan.sequence]};
  const std::uint16_t* const counts = op.output_counts + slot * op.vocab_size;
  const std::uint32_t* const bits = op.prompt_bits + slot * divide_up(op.vocab_size, 32);
#pragma unroll
  for (int j = 0; j < kQuadsPerThread; ++j) {
    const int token = first_token_of(tile, j);
    if (token >= op.vocab_size) break;
    const ushort4 count = load_counts(counts, token, op.vocab_size);
    const std::uint32_t in_prompt = bits[token / 32] >> token % 32;
    const auto apply = [&](int i, unsigned times) {
      if (times == 0 && (in_prompt >> i & 1u) == 0) return;
      if (token + i >= op.vocab_size) return;  // the bits' last word may hold anything there
      view.logits[token + i] = penalties.applied(view.logits[token + i], times);
    };
    apply(0, count.x);
    apply(1, count.y);
    apply(2, count.z);
    apply(3, count.w);
  }
}

__device__ void apply_mask(const CudaSample& op, const RowPlan& plan, const LogitView& view,
                           int tile) {
  const std::uint32_t* const mask =
      op.token_masks + plan.mask_row * static_cast<std::int64_t>(divide_up(op.vocab_size, 32));
#pragma unroll
  for (int j = 0; j < kQuadsPerThread; ++j) {
    const int token = first_token_of(tile, j);
    if (token >= op.vocab_size) break;
    const std::uint32_t allowed = mask[token / 32] >> token % 32;
    float4 quad = view.load(token);
    // Adding keeps a NaN visible.
    if ((allowed & 1u) == 0) quad.x += -INFINITY;
    if ((allowed & 2u) == 0) quad.y += -INFINITY;
    if ((allowed & 4u) == 0) quad.z += -INFINITY;
    if ((allowed & 8u) == 0) quad.w += -INFINITY;
    if ((~allowed & 15u) != 0) view.store(token, quad);
  }
}

// The sparse adjustments of the tokens in this block's tiles. The thread of a token's first
// adjustment applies all of that token's, in order. Returns true if any id is outside the row.
__device__ bool apply_adjustments(const CudaSample& op, const RowPlan& plan,
                                  const LogitView& view) {
  const auto is_first = [&](int i) {
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
    const unsigned tile = static_cast<unsigned>(token) / kTokensPerTile;
    if (tile % gridDim.x != blockIdx.x || !is_first(i)) continue;
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
__device__ __noinline__ bool edit_tiles(const CudaSample& op, int row) {
  const RowPlan plan = plan_of(op, row);
  const LogitView view(op, row);
  const int num_tiles = divide_up(op.vocab_size, kTokensPerTile);
  for (int tile = static_cast<int>(blockIdx.x); tile < num_tiles;
       tile += static_cast<int>(gridDim.x)) {
    if (plan.has_penalties) apply_penalties(op, plan, view, tile);
    if (plan.mask_row >= 0) apply_mask(op, plan, view, tile);
  }
  __syncthreads();
  if (plan.bias_begin == plan.bias_end) return false;
  const bool is_bad = apply_adjustments(op, plan, view);
  __syncthreads();
  return is_bad;
}

// ---- scan ----

// A thread's largest logit and its lowest token, and what else is gathered on the way.
struct ScanResult {
  float largest = -INFINITY;
  int token = -1;
  bool is_bad = false;
  float lowest = INFINITY;

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
};

// Of this thread's tokens. Reads the block's tiles once more: few rows want log-probabilities, and
// the others should not pay for them in registers.
__device__ __noinline__ Exponentials sum_exponentials(const CudaSample& op, int row,
                                                      float* chunk_maxima) {
  const LogitView view(op, row);
  const int num_tiles = divide_up(op.vocab_size, kTokensPerTile);
  Exponentials all{-INFINITY, 0};
  for (int tile = static_cast<int>(blockIdx.x); tile < num_tiles;
       tile += static_cast<int>(gridDim.x)) {
    const Tile values = load_tile(view, tile);
    store_chunk_maxima(chunk_maxima, values, tile);
    float maximum = -INFINITY;
#pragma unroll
    for (int j = 0; j < kQuadsPerThread; ++j) maximum = fmaxf(maximum, largest_of(values.quads[j]));
    if (maximum == -INFINITY) continue;
    float sum = 0;
#pragma unroll
    for (int j = 0; j < kQuadsPerThread; ++j) {
      for_quad(values.quads[j], 0, [&](float value, int) { sum += __expf(value - maximum); });
    }
    all.add(maximum, sum);
  }
  return all;
}

struct ScanShared {
  RowPlan plan;  // for the end, so that it need not be kept in registers
  PickShared pick;
  double scores[kNumWarps];
  int tokens[kNumWarps];
  float lowest[kNumWarps];
  Exponentials exponentials[kNumWarps];
};

// What the block found, in its first thread.
__device__ Partial merge_block(const ScanResult& result, ScanShared& shared) {
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  float largest = result.largest;
  int token = result.token;
  float lowest = result.lowest;
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
    const float other = __shfl_xor_sync(0xffffffffu, largest, offset);
    const int other_token = __shfl_xor_sync(0xffffffffu, token, offset);
    if (other > largest ||
        (other == largest && static_cast<unsigned>(other_token) < static_cast<unsigned>(token))) {
      largest = other;
      token = other_token;
    }
    lowest = fminf(lowest, __shfl_xor_sync(0xffffffffu, lowest, offset));
  }
  if (threadIdx.x % kWarpSize == 0) {
    shared.scores[warp] = largest;
    shared.tokens[warp] = token;
    shared.lowest[warp] = lowest;
  }
  const bool is_bad = __syncthreads_or(result.is_bad) != 0;
  Partial all{-INFINITY, -1, is_bad, 0, INFINITY, -INFINITY, 0};
  if (threadIdx.x != 0) return all;
#pragma unroll
  for (int i = 0; i < kNumWarps; ++i) {
    keep_better(all.score, all.token, shared.scores[i], shared.tokens[i]);
    all.lowest = fminf(all.lowest, shared.lowest[i]);
  }
  return all;
}

// The block's sum, in its first thread.
__device__ __noinline__ Exponentials merge_exponentials(Exponentials own, ScanShared& shared) {
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
    own.add(__shfl_xor_sync(0xffffffffu, own.maximum, offset),
            __shfl_xor_sync(0xffffffffu, own.sum, offset));
  }
  if (threadIdx.x % kWarpSize == 0) shared.exponentials[threadIdx.x / kWarpSize] = own;
  __syncthreads();
  Exponentials all{-INFINITY, 0};
  for (int i = 0; threadIdx.x == 0 && i < kNumWarps; ++i) {
    all.add(shared.exponentials[i].maximum, shared.exponentials[i].sum);
  }
  return all;
}

// By one warp of the last block of a row.
__device__ void finish_scan(const CudaSample& op, const RowPlan& plan, const LogitView& view,
                            const RowSpace& space) {
  const Partial all = merged_partials(space.partials, static_cast<int>(gridDim.x));
  if (threadIdx.x != 0) return;
  const bool is_sound = all.is_bad == 0 && all.token >= 0;
  const bool is_filtered = plan.kind == RowKind::kFiltered;
  if (!is_sound || (!is_filtered && all.is_close == 0)) {
    space.state->stage = Stage::kFinished;
    finish_row(op, plan, is_sound ? all.token : -1);
    return;
  }
  RowState state{};
  state.stage = is_filtered ? Stage::kScanned : Stage::kWhole;
  state.maximum = is_filtered ? static_cast<float>(all.score) : view.logits[all.token];
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
  if (threadIdx.x == 0) shared.plan = plan;
  ScanResult result;
  if (has_edits(plan)) {
    result.is_bad = edit_tiles(op, row);
    values = load_tile(view, group);
  }
  Partial partial;
  // A loop for each kind of row: what one of them keeps in registers, the others do not pay for.
  if (plan.kind == RowKind::kNoFilter) {
    GumbelSearch search(plan, -INFINITY);
    for (int tile = group; tile < num_tiles; tile += num_groups) {
      if (tile != group) values = load_tile(view, tile);
      result.look_for_bad(values);
      search.consider(values, tile);
    }
    __syncthreads();
    const Pick pick = search.pick(shared.plan.temperature, shared.pick);
    partial = merge_block(result, shared);
    partial.score = pick.score;
    partial.token = pick.token;
    partial.is_close = pick.is_close;
  } else {
    const bool is_filtered = plan.kind == RowKind::kFiltered;
    for (int tile = group; tile < num_tiles; tile += num_groups) {
      if (tile != group) values = load_tile(view, tile);
      result.look_for_bad(values);
      result.look_for_largest(values, tile);
      if (!is_filtered) continue;
      result.look_for_lowest(values);
      store_chunk_maxima(space.chunk_maxima, values, tile);
    }
    partial = merge_block(result, shared);
  }
  if (shared.plan.wants_logprobs) {
    const Exponentials all =
        merge_exponentials(sum_exponentials(op, row, space.chunk_maxima), shared);
    partial.exp_maximum = all.maximum;
    partial.exp_sum = all.sum;
  }
  if (threadIdx.x == 0) space.partials[group] = partial;
  if (is_last_block(space.ticket, num_groups) && threadIdx.x < kWarpSize) {
    finish_scan(op, shared.plan, view, space);
  }
}

// ---- cut ----

__device__ __forceinline__ float distance_of(float logit, const RowState& state) {
  return __fmul_rn(__fsub_rn(state.maximum, logit), state.scale);
}

// Distances are bins; as narrow as the row allows: up to the lowest logit, or to where masses round
// to zero.
__device__ float bin_scale(const RowState& state) {
  constexpr float kLeastExponent = 32;
  const float for_mass = kNumBins / kLeastExponent * state.plan.inverse_temperature;
  const float for_row = (kNumBins - 1) / (state.maximum - state.lowest);
  const float scale = fmaxf(for_mass, for_row);
  return scale <= 1e30f ? scale : 1e30f;  // also when all logits are equal
}

// Adds the masses of this block's tiles to the row's histogram.
__device__ void add_masses(const RowState& state, const LogitView& view, WideSums<kNumBins>& sums,
                           const RowSpace& space) {
  const int num_tiles = divide_up(view.vocab_size, kTokensPerTile);
  sums.clear();
  __syncthreads();
  for (int tile = static_cast<int>(blockIdx.x); tile < num_tiles;
       tile += static_cast<int>(gridDim.x)) {
    const Tile values = load_tile(view, tile);
#pragma unroll
    for (int j = 0; j < kQuadsPerThread; ++j) {
      for_quad(values.quads[j], 0, [&](float logit, int) {
        const std::uint64_t mass =
            mass_of(exponent_of(logit, state.maximum, state.plan.inverse_temperature));
        if (mass == 0) return;
        sums.add(static_cast<int>(fminf(distance_of(logit, state), kNumBins - 1)), mass);
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

// Where min-p is certain to keep a token, and where it is certain to drop it.
__device__ void bound_min_p(RowState& state) {
  const float min_p = state.plan.min_p;
  state.min_p_sure_below = INFINITY;
  if (!(min_p > 0)) return;
  const float exponent = -logf(min_p);
  const float unit = state.plan.temperature * state.scale;
  state.min_p_sure_below = (exponent * 0.9999f - 1e-4f) * unit;
  const float dropped_from = (exponent * 1.0001f + 1e-4f) * unit;
  // What is kept for sure so far is all that min-p can keep. (Not where weights lose digits.)
  if (min_p > 1e-30f && dropped_from <= state.sure_below) {
    state.sure_below = state.listed_below = dropped_from;
  }
}

// Leaves the bounds to the next kernel. By one thread.
__device__ void store_cut(RowState& state, const RowSpace& space) {
  state.stage = Stage::kCut;
  bound_min_p(state);
  *space.state = state;
}

// By the last block of a row: finds the bin where top-p's target is reached and clears the
// histogram.
__device__ void cut_histogram(RowState& state, const RowSpace& space,
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
  for (int warp = 0; warp < kNumWarps; ++warp) total += warp_sums[warp];
  std::uint64_t target = top_p_target(total, state.plan.top_p);
  if (through < target || through - own >= target) return;
  target -= through - own;
#pragma unroll
  for (int i = 0; i < kBinsPerThread; ++i) {
    if (sums[i] < target) {
      target -= sums[i];
      continue;
    }
    state.sure_below = static_cast<float>(first + i);
    // The last bin takes all that is farther away.
    state.listed_below = first + i == kNumBins - 1 ? INFINITY : static_cast<float>(first + i + 1);
    state.target = target;
    store_cut(state, space);
    return;
  }
}

// By one block of a row.
__device__ void cut_top_k(RowState& state, int vocab_size, const RowSpace& space,
                          SelectShared& shared) {
  const int num_chunks = divide_up(vocab_size, kTokensPerChunk);
  state.scale = 1;
  state.sure_below = 0;
  state.listed_below = INFINITY;
  if (vocab_size > kMaxListed) {
    if (state.plan.top_k > num_chunks) {
      if (threadIdx.x == 0) space.state->stage = Stage::kWhole;
      return;
    }
    // A few more than k are as good.
    constexpr int kTolerance = 16;
    const std::uint64_t key = find_cut(ChunkRanks{space.chunk_maxima, num_chunks}, 0, CountOne{},
                                       state.plan.top_k, shared, kTolerance);
    const float distance = distance_of(logit_of(static_cast<std::uint32_t>(key)), state);
    state.listed_below = nextafterf(distance, INFINITY);
  }
  if (threadIdx.x == 0) store_cut(state, space);
}

struct CutShared {
  union {
    WideSums<kNumBins> bins;
    SelectShared select;
  };
  std::uint64_t warp_sums[kNumWarps];
};

__global__ void __launch_bounds__(kNumThreads, kBlocksPerMultiprocessor)
    cut_kernel(const __grid_constant__ CudaSample op,
               const __grid_constant__ WorkspaceLayout layout) {
  __shared__ CutShared shared;
  let_next_start();
  wait_for_inputs();
  const int row = static_cast<int>(blockIdx.y);
  const RowSpace space = layout.row(op.workspace, row);
  if (space.state->stage != Stage::kScanned) return;
  RowState state = *space.state;
  if (state.plan.top_k > 0) {
    if (blockIdx.x == 0) cut_top_k(state, op.vocab_size, space, shared.select);
    return;
  }
  if (state.plan.top_p < 1) {
    state.scale = bin_scale(state);
    add_masses(state, LogitView(op, row), shared.bins, space);
    if (!is_last_block(space.ticket, static_cast<int>(gridDim.x))) return;
    cut_histogram(state, space, shared.warp_sums);
    return;
  }
  // Min-p alone needs no other bounds.
  if (blockIdx.x != 0 || threadIdx.x != 0) return;
  state.scale = 1;
  state.sure_below = state.listed_below = INFINITY;
  store_cut(state, space);
}

// ---- pick ----

// Lists this long are put in order by comparing each with each.
constexpr int kMaxCompared = 2 * kNumThreads;

struct PickKernelShared {
  RowState state;
  std::uint64_t list[kMaxListed];
  std::uint64_t masses[kMaxCompared];
  PickShared pick;
  SelectShared select;
  int list_size;
  int list_begin;
};

__device__ __forceinline__ bool passes_min_p(const RowState& state, float logit) {
  if (distance_of(logit, state) < state.min_p_sure_below) return true;
  return weight_of(exponent_of(logit, state.maximum, state.plan.inverse_temperature)) >=
         state.plan.min_p;
}

// The exact best where scores in float are too close to that of `pick`.
template <class Source, class IsKept>
__device__ __noinline__ Pick exact_pick(Source source, const RowState& state, Pick pick,
                                        IsKept is_kept, PickShared& shared) {
  const RowNoise noise(state.plan);
  const GumbelSearch search(state.plan, state.maximum);
  double score = -INFINITY;
  int token = -1;
  source.for_each([&](std::uint64_t rank) {
    const float logit = logit_of_rank(rank);
    if (!is_kept(rank) || !passes_min_p(state, logit)) return;
    const int own = token_of_rank(rank);
    const std::uint32_t word = noise.word_of(own);
    if (!search.is_near(logit, word, state.plan.temperature, pick.score)) return;
    keep_better(score, token, exact_score(logit, state.plan.temperature, word), own);
  });
  __syncthreads();
  shared.scores[threadIdx.x] = score;
  shared.tokens[threadIdx.x] = token;
  __syncthreads();
  pick.token = -1;
  for (int i = 0; i < kNumThreads; ++i) {
    keep_better(pick.score, pick.token, shared.scores[i], shared.tokens[i]);
  }
  pick.is_close = false;
  return pick;
}

// The best of those of a source's tokens that is_kept(rank) names and min-p does not drop.
template <class Source, class IsKept>
__device__ Pick pick_kept(const Source& source, const RowState& state, const IsKept& is_kept,
                          PickShared& shared) {
  const RowNoise noise(state.plan);
  GumbelSearch search(state.plan, state.maximum);
  source.for_each([&](std::uint64_t rank) {
    const float logit = logit_of_rank(rank);
    if (!is_kept(rank) || !passes_min_p(state, logit)) return;
    const int token = token_of_rank(rank);
    search.consider(logit, token, noise.word_of(token));
  });
  const Pick pick = search.pick(state.plan.temperature, shared);
  return pick.is_close ? exact_pick(source, state, pick, is_kept, shared) : pick;
}

// The best of what top-k, top-p and min-p leave of a source. `target` of top-p, or 0: not known.
template <class Source>
__device__ Pick pick_from(const Source& source, const RowState& state, std::uint64_t target,
                          PickKernelShared& shared) {
  std::uint64_t floor = 0;
  if (state.plan.top_k > 0) {
    floor = find_cut(source, 0, CountOne{}, state.plan.top_k, shared.select);
  }
  if (state.plan.top_p < 1) {
    const MassOf mass_of_rank = {state.maximum, state.plan.inverse_temperature};
    if (target == 0) {
      std::uint64_t mass = 0;
      source.for_each([&](std::uint64_t rank) {
        if (rank >= floor) mass += mass_of_rank(rank);
      });
      target = top_p_target(block_sum(mass, shared.select.warp_sums), state.plan.top_p);
    }
    floor = find_cut(source, floor, mass_of_rank, target, shared.select);
  }
  return pick_kept(
      source, state, [=](std::uint64_t rank) { return rank >= floor; }, shared.pick);
}

// The same for a list of at most kMaxCompared: each thread counts what comes before its two.
__device__ Pick pick_from_few(const ListedRanks& listed, const RowState& state,
                              PickKernelShared& shared) {
  const MassOf mass_of_rank = {state.maximum, state.plan.inverse_temperature};
  const int i0 = static_cast<int>(threadIdx.x);
  const int i1 = i0 + kNumThreads;
  const bool has_two = listed.size > kNumThreads;
  if (i0 < listed.size) shared.masses[i0] = mass_of_rank(listed.ranks[i0]);
  if (i1 < listed.size) shared.masses[i1] = mass_of_rank(listed.ranks[i1]);
  __syncthreads();
  const std::uint64_t rank0 = i0 < listed.size ? listed.ranks[i0] : 0;
  const std::uint64_t rank1 = i1 < listed.size ? listed.ranks[i1] : 0;
  int before0 = 0, before1 = 0;
  std::uint64_t mass0 = 0, mass1 = 0;
  for (int i = 0; i < listed.size; ++i) {
    const std::uint64_t rank = listed.ranks[i];
    const std::uint64_t mass = shared.masses[i];
    if (rank > rank0) {
      ++before0;
      mass0 += mass;
    }
    if (has_two && rank > rank1) {
      ++before1;
      mass1 += mass;
    }
  }
  const int top_k = state.plan.top_k > 0 ? state.plan.top_k : listed.size;
  bool keeps0 = i0 < listed.size && before0 < top_k;
  bool keeps1 = i1 < listed.size && before1 < top_k;
  if (state.plan.top_p < 1) {
    std::uint64_t target = state.target;
    if (target == 0) {
      const std::uint64_t own = (keeps0 ? shared.masses[i0] : 0) + (keeps1 ? shared.masses[i1] : 0);
      target = top_p_target(block_sum(own, shared.select.warp_sums), state.plan.top_p);
    }
    keeps0 = keeps0 && mass0 < target;
    keeps1 = keeps1 && mass1 < target;
  }
  return pick_kept(
      listed, state,
      [=](std::uint64_t rank) { return (keeps0 && rank == rank0) || (keeps1 && rank == rank1); },
      shared.pick);
}

// One block's tiles: the best of what is surely kept, and a list of what may be.
__device__ Pick pick_from_tiles(const RowState& state, const LogitView& view, const RowSpace& space,
                                PickKernelShared& shared) {
  const int num_tiles = divide_up(view.vocab_size, kTokensPerTile);
  GumbelSearch search(state.plan, state.maximum);
  for (int tile = static_cast<int>(blockIdx.x); tile < num_tiles;
       tile += static_cast<int>(gridDim.x)) {
    Tile values;
    bool is_wanted[kQuadsPerThread];
#pragma unroll
    for (int j = 0; j < kQuadsPerThread; ++j) {
      is_wanted[j] = distance_of(space.chunk_maxima[chunk_of(tile, j)], state) < state.listed_below;
    }
#pragma unroll
    for (int j = 0; j < kQuadsPerThread; ++j) {
      values.quads[j] = make_float4(-INFINITY, -INFINITY, -INFINITY, -INFINITY);
      if (is_wanted[j]) values.quads[j] = view.load(first_token_of(tile, j));
    }
    const auto sort_out = [&](float& logit, int token) {
      const float distance = distance_of(logit, state);
      if (distance < state.sure_below) {
        if (distance < state.min_p_sure_below || passes_min_p(state, logit)) return;
      } else if (distance < state.listed_below) {
        const int i = atomicAdd(&shared.list_size, 1);
        if (i < kMaxListed) shared.list[i] = rank_of(logit, token);
      }
      logit = -INFINITY;
    };
#pragma unroll
    for (int j = 0; j < kQuadsPerThread; ++j) {
      if (!is_wanted[j]) continue;
      const int first = first_token_of(tile, j);
      sort_out(values.quads[j].x, first);
      sort_out(values.quads[j].y, first + 1);
      sort_out(values.quads[j].z, first + 2);
      sort_out(values.quads[j].w, first + 3);
    }
    search.consider(values, tile);
  }
  return search.pick(state.plan.temperature, shared.pick);
}

// Appends the block's list to the row's, whose size grows beyond what there is room for, too.
__device__ void append_list(const RowSpace& space, PickKernelShared& shared) {
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

// By the last block of a row.
__device__ Pick pick_from_list(const RowState& state, const RowSpace& space, int size,
                               PickKernelShared& shared) {
  for (int i = static_cast<int>(threadIdx.x); i < size; i += kNumThreads) {
    shared.list[i] = __ldcg(reinterpret_cast<unsigned long long*>(&space.list[i]));
  }
  __syncthreads();
  const ListedRanks listed = {shared.list, size};
  Pick pick = size <= kMaxCompared ? pick_from_few(listed, state, shared)
                                   : pick_from(listed, state, state.target, shared);
  const Partial sure = merged_partials(space.partials, static_cast<int>(gridDim.x));
  keep_better(pick.score, pick.token, sure.score, sure.token);
  pick.is_close = sure.is_close != 0;
  return pick;
}

__global__ void __launch_bounds__(kNumThreads, kBlocksPerMultiprocessor)
    pick_kernel(const __grid_constant__ CudaSample op,
                const __grid_constant__ WorkspaceLayout layout) {
  __shared__ PickKernelShared shared;
  let_next_start();
  wait_for_inputs();
  const int row = static_cast<int>(blockIdx.y);
  const RowSpace space = layout.row(op.workspace, row);
  if (space.state->stage == Stage::kFinished) return;
  const RowState& state = shared.state;
  constexpr int kWordsOfState = sizeof(RowState) / sizeof(std::uint32_t);
  if (threadIdx.x < kWordsOfState) {
    reinterpret_cast<std::uint32_t*>(&shared.state)[threadIdx.x] =
        reinterpret_cast<const std::uint32_t*>(space.state)[threadIdx.x];
  }
  if (threadIdx.x == 0) shared.list_size = 0;
  __syncthreads();
  const LogitView view(op, row);
  bool needs_whole = state.stage == Stage::kWhole;
  if (needs_whole && blockIdx.x != 0) return;
  Pick pick;
  if (!needs_whole) {
    pick = pick_from_tiles(state, view, space, shared);
    append_list(space, shared);
    if (threadIdx.x == 0) {
      Partial& partial = space.partials[blockIdx.x];
      partial.score = pick.score;
      partial.token = pick.token;
      partial.is_close = pick.is_close;
    }
    if (!is_last_block(space.ticket, static_cast<int>(gridDim.x))) return;
    const std::uint32_t size = __ldcg(space.num_listed);
    __syncthreads();
    if (threadIdx.x == 0) *space.num_listed = 0;
    needs_whole = size > kMaxListed;
    if (!needs_whole) {
      pick = pick_from_list(state, space, static_cast<int>(size), shared);
      needs_whole = pick.is_close;
    }
  }
  if (needs_whole) pick = pick_from(RowRanks{view}, state, 0, shared);
  if (threadIdx.x == 0) finish_row(op, state.plan, pick.token);
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
