// One row of sampling with every parameter at its neutral value, for tests to change.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/sample.h"
#include "test/kernels/plain_values.h"

namespace testing {

struct SamplingRow {
  std::vector<float> logits;
  float temperature = 1;
  int top_k = 0;
  float top_p = 1;
  float min_p = 0;
  float repetition_penalty = 1;
  float frequency_penalty = 0;
  float presence_penalty = 0;
  std::uint64_t seed = 1;
  int choice = 0;
  int context_len = 10;
  std::vector<std::int32_t> bias_token_ids;
  std::vector<float> bias_values;
  std::vector<std::uint16_t> output_counts;
  std::vector<std::uint32_t> prompt_bits;

  void take_prompt(const std::vector<int>& tokens) {
    prompt_bits.assign((logits.size() + 31) / 32, 0);
    for (const int token : tokens) prompt_bits[token / 32] |= 1u << token % 32;
  }
  void take_output(const std::vector<int>& tokens) {
    output_counts.assign(logits.size(), 0);
    for (const int token : tokens) ++output_counts[token];
  }
};

// Samples all rows in one call; rows[i] belongs to sequence i. Counts are updated in the rows.
inline std::vector<std::int32_t> sample(std::vector<SamplingRow>& rows, kernels::ThreadPool& pool) {
  const std::size_t n = rows.size();
  const int vocab_size = static_cast<int>(rows[0].logits.size());
  std::vector<float> logits, temperatures, top_ps, min_ps, repetitions, frequencies, presences,
      bias;
  std::vector<std::int32_t> row_sequences, top_ks, choices, lens, slots, starts = {0}, bias_ids;
  std::vector<std::uint32_t> low, high;
  std::vector<kernels::SamplerSlot> states;
  for (std::size_t i = 0; i < n; ++i) {
    SamplingRow& row = rows[i];
    logits.insert(logits.end(), row.logits.begin(), row.logits.end());
    temperatures.push_back(row.temperature);
    top_ps.push_back(row.top_p);
    min_ps.push_back(row.min_p);
    repetitions.push_back(row.repetition_penalty);
    frequencies.push_back(row.frequency_penalty);
    presences.push_back(row.presence_penalty);
    row_sequences.push_back(static_cast<int>(i));
    top_ks.push_back(row.top_k);
    choices.push_back(row.choice);
    lens.push_back(row.context_len);
    slots.push_back(static_cast<int>(i));
    low.push_back(static_cast<std::uint32_t>(row.seed));
    high.push_back(static_cast<std::uint32_t>(row.seed >> 32));
    bias_ids.insert(bias_ids.end(), row.bias_token_ids.begin(), row.bias_token_ids.end());
    bias.insert(bias.end(), row.bias_values.begin(), row.bias_values.end());
    starts.push_back(static_cast<int>(bias.size()));
    states.push_back({row.output_counts.empty() ? nullptr : row.output_counts.data(),
                      row.prompt_bits.empty() ? nullptr : row.prompt_bits.data()});
  }
  std::vector<std::int32_t> sampled(n, -7);
  std::vector<double> scratch(
      kernels::sample_scratch_bytes(vocab_size, pool.num_threads()) / sizeof(double) + 8, NAN);
  const auto address = reinterpret_cast<std::uintptr_t>(scratch.data());
  kernels::Sample op{};
  op.sampled_token_ids = sampled.data();
  op.logits = logits.data();
  op.logits_stride = vocab_size;
  op.num_rows = static_cast<int>(n);
  op.vocab_size = vocab_size;
  op.row_sequences = row_sequences.data();
  op.temperatures = temperatures.data();
  op.top_ps = top_ps.data();
  op.min_ps = min_ps.data();
  op.repetition_penalties = repetitions.data();
  op.frequency_penalties = frequencies.data();
  op.presence_penalties = presences.data();
  op.top_ks = top_ks.data();
  op.choices = choices.data();
  op.seeds_low = low.data();
  op.seeds_high = high.data();
  op.context_lens = lens.data();
  op.sampler_slots = slots.data();
  op.slots = states.data();
  op.bias_starts = starts.data();
  op.bias_token_ids = bias_ids.data();
  op.bias_values = bias.data();
  op.scratch = scratch.data() + (64 - address % 64) % 64 / sizeof(double);
  kernels::sample_cpu(op, pool);
  return sampled;
}

inline std::int32_t sample_one(SamplingRow row, kernels::ThreadPool& pool) {
  std::vector<SamplingRow> rows = {std::move(row)};
  return sample(rows, pool)[0];
}

}  // namespace testing
