// The arithmetic of sampling that has to give the CPU's bits, operation by operation, and the order
// of a row's tokens.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda_tile.cuh"

namespace kernels {
namespace cuda_sample_detail {

// What the order below has bits for.
inline constexpr int kIdBits = 20;
inline constexpr int kMaxVocabSize = 1 << kIdBits;

// Larger logits have larger keys; the two zeros have one.
__device__ __forceinline__ std::uint32_t key_of(float logit) {
  const std::uint32_t bits = __float_as_uint(logit + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ float logit_of(std::uint32_t key) {
  return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

// A number that is larger the earlier a token comes: larger logit first, lower id among equals.
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
  float p;
  int power;
  split_exp(fmaxf(exponent, -30.0f), p, power);
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

// Over the lanes of a warp: a single instruction for integers.
__device__ __forceinline__ float warp_largest(float x) {
  return logit_of(__reduce_max_sync(0xffffffffu, key_of(x)));
}

}  // namespace cuda_sample_detail
}  // namespace kernels
