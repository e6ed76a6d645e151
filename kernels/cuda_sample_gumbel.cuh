// The argmax of logit / temperature + gumbel over the tokens that the threads of a block look at.
//
// The exact score takes two logarithms in double. It is computed only for tokens whose score in
// float comes within a margin of the best one in float, which is nearly always one token a block;
// the margin is far above the float's error, so the pick is exactly the CPU's. A thread remembers
// its best token only. If its second best comes within the margin of the block's best as well,
// which happens once in a million rows, that is reported and the row is searched again.
//
// The score in float is computed only where a token can still win: gumbel <= -log(1 - u), so with R
// the largest logit seen and b the best score above R / T so far, 1 - u <= exp((logit - R) / T - b)
// must hold.
#pragma once

#include "kernels/cuda_sample_row.cuh"
#include "kernels/gumbel.h"
#include "kernels/philox.h"

namespace kernels {
namespace cuda_sample_detail {

__device__ __forceinline__ float exp2_of(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Within 2e-5 of gumbel_of.
__device__ __forceinline__ float gumbel_near(std::uint32_t word) {
  constexpr float kLn2 = 0.693147181f;
  const float v = (static_cast<float>(~word) + 0.5f) * 0x1p-32f;  // 1 - u
  float minus_log_u;
  if (v < 0.0625f) {
    // Rounding u first would lose all digits of log(u) near 1.
    minus_log_u = v * (1 + v * (1 / 2.0f + v * (1 / 3.0f + v * (1 / 4.0f + v * (1 / 5.0f)))));
  } else {
    minus_log_u = -kLn2 * __log2f((static_cast<float>(word) + 0.5f) * 0x1p-32f);
  }
  return -kLn2 * __log2f(minus_log_u);
}

__device__ __forceinline__ double exact_score(float logit, float temperature, std::uint32_t word) {
  return rounded_sum(static_cast<double>(logit) / static_cast<double>(temperature),
                     gumbel_of(word));
}

// The noise of one row's tokens.
struct RowNoise {
  std::uint32_t position;
  std::uint32_t choice;
  PhiloxKey key;

  __device__ __forceinline__ explicit RowNoise(const RowPlan& plan)
      : position(plan.position), choice(plan.choice), key(plan.key) {}

  // Of the four tokens from `token`, a multiple of four, on.
  __device__ __forceinline__ PhiloxCounter words_of(int token) const {
    return philox4x32({{position, choice, static_cast<std::uint32_t>(token) >> 2, 0}}, key);
  }
  __device__ __forceinline__ std::uint32_t word_of(int token) const {
    const PhiloxCounter words = words_of(token);
    const std::uint32_t low = token & 1 ? words[1] : words[0];
    const std::uint32_t high = token & 1 ? words[3] : words[2];
    return token & 2 ? high : low;
  }
};

// Scores this close may be in the other order, or equal, in double: the error of the float score,
// or at tiny temperatures the last bits of the double.
__device__ __forceinline__ double score_margin(double magnitude) {
  return 3e-4 + magnitude * 0x1p-48;
}

// What one block found.
struct Pick {
  double score;
  int token;      // -1: none
  bool is_close;  // another token's score could not be told from it
};

struct PickShared {
  double bests[kNumWarps];
  double scores[kNumThreads];
  int tokens[kNumThreads];
  int num_scores;
};

// One thread's best token so far. Scores are relative to reference / T, which the lanes of a warp
// have in common.
class GumbelSearch {
 public:
  __device__ __forceinline__ GumbelSearch(const RowPlan& plan, float reference)
      : noise_(plan), inverse_temperature_(plan.inverse_temperature) {
    refer_to(reference);
  }

  // All lanes of the warp together. Quad j begins with token first_token_of(tile, j); -infinity
  // marks what is not to be considered.
  __device__ __forceinline__ void consider(const Tile& values, int tile) {
    float largest = largest_of(values.quads[0]);
#pragma unroll
    for (int j = 1; j < kQuadsPerThread; ++j) largest = fmaxf(largest, largest_of(values.quads[j]));
    largest = warp_largest(largest);
    if (largest == -INFINITY) return;
    if (largest > reference_) refer_to(largest);
#pragma unroll
    for (int j = 0; j < kQuadsPerThread; ++j)
      consider_quad(values.quads[j], first_token_of(tile, j));
  }

  // One token by itself.
  __device__ __forceinline__ void consider(float logit, int token, std::uint32_t word) {
    const float score = (logit - reference_) * inverse_temperature_ + gumbel_near(word);
    second_ = fmaxf(second_, fminf(best_, score));
    if (score > best_) {
      best_ = score;
      token_ = token;
      logit_ = logit;
    }
  }

  // Whether one token's score comes within the margin of, or above, a score in double.
  __device__ __forceinline__ bool is_near(float logit, std::uint32_t word, float temperature,
                                          double score) const {
    const float own = (logit - reference_) * inverse_temperature_ + gumbel_near(word);
    return static_cast<double>(reference_) / temperature + own >= score - score_margin(fabs(score));
  }

  // The best of the block's threads, the same in all of them.
  __device__ Pick pick(float temperature, PickShared& shared) const {
    const double base = static_cast<double>(reference_) / temperature;
    const double own = token_ < 0 ? -INFINITY : base + best_;
    double best = own;
#pragma unroll
    for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
      best = fmax(best, __shfl_xor_sync(0xffffffffu, best, offset));
    }
    __syncthreads();
    if (threadIdx.x == 0) shared.num_scores = 0;
    if (threadIdx.x % kWarpSize == 0) shared.bests[threadIdx.x / kWarpSize] = best;
    __syncthreads();
#pragma unroll
    for (int warp = 0; warp < kNumWarps; ++warp) best = fmax(best, shared.bests[warp]);
    const double least = best - score_margin(fabs(best));
    if (token_ >= 0 && own >= least) {
      const int i = atomicAdd(&shared.num_scores, 1);
      shared.scores[i] = exact_score(logit_, temperature, noise_.word_of(token_));
      shared.tokens[i] = token_;
    }
    Pick pick{-INFINITY, -1, false};
    pick.is_close = __syncthreads_or(token_ >= 0 && base + second_ >= least) != 0;
    for (int i = 0; i < shared.num_scores; ++i) {
      keep_better(pick.score, pick.token, shared.scores[i], shared.tokens[i]);
    }
    return pick;
  }

 private:
  __device__ __forceinline__ void refer_to(float reference) {
    if (reference_ > -INFINITY) {
      const float shift = (reference_ - reference) * inverse_temperature_;
      best_ += shift;
      second_ += shift;
      bound_ += shift;
    }
    reference_ = reference;
  }

  __device__ __forceinline__ void consider_quad(const float4& quad, int token) {
    constexpr float kLog2E = 1.44269504f;
    const float exponent = (largest_of(quad) - reference_) * inverse_temperature_;
    // At least score_margin.
    const float margin = __fmaf_rn(fabsf(reference_ * inverse_temperature_), 0x1p-47f, 1e-3f);
    const float lead = exponent - bound_ + margin;
    if (!__any_sync(0xffffffffu, lead >= -static_cast<float>(kMaxGumbel))) return;
    const PhiloxCounter words = noise_.words_of(token);
    const std::uint32_t smallest = min(min(~words[0], ~words[1]), min(~words[2], ~words[3]));
    const bool may_win = static_cast<float>(smallest) * 0x1p-32f <= exp2_of(lead * kLog2E);
    if (!__any_sync(0xffffffffu, may_win)) return;
    if (may_win) {
      consider(quad.x, token, words[0]);
      consider(quad.y, token + 1, words[1]);
      consider(quad.z, token + 2, words[2]);
      consider(quad.w, token + 3, words[3]);
    }
    bound_ = fmaxf(bound_, warp_largest(best_));
  }

  RowNoise noise_;
  float inverse_temperature_;
  float reference_ = -INFINITY;
  float best_ = -INFINITY;
  float second_ = -INFINITY;
  float bound_ = -INFINITY;  // the warp's best_, some time ago
  int token_ = -1;
  float logit_ = 0;
};

}  // namespace cuda_sample_detail
}  // namespace kernels
