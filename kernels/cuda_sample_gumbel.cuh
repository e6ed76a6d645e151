// The argmax of logit / temperature + gumbel over the tokens that the threads of a block look at.
//
// The exact score takes two logarithms in double. It is computed only for tokens whose score in
// float comes within a margin of the best one in float, which is nearly always one token a block;
// the margin is far above the float's error, so the pick is exactly the CPU's. And the score in
// float is computed only where a token can still win: gumbel <= -log(1 - u), so with R any larger
// logit seen and b the best score above R / T so far, 1 - u <= exp((logit - R) / T - b) must hold.
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

// Within 1e-5 of gumbel_of.
__device__ __forceinline__ float gumbel_near(std::uint32_t word) {
  constexpr float kLn2 = 0.693147181f;
  const float v = (static_cast<float>(~word) + 0.5f) * 0x1p-32f;  // 1 - u
  float minus_log_u;
  if (v < 0.0625f) {
    // log(u) next to 1 would lose all digits.
    minus_log_u = v * (1 + v * (1 / 2.0f + v * (1 / 3.0f + v * (1 / 4.0f + v * (1 / 5.0f)))));
  } else {
    minus_log_u = -kLn2 * __log2f((static_cast<float>(word) + 0.5f) * 0x1p-32f);
  }
  return -kLn2 * __log2f(minus_log_u);
}

__device__ __noinline__ double exact_score(float logit, float temperature, std::uint32_t word) {
  return rounded_sum(static_cast<double>(logit) / static_cast<double>(temperature),
                     gumbel_of(word));
}

// Whether token a wins over token b.
__device__ __noinline__ bool beats(float logit_a, int token_a, std::uint32_t word_a, float logit_b,
                                   int token_b, std::uint32_t word_b, float temperature) {
  const double a = exact_score(logit_a, temperature, word_a);
  const double b = exact_score(logit_b, temperature, word_b);
  return a > b || (a == b && token_a < token_b);
}

// What all tokens of one row share.
struct GumbelRow {
  float temperature;
  float inverse_temperature;
  std::uint32_t position;
  std::uint32_t choice;
  PhiloxKey key;

  __device__ GumbelRow(const CudaSample& op, const RowPlan& plan)
      : temperature(plan.temperature),
        inverse_temperature(plan.inverse_temperature),
        position(static_cast<std::uint32_t>(op.context_lens[plan.sequence])),
        choice(static_cast<std::uint32_t>(op.choices[plan.sequence])),
        key{op.seeds_low[plan.sequence], op.seeds_high[plan.sequence]} {}

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
  __device__ GumbelSearch(const GumbelRow& row, float reference)
      : row_(row), reference_(-INFINITY), best_(-INFINITY), bound_(-INFINITY), margin_(0) {
    refer_to(reference);
  }

  // All lanes of the warp together. quads[j] begins with token first_token_of(tile, j); -infinity
  // marks what is not to be considered.
  __device__ __forceinline__ void consider(const Tile& values, int tile) {
    float largest = largest_of(values.quads[0]);
#pragma unroll
    for (int j = 1; j < kQuadsPerThread; ++j) largest = fmaxf(largest, largest_of(values.quads[j]));
    largest = warp_max(largest);
    if (largest > reference_) refer_to(largest);
    if (largest == -INFINITY) return;
#pragma unroll
    for (int j = 0; j < kQuadsPerThread; ++j) consider(values.quads[j], first_token_of(tile, j));
  }

  // One token by itself.
  __device__ __forceinline__ void consider(float logit, int token, std::uint32_t word) {
    const float score = (logit - reference_) * row_.inverse_temperature + gumbel_near(word);
    if (!(score > -INFINITY) || score < best_ - margin_) return;
    if (token_ < 0 || score > best_ + margin_ ||
        beats(logit, token, word, logit_, token_, word_, row_.temperature)) {
      best_ = score;
      token_ = token;
      logit_ = logit;
      word_ = word;
    }
  }

  // The best of the block's threads in every one of them; -1 and -infinity if there is none.
  struct Shared {
    double bests[kNumWarps];
    double scores[kNumThreads];
    int tokens[kNumThreads];
    int num_scores;
  };
  __device__ void pick(Shared& shared, double& score, int& token) const {
    double best =
        token_ < 0 ? -INFINITY : static_cast<double>(reference_) / row_.temperature + best_;
    const double own = best;
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
    if (token_ >= 0 && own >= best - margin_at(fabs(best))) {
      const int i = atomicAdd(&shared.num_scores, 1);
      shared.scores[i] = exact_score(logit_, row_.temperature, word_);
      shared.tokens[i] = token_;
    }
    __syncthreads();
    score = -INFINITY;
    token = -1;
    for (int i = 0; i < shared.num_scores; ++i) {
      keep_better(score, token, shared.scores[i], shared.tokens[i]);
    }
  }

 private:
  // Scores this close may be in the other order, or equal, in double: an error of the float score,
  // or at tiny temperatures the last bits of the double.
  __device__ static double margin_at(double magnitude) { return 1e-3 + magnitude * 0x1p-48; }

  __device__ __forceinline__ void refer_to(float reference) {
    const float shift = (reference_ - reference) * row_.inverse_temperature;
    if (reference_ > -INFINITY) {
      best_ += shift;
      bound_ += shift;
    }
    reference_ = reference;
    if (reference > -INFINITY) {
      margin_ = static_cast<float>(
          margin_at(fabs(static_cast<double>(reference) * row_.inverse_temperature)));
    }
  }

  __device__ __forceinline__ void consider(const float4& quad, int token) {
    constexpr float kLog2E = 1.44269504f;
    // Above what the best so far could be mistaken for.
    const float bound = bound_ - margin_;
    const float exponent = (largest_of(quad) - reference_) * row_.inverse_temperature;
    const float lead = exponent - bound;
    if (!__any_sync(0xffffffffu, lead >= -static_cast<float>(kMaxGumbel))) return;
    const PhiloxCounter words = row_.words_of(token);
    const std::uint32_t smallest = min(min(~words[0], ~words[1]), min(~words[2], ~words[3]));
    const bool may_win = static_cast<float>(smallest) * 0x1p-32f <= exp2_of(lead * kLog2E);
    if (!__any_sync(0xffffffffu, may_win)) return;
    if (may_win) {
      consider(quad.x, token, words[0]);
      consider(quad.y, token + 1, words[1]);
      consider(quad.z, token + 2, words[2]);
      consider(quad.w, token + 3, words[3]);
    }
    bound_ = fmaxf(bound_, warp_max(best_));
  }

  GumbelRow row_;
  float reference_;
  float best_;
  float bound_;  // best_ of the warp, some time ago
  float margin_;
  int token_ = -1;
  float logit_ = 0;
  std::uint32_t word_ = 0;
};

}  // namespace cuda_sample_detail
}  // namespace kernels
