// The last step of sampling: the token with the largest logit / temperature + gumbel (sample.h).
//
// A Gumbel number costs two logarithms, so it is computed only for tokens that may still win. With
// u the token's uniform number, gumbel = -log(-log(u)) <= -log(1 - u). A token whose weight
// relative to the likeliest is w = exp((logit - maximum) / temperature) can therefore beat a score
// that lies `lead` above maximum / temperature only if 1 - u <= w * exp(-lead). That test takes one
// multiplication; a margin makes it err on the safe side, and the few tokens that pass are scored
// exactly, so the pick does not depend on the test.
#pragma once

#include <cstdint>

#include "kernels/gumbel.h"
#include "kernels/philox.h"

namespace kernels {

// Sixteen counters, 64 tokens: how many are looked at together.
inline constexpr int kTokensPerDraw = 64;

// One row after penalties and adjustments.
struct LogitRow {
  const float* logits;  // [vocab_size], no NaN, at least one finite
  int vocab_size;
  float maximum;      // the largest logit, finite
  float temperature;  // > 0
  PhiloxKey key;
  std::uint32_t position;
  std::uint32_t choice;
};

// The random word of one token.
inline std::uint32_t word_of(const LogitRow& row, std::uint32_t token) {
  return philox4x32({row.position, row.choice, token >> 2, 0}, row.key)[token & 3];
}

// A lower bound of 1 - u for a random word, exact to 24 bits.
inline float one_minus_u_at_least(std::uint32_t word) {
  return static_cast<float>(~word >> 8) * 0x1p-24f;
}

// The best token so far. Tokens may be considered in any order and more than once.
class GumbelPick {
 public:
  explicit GumbelPick(const LogitRow& row);

  // Scores a token whose random word is known.
  void consider(int token, float logit, std::uint32_t word);

  int token() const { return token_; }
  // A token may win only if one_minus_u_at_least(word) <= weight * weight_factor().
  float weight_factor() const { return weight_factor_; }
  // No token wins whose (logit - maximum) / temperature is below this, whatever its word.
  float least_exponent() const { return least_exponent_; }

 private:
  double temperature_;
  double maximum_;  // divided by the temperature
  double best_;
  int token_ = -1;
  float weight_factor_;
  float least_exponent_;
};

}  // namespace kernels
