// The memory that TypeScript and C++ share: one step's decisions in, its tokens out.
// Names, types and meaning of the views: docs/architecture.md and engine/core/addon.ts.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "native/memory.h"
#include "native/model_spec.h"

namespace kvasir {

// How much of a batch is in use. Decodes come first.
struct StepSize {
  int num_sequences;
  int num_tokens;
  int num_decodes;
};

struct StepBatch {
  // By token, max_tokens_per_step.
  std::int32_t* token_ids;  // or -1 - r: what row r of the step before sampled
  std::int32_t* positions;
  std::int32_t* slot_mapping;

  // By sequence, max_sequences unless said otherwise.
  std::int32_t* sampler_slots;
  std::uint8_t* sample_rows;
  std::int32_t* query_starts;  // max_sequences + 1
  std::int32_t* context_lens;
  std::int32_t* block_tables;  // [max_sequences, max_blocks_per_sequence]
  float* temperatures;
  float* top_ps;
  float* min_ps;
  float* repetition_penalties;
  float* frequency_penalties;
  float* presence_penalties;
  std::int32_t* top_ks;
  std::int32_t* choices;
  std::uint32_t* seeds_low;
  std::uint32_t* seeds_high;

  // Adjustments of sequence s: [bias_starts[s], bias_starts[s + 1]).
  std::int32_t* bias_starts;     // max_sequences + 1
  std::int32_t* bias_token_ids;  // max_adjustments
  float* bias_values;            // max_adjustments

  // Whole KV blocks that are copied, in all layers, before the forward pass.
  std::int32_t* block_copies;      // [max_sequences, 2]: source, destination
  std::int32_t* num_block_copies;  // [1]

  // Results, by sequence.
  std::int32_t* sampled_token_ids;
};

// Calls visit(name, pointer, length) for every view, in one order: the layout of a batch.
template <class Visit>
void visit_views(StepBatch& batch, const StepLimits& limits, Visit&& visit) {
  const auto num_tokens = static_cast<std::size_t>(limits.max_tokens_per_step);
  const auto num_sequences = static_cast<std::size_t>(limits.max_sequences);
  const auto num_adjustments = static_cast<std::size_t>(limits.max_adjustments);
  const auto num_blocks = num_sequences * static_cast<std::size_t>(limits.max_blocks_per_sequence);
  visit("tokenIds", batch.token_ids, num_tokens);
  visit("positions", batch.positions, num_tokens);
  visit("slotMapping", batch.slot_mapping, num_tokens);
  visit("samplerSlots", batch.sampler_slots, num_sequences);
  visit("sampleRows", batch.sample_rows, num_sequences);
  visit("queryStarts", batch.query_starts, num_sequences + 1);
  visit("contextLens", batch.context_lens, num_sequences);
  visit("blockTables", batch.block_tables, num_blocks);
  visit("temperatures", batch.temperatures, num_sequences);
  visit("topPs", batch.top_ps, num_sequences);
  visit("minPs", batch.min_ps, num_sequences);
  visit("repetitionPenalties", batch.repetition_penalties, num_sequences);
  visit("frequencyPenalties", batch.frequency_penalties, num_sequences);
  visit("presencePenalties", batch.presence_penalties, num_sequences);
  visit("topKs", batch.top_ks, num_sequences);
  visit("choices", batch.choices, num_sequences);
  visit("seedsLow", batch.seeds_low, num_sequences);
  visit("seedsHigh", batch.seeds_high, num_sequences);
  visit("biasStarts", batch.bias_starts, num_sequences + 1);
  visit("biasTokenIds", batch.bias_token_ids, num_adjustments);
  visit("biasValues", batch.bias_values, num_adjustments);
  visit("blockCopies", batch.block_copies, 2 * num_sequences);
  visit("numBlockCopies", batch.num_block_copies, 1);
  visit("sampledTokenIds", batch.sampled_token_ids, num_sequences);
}

// Bytes of one batch, each view aligned to a cache line.
std::size_t step_batch_bytes(const StepLimits& limits);

// Lays a batch out in `arena`, which must have step_batch_bytes left.
StepBatch place_step_batch(const StepLimits& limits, Arena& arena);

// The two batches that alternate, in one allocation. Typed arrays keep it alive (through a shared
// pointer) beyond the model's end: a view must never point at memory that is gone.
class StepBatches {
 public:
  explicit StepBatches(const StepLimits& limits);

  StepBatch& batch(int index) { return batches_[index]; }
  std::byte* data() { return static_cast<std::byte*>(data_); }
  std::size_t num_bytes() const { return num_bytes_; }

 private:
  Arena arena_;
  std::size_t num_bytes_;
  void* data_;
  StepBatch batches_[2];
};

}  // namespace kvasir
