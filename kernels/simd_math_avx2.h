// The operations of simd_math.h in AVX2. Include simd_math.h, not this.
#pragma once

#include <immintrin.h>

#include "kernels/simd_avx2.h"

namespace kernels {
namespace avx2 {

inline Lanes sub(Lanes a, Lanes b) {
  return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
}
inline Lanes div(Lanes a, Lanes b) {
  return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
}
// a > b ? a : b, so b if either is NaN. min likewise with <.
inline Lanes max(Lanes a, Lanes b) {
  return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)};
}
inline Lanes min(Lanes a, Lanes b) {
  return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)};
}

// Lanes below n from a, the others from b.
inline Lanes first_lanes(int n, Lanes a, Lanes b) {
  const __m256i limit = _mm256_set1_epi32(n);
  const __m256i low = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i high = _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15);
  return {_mm256_blendv_ps(b.lo, a.lo, _mm256_castsi256_ps(_mm256_cmpgt_epi32(limit, low))),
          _mm256_blendv_ps(b.hi, a.hi, _mm256_castsi256_ps(_mm256_cmpgt_epi32(limit, high)))};
}

inline std::uint32_t bits_of_masks(__m256 lo, __m256 hi) {
  return static_cast<std::uint32_t>(_mm256_movemask_ps(lo)) |
         static_cast<std::uint32_t>(_mm256_movemask_ps(hi)) << 8;
}

// Bit i is set where a[i] <= b[i]; never where either is NaN.
inline std::uint32_t at_most(Lanes a, Lanes b) {
  return bits_of_masks(_mm256_cmp_ps(a.lo, b.lo, _CMP_LE_OQ),
                       _mm256_cmp_ps(a.hi, b.hi, _CMP_LE_OQ));
}
inline std::uint32_t is_nan(Lanes a) {
  return bits_of_masks(_mm256_cmp_ps(a.lo, a.lo, _CMP_UNORD_Q),
                       _mm256_cmp_ps(a.hi, a.hi, _CMP_UNORD_Q));
}

inline Words as_words(Lanes a) { return {_mm256_castps_si256(a.lo), _mm256_castps_si256(a.hi)}; }
inline Lanes as_lanes(Words a) { return {_mm256_castsi256_ps(a.lo), _mm256_castsi256_ps(a.hi)}; }
inline Words broadcast_word(std::uint32_t value) {
  const __m256i v = _mm256_set1_epi32(static_cast<int>(value));
  return {v, v};
}
inline Words add_words(Words a, Words b) {
  return {_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)};
}
inline Words sub_words(Words a, Words b) {
  return {_mm256_sub_epi32(a.lo, b.lo), _mm256_sub_epi32(a.hi, b.hi)};
}
inline Words xor_words(Words a, Words b) {
  return {_mm256_xor_si256(a.lo, b.lo), _mm256_xor_si256(a.hi, b.hi)};
}
template <int kBits>
inline Words shift_left(Words a) {
  return {_mm256_slli_epi32(a.lo, kBits), _mm256_slli_epi32(a.hi, kBits)};
}
template <int kBits>
inline Words shift_right(Words a) {
  return {_mm256_srli_epi32(a.lo, kBits), _mm256_srli_epi32(a.hi, kBits)};
}
template <int kBits>
inline Words shift_right_signed(Words a) {
  return {_mm256_srai_epi32(a.lo, kBits), _mm256_srai_epi32(a.hi, kBits)};
}
// Each word as a signed integer.
inline Lanes to_lanes(Words a) { return to_floats(a.lo, a.hi); }

inline void multiply_register(__m256i a, __m256i factor, __m256i& high, __m256i& low) {
  const __m256i even = _mm256_mul_epu32(a, factor);
  const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), factor);
  high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
  low = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
}

