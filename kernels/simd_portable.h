// Lanes of simd.h as plain loops, for processors without a version of their own and as the
// plainest statement of what each operation means. Include simd.h, not this.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/types.h"

#define KERNELS_SIMD portable

namespace kernels {
namespace portable {

// 16 floats.
struct Lanes {
  float v[16];
};

// 16 words of 32 bits.
struct Words {
  std::uint32_t v[16];
};

inline constexpr int kRegistersPerLanes = 4;
inline constexpr int kNumRegisters = 16;

template <typename Value>
inline Lanes each_lane(Value value) {
  Lanes out;
  for (int i = 0; i < 16; ++i) out.v[i] = value(i);
  return out;
}

inline Lanes zero() { return Lanes{}; }
inline Lanes broadcast(float value) {
  return each_lane([=](int) { return value; });
}
inline Lanes load(const float* from) {
  Lanes out;
  std::memcpy(&out, from, sizeof out);
  return out;
}
inline void store(float* to, const Lanes& a) { std::memcpy(to, &a, sizeof a); }
inline Lanes add(const Lanes& a, const Lanes& b) {
  return each_lane([&](int i) { return a.v[i] + b.v[i]; });
}
inline Lanes mul(const Lanes& a, const Lanes& b) {
  return each_lane([&](int i) { return a.v[i] * b.v[i]; });
}
// a * b + c, rounded once.
inline Lanes fma(const Lanes& a, const Lanes& b, const Lanes& c) {
  return each_lane([&](int i) { return std::fma(a.v[i], b.v[i], c.v[i]); });
}

// 16 IEEE halves.
inline Lanes load_f16(const void* from) {
  f16 halves[16];
  std::memcpy(halves, from, sizeof halves);
  return each_lane([&](int i) { return to_float(halves[i]); });
}

// 16 signed bytes.
inline Lanes load_i8(const void* from) {
  const auto* bytes = static_cast<const std::int8_t*>(from);
  return each_lane([&](int i) { return static_cast<float>(bytes[i]); });
}

// 16 bfloat16.
inline Lanes load_bf16(const void* from) {
  bf16 halves[16];
  std::memcpy(halves, from, sizeof halves);
  return each_lane([&](int i) { return to_float(halves[i]); });
}

inline Words load_words(const void* from) {
  Words out;
  std::memcpy(&out, from, sizeof out);
  return out;
}

// The low or high bfloat16 of each word.
inline Lanes low_bf16(const Words& a) {
  return each_lane([&](int i) { return float_from_bits(a.v[i] << 16); });
}
inline Lanes high_bf16(const Words& a) {
  return each_lane([&](int i) { return float_from_bits(a.v[i] & 0xffff0000u); });
}

// Bits [4 kIndex, 4 kIndex + 4) of each word, as 0..15.
template <int kIndex>
inline Lanes nibble(const Words& a) {
  return each_lane([&](int i) { return static_cast<float>((a.v[i] >> (4 * kIndex)) & 15u); });
}

// The same minus 8.
template <int kIndex>
inline Lanes centred_nibble(const Words& a) {
  return each_lane([&](int i) {
    return static_cast<float>(static_cast<int>((a.v[i] >> (4 * kIndex)) & 15u) - 8);
  });
}

// Nibble kLow of `low` and bit pair kHigh of `high` on top of it, minus 32.
template <int kLow, int kHigh>
inline Lanes centred_six_bits(const Words& low, const Words& high) {
  return each_lane([&](int i) {
    const std::uint32_t low_bits = (low.v[i] >> (4 * kLow)) & 15u;
    const std::uint32_t high_bits = (high.v[i] >> (2 * kHigh)) & 3u;
    return static_cast<float>(static_cast<int>(low_bits | (high_bits << 4)) - 32);
  });
}

// Sum of all lanes: halves are added until one lane is left.
inline float sum(Lanes a) {
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) a.v[i] = a.v[i] + a.v[i + half];
  }
  return a.v[0];
}

inline void prefetch(const void*) {}

}  // namespace portable
}  // namespace kernels
