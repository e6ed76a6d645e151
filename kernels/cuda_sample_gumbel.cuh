// The argmax of logit / temperature + gumbel over the tokens that the threads of a block look at.
//
// The exact score takes two logarithms in double. Scores are computed in float instead, within
// 1e-5, and the second best is remembered with the best: if the two are farther apart than the
// error the best is the CPU's pick, and if not, which happens to one row in 20,000, the row is
// searched again with exact scores for all that come near (cuda_sample_pick.cuh).
//
// Even in float a token is scored only where it can still win: gumbel <= -log(1 - u), so with R the
// largest logit seen and b the best score above R / T so far, 1 - u <= exp((logit - R) / T - b)
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

__device__ __forceinline__ float log2_of(float x) {
  float y;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Within 5e-6 of gumbel_of.
__device__ __forceinline__ float gumbel_near(std::uint32_t word) {
  constexpr float kLn2 = 0.693147181f;
  // 1 - u, and -log(u) by its series where rounding u first would lose all digits.
  const float v = (static_cast<float>(~word) + 0.5f) * 0x1p-32f;
  const float series = v * (1 + v * (1 / 2.0f + v * (1 / 3.0f + v * (1 / 4.0f + v * (1 / 5.0f)))));
  const float log_u = log2_of((static_cast<float>(word) + 0.5f) * 0x1p-32f);
  return -kLn2 * log2_of(v < 0.0625f ? series : -kLn2 * log_u);
}

__device__ __forceinline__ double exact_score(float logit, float temperature, std::uint32_t word) {
  return rounded_sum(static_cast<double>(logit) / static_cast<double>(temperature),
                     gumbel_of(word));
}

// Scores this close may be in the other order, or equal, in double: twice the error of the float
// score with room to spare, or at tiny temperatures the last bits of the double.
__device__ __forceinline__ double score_margin(double score) {
  return 5e-5 + fabs(score) * 0x1p-48;
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

// One thread's best token so far. Scores are relative to reference / T, which the lanes of a warp
// have in common.
class GumbelSearch {
 public:
  __device__ __forceinline__ GumbelSearch(const RowPlan& plan, float reference)
      : noise_(plan), inverse_temperature_(plan.inverse_temperature), reference_(reference) {}

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
    for (int j = 0; j < kQuadsPerThread; ++j) {
      consider_quad(values.quads[j], first_token_of(tile, j));
    }
  }

  // One token by itself.
  __device__ __forceinline__ void consider(float logit, int token, std::uint32_t word) {
    const float score = score_of(logit, word);
    second_ = fmaxf(second_, fminf(best_, score));
    if (score > best_) {
      best_ = score;
      token_ = token;
    }
  }

  // Whether one token's score may reach a score in double.
  __device__ __forceinline__ bool is_near(float logit, std::uint32_t word, float temperature,
                                          double score) const {
    return base(temperature) + score_of(logit, word) >= score - score_margin(score);
  }

  // Of the warp.
  __device__ __forceinline__ Best best(float temperature) const {
    const std::uint32_t key = key_of(best_);
    const std::uint32_t largest = __reduce_max_sync(0xffffffffu, key);
    const unsigned owners = __ballot_sync(0xffffffffu, key == largest);
    const int owner = __ffs(static_cast<int>(owners)) - 1;
    const int token = __shfl_sync(0xffffffffu, token_, owner);
    const bool is_owner = static_cast<int>(threadIdx.x) % kWarpSize == owner;
    const float second = warp_largest(is_owner ? second_ : best_);
    if (token < 0) return Best::none();
    const double from = base(temperature);
    return {from + logit_of(largest), from + second, token};
  }

 private:
  __device__ __forceinline__ double base(float temperature) const {
    return static_cast<double>(reference_) / temperature;
  }

  __device__ __forceinline__ float score_of(float logit, std::uint32_t word) const {
    return (logit - reference_) * inverse_temperature_ + gumbel_near(word);
  }

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
  float reference_;
  float best_ = -INFINITY;
  float second_ = -INFINITY;
  float bound_ = -INFINITY;  // the warp's best_, some time ago
  int token_ = -1;
};

}  // namespace cuda_sample_detail
}  // namespace kernels
