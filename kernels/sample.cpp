#include "kernels/sample.h"

#include <algorithm>
#include <cmath>

#include "kernels/sample_filters.h"
#include "kernels/sample_row.h"
#include "kernels/vector_kernels.h"

namespace kernels {
namespace {

// A temperature below this counts as 0: its inverse would not be a float.
constexpr float kMinTemperature = 1e-30f;
constexpr std::int32_t kFailed = -1;

std::size_t row_scratch_bytes(int vocab_size) {
  const std::size_t bytes = kCandidateStoreBytesPerToken * static_cast<std::size_t>(vocab_size);
  return (bytes + 63) / 64 * 64;
}

bool has_penalties(const Sample& op, int sequence) {
  return op.repetition_penalties[sequence] != 1 || op.frequency_penalties[sequence] != 0 ||
         op.presence_penalties[sequence] != 0;
}

void apply_penalties(const Sample& op, int sequence, float* logits) {
  const SamplerSlot& slot = op.slots[op.sampler_slots[sequence]];
  const float repetition = op.repetition_penalties[sequence];
  const float frequency = op.frequency_penalties[sequence];
  const float presence = op.presence_penalties[sequence];
  for (int token = 0; token < op.vocab_size; ++token) {
    const unsigned count = slot.output_counts[token];
    const bool in_prompt = slot.prompt_bits[token / 32] >> (token % 32) & 1u;
    if (count == 0 && !in_prompt) continue;
    float logit = logits[token];
    logit = logit > 0 ? logit / repetition : logit * repetition;
    if (count > 0) logit = logit - frequency * static_cast<float>(count) - presence;
    logits[token] = logit;
  }
}

// False if a token id is outside the row. Nobody else's logits are ever touched.
bool apply_adjustments(const Sample& op, int sequence, float* logits) {
  if (op.bias_starts == nullptr) return true;
  for (int i = op.bias_starts[sequence]; i < op.bias_starts[sequence + 1]; ++i) {
    const std::int32_t token = op.bias_token_ids[i];
    if (token < 0 || token >= op.vocab_size) return false;
    logits[token] += op.bias_values[i];
  }
  return true;
}

int first_index_of(const float* values, int size, float value) {
  return static_cast<int>(std::find(values, values + size, value) - values);
}

// The tokens that top-k, top-p and min-p leave. Weights are there if a filter needed them.
Candidates filter(const Sample& op, int sequence, const LogitRow& row, const VectorKernels& vector,
                  const CandidateStore& store) {
  Candidates kept = {row.logits, nullptr, nullptr, row.vocab_size};
  const auto weigh = [&] {
    if (kept.weights != nullptr) return;
    vector.weigh_logits(store.weights, kept.logits, kept.size, row.maximum, 1 / row.temperature);
    kept.weights = store.weights;
  };
  const int top_k = op.top_ks[sequence];
  if (top_k > 0 && top_k < kept.size) kept = keep_top_k(kept, top_k, vector, store);
  if (op.top_ps[sequence] < 1) {
    weigh();
    kept = keep_top_p(kept, op.top_ps[sequence], vector, store);
  }
  if (op.min_ps[sequence] > 0) {
    weigh();
    kept = keep_min_p(kept, std::min(op.min_ps[sequence], 1.0f), vector, store);
  }
  if (kept.ids != nullptr) weigh();
  return kept;
}

// Considers every candidate of a list; the counterpart of pick_from_all.
void pick_from_list(const LogitRow& row, const Candidates& kept, GumbelPick& pick) {
  PhiloxCounter words{};
  std::uint32_t counter = 0xffffffffu;  // no token's: ids are below 2^31
  for (int i = 0; i < kept.size; ++i) {
    const float limit = kept.weights[i] * pick.weight_factor();
    if (limit < 0x1p-34f) continue;  // 1 - u is 2^-33 at least
    const std::uint32_t token = kept.ids[i];
    if (token >> 2 != counter) {
      counter = token >> 2;
      words = philox4x32({row.position, row.choice, counter, 0}, row.key);
    }
    const std::uint32_t word = words[token & 3];
    if (one_minus_u_at_least(word) > limit) continue;
    pick.consider(static_cast<int>(token), kept.logits[i], word);
  }
}

std::int32_t sample_row(const Sample& op, int sequence, float* logits, const VectorKernels& vector,
                        void* scratch) {
  if (has_penalties(op, sequence)) apply_penalties(op, sequence, logits);
  if (!apply_adjustments(op, sequence, logits)) return kFailed;
  const float maximum = vector.largest_logit(logits, op.vocab_size);
  if (!std::isfinite(maximum)) return kFailed;
  const int likeliest = first_index_of(logits, op.vocab_size, maximum);
  if (!(op.temperatures[sequence] >= kMinTemperature)) return likeliest;

  const LogitRow row = {logits,
                        op.vocab_size,
                        maximum,
                        op.temperatures[sequence],
                        {op.seeds_low[sequence], op.seeds_high[sequence]},
                        static_cast<std::uint32_t>(op.context_lens[sequence]),
                        static_cast<std::uint32_t>(op.choices[sequence])};
  const Candidates kept =
      filter(op, sequence, row, vector, cut_candidate_store(scratch, op.vocab_size));
  // The likeliest token is in every kept set; to begin with it makes the others cheap to refuse.
  GumbelPick pick(row);
  pick.consider(likeliest, maximum, word_of(row, static_cast<std::uint32_t>(likeliest)));
  if (kept.ids == nullptr) {
    vector.pick_from_all(row, pick);
  } else {
    pick_from_list(row, kept, pick);
  }
  return pick.token();
}

}  // namespace

std::size_t sample_scratch_bytes(int vocab_size, int num_threads) {
  return row_scratch_bytes(vocab_size) * static_cast<std::size_t>(num_threads);
}

void sample_cpu(const Sample& op, ThreadPool& pool) {
  const VectorKernels& vector = vector_kernels(pool.isa());
  pool.parallel_for(op.num_rows, 1, [&](int begin, int end, int thread) {
    std::byte* scratch =
        static_cast<std::byte*>(op.scratch) + thread * row_scratch_bytes(op.vocab_size);
    for (int row = begin; row < end; ++row) {
      const int sequence = op.row_sequences[row];
      const std::int32_t token =
          sample_row(op, sequence, op.logits + row * op.logits_stride, vector, scratch);
      op.sampled_token_ids[sequence] = token;
      if (token == kFailed || !has_penalties(op, sequence)) continue;
      std::uint16_t& count = op.slots[op.sampler_slots[sequence]].output_counts[token];
      if (count < 65535) ++count;
    }
  });
}

}  // namespace kernels
