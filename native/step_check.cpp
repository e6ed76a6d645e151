#include "native/step_check.h"

#include <algorithm>
#include <cmath>

namespace kvasir {

namespace {

[[noreturn]] void refuse(const char* view, int index, std::int64_t value,
                         const std::string& expected) {
  throw kernels::Error("step: " + std::string(view) + "[" + std::to_string(index) + "] is " +
                       std::to_string(value) + "; it must be " + expected);
}

std::string range(std::int64_t low, std::int64_t high) {
  return "from " + std::to_string(low) + " to " + std::to_string(high);
}

void check_value(const char* view, int index, std::int64_t value, std::int64_t low,
                 std::int64_t high) {
  if (value < low || value > high) refuse(view, index, value, range(low, high));
}

void check_size(const char* field, int value, int low, int high) {
  CHECK(value >= low && value <= high, "step: " + std::string(field) + " is " +
                                           std::to_string(value) + "; it must be " +
                                           range(low, high));
}

// queryStarts are prefix sums of at least one token a sequence; a decode has exactly one.
void read_query_starts(const StepBatch& shared, const StepSize& size, StepBatch& step) {
  std::copy_n(shared.query_starts, size.num_sequences + 1, step.query_starts);
  check_value("queryStarts", 0, step.query_starts[0], 0, 0);
  for (int s = 0; s < size.num_sequences; ++s) {
    const std::int64_t start = step.query_starts[s];
    const std::int64_t last = s < size.num_decodes ? start + 1 : size.num_tokens;
    check_value("queryStarts", s + 1, step.query_starts[s + 1], start + 1, last);
  }
  check_value("queryStarts", size.num_sequences, step.query_starts[size.num_sequences],
              size.num_tokens, size.num_tokens);
}

// Block tables, as many entries as the context reaches; the kernels read no further.
void read_sequence(const StepBatch& shared, int s, const StepChecks& checks, StepBatch& step) {
  const StepLimits& limits = checks.limits;
  const int num_new_tokens = step.query_starts[s + 1] - step.query_starts[s];
  check_value("contextLens", s, step.context_lens[s], num_new_tokens, checks.max_context_len);
  check_value("samplerSlots", s, step.sampler_slots[s], 0, limits.max_sequences - 1);
  check_value("sampleRows", s, step.sample_rows[s], 0, 1);

  const int num_blocks = (step.context_lens[s] + limits.block_size - 1) / limits.block_size;
  const std::int64_t row = static_cast<std::int64_t>(s) * limits.max_blocks_per_sequence;
  std::copy_n(shared.block_tables + row, num_blocks, step.block_tables + row);
  for (int b = 0; b < num_blocks; ++b) {
    check_value("blockTables", static_cast<int>(row) + b, step.block_tables[row + b], 0,
                limits.num_blocks - 1);
  }
}

// An id of the vocabulary, or -1 - r for a row r that the step before sampled.
void check_token_id(int t, int token_id, const PreviousStep& previous, int vocab_size) {
  if (token_id >= 0) return check_value("tokenIds", t, token_id, 0, vocab_size - 1);
  const std::int64_t row = -1 - static_cast<std::int64_t>(token_id);
  if (row >= previous.num_sequences || previous.sample_rows[row] == 0) {
    refuse("tokenIds", t, token_id,
           range(0, vocab_size - 1) +
               ", or -1 - r for a row r that the step before sampled (it had " +
               std::to_string(previous.num_sequences) + " rows)");
  }
}

// New tokens stand at the end of the context, each in the slot its position has in the block table.
void check_tokens(const StepBatch& step, int s, const PreviousStep& previous,
                  const StepChecks& checks) {
  const int block_size = checks.limits.block_size;
  const std::int64_t row = static_cast<std::int64_t>(s) * checks.limits.max_blocks_per_sequence;
  const int num_new_tokens = step.query_starts[s + 1] - step.query_starts[s];
  for (int i = 0; i < num_new_tokens; ++i) {
    const int t = step.query_starts[s] + i;
    const int position = step.context_lens[s] - num_new_tokens + i;
    const int block = step.block_tables[row + position / block_size];
    const int slot = block * block_size + position % block_size;
    check_token_id(t, step.token_ids[t], previous, checks.vocab_size);
    check_value("positions", t, step.positions[t], position, position);
    check_value("slotMapping", t, step.slot_mapping[t], slot, slot);
  }
}

// Two sequences on one sampler slot would count each other's tokens, from two threads at once.
void check_distinct_slots(const StepBatch& step, int num_sequences) {
  for (int s = 1; s < num_sequences; ++s) {
    const std::int32_t* const begin = step.sampler_slots;
    const std::int32_t* const end = begin + s;
    if (std::find(begin, end, *end) != end) {
      refuse("samplerSlots", s, step.sampler_slots[s], "the slot of one sequence only");
    }
  }
}

void read_adjustments(const StepBatch& shared, int num_sequences, const StepChecks& checks,
                      StepBatch& step) {
  std::copy_n(shared.bias_starts, num_sequences + 1, step.bias_starts);
  check_value("biasStarts", 0, step.bias_starts[0], 0, 0);
  for (int s = 0; s < num_sequences; ++s) {
    check_value("biasStarts", s + 1, step.bias_starts[s + 1], step.bias_starts[s],
                checks.limits.max_adjustments);
  }
  std::copy_n(shared.bias_token_ids, step.bias_starts[num_sequences], step.bias_token_ids);
  std::copy_n(shared.bias_values, step.bias_starts[num_sequences], step.bias_values);
}

// Copies run at the same time: a block may be read by several, but one that is written by a copy
// must not take part in another.
void read_block_copies(const StepBatch& shared, const StepChecks& checks, StepBatch& step) {
  const int num_copies = *step.num_block_copies = *shared.num_block_copies;
  check_value("numBlockCopies", 0, num_copies, 0, checks.limits.max_sequences);
  std::copy_n(shared.block_copies, 2 * num_copies, step.block_copies);
  for (int i = 0; i < 2 * num_copies; ++i) {
    check_value("blockCopies", i, step.block_copies[i], 0, checks.limits.num_blocks - 1);
  }
  for (int i = 1; i < 2 * num_copies; i += 2) {
    for (int j = 0; j < 2 * num_copies; ++j) {
      if (i != j && step.block_copies[i] == step.block_copies[j]) {
        refuse("blockCopies", i, step.block_copies[i], "the destination of one copy only");
      }
    }
  }
}

bool is_within(float value, float low, float high) { return value >= low && value <= high; }

}  // namespace

void check_step_size(const StepSize& size, const StepLimits& limits) {
  check_size("numSequences", size.num_sequences, 1, limits.max_sequences);
  check_size("numTokens", size.num_tokens, size.num_sequences, limits.max_tokens_per_step);
  check_size("numDecodes", size.num_decodes, 0, size.num_sequences);
}

void read_step(const StepBatch& shared, const StepSize& size, const PreviousStep& previous,
               const StepChecks& checks, StepBatch& step) {
  check_step_size(size, checks.limits);
  const int n = size.num_sequences;
  std::copy_n(shared.token_ids, size.num_tokens, step.token_ids);
  std::copy_n(shared.positions, size.num_tokens, step.positions);
  std::copy_n(shared.slot_mapping, size.num_tokens, step.slot_mapping);
  std::copy_n(shared.sampler_slots, n, step.sampler_slots);
  std::copy_n(shared.sample_rows, n, step.sample_rows);
  std::copy_n(shared.context_lens, n, step.context_lens);
  std::copy_n(shared.temperatures, n, step.temperatures);
  std::copy_n(shared.top_ps, n, step.top_ps);
  std::copy_n(shared.min_ps, n, step.min_ps);
  std::copy_n(shared.repetition_penalties, n, step.repetition_penalties);
  std::copy_n(shared.frequency_penalties, n, step.frequency_penalties);
  std::copy_n(shared.presence_penalties, n, step.presence_penalties);
  std::copy_n(shared.top_ks, n, step.top_ks);
  std::copy_n(shared.choices, n, step.choices);
  std::copy_n(shared.seeds_low, n, step.seeds_low);
  std::copy_n(shared.seeds_high, n, step.seeds_high);

  read_query_starts(shared, size, step);
  for (int s = 0; s < n; ++s) {
    read_sequence(shared, s, checks, step);
    check_tokens(step, s, previous, checks);
  }
  check_distinct_slots(step, n);
  read_adjustments(shared, n, checks, step);
  read_block_copies(shared, checks, step);
}

bool has_sound_sampling(const StepBatch& step, int s) {
  // Ordered comparisons: a NaN is outside every range.
  return is_within(step.temperatures[s], 0, 1e6f) && is_within(step.top_ps[s], 0, 1) &&
         is_within(step.min_ps[s], 0, 1) && is_within(step.repetition_penalties[s], 1e-6f, 1e6f) &&
         is_within(step.frequency_penalties[s], -1e6f, 1e6f) &&
         is_within(step.presence_penalties[s], -1e6f, 1e6f) && step.top_ks[s] >= 0 &&
         step.choices[s] >= 0;
}

}  // namespace kvasir
