// The operations of simd_math.h in AVX-512. Include simd_math.h, not this.
#pragma once

#include <immintrin.h>

#include "kernels/simd_avx512.h"

namespace kernels {
namespace avx512 {

inline Lanes sub(Lanes a, Lanes b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Lanes div(Lanes a, Lanes b) { return {_mm512_div_ps(a.v, b.v)}; }
// a > b ? a : b, so b if either is NaN. min likewise with <.
inline Lanes max(Lanes a, Lanes b) { return {_mm512_max_ps(a.v, b.v)}; }
inline Lanes min(Lanes a, Lanes b) { return {_mm512_min_ps(a.v, b.v)}; }

// Lanes below n from a, the others from b.
inline Lanes first_lanes(int n, Lanes a, Lanes b) {
  return {_mm512_mask_blend_ps(static_cast<__mmask16>((1u << n) - 1u), b.v, a.v)};
}

// Bit i is set where a[i] <= b[i]; never where either is NaN.
inline std::uint32_t at_most(Lanes a, Lanes b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ); }
inline std::uint32_t is_nan(Lanes a) { return _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q); }

inline Words as_words(Lanes a) { return {_mm512_castps_si512(a.v)}; }
inline Lanes as_lanes(Words a) { return {_mm512_castsi512_ps(a.v)}; }
inline Words broadcast_word(std::uint32_t value) {
  return {_mm512_set1_epi32(static_cast<int>(value))};
}
inline Words add_words(Words a, Words b) { return {_mm512_add_epi32(a.v, b.v)}; }
inline Words sub_words(Words a, Words b) { return {_mm512_sub_epi32(a.v, b.v)}; }
inline Words xor_words(Words a, Words b) { return {_mm512_xor_si512(a.v, b.v)}; }
template <int kBits>
inline Words shift_left(Words a) {
  return {_mm512_slli_epi32(a.v, kBits)};
}
template <int kBits>
inline Words shift_right(Words a) {
  return {_mm512_srli_epi32(a.v, kBits)};
}
template <int kBits>
inline Words shift_right_signed(Words a) {
  return {_mm512_srai_epi32(a.v, kBits)};
}
// Each word as a signed integer.
inline Lanes to_lanes(Words a) { return {_mm512_cvtepi32_ps(a.v)}; }

// The upper and lower halves of the 64-bit products of each word with b.
inline void multiply(Words a, std::uint32_t b, Words& high, Words& low) {
  const __m512i factor = _mm512_set1_epi32(static_cast<int>(b));
  const __m512i even = _mm512_mul_epu32(a.v, factor);
  const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(a.v, 32), factor);
  high.v = _mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 32), odd);
  low.v = _mm512_mask_blend_epi32(0xAAAA, even, _mm512_slli_epi64(odd, 32));
}

// Transposes the 4 x 4 matrix that each group of four lanes of a, b, c, d holds.
inline void transpose_fours(Words& a, Words& b, Words& c, Words& d) {
  const __m512i ab_low = _mm512_unpacklo_epi32(a.v, b.v);
  const __m512i ab_high = _mm512_unpackhi_epi32(a.v, b.v);
  const __m512i cd_low = _mm512_unpacklo_epi32(c.v, d.v);
  const __m512i cd_high = _mm512_unpackhi_epi32(c.v, d.v);
  a.v = _mm512_unpacklo_epi64(ab_low, cd_low);
  b.v = _mm512_unpackhi_epi64(ab_low, cd_low);
  c.v = _mm512_unpacklo_epi64(ab_high, cd_high);
  d.v = _mm512_unpackhi_epi64(ab_high, cd_high);
}

// Largest lane; no lane may be NaN.
inline float max_of(Lanes a) { return _mm512_reduce_max_ps(a.v); }

// 16 IEEE halves, rounded to nearest even.
inline void store_f16(void* to, Lanes a) {
  const __m256i halves = _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  _mm256_storeu_si256(static_cast<__m256i*>(to), halves);
}

// rows[i][j] becomes rows[j][i].
inline void transpose(Lanes* rows) {
  Words words[16];
  for (int i = 0; i < 16; ++i) words[i] = as_words(rows[i]);
  for (int i = 0; i < 16; i += 4) {
    transpose_fours(words[i], words[i + 1], words[i + 2], words[i + 3]);
  }
  // Now 4 x 4 blocks are right inside; what is left is to transpose the blocks.
  for (int i = 0; i < 4; ++i) {
    const __m512i a = words[i].v, b = words[i + 4].v, c = words[i + 8].v, d = words[i + 12].v;
    const __m512i ab_low = _mm512_shuffle_i32x4(a, b, 0x44);
    const __m512i ab_high = _mm512_shuffle_i32x4(a, b, 0xEE);
    const __m512i cd_low = _mm512_shuffle_i32x4(c, d, 0x44);
    const __m512i cd_high = _mm512_shuffle_i32x4(c, d, 0xEE);
    rows[i].v = _mm512_castsi512_ps(_mm512_shuffle_i32x4(ab_low, cd_low, 0x88));
    rows[i + 4].v = _mm512_castsi512_ps(_mm512_shuffle_i32x4(ab_low, cd_low, 0xDD));
    rows[i + 8].v = _mm512_castsi512_ps(_mm512_shuffle_i32x4(ab_high, cd_high, 0x88));
    rows[i + 12].v = _mm512_castsi512_ps(_mm512_shuffle_i32x4(ab_high, cd_high, 0xDD));
  }
}

}  // namespace avx512
}  // namespace kernels
