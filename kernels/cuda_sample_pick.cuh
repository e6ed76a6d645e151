// The pick of a row with filters, once it is known where the kept prefix ends up to a few tokens:
// those are put in order and the exact end is found.
#pragma once

#include "kernels/cuda_sample_gumbel.cuh"
#include "kernels/cuda_sample_select.cuh"

namespace kernels {
namespace cuda_sample_detail {

// Lists this long are put in order by comparing each with each.
inline constexpr int kMaxCompared = 128;
// Chunks whose tokens one block looks at by itself.
inline constexpr int kMaxGathered = 256;

struct PickShared {
  RowState state;
  union {
    WideSums<kNumBins> bins;
    std::uint64_t list[kMaxListed];
  };
  std::uint64_t masses[kMaxCompared];
  int chunks[kMaxGathered];
  Best bests[kNumWarps];
  Best best;
  int list_size;
  int list_begin;
  int num_chunks;
  SelectShared select;
};

// Copies the state of a row that is not finished into shared memory. All threads of the block
// together. Returns its stage.
__device__ __forceinline__ Stage load_state(const RowSpace& space, PickShared& shared) {
  constexpr int kNumWords = sizeof(RowState) / sizeof(std::uint32_t);
  static_assert(kNumWords <= kNumThreads, "a thread copies one word");
  const Stage stage = space.state->stage;
  std::uint32_t word = 0;
  if (threadIdx.x < kNumWords) {
    word = reinterpret_cast<const std::uint32_t*>(space.state)[threadIdx.x];
  }
  if (stage == Stage::kFinished) return stage;
  if (threadIdx.x < kNumWords) {
    reinterpret_cast<std::uint32_t*>(&shared.state)[threadIdx.x] = word;
  }
  if (threadIdx.x == 0) shared.list_size = shared.num_chunks = 0;
  __syncthreads();
  return stage;
}

__device__ __forceinline__ float distance_of(float logit, const RowState& state) {
  return __fmul_rn(__fsub_rn(state.maximum, logit), state.scale);
}

__device__ __forceinline__ bool passes_min_p(const RowState& state, float logit) {
  if (distance_of(logit, state) < state.min_p_sure_below) return true;
  return weight_of(exponent_of(logit, state.maximum, state.plan.inverse_temperature)) >=
         state.plan.min_p;
}

// Lists the tokens for whose logits is_wanted(logit) holds, which must hold for all larger logits
// as well. Returns how many, or -1 if they are too many or too scattered for one block; then
// shared.list_size is 0 again.
template <class IsWanted>
__device__ int gather(const LogitView& view, const float* chunk_maxima, IsWanted is_wanted,
                      PickShared& shared) {
  constexpr int kChunksAtOnce = 4;
  const int num_chunks = divide_up(view.vocab_size, kTokensPerChunk);
  for (int i = static_cast<int>(threadIdx.x); i < num_chunks; i += kNumThreads) {
    if (!is_wanted(chunk_maxima[i])) continue;
    const int at = atomicAdd(&shared.num_chunks, 1);
    if (at < kMaxGathered) shared.chunks[at] = i;
  }
  __syncthreads();
  const int num_wanted = shared.num_chunks;
  if (num_wanted > kMaxGathered) return -1;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  for (int first = warp; first < num_wanted; first += kNumWarps * kChunksAtOnce) {
    float4 quads[kChunksAtOnce];
#pragma unroll
    for (int j = 0; j < kChunksAtOnce; ++j) {
      const int i = first + j * kNumWarps;
      quads[j] = i < num_wanted ? view.load(shared.chunks[i] * kTokensPerChunk + 4 * lane)
                                : make_float4(-INFINITY, -INFINITY, -INFINITY, -INFINITY);
    }
#pragma unroll
    for (int j = 0; j < kChunksAtOnce; ++j) {
      if (!is_wanted(largest_of(quads[j]))) continue;
      const int token = shared.chunks[first + j * kNumWarps] * kTokensPerChunk + 4 * lane;
      for_quad(quads[j], token, [&](float logit, int i) {
        if (!is_wanted(logit)) return;
        const int at = atomicAdd(&shared.list_size, 1);
        if (at < kMaxListed) shared.list[at] = rank_of(logit, i);
      });
    }
  }
  __syncthreads();
  const int size = shared.list_size;
  if (size <= kMaxListed) return size;
  __syncthreads();
  if (threadIdx.x == 0) shared.list_size = 0;
  return -1;
}

// The best of those of a source's tokens that is_kept(rank) names and min-p does not drop. Right in
// the first warp.
template <class Source, class IsKept>
__device__ Best best_kept(const Source& source, const RowState& state, IsKept is_kept,
                          PickShared& shared) {
  const RowNoise noise(state.plan);
  GumbelSearch search(state.plan, state.maximum);
  source.for_each([&](std::uint64_t rank) {
    const float logit = logit_of_rank(rank);
    if (!is_kept(rank) || !passes_min_p(state, logit)) return;
    const int token = token_of_rank(rank);
    search.consider(logit, token, noise.word_of(token));
  });
  return merged_block(search.best(state.plan.temperature), shared.bests);
}

// Where top-k and top-p cut a source off: the last rank that stays. `target` is top-p's mass, or 0:
// not known.
template <class Source>
__device__ std::uint64_t find_floor(const Source& source, const RowState& state,
                                    std::uint64_t target, SelectShared& shared) {
  std::uint64_t floor = 0;
  if (state.plan.top_k > 0) floor = find_cut(source, 0, CountOne{}, state.plan.top_k, shared);
  if (state.plan.top_p < 1) {
    const MassOf mass_of_rank = {state.maximum, state.plan.inverse_temperature};
    if (target == 0) {
      std::uint64_t mass = 0;
      source.for_each([&](std::uint64_t rank) {
        if (rank >= floor) mass += mass_of_rank(rank);
      });
      target = top_p_target(block_sum(mass, shared.warp_sums), state.plan.top_p);
    }
    floor = find_cut(source, floor, mass_of_rank, target, shared);
  }
  return floor;
}

// The same, then the pick, for at most kMaxCompared tokens: a thread counts what comes before its
// own one.
__device__ inline Best best_of_few(const ListedRanks& listed, const RowState& state,
                                   std::uint64_t target, PickShared& shared) {
  const int own = static_cast<int>(threadIdx.x);
  const bool is_there = own < listed.size;
  const std::uint64_t own_rank = is_there ? listed.ranks[own] : ~std::uint64_t{0};
  const MassOf mass_of_rank = {state.maximum, state.plan.inverse_temperature};
  std::uint64_t own_mass = 0;
  if (is_there) own_mass = shared.masses[own] = mass_of_rank(own_rank);
  __syncthreads();
  int num_before = 0;
  std::uint64_t mass_before = 0;
  const int num_compared = is_there ? listed.size : 0;
#pragma unroll 8
  for (int i = 0; i < num_compared; ++i) {
    const bool is_before = listed.ranks[i] > own_rank;
    num_before += is_before ? 1 : 0;
    mass_before += is_before ? shared.masses[i] : 0;
  }
  bool is_kept = is_there && (state.plan.top_k == 0 || num_before < state.plan.top_k);
  if (state.plan.top_p < 1) {
    if (target == 0) {
      const std::uint64_t total = block_sum(is_kept ? own_mass : 0, shared.select.warp_sums);
      target = top_p_target(total, state.plan.top_p);
    }
    is_kept = is_kept && mass_before < target;
  }
  return best_kept(
      listed, state, [=](std::uint64_t) { return is_kept; }, shared);
}

// The pick from a list that holds all that is kept, or all but what is kept for sure and counted in
// `target` already. Right in the first warp.
__device__ inline Best best_listed(int size, const RowState& state, std::uint64_t target,
                                   PickShared& shared) {
  const ListedRanks listed = {shared.list, size};
  if (size <= kMaxCompared) return best_of_few(listed, state, target, shared);
  const std::uint64_t floor = find_floor(listed, state, target, shared.select);
  return best_kept(
      listed, state, [=](std::uint64_t rank) { return rank >= floor; }, shared);
}

// Spreads the first warp's result over the block and says whether it is certain.
__device__ inline bool is_certain(Best& best, PickShared& shared) {
  if (threadIdx.x == 0) shared.best = best;
  __syncthreads();
  best = shared.best;
  return !(best.second >= best.score - score_margin(best.score)) || best.token < 0;
}

// The exact pick of a whole row by one block. Slow and seldom needed.
__device__ __noinline__ int pick_from_row(const LogitView& view, const RowState& state,
                                          PickShared& shared) {
  const RowRanks all = {view};
  const std::uint64_t floor = find_floor(all, state, 0, shared.select);
  Best best = best_kept(
      all, state, [=](std::uint64_t rank) { return rank >= floor; }, shared);
  if (is_certain(best, shared)) return best.token;

  const RowNoise noise(state.plan);
  const GumbelSearch search(state.plan, state.maximum);
  const float temperature = state.plan.temperature;
  Best exact = Best::none();
  all.for_each([&](std::uint64_t rank) {
    const float logit = logit_of_rank(rank);
    if (rank < floor || !passes_min_p(state, logit)) return;
    const int token = token_of_rank(rank);
    const std::uint32_t word = noise.word_of(token);
    if (!search.is_near(logit, word, temperature, best.score)) return;
    exact.merge({exact_score(logit, temperature, word), -INFINITY, token});
  });
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) exact.merge(exact.from_lane(offset));
  exact = merged_block(exact, shared.bests);
  return exact.token;
}

}  // namespace cuda_sample_detail
}  // namespace kernels
