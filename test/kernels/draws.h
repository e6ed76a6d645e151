// Draws against an exact distribution: what sampling has to show on every device.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "test/kernels/tap.h"

namespace testing {

// The value chi-square with this many degrees of freedom exceeds with probability 0.001
// (Wilson and Hilferty; 3.09 is the normal quantile).
inline double chi_square_limit(int degrees) {
  const double h = 2.0 / (9 * degrees);
  return degrees * std::pow(1 - h + 3.0902 * std::sqrt(h), 3);
}

// 100,000 draws of a row, each at another position and seed, against the exact distribution `want`.
// draw(rows) gives a token for each of `batch` rows.
template <class Row, class Draw>
void test_draws(tap::Report& report, const std::string& name, const Row& row,
                const std::vector<double>& want, int batch, Draw draw) {
  constexpr int kNumDraws = 100000;
  std::vector<int> counts(want.size());
  for (int first = 0; first < kNumDraws; first += batch) {
    std::vector<Row> rows(batch, row);
    for (int i = 0; i < batch; ++i) {
      rows[i].context_len = i;
      rows[i].seed = 0x123456789abcdefu + first;
      rows[i].choice = i % 3;
    }
    for (const std::int32_t token : draw(rows)) ++counts[token];
  }
  double chi_square = 0, rare = 0;
  int degrees = -1, num_rare = 0, num_forbidden = 0;
  for (std::size_t token = 0; token < want.size(); ++token) {
    const double expected = want[token] * kNumDraws;
    if (expected == 0) num_forbidden += counts[token];
    if (expected < 5) {
      rare += expected;
      num_rare += counts[token];
      continue;
    }
    chi_square += (counts[token] - expected) * (counts[token] - expected) / expected;
    ++degrees;
  }
  if (rare >= 5) {
    chi_square += (num_rare - rare) * (num_rare - rare) / rare;
    ++degrees;
  }
  report.equal(num_forbidden, 0, name + ": dropped tokens are never drawn");
  report.ok(degrees >= 1 && chi_square < chi_square_limit(degrees),
            name + ": chi-square " + std::to_string(chi_square) + " of " +
                std::to_string(chi_square_limit(std::max(degrees, 1))) + ", " +
                std::to_string(degrees) + " degrees");
}

}  // namespace testing
