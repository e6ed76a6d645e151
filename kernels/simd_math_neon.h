// The operations of simd_math.h in NEON. Include simd_math.h, not this.
#pragma once

#include <arm_neon.h>

#include "kernels/simd_neon.h"

namespace kernels {
namespace neon {

template <typename Value>
inline Words each_word_quarter(Value value) {
  return {{value(0), value(1), value(2), value(3)}};
}

inline Lanes sub(Lanes a, Lanes b) {
  return each_quarter([&](int i) { return vsubq_f32(a.v[i], b.v[i]); });
}
inline Lanes div(Lanes a, Lanes b) {
  return each_quarter([&](int i) { return vdivq_f32(a.v[i], b.v[i]); });
}
// a > b ? a : b, so b if either is NaN. min likewise with <.
inline Lanes max(Lanes a, Lanes b) {
  return each_quarter([&](int i) { return vbslq_f32(vcgtq_f32(a.v[i], b.v[i]), a.v[i], b.v[i]); });
}
inline Lanes min(Lanes a, Lanes b) {
  return each_quarter([&](int i) { return vbslq_f32(vcltq_f32(a.v[i], b.v[i]), a.v[i], b.v[i]); });
}

// Lanes below n from a, the others from b.
inline Lanes first_lanes(int n, Lanes a, Lanes b) {
  static const std::int32_t kQuarter[4] = {0, 1, 2, 3};
  const int32x4_t quarter = vld1q_s32(kQuarter);
  return each_quarter(
      [&](int i) { return vbslq_f32(vcltq_s32(quarter, vdupq_n_s32(n - 4 * i)), a.v[i], b.v[i]); });
}

// One bit a lane from four all-ones or all-zeros masks.
template <typename Mask>
inline std::uint32_t bits_of_masks(Mask mask) {
  static const std::uint32_t kBits[4] = {1, 2, 4, 8};
  const uint32x4_t bits = vld1q_u32(kBits);
  std::uint32_t out = 0;
  for (int i = 0; i < 4; ++i) out |= vaddvq_u32(vandq_u32(mask(i), bits)) << (4 * i);
  return out;
}

// Bit i is set where a[i] <= b[i]; never where either is NaN.
inline std::uint32_t at_most(Lanes a, Lanes b) {
  return bits_of_masks([&](int i) { return vcleq_f32(a.v[i], b.v[i]); });
}
inline std::uint32_t is_nan(Lanes a) {
  return bits_of_masks([&](int i) { return vmvnq_u32(vceqq_f32(a.v[i], a.v[i])); });
}

inline Words as_words(Lanes a) {
  return each_word_quarter([&](int i) { return vreinterpretq_u32_f32(a.v[i]); });
}
inline Lanes as_lanes(Words a) {
  return each_quarter([&](int i) { return vreinterpretq_f32_u32(a.v[i]); });
}
inline Words broadcast_word(std::uint32_t value) {
  return each_word_quarter([=](int) { return vdupq_n_u32(value); });
}
inline Words add_words(Words a, Words b) {
  return each_word_quarter([&](int i) { return vaddq_u32(a.v[i], b.v[i]); });
}
inline Words sub_words(Words a, Words b) {
  return each_word_quarter([&](int i) { return vsubq_u32(a.v[i], b.v[i]); });
}
inline Words xor_words(Words a, Words b) {
  return each_word_quarter([&](int i) { return veorq_u32(a.v[i], b.v[i]); });
}
template <int kBits>
inline Words shift_left(Words a) {
  return each_word_quarter([&](int i) { return vshlq_n_u32(a.v[i], kBits); });
}
template <int kBits>
inline Words shift_right(Words a) {
  return each_word_quarter([&](int i) { return vshrq_n_u32(a.v[i], kBits); });
}
template <int kBits>
inline Words shift_right_signed(Words a) {
  return each_word_quarter([&](int i) {
    return vreinterpretq_u32_s32(vshrq_n_s32(vreinterpretq_s32_u32(a.v[i]), kBits));
  });
}
// Each word as a signed integer.
inline Lanes to_lanes(Words a) {
  return each_quarter([&](int i) { return vcvtq_f32_s32(vreinterpretq_s32_u32(a.v[i])); });
}

// The upper and lower halves of the 64-bit products of each word with b.
inline void multiply(Words a, std::uint32_t b, Words& high, Words& low) {
  const Words factor = a;
  high = each_word_quarter([&](int i) {
    const uint64x2_t first = vmull_n_u32(vget_low_u32(factor.v[i]), b);
    const uint64x2_t second = vmull_n_u32(vget_high_u32(factor.v[i]), b);
    return vcombine_u32(vshrn_n_u64(first, 32), vshrn_n_u64(second, 32));
  });
  low = each_word_quarter([&](int i) { return vmulq_n_u32(factor.v[i], b); });
}

// Transposes the 4 x 4 matrix that each group of four lanes of a, b, c, d holds.
inline void transpose_fours(Words& a, Words& b, Words& c, Words& d) {
  for (int i = 0; i < 4; ++i) {
    const uint32x4x2_t ab = vtrnq_u32(a.v[i], b.v[i]);
    const uint32x4x2_t cd = vtrnq_u32(c.v[i], d.v[i]);
    a.v[i] = vcombine_u32(vget_low_u32(ab.val[0]), vget_low_u32(cd.val[0]));
    b.v[i] = vcombine_u32(vget_low_u32(ab.val[1]), vget_low_u32(cd.val[1]));
    c.v[i] = vcombine_u32(vget_high_u32(ab.val[0]), vget_high_u32(cd.val[0]));
    d.v[i] = vcombine_u32(vget_high_u32(ab.val[1]), vget_high_u32(cd.val[1]));
  }
}

// Largest lane; no lane may be NaN.
inline float max_of(Lanes a) {
  return vmaxvq_f32(vmaxq_f32(vmaxq_f32(a.v[0], a.v[1]), vmaxq_f32(a.v[2], a.v[3])));
}

// 16 IEEE halves, rounded to nearest even.
inline void store_f16(void* to, Lanes a) {
  auto* halves = static_cast<std::uint16_t*>(to);
  for (int i = 0; i < 4; ++i) {
    vst1_u16(halves + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(a.v[i])));
  }
}

// rows[i][j] becomes rows[j][i].
inline void transpose(Lanes* rows) {
  for (int i = 0; i < 16; i += 4) {
    Words words[4] = {as_words(rows[i]), as_words(rows[i + 1]), as_words(rows[i + 2]),
                      as_words(rows[i + 3])};
    transpose_fours(words[0], words[1], words[2], words[3]);
    for (int j = 0; j < 4; ++j) rows[i + j] = as_lanes(words[j]);
  }
  // Now 4 x 4 blocks are right inside; what is left is to transpose the blocks.
  for (int i = 0; i < 16; ++i) {
    for (int block = 0; block < i / 4; ++block) {
      const int mirror = 4 * block + i % 4;
      const float32x4_t below = rows[i].v[block];
      rows[i].v[block] = rows[mirror].v[i / 4];
      rows[mirror].v[i / 4] = below;
    }
  }
}

}  // namespace neon
}  // namespace kernels
