#include "kernels/sample_row.h"

#include <cmath>

namespace kernels {
namespace {

// The C library's log differs between versions and processors in the last bit, and a pick must not.
// Only operations that IEEE 754 defines to the bit: x = m 2^e with m near 1, and with
// s = (m - 1) / (m + 1), log(m) = 2 (s + s^3/3 + s^5/5 + ..). |s| < 0.172: eleven terms reach
// 1e-17.
double log_of(double x) {
  int exponent;
  double m = std::frexp(x, &exponent);
  if (m < 0.70710678118654752) {
    m *= 2;
    --exponent;
  }
  const double s = (m - 1) / (m + 1);
  const double square = s * s;
  double series = 0;
  for (int k = 21; k >= 1; k -= 2) series = series * square + 1.0 / k;
  return exponent * 0.69314718055994531 + 2 * s * series;
}

// Covers the float roundings of weight and exponent many times over.
constexpr double kMargin = 1.001;

}  // namespace

double gumbel_of(std::uint32_t word) {
  const double u = (static_cast<double>(word) + 0.5) * 0x1p-32;
  return -log_of(-log_of(u));
}

GumbelPick::GumbelPick(const LogitRow& row)
    : temperature_(row.temperature),
      maximum_(row.maximum / temperature_),
      best_(-HUGE_VAL),
      weight_factor_(HUGE_VALF),
      least_exponent_(-HUGE_VALF) {}

void GumbelPick::consider(int token, float logit, std::uint32_t word) {
  const double score = logit / temperature_ + gumbel_of(word);
  if (score < best_ || (score == best_ && token >= token_)) return;
  best_ = score;
  token_ = token;
  const double lead = best_ - maximum_;
  weight_factor_ = static_cast<float>(std::exp(-lead) * kMargin);
  least_exponent_ = static_cast<float>(lead - kMaxGumbel - 0.1);
}

}  // namespace kernels
