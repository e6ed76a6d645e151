// The number formats of weights, activations and caches, and the error every kernel throws.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

namespace kernels {

// What is wrong with an operator's arguments. Nothing has been written when it is thrown.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

[[noreturn]] void throw_error(const char* file, int line, const std::string& message);

// Throws kernels::Error with file and line unless the condition holds. The message says what was
// given and what the limit is; it is only built on failure.
#define CHECK(condition, message)                                            \
  do {                                                                       \
    if (!(condition)) ::kernels::throw_error(__FILE__, __LINE__, (message)); \
  } while (false)

// Element and block formats. The quantised ones are GGUF's, laid out as in quant_blocks.h.
enum class DType : std::uint8_t { kF32, kF16, kBF16, kQ8_0, kQ4_0, kQ4_1, kQ6_K };

inline constexpr int kNumDTypes = 7;

// Consecutive elements of a row that share a scale; 1 for the plain types.
int block_size(DType type);

// Bytes such a block takes.
int bytes_per_block(DType type);

// Bytes of a row of `num_elements`, which must be a multiple of block_size(type).
std::size_t row_bytes(DType type, std::int64_t num_elements);

// Lower case, as in error messages: "q4_1".
const char* name_of(DType type);

struct f16 {
  std::uint16_t bits;
};

struct bf16 {
  std::uint16_t bits;
};

inline float float_from_bits(std::uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline std::uint32_t bits_of(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline float to_float(float value) { return value; }

inline float to_float(bf16 value) {
  return float_from_bits(static_cast<std::uint32_t>(value.bits) << 16);
}

// Exact, subnormals and infinities included; NaN keeps its payload and becomes quiet.
inline float to_float(f16 value) {
  const std::uint32_t sign = static_cast<std::uint32_t>(value.bits & 0x8000u) << 16;
  const std::uint32_t magnitude = value.bits & 0x7fffu;
  if (magnitude >= 0x7c00u) {
    const std::uint32_t quiet = magnitude > 0x7c00u ? 0x400000u : 0u;
    return float_from_bits(sign | 0x7f800000u | quiet | ((magnitude & 0x3ffu) << 13));
  }
  if (magnitude >= 0x400u) return float_from_bits(sign | ((magnitude << 13) + 0x38000000u));
  // A subnormal is magnitude * 2^-24, which float holds exactly.
  return float_from_bits(sign | bits_of(static_cast<float>(magnitude) * 0x1p-24f));
}

// Round to nearest even; NaN stays NaN.
inline bf16 to_bf16(float value) {
  const std::uint32_t bits = bits_of(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) {
    return {static_cast<std::uint16_t>((bits >> 16) | 0x40u)};
  }
  return {static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

// Round to nearest even; above 65,519.99 infinity, below 2^-25 zero; NaN stays NaN.
inline f16 to_f16(float value) {
  const std::uint32_t bits = bits_of(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return {static_cast<std::uint16_t>(sign | 0x7e00u)};
  if (magnitude >= 0x477ff000u) return {static_cast<std::uint16_t>(sign | 0x7c00u)};
  if (magnitude < 0x38800000u) {
    // Subnormal: adding 0.5 lets the float adder round to a multiple of 2^-24.
    const std::uint32_t rounded = bits_of(float_from_bits(magnitude) + 0.5f) - 0x3f000000u;
    return {static_cast<std::uint16_t>(sign | rounded)};
  }
  const std::uint32_t rounded = magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u);
  return {static_cast<std::uint16_t>(sign | (rounded >> 13))};
}

// The conversion chosen by the target type, for templates over float, f16 and bf16.
template <typename T>
T from_float(float value);
template <>
inline float from_float<float>(float value) {
  return value;
}
template <>
inline f16 from_float<f16>(float value) {
  return to_f16(value);
}
template <>
inline bf16 from_float<bf16>(float value) {
  return to_bf16(value);
}

}  // namespace kernels
