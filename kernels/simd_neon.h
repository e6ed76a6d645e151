// Lanes of simd.h in four NEON registers. Include simd.h, not this.
#pragma once

#include <arm_neon.h>

#include <cstdint>

#define KERNELS_SIMD neon

namespace kernels {
namespace neon {

// 16 floats.
struct Lanes {
  float32x4_t v[4];
};

// 16 words of 32 bits.
struct Words {
  uint32x4_t v[4];
};

inline constexpr int kRegistersPerLanes = 4;
inline constexpr int kNumRegisters = 32;

template <typename Value>
inline Lanes each_quarter(Value value) {
  return {{value(0), value(1), value(2), value(3)}};
}

inline Lanes zero() {
  return each_quarter([](int) { return vdupq_n_f32(0); });
}
inline Lanes broadcast(float value) {
  const float32x4_t v = vdupq_n_f32(value);
  return {{v, v, v, v}};
}
inline Lanes load(const float* from) {
  return each_quarter([=](int i) { return vld1q_f32(from + 4 * i); });
}
inline void store(float* to, Lanes a) {
  for (int i = 0; i < 4; ++i) vst1q_f32(to + 4 * i, a.v[i]);
}
inline Lanes add(Lanes a, Lanes b) {
  return each_quarter([&](int i) { return vaddq_f32(a.v[i], b.v[i]); });
}
inline Lanes mul(Lanes a, Lanes b) {
  return each_quarter([&](int i) { return vmulq_f32(a.v[i], b.v[i]); });
}
// a * b + c, rounded once.
inline Lanes fma(Lanes a, Lanes b, Lanes c) {
  return each_quarter([&](int i) { return vfmaq_f32(c.v[i], a.v[i], b.v[i]); });
}

// 16 IEEE halves.
inline Lanes load_f16(const void* from) {
  const auto* halves = static_cast<const std::uint16_t*>(from);
  return each_quarter(
      [=](int i) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(halves + 4 * i))); });
}

// 16 signed bytes.
inline Lanes load_i8(const void* from) {
  const int8x16_t bytes = vld1q_s8(static_cast<const std::int8_t*>(from));
  const int16x8_t low = vmovl_s8(vget_low_s8(bytes));
  const int16x8_t high = vmovl_s8(vget_high_s8(bytes));
  return {{vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))),
           vcvtq_f32_s32(vmovl_s16(vget_high_s16(low))),
           vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
           vcvtq_f32_s32(vmovl_s16(vget_high_s16(high)))}};
}

// 16 bfloat16.
inline Lanes load_bf16(const void* from) {
  const auto* halves = static_cast<const std::uint16_t*>(from);
  return each_quarter(
      [=](int i) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(halves + 4 * i), 16)); });
}

inline Words load_words(const void* from) {
  const auto* words = static_cast<const std::uint32_t*>(from);
  return {{vld1q_u32(words), vld1q_u32(words + 4), vld1q_u32(words + 8), vld1q_u32(words + 12)}};
}

// The low or high bfloat16 of each word.
inline Lanes low_bf16(Words a) {
  return each_quarter([&](int i) { return vreinterpretq_f32_u32(vshlq_n_u32(a.v[i], 16)); });
}
inline Lanes high_bf16(Words a) {
  const uint32x4_t mask = vdupq_n_u32(0xffff0000u);
  return each_quarter([&](int i) { return vreinterpretq_f32_u32(vandq_u32(a.v[i], mask)); });
}

template <int kIndex>
inline uint32x4_t nibble_bits(uint32x4_t words) {
  if constexpr (kIndex == 0) {
    return vandq_u32(words, vdupq_n_u32(15));
  } else if constexpr (kIndex == 7) {
    return vshrq_n_u32(words, 28);
  } else {
    return vandq_u32(vshrq_n_u32(words, 4 * kIndex), vdupq_n_u32(15));
  }
}

// Bits [4 kIndex, 4 kIndex + 4) of each word, as 0..15.
template <int kIndex>
inline Lanes nibble(Words a) {
  return each_quarter([&](int i) { return vcvtq_f32_u32(nibble_bits<kIndex>(a.v[i])); });
}

inline float32x4_t minus(uint32x4_t value, int offset) {
  return vcvtq_f32_s32(vsubq_s32(vreinterpretq_s32_u32(value), vdupq_n_s32(offset)));
}

// The same minus 8.
template <int kIndex>
inline Lanes centred_nibble(Words a) {
  return each_quarter([&](int i) { return minus(nibble_bits<kIndex>(a.v[i]), 8); });
}

template <int kIndex>
inline uint32x4_t bit_pair(uint32x4_t words) {
  if constexpr (kIndex == 0) {
    return vandq_u32(words, vdupq_n_u32(3));
  } else {
    return vandq_u32(vshrq_n_u32(words, 2 * kIndex), vdupq_n_u32(3));
  }
}

// Nibble kLow of `low` and bit pair kHigh of `high` on top of it, minus 32.
template <int kLow, int kHigh>
inline Lanes centred_six_bits(Words low, Words high) {
  return each_quarter([&](int i) {
    const uint32x4_t high_bits = vshlq_n_u32(bit_pair<kHigh>(high.v[i]), 4);
    return minus(vorrq_u32(nibble_bits<kLow>(low.v[i]), high_bits), 32);
  });
}

// Sum of all lanes: halves are added until one lane is left.
inline float sum(Lanes a) {
  const float32x4_t v4 = vaddq_f32(vaddq_f32(a.v[0], a.v[2]), vaddq_f32(a.v[1], a.v[3]));
  const float32x2_t v2 = vadd_f32(vget_low_f32(v4), vget_high_f32(v4));
  return vget_lane_f32(v2, 0) + vget_lane_f32(v2, 1);
}

inline void prefetch(const void* address) { __builtin_prefetch(address); }

}  // namespace neon
}  // namespace kernels
