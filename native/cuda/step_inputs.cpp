#include "native/cuda/step_inputs.h"

#include <algorithm>

#include "native/step_check.h"

namespace kvasir {

namespace {

// Hands out arrays of 32-bit words, each aligned to 16 bytes.
class Words {
 public:
  explicit Words(std::byte* base) : base_(reinterpret_cast<std::uintptr_t>(base)) {}

  template <class T>
  void take(T*& array, int length) {
    array = reinterpret_cast<T*>(base_ + num_bytes_);
    num_bytes_ += (static_cast<std::size_t>(length) * sizeof(T) + 15) / 16 * 16;
  }

  std::size_t num_bytes() const { return num_bytes_; }

 private:
  std::uintptr_t base_;
  std::size_t num_bytes_ = 0;
};

// Everything but the end; returns the bytes it takes.
std::size_t place_fixed(std::byte* base, const StepShape& shape, StepInputs& inputs) {
  Words words(base);
  for (std::int32_t** by_token : {&inputs.token_ids, &inputs.positions, &inputs.slot_mapping}) {
    words.take(*by_token, shape.num_tokens);
  }
  const int n = shape.num_sequences;
  words.take(inputs.query_starts, n + 1);
  words.take(inputs.context_lens, n);
  words.take(inputs.block_table_starts, n);
  words.take(inputs.sampler_slots, n);
  for (float** parameter :
       {&inputs.temperatures, &inputs.top_ps, &inputs.min_ps, &inputs.repetition_penalties,
        &inputs.frequency_penalties, &inputs.presence_penalties}) {
    words.take(*parameter, n);
  }
  words.take(inputs.top_ks, n);
  words.take(inputs.choices, n);
  words.take(inputs.seeds_low, n);
  words.take(inputs.seeds_high, n);
  words.take(inputs.bias_starts, n + 1);
  words.take(inputs.row_tokens, shape.num_rows);
  words.take(inputs.row_sequences, shape.num_rows);
  return words.num_bytes();
}

int num_blocks_of(const StepBatch& step, int s, const StepLimits& limits) {
  return (step.context_lens[s] + limits.block_size - 1) / limits.block_size;
}

void pack_tokens(const StepBatch& step, const StepSize& size, const StepShape& shape,
                 StepInputs& inputs) {
  std::copy_n(step.token_ids, size.num_tokens, inputs.token_ids);
  std::copy_n(step.positions, size.num_tokens, inputs.positions);
  std::copy_n(step.slot_mapping, size.num_tokens, inputs.slot_mapping);
  const int num_filled_up = shape.num_tokens - size.num_tokens;
  std::fill_n(inputs.token_ids + size.num_tokens, num_filled_up, 0);
  std::fill_n(inputs.positions + size.num_tokens, num_filled_up, 0);
  std::fill_n(inputs.slot_mapping + size.num_tokens, num_filled_up, -1);
}

void pack_sequences(const StepBatch& step, const StepSize& size, const StepShape& shape,
                    StepInputs& inputs) {
  const int n = size.num_sequences;
  const int num_filled_up = shape.num_sequences - n;
  const auto pack = [&](auto* target, const auto* source, auto filling) {
    std::copy_n(source, n, target);
    std::fill_n(target + n, num_filled_up, filling);
  };
  std::copy_n(step.query_starts, n + 1, inputs.query_starts);
  std::copy_n(step.bias_starts, n + 1, inputs.bias_starts);
  for (int s = n; s < shape.num_sequences; ++s) {
    inputs.query_starts[s + 1] = s + 1;
    inputs.bias_starts[s + 1] = inputs.bias_starts[n];
  }
  pack(inputs.context_lens, step.context_lens, 0);
  pack(inputs.sampler_slots, step.sampler_slots, 0);
  pack(inputs.temperatures, step.temperatures, 0.0f);
  pack(inputs.top_ps, step.top_ps, 1.0f);
  pack(inputs.min_ps, step.min_ps, 0.0f);
  pack(inputs.repetition_penalties, step.repetition_penalties, 1.0f);
  pack(inputs.frequency_penalties, step.frequency_penalties, 0.0f);
  pack(inputs.presence_penalties, step.presence_penalties, 0.0f);
  pack(inputs.top_ks, step.top_ks, 0);
  pack(inputs.choices, step.choices, 0);
  pack(inputs.seeds_low, step.seeds_low, 0u);
  pack(inputs.seeds_high, step.seeds_high, 0u);
}

// With one row for each sequence, a row that is not sampled keeps its place; otherwise it has none.
void pack_rows(const StepBatch& step, const StepSize& size, const StepShape& shape,
               StepInputs& inputs) {
  const bool has_all_rows = shape.num_rows == shape.num_sequences;
  int row = 0;
  for (int s = 0; s < size.num_sequences; ++s) {
    if (step.sample_rows[s] == 0 && !has_all_rows) continue;
    const bool is_sampled = step.sample_rows[s] != 0 && has_sound_sampling(step, s);
    inputs.row_tokens[row] = step.query_starts[s + 1] - 1;
    inputs.row_sequences[row] = is_sampled ? s : -1;
    ++row;
  }
  std::fill(inputs.row_tokens + row, inputs.row_tokens + shape.num_rows, -1);
  std::fill(inputs.row_sequences + row, inputs.row_sequences + shape.num_rows, -1);
}

}  // namespace

StepInputs place_step_inputs(std::byte* base, const StepShape& shape, const StepLimits& limits) {
  StepInputs inputs{};
  const std::uintptr_t end =
      reinterpret_cast<std::uintptr_t>(base) + place_fixed(base, shape, inputs);
  const auto max_adjustments = static_cast<std::size_t>(limits.max_adjustments);
  inputs.bias_token_ids = reinterpret_cast<std::int32_t*>(end);
  inputs.bias_values = reinterpret_cast<float*>(end + max_adjustments * sizeof(std::int32_t));
  inputs.block_tables = inputs.bias_token_ids;
  return inputs;
}

std::size_t step_input_bytes(const StepLimits& limits) {
  const int n = limits.max_sequences;
  StepInputs inputs{};
  const std::size_t num_fixed_bytes =
      place_fixed(nullptr, {limits.max_tokens_per_step, n, n, 1, n}, inputs);
  const auto size = [](int value) { return static_cast<std::size_t>(value); };
  return num_fixed_bytes + (2 * size(limits.max_adjustments) +
                            size(n) * size(limits.max_blocks_per_sequence) + 2 * size(n)) *
                               sizeof(std::int32_t);
}

StepShape shape_of(const StepBatch& step, const StepSize& size) {
  StepShape shape{size.num_tokens, size.num_sequences, size.num_decodes, 1, 0};
  for (int s = 0; s < size.num_sequences; ++s) {
    shape.max_query_len =
        std::max(shape.max_query_len, step.query_starts[s + 1] - step.query_starts[s]);
    shape.num_rows += step.sample_rows[s];
  }
  return shape;
}

StepShape decode_shape(int num_sequences) {
  return {num_sequences, num_sequences, num_sequences, 1, num_sequences};
}

PackedStep pack_step(const StepBatch& step, const StepSize& size, const StepShape& shape,
                     const StepLimits& limits, std::byte* base) {
  StepInputs inputs = place_step_inputs(base, shape, limits);
  pack_tokens(step, size, shape, inputs);
  pack_sequences(step, size, shape, inputs);
  pack_rows(step, size, shape, inputs);

  const int num_adjustments = step.bias_starts[size.num_sequences];
  std::copy_n(step.bias_token_ids, num_adjustments, inputs.bias_token_ids);
  std::copy_n(step.bias_values, num_adjustments, inputs.bias_values);
  int next = num_adjustments == 0 ? 0 : 2 * limits.max_adjustments;
  for (int s = 0; s < size.num_sequences; ++s) {
    const int num_blocks = num_blocks_of(step, s, limits);
    const std::int64_t row = static_cast<std::int64_t>(s) * limits.max_blocks_per_sequence;
    inputs.block_table_starts[s] = next;
    std::copy_n(step.block_tables + row, num_blocks, inputs.block_tables + next);
    next += num_blocks;
  }
  std::fill_n(inputs.block_table_starts + size.num_sequences,
              shape.num_sequences - size.num_sequences, 0);
  std::int32_t* const block_copies = inputs.block_tables + next;
  std::copy_n(step.block_copies, 2 * *step.num_block_copies, block_copies);
  const auto bytes_to = [&](const std::int32_t* place) {
    return static_cast<std::size_t>(reinterpret_cast<const std::byte*>(place) - base);
  };
  return {bytes_to(block_copies + 2 * *step.num_block_copies), bytes_to(block_copies)};
}

}  // namespace kvasir
