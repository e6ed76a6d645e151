// Rounding of a double to the type an operator writes: once, to nearest even. A reference that
// went through float on the way would be wrong on values near the middle of two narrow ones.
#pragma once

#include <algorithm>
#include <cmath>

#include "kernels/types.h"

namespace reference {

// `precision` significant bits, exponents down to `min_exponent`, nothing above `largest`.
inline double round_to(double value, int precision, int min_exponent, double largest) {
  if (value == 0 || !std::isfinite(value)) return value;
  const int exponent = std::max(std::ilogb(value), min_exponent);
  const double ulp = std::ldexp(1.0, exponent - precision + 1);
  const double rounded = std::nearbyint(value / ulp) * ulp;
  return std::fabs(rounded) > largest ? std::copysign(HUGE_VAL, value) : rounded;
}

template <typename T>
double rounded(double value);
template <>
inline double rounded<float>(double value) {
  return static_cast<float>(value);
}
template <>
inline double rounded<kernels::f16>(double value) {
  return round_to(value, 11, -14, 65504);
}
template <>
inline double rounded<kernels::bf16>(double value) {
  return round_to(value, 8, -126, 3.3895313892515355e38);
}

}  // namespace reference
