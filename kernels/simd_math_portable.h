// The operations of simd_math.h as plain loops. Include simd_math.h, not this.
#pragma once

#include <cmath>
#include <utility>

#include "kernels/simd_portable.h"

namespace kernels {
namespace portable {

template <typename Value>
inline Words each_word(Value value) {
  Words out;
  for (int i = 0; i < 16; ++i) out.v[i] = value(i);
  return out;
}

template <typename Claim>
inline std::uint32_t mask_of(Claim claim) {
  std::uint32_t mask = 0;
  for (int i = 0; i < 16; ++i) mask |= static_cast<std::uint32_t>(claim(i)) << i;
  return mask;
}

inline Lanes sub(const Lanes& a, const Lanes& b) {
  return each_lane([&](int i) { return a.v[i] - b.v[i]; });
}
inline Lanes div(const Lanes& a, const Lanes& b) {
  return each_lane([&](int i) { return a.v[i] / b.v[i]; });
}
// a > b ? a : b, so b if either is NaN. min likewise with <.
inline Lanes max(const Lanes& a, const Lanes& b) {
  return each_lane([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
inline Lanes min(const Lanes& a, const Lanes& b) {
  return each_lane([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}

// Lanes below n from a, the others from b.
inline Lanes first_lanes(int n, const Lanes& a, const Lanes& b) {
  return each_lane([&](int i) { return i < n ? a.v[i] : b.v[i]; });
}

// Bit i is set where a[i] <= b[i]; never where either is NaN.
inline std::uint32_t at_most(const Lanes& a, const Lanes& b) {
  return mask_of([&](int i) { return a.v[i] <= b.v[i]; });
}
inline std::uint32_t is_nan(const Lanes& a) {
  return mask_of([&](int i) { return std::isnan(a.v[i]); });
}

inline Words as_words(const Lanes& a) {
  return each_word([&](int i) { return bits_of(a.v[i]); });
}
inline Lanes as_lanes(const Words& a) {
  return each_lane([&](int i) { return float_from_bits(a.v[i]); });
}
inline Words broadcast_word(std::uint32_t value) {
  return each_word([=](int) { return value; });
}
inline Words add_words(const Words& a, const Words& b) {
  return each_word([&](int i) { return a.v[i] + b.v[i]; });
}
inline Words sub_words(const Words& a, const Words& b) {
  return each_word([&](int i) { return a.v[i] - b.v[i]; });
}
inline Words xor_words(const Words& a, const Words& b) {
  return each_word([&](int i) { return a.v[i] ^ b.v[i]; });
}
template <int kBits>
inline Words shift_left(const Words& a) {
  return each_word([&](int i) { return a.v[i] << kBits; });
}
template <int kBits>
inline Words shift_right(const Words& a) {
  return each_word([&](int i) { return a.v[i] >> kBits; });
}
template <int kBits>
inline Words shift_right_signed(const Words& a) {
  return each_word([&](int i) {
    return static_cast<std::uint32_t>(static_cast<std::int32_t>(a.v[i]) >> kBits);
  });
}
// Each word as a signed integer.
inline Lanes to_lanes(const Words& a) {
  return each_lane([&](int i) { return static_cast<float>(static_cast<std::int32_t>(a.v[i])); });
}

// The upper and lower halves of the 64-bit products of each word with b.
inline void multiply(const Words& a, std::uint32_t b, Words& high, Words& low) {
  const Words factor = a;
  high = each_word(
      [&](int i) { return static_cast<std::uint32_t>((std::uint64_t{factor.v[i]} * b) >> 32); });
  low = each_word([&](int i) { return factor.v[i] * b; });
}

// Transposes the 4 x 4 matrix that each group of four lanes of a, b, c, d holds.
inline void transpose_fours(Words& a, Words& b, Words& c, Words& d) {
  Words* rows[4] = {&a, &b, &c, &d};
  for (int group = 0; group < 16; group += 4) {
    for (int i = 0; i < 4; ++i) {
      for (int j = 0; j < i; ++j) std::swap(rows[i]->v[group + j], rows[j]->v[group + i]);
    }
  }
}

// Largest lane; no lane may be NaN.
inline float max_of(const Lanes& a) {
  float largest = a.v[0];
  for (int i = 1; i < 16; ++i) largest = a.v[i] > largest ? a.v[i] : largest;
  return largest;
}

// 16 IEEE halves, rounded to nearest even.
inline void store_f16(void* to, const Lanes& a) {
  f16 halves[16];
  for (int i = 0; i < 16; ++i) halves[i] = to_f16(a.v[i]);
  std::memcpy(to, halves, sizeof halves);
}

// rows[i][j] becomes rows[j][i].
inline void transpose(Lanes* rows) {
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < i; ++j) std::swap(rows[i].v[j], rows[j].v[i]);
  }
}

}  // namespace portable
}  // namespace kernels
