#pragma once

#include <cmath>
#include <vector>

#include "test/reference/rounding.h"

namespace reference {

// One head at one position. The angle is the operator's definition: float power, float division.
template <typename T>
std::vector<double> rope(const double* x, int head_dim, long long position, float theta) {
  const int half = head_dim / 2;
  std::vector<double> out(head_dim);
  for (int j = 0; j < half; ++j) {
    const float power =
        static_cast<float>(std::pow(static_cast<double>(theta), 2.0 * j / head_dim));
    const float angle = static_cast<float>(position) / power;
    const double cosine = std::cos(static_cast<double>(angle));
    const double sine = std::sin(static_cast<double>(angle));
    out[j] = rounded<T>(x[j] * cosine - x[half + j] * sine);
    out[half + j] = rounded<T>(x[half + j] * cosine + x[j] * sine);
  }
  return out;
}

}  // namespace reference
