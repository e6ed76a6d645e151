// What the kernels of cuda_sample.cu share: how a row is cut up, what it asks for, its place in the
// workspace, and the arithmetic that has to give the CPU's bits.
//
// A row is cut into tiles of 4,096 tokens, one for a block of 256 threads at a time. A warp's load
// of 16 bytes a lane covers 128 neighbouring tokens, a chunk; the largest logit of each chunk is
// kept, so that later passes can leave out most of the row.
#pragma once

#include <cfloat>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kernels/cuda_sample.h"
#include "kernels/cuda_tile.cuh"
#include "kernels/host_device.h"
#include "kernels/philox.h"

namespace kernels {
namespace cuda_sample_detail {

inline constexpr int kNumThreads = 256;
inline constexpr int kNumWarps = kNumThreads / kWarpSize;
inline constexpr int kQuadsPerThread = 4;
inline constexpr int kTokensPerTile = 4 * kQuadsPerThread * kNumThreads;
inline constexpr int kTokensPerChunk = 4 * kWarpSize;
inline constexpr int kChunksPerTile = kTokensPerTile / kTokensPerChunk;
// Tokens that one block can order in shared memory.
inline constexpr int kMaxListed = 4096;
inline constexpr int kNumBins = 2048;
// What the order below has bits for.
inline constexpr int kMaxVocabSize = 1 << 20;

KERNELS_HOST_DEVICE constexpr int divide_up(int a, int b) { return (a + b - 1) / b; }

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

// What one block found in its tiles of a row.
struct alignas(16) Partial {
  double score;        // the best: a logit where the largest is wanted, else logit / T + gumbel
  std::int32_t token;  // whose; the lowest on ties; -1: none
  std::uint32_t is_bad;
  std::uint32_t is_close;  // another token's score could not be told from it
  float lowest;            // smallest finite logit
  float exp_maximum;       // for log-probabilities: sum of exp(logit - exp_maximum)
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
  float sure_below;        // nearer than this a token is kept unless min-p drops it
  float listed_below;      // from there to here it has to be compared with its neighbours
  float min_p_sure_below;  // nearer than this min-p does not drop it
  std::uint64_t target;    // top-p's mass that the listed ones still have to reach; 0: not known
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

// ---- arithmetic shared with the CPU, operation by operation ----

// Larger logits have larger keys; the two zeros have one.
__device__ __forceinline__ std::uint32_t key_of(float logit) {
  const std::uint32_t bits = __float_as_uint(logit + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ float logit_of(std::uint32_t key) {
  return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

// A number that is larger the earlier a token comes: larger logit first, lower id among equals.
inline constexpr int kIdBits = 20;

__device__ __forceinline__ std::uint64_t rank_of(float logit, int token) {
  return static_cast<std::uint64_t>(key_of(logit)) << kIdBits |
         (static_cast<std::uint32_t>(kMaxVocabSize - 1) - static_cast<std::uint32_t>(token));
}

__device__ __forceinline__ float logit_of_rank(std::uint64_t rank) {
  return logit_of(static_cast<std::uint32_t>(rank >> kIdBits));
}

__device__ __forceinline__ int token_of_rank(std::uint64_t rank) {
  return kMaxVocabSize - 1 - static_cast<int>(rank & (kMaxVocabSize - 1));
}

// e^exponent = p * 2^power for exponents in -104..0, as simd_math.h has it.
__device__ __forceinline__ void split_exp(float exponent, float& p, int& power) {
  const float magic = 12582912.0f;
  const float shifted = __fmaf_rn(exponent, 1.44269504f, magic);
  const float n = __fsub_rn(shifted, magic);
  power = __float_as_int(shifted) - __float_as_int(magic);
  float r = __fmaf_rn(n, -0.693359375f, exponent);
  r = __fmaf_rn(n, 2.12194440e-4f, r);
  p = 1.9875691500e-4f;
  p = __fmaf_rn(p, r, 1.3981999507e-3f);
  p = __fmaf_rn(p, r, 8.3334519073e-3f);
  p = __fmaf_rn(p, r, 4.1665795894e-2f);
  p = __fmaf_rn(p, r, 1.6666665459e-1f);
  p = __fmaf_rn(p, r, 5.0000001201e-1f);
  p = __fadd_rn(__fmaf_rn(__fmul_rn(r, r), p, r), 1.0f);
}

// (logit - maximum) / T with the roundings of the CPU.
__device__ __forceinline__ float exponent_of(float logit, float maximum,
                                             float inverse_temperature) {
  return __fmul_rn(__fsub_rn(logit, maximum), inverse_temperature);
}

// A token's probability relative to the likeliest one's.
__device__ __forceinline__ float weight_of(float exponent) {
  float p;
  int power;
  split_exp(fmaxf(-104.0f, exponent), p, power);
  const int half = power >> 1;
  const float first = __int_as_float((half + 127) << 23);
  const float second = __int_as_float((power - half + 127) << 23);
  return __fmul_rn(__fmul_rn(p, first), second);
}

// A whole number of 2^-40 of the likeliest token's mass, for weight_of(exponent): its product with
// 2^40, rounded. Down to where that becomes zero the power of two is a matter of the exponent's
// bits.
__device__ __forceinline__ std::uint64_t mass_of(float exponent) {
  if (exponent < -28.5f) return 0;
  float p;
  int power;
  split_exp(exponent, p, power);
  const float scaled =
      __fadd_rn(__int_as_float(__float_as_int(p) + (power + 40) * (1 << 23)), 0.5f);
  // Few tokens are above 2^-8, and the narrow conversion is four times as fast.
  if (scaled < 0x1p32f) return __float2uint_rz(scaled);
  return static_cast<std::uint64_t>(__float2ll_rz(scaled));
}

// The mass that top-p keeps of a total.
__device__ inline std::uint64_t top_p_target(std::uint64_t total, float top_p) {
  constexpr double kHalfFloatUlp = 0x1p-24;
  const double share = __dmul_rn(__ull2double_rn(total), top_p);
  const double wanted = ceil(__dmul_rn(share, 1 - kHalfFloatUlp));
  return wanted < 1 ? 1 : static_cast<std::uint64_t>(wanted);
}

// Over the lanes of a warp; one instruction for integers.
__device__ __forceinline__ float warp_largest(float x) {
  return logit_of(__reduce_max_sync(0xffffffffu, key_of(x)));
}

// ---- loads ----

struct Tile {
  float4 quads[kQuadsPerThread];
};

// One row of logits.
struct LogitView {
  float* logits;
  int vocab_size;
  bool is_aligned;  // to 16 bytes

  __device__ LogitView(const CudaSample& op, int row)
      : logits(op.logits + row * op.logits_stride),
        vocab_size(op.vocab_size),
        is_aligned(reinterpret_cast<std::uintptr_t>(logits) % 16 == 0) {}

  // Four tokens; behind the end of the row -infinity.
  __device__ __forceinline__ float4 load(int token) const {
    if (is_aligned && token + 4 <= vocab_size) {
      return *reinterpret_cast<const float4*>(logits + token);
    }
    const auto at = [&](int i) { return i < vocab_size ? logits[i] : -INFINITY; };
    return make_float4(at(token), at(token + 1), at(token + 2), at(token + 3));
  }

  __device__ __forceinline__ void store(int token, float4 values) const {
    if (is_aligned && token + 4 <= vocab_size) {
      *reinterpret_cast<float4*>(logits + token) = values;
      return;
    }
    if (token < vocab_size) logits[token] = values.x;
    if (token + 1 < vocab_size) logits[token + 1] = values.y;
    if (token + 2 < vocab_size) logits[token + 2] = values.z;
    if (token + 3 < vocab_size) logits[token + 3] = values.w;
  }
};

// This thread's first token of a quad of a tile.
__device__ __forceinline__ int first_token_of(int tile, int quad) {
  return tile * kTokensPerTile + 4 * (quad * kNumThreads + static_cast<int>(threadIdx.x));
}

// The chunk that this warp's loads of that quad cover.
__device__ __forceinline__ int chunk_of(int tile, int quad) {
  return tile * kChunksPerTile + quad * kNumWarps + static_cast<int>(threadIdx.x) / kWarpSize;
}

__device__ __forceinline__ Tile load_tile(const LogitView& view, int tile) {
  Tile values;
  // All but a row's last tile; one decision for all loads keeps them together.
  if (view.is_aligned && (tile + 1) * kTokensPerTile <= view.vocab_size) {
    const float4* const quads =
        reinterpret_cast<const float4*>(view.logits + first_token_of(tile, 0));
#pragma unroll
    for (int j = 0; j < kQuadsPerThread; ++j) values.quads[j] = quads[j * kNumThreads];
    return values;
  }
#pragma unroll
  for (int j = 0; j < kQuadsPerThread; ++j) {
    values.quads[j] = view.load(first_token_of(tile, j));
  }
  return values;
}

// Calls body(value, token) for the four of a quad.
template <class Body>
__device__ __forceinline__ void for_quad(const float4& quad, int token, Body body) {
  body(quad.x, token);
  body(quad.y, token + 1);
  body(quad.z, token + 2);
  body(quad.w, token + 3);
}

__device__ __forceinline__ float largest_of(const float4& quad) {
  return fmaxf(fmaxf(quad.x, quad.y), fmaxf(quad.z, quad.w));
}

// ---- blocks of one row meet ----

// True in the block that calls this last; what the others wrote before is visible to it then. The
// ticket is zero again.
__device__ inline bool is_last_block(std::uint32_t* ticket, int num_blocks) {
  __shared__ bool is_last;
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    is_last = atomicAdd(ticket, 1u) + 1 == static_cast<std::uint32_t>(num_blocks);
    if (is_last) {
      *ticket = 0;
      __threadfence();
    }
  }
  __syncthreads();
  return is_last;
}

// Lets the better of two (score, token) win: larger score, lower token on ties.
__device__ __forceinline__ void keep_better(double& score, int& token, double other_score,
                                            int other_token) {
  if (other_token < 0) return;
  if (token >= 0 && (other_score < score || (other_score == score && other_token > token))) return;
  score = other_score;
  token = other_token;
}

// All partials of a row as one, in every lane of the calling warp.
__device__ inline Partial merged_partials(const Partial* partials, int num_partials) {
  Partial all{-INFINITY, -1, 0, 0, INFINITY, 0, 0};
  for (int i = static_cast<int>(threadIdx.x) % kWarpSize; i < num_partials; i += kWarpSize) {
    const double score = __ldcg(&partials[i].score);
    const int token = __ldcg(&partials[i].token);
    keep_better(all.score, all.token, score, token);
    all.is_bad |= __ldcg(&partials[i].is_bad);
    all.is_close |= __ldcg(&partials[i].is_close);
    all.lowest = fminf(all.lowest, __ldcg(&partials[i].lowest));
  }
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
    const double score = __shfl_xor_sync(0xffffffffu, all.score, offset);
    const int token = __shfl_xor_sync(0xffffffffu, all.token, offset);
    keep_better(all.score, all.token, score, token);
    all.is_bad |= __shfl_xor_sync(0xffffffffu, all.is_bad, offset);
    all.is_close |= __shfl_xor_sync(0xffffffffu, all.is_close, offset);
    all.lowest = fminf(all.lowest, __shfl_xor_sync(0xffffffffu, all.lowest, offset));
  }
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
