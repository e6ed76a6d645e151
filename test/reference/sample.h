// The distribution a row is sampled from, by sorting and in double precision.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace reference {

struct SampleParams {
  double temperature = 1;
  int top_k = 0;
  double top_p = 1;
  double min_p = 0;
  double repetition_penalty = 1;
  double frequency_penalty = 0;
  double presence_penalty = 0;
};

inline std::vector<double> penalised(std::vector<double> logits, const SampleParams& params,
                                     const std::vector<int>& prompt,
                                     const std::vector<int>& output) {
  for (std::size_t token = 0; token < logits.size(); ++token) {
    const auto count = std::count(output.begin(), output.end(), static_cast<int>(token));
    const bool in_prompt =
        std::find(prompt.begin(), prompt.end(), static_cast<int>(token)) != prompt.end();
    if (count == 0 && !in_prompt) continue;
    double& logit = logits[token];
    logit = logit > 0 ? logit / params.repetition_penalty : logit * params.repetition_penalty;
    if (count > 0) logit -= params.frequency_penalty * count + params.presence_penalty;
  }
  return logits;
}

// Probability of each token after all filters; 0 for those dropped. temperature > 0.
inline std::vector<double> distribution(const std::vector<double>& logits,
                                        const SampleParams& params) {
  std::vector<int> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
  if (params.top_k > 0 && params.top_k < static_cast<int>(order.size())) {
    order.resize(params.top_k);
  }
  const auto weight = [&](int token) {
    return std::exp((logits[token] - logits[order[0]]) / params.temperature);
  };
  if (params.top_p < 1) {
    double total = 0;
    for (const int token : order) total += weight(token);
    double mass = 0;
    std::size_t num_kept = 0;
    while (num_kept < order.size() && (num_kept == 0 || mass < params.top_p * total)) {
      mass += weight(order[num_kept++]);
    }
    order.resize(num_kept);
  }
  std::vector<double> probabilities(logits.size(), 0);
  double total = 0;
  for (const int token : order) {
    if (weight(token) < params.min_p) continue;
    probabilities[token] = weight(token);
    total += weight(token);
  }
  for (double& probability : probabilities) probability /= total;
  return probabilities;
}

}  // namespace reference
