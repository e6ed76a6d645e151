// What the kernels of cuda_sample.cu share: what a row asks for, its place in the workspace, and
// how the blocks that work on one row meet.
#pragma once

#include <cfloat>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kernels/cuda_sample.h"
#include "kernels/cuda_sample_math.cuh"
#include "kernels/cuda_sample_tile.cuh"
#include "kernels/host_device.h"
#include "kernels/philox.h"

namespace kernels {
namespace cuda_sample_detail {

// Tokens that one block can order in shared memory.
inline constexpr int kMaxListed = 4096;
inline constexpr int kNumBins = 2048;

// ---- what a row asks for ----

enum class RowKind { kSkipped, kUnsound, kGreedy, kNoFilter, kFiltered };

struct RowPlan {
  int sequence;
  RowKind kind;
  float temperature;
  float inverse_temperature;
  float top_p;
  float min_p;
  int top_k;  // 0 unless it drops a token
  bool has_penalties;
  bool wants_logprobs;
  int mask_row;  // -1: none
  int bias_begin;
  int bias_end;
  std::uint32_t position;
  std::uint32_t choice;
  PhiloxKey key;
};

__device__ __forceinline__ bool is_within(float x, float low, float high) {
  return x >= low && x <= high;  // false for NaN
}

__device__ inline RowPlan plan_of(const CudaSample& op, int row) {
  RowPlan plan{};
  const int s = op.row_sequences[row];
  plan.sequence = s;
  if (s < 0) return plan;
  plan.temperature = op.temperatures[s];
  plan.top_p = op.top_ps[s];
  plan.min_p = op.min_ps[s];
  plan.top_k = op.top_ks[s];
  const int choice = op.choices[s];
  plan.choice = static_cast<std::uint32_t>(choice);
  plan.position = static_cast<std::uint32_t>(op.context_lens[s]);
  plan.key = {op.seeds_low[s], op.seeds_high[s]};
  const float repetition = op.repetition_penalties[s];
  const float frequency = op.frequency_penalties[s];
  const float presence = op.presence_penalties[s];
  plan.mask_row = op.mask_rows == nullptr ? -1 : op.mask_rows[s];
  plan.wants_logprobs = op.num_top_logprobs != nullptr && op.num_top_logprobs[s] >= 0;
  if (op.bias_starts != nullptr) {
    plan.bias_begin = op.bias_starts[s];
    plan.bias_end = op.bias_starts[s + 1];
  }
  plan.inverse_temperature = 1.0f / plan.temperature;
  plan.has_penalties = repetition != 1 || frequency != 0 || presence != 0;
  if (plan.top_k >= op.vocab_size) plan.top_k = 0;

  const bool is_sound = is_within(plan.temperature, 0, 1e6f) && is_within(plan.top_p, 0, 1) &&
                        is_within(plan.min_p, 0, 1) && is_within(repetition, 1e-6f, 1e6f) &&
                        is_within(frequency, -1e6f, 1e6f) && is_within(presence, -1e6f, 1e6f) &&
                        plan.top_k >= 0 && choice >= 0;
  if (!is_sound) {
    plan.kind = RowKind::kUnsound;
  } else if (plan.temperature < 1e-30f) {  // its inverse would not be a float
    plan.kind = RowKind::kGreedy;
  } else if (plan.top_k > 0 || plan.top_p < 1 || plan.min_p > 0) {
    plan.kind = RowKind::kFiltered;
  } else {
    plan.kind = RowKind::kNoFilter;
  }
  return plan;
}

// ---- workspace ----

// The best token of some, and how near another one comes.
struct Best {
  double score;   // a logit where the largest is wanted, else logit / T + gumbel within 1e-5
  double second;  // of all others
  int token;      // the lowest on ties; -1: none

  __device__ static Best none() { return {-INFINITY, -INFINITY, -1}; }

  __device__ __forceinline__ void merge(const Best& other) {
    // -1 is the largest unsigned number.
    const bool is_worse =
        other.score < score ||
        (other.score == score && static_cast<unsigned>(other.token) > static_cast<unsigned>(token));
    second = fmax(fmax(second, other.second), is_worse ? other.score : score);
    if (is_worse) return;
    score = other.score;
    token = other.token;
  }

  __device__ __forceinline__ Best from_lane(int offset) const {
    return {__shfl_xor_sync(0xffffffffu, score, offset),
            __shfl_xor_sync(0xffffffffu, second, offset),
            __shfl_xor_sync(0xffffffffu, token, offset)};
  }
};

// What one block found in its tiles of a row.
struct alignas(16) Partial {
  Best best;
  std::uint32_t is_bad;
  float lowest;       // smallest finite logit
  float exp_maximum;  // for log-probabilities: sum of exp(logit - exp_maximum)
  float exp_sum;
};

enum class Stage : std::uint32_t {
  kFinished,  // nothing is left to do
  kScanned,   // the maximum is known
  kCut,       // what is kept is known as bounds of distances
  kWhole,     // one block must search the whole row
};

// What later kernels need to know of a row. Every call writes the stage anew, and the rest where
// there is a rest.
struct alignas(16) RowState {
  Stage stage;
  float maximum;
  float lowest;  // finite logit
  // Distances are (maximum - logit) * scale.
  float scale;
  float sure_below;         // nearer than this a token is kept unless min-p drops it
  float listed_below;       // from there to here it has to be compared with its neighbours
  float min_p_sure_below;   // nearer than this min-p does not drop it
  std::uint64_t target;     // mass that top-p keeps; 0: not known
  std::uint64_t sure_mass;  // of what is kept for sure
  RowPlan plan;
};

// One row's part of the workspace. Counters and histogram are zero between calls.
struct RowSpace {
  std::uint32_t* ticket;
  std::uint32_t* num_listed;
  RowState* state;
  Partial* partials;         // [tiles]
  float* chunk_maxima;       // [tiles * kChunksPerTile]
  std::uint64_t* histogram;  // [kNumBins]
  std::uint64_t* list;       // [kMaxListed]
};

struct WorkspaceLayout {
  std::size_t partials, chunk_maxima, histogram, list, row_bytes;

