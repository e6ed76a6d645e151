// The vector code of sampling: passes over a whole row of logits.
#pragma once

#include <cmath>
#include <cstring>

#include "kernels/sample_row.h"
#include "kernels/simd_math.h"

namespace kernels {
namespace KERNELS_SIMD {

// NaN if there is one, else the largest.
inline float largest_logit(const float* logits, int size) {
  Lanes largest = broadcast(-HUGE_VALF);
  std::uint32_t nans = 0;
  int i = 0;
  for (; i + kNumLanes <= size; i += kNumLanes) {
    const Lanes values = load(logits + i);
    nans |= is_nan(values);
    largest = max(values, largest);
  }
  if (i < size) {
    const Lanes values = load_first(logits + i, size - i);
    nans |= is_nan(values);
    largest = max(first_lanes(size - i, values, largest), largest);
  }
  return nans != 0 ? NAN : max_of(largest);
}

inline Lanes exponents_of(Lanes logits, float maximum, float inverse_temperature) {
  return mul(sub(logits, broadcast(maximum)), broadcast(inverse_temperature));
}

// weights[i] = exp((logits[i] - maximum) * inverse_temperature), in 0..1.
inline void weigh_logits(float* weights, const float* logits, int size, float maximum,
                         float inverse_temperature) {
  for (int i = 0; i < size; i += kNumLanes) {
    const Lanes values = load_first(logits + i, size - i);
    store_first(weights + i, exp(exponents_of(values, maximum, inverse_temperature)), size - i);
  }
}

// Indices, ascending, of the values in [low, high]; returns how many. Never writes more than
// `size`.
inline int collect_between(const float* values, int size, float low, float high,
                           std::uint32_t* indices) {
  const Lanes lows = broadcast(low);
  const Lanes highs = broadcast(high);
  int count = 0;
  for (int i = 0; i < size; i += kNumLanes) {
    const Lanes lanes = load_first(values + i, size - i);
    std::uint32_t inside = at_most(lows, lanes) & at_most(lanes, highs);
    if (size - i < kNumLanes) inside &= (1u << (size - i)) - 1u;
    for (; inside != 0; inside &= inside - 1) {
      indices[count++] = static_cast<std::uint32_t>(i + __builtin_ctz(inside));
    }
  }
  return count;
}

// The random words of tokens [first_token, first_token + 64), in order.
inline void draw_words(const LogitRow& row, int first_token, Words (&words)[4]) {
  // Lane 4 i + j takes counter 4 j + i, so that transposing fours puts the tokens in order.
  alignas(64) static const std::uint32_t kCounters[kNumLanes] = {0, 4, 8,  12, 1, 5, 9,  13,
                                                                 2, 6, 10, 14, 3, 7, 11, 15};
  Words c0 = broadcast_word(row.position);
  Words c1 = broadcast_word(row.choice);
  Words c2 = add_words(load_words(kCounters),
                       broadcast_word(static_cast<std::uint32_t>(first_token) >> 2));
  Words c3 = broadcast_word(0);
  PhiloxKey key = row.key;
  for (int round = 0; round < kPhiloxRounds; ++round) {
    Words high0, low0, high1, low1;
    multiply(c0, kPhiloxMultiplier0, high0, low0);
    multiply(c2, kPhiloxMultiplier1, high1, low1);
    c0 = xor_words(xor_words(high1, c1), broadcast_word(key.low));
    c1 = low1;
    c2 = xor_words(xor_words(high0, c3), broadcast_word(key.high));
    c3 = low0;
    key.low += kPhiloxWeyl0;
    key.high += kPhiloxWeyl1;
  }
  transpose_fours(c0, c1, c2, c3);
  words[0] = c0;
  words[1] = c1;
  words[2] = c2;
  words[3] = c3;
}

// Scores the tokens of one vector that may win.
inline void consider_vector(const LogitRow& row, int first_token, int num_tokens, Lanes exponents,
                            Words words, GumbelPick& pick) {
  const Words complement = xor_words(words, broadcast_word(0xffffffffu));
  const Lanes one_minus_u = mul(to_lanes(shift_right<8>(complement)), broadcast(0x1p-24f));
  const Lanes limit = mul(exp(exponents), broadcast(pick.weight_factor()));
  std::uint32_t may_win = at_most(one_minus_u, limit);
  if (num_tokens < kNumLanes) may_win &= (1u << num_tokens) - 1u;
  if (may_win == 0) return;
  float bits[kNumLanes];
  store(bits, as_lanes(words));
  for (int i = 0; i < kNumLanes; ++i) {
    if ((may_win >> i & 1u) == 0) continue;
    std::uint32_t word;
    std::memcpy(&word, bits + i, sizeof word);
    pick.consider(first_token + i, row.logits[first_token + i], word);
  }
}

// Considers every token of the row. `pick` already holds the likeliest, which makes the test sharp.
inline void pick_from_all(const LogitRow& row, GumbelPick& pick) {
  constexpr int kNumVectors = kTokensPerDraw / kNumLanes;
  const float inverse_temperature = 1.0f / row.temperature;
  for (int first = 0; first < row.vocab_size; first += kTokensPerDraw) {
    Lanes exponents[kNumVectors];
    Lanes largest = broadcast(-HUGE_VALF);
    for (int v = 0; v < kNumVectors; ++v) {
      const int token = first + v * kNumLanes;
      exponents[v] = broadcast(-HUGE_VALF);
      if (token >= row.vocab_size) continue;
      const Lanes values = load_first(row.logits + token, row.vocab_size - token);
      exponents[v] = exponents_of(values, row.maximum, inverse_temperature);
      largest = max(exponents[v], largest);
    }
    if (max_of(largest) < pick.least_exponent()) continue;
    Words words[kNumVectors];
    draw_words(row, first, words);
    for (int v = 0; v < kNumVectors; ++v) {
      const int token = first + v * kNumLanes;
      if (token >= row.vocab_size) break;
      consider_vector(row, token, row.vocab_size - token, exponents[v], words[v], pick);
    }
  }
}

}  // namespace KERNELS_SIMD
}  // namespace kernels
