// What quantised weights stand for, in double precision, read byte by byte from the file's layout
// without the structs of kernels/quant_blocks.h.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/types.h"

namespace reference {

inline double half_at(const std::uint8_t* bytes) {
  const int bits = bytes[0] | bytes[1] << 8;
  const double sign = (bits >> 15) != 0 ? -1 : 1;
  const int exponent = bits >> 10 & 31;
  const int fraction = bits & 1023;
  if (exponent == 31) return fraction != 0 ? NAN : sign * HUGE_VAL;
  if (exponent == 0) return sign * std::ldexp(fraction, -24);
  return sign * std::ldexp(1024 + fraction, exponent - 25);
}

inline double element(kernels::DType type, const std::uint8_t* row, int k) {
  using kernels::DType;
  switch (type) {
    case DType::kF32: {
      const std::uint8_t* at = row + 4 * k;
      const std::uint32_t bits =
          at[0] | at[1] << 8 | at[2] << 16 | static_cast<std::uint32_t>(at[3]) << 24;
      return kernels::float_from_bits(bits);
    }
    case DType::kF16:
      return half_at(row + 2 * k);
    case DType::kBF16:
      return kernels::float_from_bits(static_cast<std::uint32_t>(row[2 * k]) << 16 |
                                      static_cast<std::uint32_t>(row[2 * k + 1]) << 24);
    case DType::kQ8_0: {
      const std::uint8_t* block = row + k / 32 * 34;
      return half_at(block) * static_cast<std::int8_t>(block[2 + k % 32]);
    }
    case DType::kQ4_0: {
      const std::uint8_t* block = row + k / 32 * 18;
      const int byte = block[2 + k % 16];
      return half_at(block) * ((k % 32 < 16 ? byte & 15 : byte >> 4) - 8);
    }
    case DType::kQ4_1: {
      const std::uint8_t* block = row + k / 32 * 20;
      const int byte = block[4 + k % 16];
      return half_at(block) * (k % 32 < 16 ? byte & 15 : byte >> 4) + half_at(block + 2);
    }
    case DType::kQ6_K: {
      const std::uint8_t* block = row + k / 256 * 210;
      const int i = k % 256;
      const int low_byte = block[i / 128 * 64 + i % 64];
      const int low = i % 128 < 64 ? low_byte & 15 : low_byte >> 4;
      const int high = block[128 + i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
      const int sub_scale = static_cast<std::int8_t>(block[192 + i / 16]);
      return half_at(block + 208) * sub_scale * (low + 16 * high - 32);
    }
  }
  return NAN;
}

inline std::vector<double> dequantize(kernels::DType type, const std::uint8_t* row, int count) {
  std::vector<double> values(count);
  for (int k = 0; k < count; ++k) values[k] = element(type, row, k);
  return values;
}

}  // namespace reference
