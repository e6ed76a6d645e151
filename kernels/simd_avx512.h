// Lanes of simd.h in one AVX-512 register. Include simd.h, not this.
#pragma once

#include <immintrin.h>

#define KERNELS_SIMD avx512

namespace kernels {
namespace avx512 {

// 16 floats.
struct Lanes {
  __m512 v;
};

// 16 words of 32 bits.
struct Words {
  __m512i v;
};

inline constexpr int kRegistersPerLanes = 1;
inline constexpr int kNumRegisters = 32;

inline Lanes zero() { return {_mm512_setzero_ps()}; }
inline Lanes broadcast(float value) { return {_mm512_set1_ps(value)}; }
inline Lanes load(const float* from) { return {_mm512_loadu_ps(from)}; }
inline void store(float* to, Lanes a) { _mm512_storeu_ps(to, a.v); }
inline Lanes add(Lanes a, Lanes b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Lanes mul(Lanes a, Lanes b) { return {_mm512_mul_ps(a.v, b.v)}; }
// a * b + c, rounded once.
inline Lanes fma(Lanes a, Lanes b, Lanes c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }

// 16 IEEE halves.
inline Lanes load_f16(const void* from) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(from)))};
}

// 16 signed bytes.
inline Lanes load_i8(const void* from) {
  const __m128i bytes = _mm_loadu_si128(static_cast<const __m128i*>(from));
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes))};
}

// 16 bfloat16.
inline Lanes load_bf16(const void* from) {
  const __m256i halves = _mm256_loadu_si256(static_cast<const __m256i*>(from));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16))};
}

inline Words load_words(const void* from) { return {_mm512_loadu_si512(from)}; }

// The low or high bfloat16 of each word.
inline Lanes low_bf16(Words a) { return {_mm512_castsi512_ps(_mm512_slli_epi32(a.v, 16))}; }
inline Lanes high_bf16(Words a) {
  return {_mm512_castsi512_ps(_mm512_and_si512(a.v, _mm512_set1_epi32(-65536)))};
}

// The permutation looks at the low four bits only, which saves the mask and the conversion.
inline __m512 permute_table(__m512 table, __m512i index) {
  return _mm512_permutexvar_ps(index, table);
}

// Bits [4 kIndex, 4 kIndex + 4) of each word, as 0..15.
template <int kIndex>
inline Lanes nibble(Words a) {
  const __m512 table = _mm512_set_ps(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  return {permute_table(table, kIndex == 0 ? a.v : _mm512_srli_epi32(a.v, 4 * kIndex))};
}

// The same minus 8.
template <int kIndex>
inline Lanes centred_nibble(Words a) {
  const __m512 table = _mm512_set_ps(7, 6, 5, 4, 3, 2, 1, 0, -1, -2, -3, -4, -5, -6, -7, -8);
  return {permute_table(table, kIndex == 0 ? a.v : _mm512_srli_epi32(a.v, 4 * kIndex))};
}

// Nibble kLow of `low` and bit pair kHigh of `high` on top of it, minus 32.
template <int kLow, int kHigh>
inline Lanes centred_six_bits(Words low, Words high) {
  const __m512i low_bits =
      _mm512_and_si512(_mm512_srli_epi32(low.v, 4 * kLow), _mm512_set1_epi32(15));
  const __m512i shifted = kHigh >= 2 ? _mm512_srli_epi32(high.v, kHigh >= 2 ? 2 * kHigh - 4 : 0)
                                     : _mm512_slli_epi32(high.v, kHigh < 2 ? 4 - 2 * kHigh : 0);
  const __m512i high_bits = _mm512_and_si512(shifted, _mm512_set1_epi32(48));
  const __m512i value = _mm512_or_si512(low_bits, high_bits);
  return {_mm512_cvtepi32_ps(_mm512_sub_epi32(value, _mm512_set1_epi32(32)))};
}

// Sum of all lanes: halves are added until one lane is left.
inline float sum(Lanes a) {
  const __m256 high = _mm512_extractf32x8_ps(a.v, 1);
  const __m256 v8 = _mm256_add_ps(_mm512_castps512_ps256(a.v), high);
  const __m128 v4 = _mm_add_ps(_mm256_castps256_ps128(v8), _mm256_extractf128_ps(v8, 1));
  const __m128 v2 = _mm_add_ps(v4, _mm_movehl_ps(v4, v4));
  return _mm_cvtss_f32(_mm_add_ss(v2, _mm_movehdup_ps(v2)));
}

inline void prefetch(const void* address) {
  _mm_prefetch(static_cast<const char*>(address), _MM_HINT_T0);
}

}  // namespace avx512
}  // namespace kernels
