#include "kernels/sample_row.h"

#include <cmath>

namespace kernels {
namespace {

// Covers the float roundings of weight and exponent many times over.
constexpr double kMargin = 1.001;

}  // namespace

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
