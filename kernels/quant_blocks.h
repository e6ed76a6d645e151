// Layouts of GGUF's quantised blocks as they stand in a file, little-endian. `scale` and `min` are
// IEEE halves. value(i) is the number that element i of the block stands for.
#pragma once

#include <cstdint>

#include "kernels/types.h"

namespace kernels {

// value(i) = scale * q[i]
struct BlockQ8_0 {
  static constexpr int kLen = 32;
  f16 scale;
  std::int8_t q[32];
};

// value(i) = scale * (nibble(i) - 8); the low nibbles hold the first half of the block.
struct BlockQ4_0 {
  static constexpr int kLen = 32;
  f16 scale;
  std::uint8_t q[16];
};

// value(i) = scale * nibble(i) + min
struct BlockQ4_1 {
  static constexpr int kLen = 32;
  f16 scale;
  f16 min;
  std::uint8_t q[16];
};

// value(i) = scale * sub_scales[i / 16] * (six(i) - 32). Each half of the block has 128 elements in
// four runs of 32: run r has its low nibbles in low[32 (r % 2)...], the lower nibble for r < 2, and
// its high pairs in bits 2r of high[0...32).
struct BlockQ6K {
  static constexpr int kLen = 256;
  std::uint8_t low[128];
  std::uint8_t high[64];
  std::int8_t sub_scales[16];
  f16 scale;
};

static_assert(sizeof(BlockQ8_0) == 34, "as in the file");
static_assert(sizeof(BlockQ4_0) == 18, "as in the file");
static_assert(sizeof(BlockQ4_1) == 20, "as in the file");
static_assert(sizeof(BlockQ6K) == 210, "as in the file");

inline int nibble_at(const std::uint8_t (&q)[16], int i) {
  return i < 16 ? q[i] & 15 : q[i - 16] >> 4;
}

// Element i of the block as 0..63.
inline int six_bits_at(const BlockQ6K& block, int i) {
  const int half = i / 128;
  const int run = i % 128 / 32;
  const int lane = i % 32;
  const int low = block.low[64 * half + 32 * (run % 2) + lane];
  const int high = block.high[32 * half + lane] >> (2 * run);
  return ((run < 2 ? low & 15 : low >> 4)) | ((high & 3) << 4);
}

}  // namespace kernels
