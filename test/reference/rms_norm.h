#pragma once

#include <cmath>
#include <vector>

#include "test/reference/rounding.h"

namespace reference {

// One group: weight[i] * x[i] / sqrt(mean(x^2) + epsilon).
template <typename T>
std::vector<double> rms_norm(const double* x, const double* weight, int size, double epsilon) {
  double sum_of_squares = 0;
  for (int i = 0; i < size; ++i) sum_of_squares += x[i] * x[i];
  const double scale = 1 / std::sqrt(sum_of_squares / size + epsilon);
  std::vector<double> out(size);
  for (int i = 0; i < size; ++i) out[i] = rounded<T>(weight[i] * x[i] * scale);
  return out;
}

}  // namespace reference
