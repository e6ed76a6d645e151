// Seeded weights and activations of every type, for tests.
#pragma once

#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/types.h"

namespace testing {

// Normally distributed, so negative as often as positive, with outliers of 4 sigma.
inline std::vector<float> random_floats(std::size_t count, float sigma, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, sigma);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

inline void put(std::vector<std::uint8_t>& bytes, std::size_t at, std::uint16_t value) {
  std::memcpy(&bytes[at], &value, sizeof value);
}

// Rows of `type` as in a file: random quants, scales (of either sign) such that a weight is of the
// order of 0.05.
inline std::vector<std::uint8_t> random_rows(kernels::DType type, int num_rows, int in_features,
                                             std::uint32_t seed) {
  using kernels::DType;
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 0.05f);
  std::vector<std::uint8_t> rows(num_rows * kernels::row_bytes(type, in_features));
  for (std::uint8_t& byte : rows) byte = static_cast<std::uint8_t>(random() >> 8);
  const std::size_t block = kernels::bytes_per_block(type);
  for (std::size_t at = 0; at < rows.size(); at += block) {
    const float value = normal(random);
    switch (type) {
      case DType::kF32:
        std::memcpy(&rows[at], &value, sizeof value);
        break;
      case DType::kF16:
        put(rows, at, kernels::to_f16(value).bits);
        break;
      case DType::kBF16:
        put(rows, at, kernels::to_bf16(value).bits);
        break;
      case DType::kQ8_0:
        put(rows, at, kernels::to_f16(value / 64).bits);
        break;
      case DType::kQ4_0:
        put(rows, at, kernels::to_f16(value / 4).bits);
        break;
      case DType::kQ4_1:
        put(rows, at, kernels::to_f16(value / 4).bits);
        put(rows, at + 2, kernels::to_f16(-value * 2).bits);
        break;
      case DType::kQ6_K:
        put(rows, at + 208, kernels::to_f16(value / 1024).bits);
        break;
    }
  }
  return rows;
}

constexpr kernels::DType kAllTypes[] = {
    kernels::DType::kF32,  kernels::DType::kF16,  kernels::DType::kBF16, kernels::DType::kQ8_0,
    kernels::DType::kQ4_0, kernels::DType::kQ4_1, kernels::DType::kQ6_K};

}  // namespace testing
