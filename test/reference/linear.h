// y = x W^T + bias in double precision.
#pragma once

#include <vector>

namespace reference {

// Row-major x [num_tokens, in_features], weight [out_features, in_features], bias [out_features] or
// null; returns [num_tokens, out_features].
inline std::vector<double> linear(const double* x, const double* weight, const double* bias,
                                  int num_tokens, int in_features, int out_features) {
  std::vector<double> out(static_cast<std::size_t>(num_tokens) * out_features);
  for (int t = 0; t < num_tokens; ++t) {
    for (int o = 0; o < out_features; ++o) {
      const double* x_row = x + static_cast<std::size_t>(t) * in_features;
      const double* row = weight + static_cast<std::size_t>(o) * in_features;
      // Four sums side by side, so that the large shapes take seconds and not minutes.
      double sums[4] = {};
      int k = 0;
      for (; k + 4 <= in_features; k += 4) {
        for (int i = 0; i < 4; ++i) sums[i] += x_row[k + i] * row[k + i];
      }
      for (; k < in_features; ++k) sums[0] += x_row[k] * row[k];
      const double sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
      out[static_cast<std::size_t>(t) * out_features + o] = sum + (bias != nullptr ? bias[o] : 0);
    }
  }
  return out;
}

}  // namespace reference