  static WorkspaceLayout of(int vocab_size) {
    const std::size_t num_tiles = divide_up(vocab_size, kTokensPerTile);
    WorkspaceLayout layout{};
    layout.partials = 16 + sizeof(RowState);
    layout.chunk_maxima = layout.partials + num_tiles * sizeof(Partial);
    layout.histogram = layout.chunk_maxima + num_tiles * kChunksPerTile * sizeof(float);
    layout.list = layout.histogram + kNumBins * sizeof(std::uint64_t);
    layout.row_bytes = layout.list + kMaxListed * sizeof(std::uint64_t);
    return layout;
  }

  __device__ RowSpace row(void* workspace, int row) const {
    std::byte* const bytes = static_cast<std::byte*>(workspace) + row * row_bytes;
    std::uint32_t* const counters = reinterpret_cast<std::uint32_t*>(bytes);
    return {counters,
            counters + 1,
            reinterpret_cast<RowState*>(bytes + 16),
            reinterpret_cast<Partial*>(bytes + partials),
            reinterpret_cast<float*>(bytes + chunk_maxima),
            reinterpret_cast<std::uint64_t*>(bytes + histogram),
            reinterpret_cast<std::uint64_t*>(bytes + list)};
  }
};

// ---- blocks of one row meet ----

// True in the block that calls this last; what the others wrote before is visible to it then. The
// ticket is zero again.
__device__ inline bool is_last_block(std::uint32_t* ticket) {
  __shared__ bool is_last;
  __syncthreads();
  if (gridDim.x == 1) return true;
  if (threadIdx.x == 0) {
    // Releases what the block wrote and acquires what the others did; cheaper than fences.
    std::uint32_t num_before;
    asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], 1;"
                 : "=r"(num_before)
                 : "l"(ticket)
                 : "memory");
    is_last = num_before + 1 == gridDim.x;
    if (is_last) *ticket = 0;
  }
  __syncthreads();
  return is_last;
}

// Merges what the warps of a block found: `own` need only be right in the first lane of each. The
// result is right in the first warp.
__device__ inline Best merged_block(Best own, Best (&bests)[kNumWarps]) {
  if (threadIdx.x % kWarpSize == 0) bests[threadIdx.x / kWarpSize] = own;
  __syncthreads();
  if (threadIdx.x >= kWarpSize) return own;
  own = bests[threadIdx.x % kNumWarps];
#pragma unroll
  for (int offset = kNumWarps / 2; offset > 0; offset /= 2) own.merge(own.from_lane(offset));
  return own;
}

// Everything that the blocks of a row found; the sums of exponentials are left out. By one warp.
__device__ inline Partial merged_partials(const Partial* partials, int num_partials) {
  Partial all{Best::none(), 0, INFINITY, 0, 0};
  // Two at a time, so that their loads overlap.
  for (int i = static_cast<int>(threadIdx.x) % kWarpSize; i < num_partials; i += 2 * kWarpSize) {
    const Partial& first = partials[i];
    const Partial& second = partials[i + kWarpSize < num_partials ? i + kWarpSize : i];
    const Best first_best = {__ldcg(&first.best.score), __ldcg(&first.best.second),
                             __ldcg(&first.best.token)};
    const Best second_best = {__ldcg(&second.best.score), __ldcg(&second.best.second),
                              __ldcg(&second.best.token)};
    all.is_bad |= __ldcg(&first.is_bad) | __ldcg(&second.is_bad);
    all.lowest = fminf(all.lowest, fminf(__ldcg(&first.lowest), __ldcg(&second.lowest)));
    all.best.merge(first_best);
    if (&first != &second) all.best.merge(second_best);
  }
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
    all.best.merge(all.best.from_lane(offset));
  }
  all.is_bad = __any_sync(0xffffffffu, all.is_bad != 0);
  all.lowest = -warp_largest(-all.lowest);
  return all;
}

// The end of a row: the token's id, and its count where penalties are in use. -1: it failed.
__device__ inline void finish_row(const CudaSample& op, const RowPlan& plan, int token) {
  op.sampled_token_ids[plan.sequence] = token;
  if (token < 0 || !plan.has_penalties) return;
  const std::int64_t slot = op.sampler_slots[plan.sequence];
  std::uint16_t& count = op.output_counts[slot * op.vocab_size + token];
  if (count < 65535) ++count;
}

}  // namespace cuda_sample_detail
}  // namespace kernels