// The upper and lower halves of the 64-bit products of each word with b.
inline void multiply(Words a, std::uint32_t b, Words& high, Words& low) {
  const __m256i factor = _mm256_set1_epi32(static_cast<int>(b));
  multiply_register(a.lo, factor, high.lo, low.lo);
  multiply_register(a.hi, factor, high.hi, low.hi);
}

inline void transpose_fours_register(__m256i& a, __m256i& b, __m256i& c, __m256i& d) {
  const __m256i ab_low = _mm256_unpacklo_epi32(a, b);
  const __m256i ab_high = _mm256_unpackhi_epi32(a, b);
  const __m256i cd_low = _mm256_unpacklo_epi32(c, d);
  const __m256i cd_high = _mm256_unpackhi_epi32(c, d);
  a = _mm256_unpacklo_epi64(ab_low, cd_low);
  b = _mm256_unpackhi_epi64(ab_low, cd_low);
  c = _mm256_unpacklo_epi64(ab_high, cd_high);
  d = _mm256_unpackhi_epi64(ab_high, cd_high);
}

// Transposes the 4 x 4 matrix that each group of four lanes of a, b, c, d holds.
inline void transpose_fours(Words& a, Words& b, Words& c, Words& d) {
  transpose_fours_register(a.lo, b.lo, c.lo, d.lo);
  transpose_fours_register(a.hi, b.hi, c.hi, d.hi);
}

// Largest lane; no lane may be NaN.
inline float max_of(Lanes a) {
  const __m256 v8 = _mm256_max_ps(a.lo, a.hi);
  const __m128 v4 = _mm_max_ps(_mm256_castps256_ps128(v8), _mm256_extractf128_ps(v8, 1));
  const __m128 v2 = _mm_max_ps(v4, _mm_movehl_ps(v4, v4));
  return _mm_cvtss_f32(_mm_max_ss(v2, _mm_movehdup_ps(v2)));
}

// 16 IEEE halves, rounded to nearest even.
inline void store_f16(void* to, Lanes a) {
  constexpr int kRounding = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  __m128i* halves = static_cast<__m128i*>(to);
  _mm_storeu_si128(halves, _mm256_cvtps_ph(a.lo, kRounding));
  _mm_storeu_si128(halves + 1, _mm256_cvtps_ph(a.hi, kRounding));
}

// Transposes 8 x 8 words.
inline void transpose_eights(__m256i (&m)[8]) {
  transpose_fours_register(m[0], m[1], m[2], m[3]);
  transpose_fours_register(m[4], m[5], m[6], m[7]);
  for (int i = 0; i < 4; ++i) {
    const __m256i top = m[i];
    m[i] = _mm256_permute2x128_si256(top, m[i + 4], 0x20);
    m[i + 4] = _mm256_permute2x128_si256(top, m[i + 4], 0x31);
  }
}

// rows[i][j] becomes rows[j][i].
inline void transpose(Lanes* rows) {
  for (int column = 0; column < 2; ++column) {
    __m256i top[8], bottom[8];
    for (int i = 0; i < 8; ++i) {
      top[i] = _mm256_castps_si256(column == 0 ? rows[i].lo : rows[i].hi);
      bottom[i] = _mm256_castps_si256(column == 0 ? rows[i + 8].lo : rows[i + 8].hi);
    }
    transpose_eights(top);
    transpose_eights(bottom);
    // The upper right quarter waits in `rows` until its place is free.
    for (int i = 0; i < 8; ++i) {
      (column == 0 ? rows[i].lo : rows[i].hi) = _mm256_castsi256_ps(top[i]);
      (column == 0 ? rows[i + 8].lo : rows[i + 8].hi) = _mm256_castsi256_ps(bottom[i]);
    }
  }
  for (int i = 0; i < 8; ++i) {
    const __m256 upper_right = rows[i].hi;
    rows[i].hi = rows[i + 8].lo;
    rows[i + 8].lo = upper_right;
  }
}

}  // namespace avx2
}  // namespace kernels
