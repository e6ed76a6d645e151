// Lanes of simd.h in two AVX2 registers (with FMA and F16C). Include simd.h, not this.
#pragma once

#include <immintrin.h>

#define KERNELS_SIMD avx2

namespace kernels {
namespace avx2 {

// 16 floats.
struct Lanes {
  __m256 lo;
  __m256 hi;
};

// 16 words of 32 bits.
struct Words {
  __m256i lo;
  __m256i hi;
};

inline constexpr int kRegistersPerLanes = 2;
inline constexpr int kNumRegisters = 16;

inline Lanes zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
inline Lanes broadcast(float value) {
  const __m256 v = _mm256_set1_ps(value);
  return {v, v};
}
inline Lanes load(const float* from) { return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}; }
inline void store(float* to, Lanes a) {
  _mm256_storeu_ps(to, a.lo);
  _mm256_storeu_ps(to + 8, a.hi);
}
inline Lanes add(Lanes a, Lanes b) {
  return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
}
inline Lanes mul(Lanes a, Lanes b) {
  return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
}
// a * b + c, rounded once.
inline Lanes fma(Lanes a, Lanes b, Lanes c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}

inline Lanes to_floats(__m256i lo, __m256i hi) {
  return {_mm256_cvtepi32_ps(lo), _mm256_cvtepi32_ps(hi)};
}

// 16 IEEE halves.
inline Lanes load_f16(const void* from) {
  const __m128i* halves = static_cast<const __m128i*>(from);
  return {_mm256_cvtph_ps(_mm_loadu_si128(halves)), _mm256_cvtph_ps(_mm_loadu_si128(halves + 1))};
}

// 16 signed bytes.
inline Lanes load_i8(const void* from) {
  const char* bytes = static_cast<const char*>(from);
  return to_floats(
      _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes))),
      _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes + 8))));
}

// 16 bfloat16.
inline Lanes load_bf16(const void* from) {
  const __m128i* halves = static_cast<const __m128i*>(from);
  const __m256i lo = _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(halves)), 16);
  const __m256i hi = _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(halves + 1)), 16);
  return {_mm256_castsi256_ps(lo), _mm256_castsi256_ps(hi)};
}

inline Words load_words(const void* from) {
  const __m256i* words = static_cast<const __m256i*>(from);
  return {_mm256_loadu_si256(words), _mm256_loadu_si256(words + 1)};
}

// The low or high bfloat16 of each word.
inline Lanes low_bf16(Words a) {
  return {_mm256_castsi256_ps(_mm256_slli_epi32(a.lo, 16)),
          _mm256_castsi256_ps(_mm256_slli_epi32(a.hi, 16))};
}
inline Lanes high_bf16(Words a) {
  const __m256i mask = _mm256_set1_epi32(-65536);
  return {_mm256_castsi256_ps(_mm256_and_si256(a.lo, mask)),
          _mm256_castsi256_ps(_mm256_and_si256(a.hi, mask))};
}

template <int kIndex>
inline __m256i nibble_bits(__m256i words) {
  if (kIndex == 7) return _mm256_srli_epi32(words, 28);
  const __m256i shifted = kIndex == 0 ? words : _mm256_srli_epi32(words, 4 * kIndex);
  return _mm256_and_si256(shifted, _mm256_set1_epi32(15));
}

// Bits [4 kIndex, 4 kIndex + 4) of each word, as 0..15.
template <int kIndex>
inline Lanes nibble(Words a) {
  return to_floats(nibble_bits<kIndex>(a.lo), nibble_bits<kIndex>(a.hi));
}

// The same minus 8.
template <int kIndex>
inline Lanes centred_nibble(Words a) {
  const __m256i eight = _mm256_set1_epi32(8);
  return to_floats(_mm256_sub_epi32(nibble_bits<kIndex>(a.lo), eight),
                   _mm256_sub_epi32(nibble_bits<kIndex>(a.hi), eight));
}

template <int kLow, int kHigh>
inline __m256i six_bits(__m256i low, __m256i high) {
  const __m256i shifted = kHigh >= 2 ? _mm256_srli_epi32(high, kHigh >= 2 ? 2 * kHigh - 4 : 0)
                                     : _mm256_slli_epi32(high, kHigh < 2 ? 4 - 2 * kHigh : 0);
  const __m256i high_bits = _mm256_and_si256(shifted, _mm256_set1_epi32(48));
  return _mm256_sub_epi32(_mm256_or_si256(nibble_bits<kLow>(low), high_bits),
                          _mm256_set1_epi32(32));
}

// Nibble kLow of `low` and bit pair kHigh of `high` on top of it, minus 32.
template <int kLow, int kHigh>
inline Lanes centred_six_bits(Words low, Words high) {
  return to_floats(six_bits<kLow, kHigh>(low.lo, high.lo), six_bits<kLow, kHigh>(low.hi, high.hi));
}

// Sum of all lanes: halves are added until one lane is left.
inline float sum(Lanes a) {
  const __m256 v8 = _mm256_add_ps(a.lo, a.hi);
  const __m128 v4 = _mm_add_ps(_mm256_castps256_ps128(v8), _mm256_extractf128_ps(v8, 1));
  const __m128 v2 = _mm_add_ps(v4, _mm_movehl_ps(v4, v4));
  return _mm_cvtss_f32(_mm_add_ss(v2, _mm_movehdup_ps(v2)));
}

inline void prefetch(const void* address) {
  _mm_prefetch(static_cast<const char*>(address), _MM_HINT_T0);
}

}  // namespace avx2
}  // namespace kernels
