// What a step brings to the device, packed so that one copy carries it: arrays of 32-bit words
// behind each other, at places that follow from the step's shape alone, and at the end what varies
// in length. A CUDA graph of a shape finds everything where it was when it was recorded.
#pragma once

#include <cstddef>
#include <cstdint>

#include "native/step_batch.h"

namespace kvasir {

// What the launches of a step depend on.
struct StepShape {
  int num_tokens;
  int num_sequences;
  int num_decodes;
  int max_query_len;  // the most tokens any sequence has in this step
  int num_rows;       // rows of logits
};

// Addresses of a step's inputs, on the host or on the device.
struct StepInputs {
  std::int32_t* token_ids;     // by token
  std::int32_t* positions;     // by token
  std::int32_t* slot_mapping;  // by token; -1: nothing is written

  std::int32_t* query_starts;        // by sequence, one more
  std::int32_t* context_lens;        // by sequence; 0 fills up
  std::int32_t* block_table_starts;  // by sequence, into block_tables
  std::int32_t* sampler_slots;
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
  std::int32_t* bias_starts;  // by sequence, one more

  std::int32_t* row_tokens;     // by row of logits: its token, or -1
  std::int32_t* row_sequences;  // by row of logits: its sequence, or -1: it is not sampled

  // The end: room for all adjustments if there is one, then block tables, then block copies.
  std::int32_t* bias_token_ids;
  float* bias_values;
  std::int32_t* block_tables;  // where the end begins: the starts count from there
};

// Where the inputs of a step of this shape lie from `base` on.
StepInputs place_step_inputs(std::byte* base, const StepShape& shape, const StepLimits& limits);

// Bytes that any step within the limits fits in.
std::size_t step_input_bytes(const StepLimits& limits);

// The shape of a checked step that runs as it is: one row for each sequence that samples.
StepShape shape_of(const StepBatch& step, const StepSize& size);

// The shape of a step of decodes alone that is filled up to `num_sequences`: one row for each.
StepShape decode_shape(int num_sequences);

struct PackedStep {
  std::size_t num_bytes;        // to copy, from the base on
  std::size_t block_copies_at;  // bytes from the base to the pairs of blocks
};

// Writes a checked step to `base`. A decode shape may be larger than the step: the rest is filled
// with sequences of no context, which compute on token 0, write nothing and are not sampled.
PackedStep pack_step(const StepBatch& step, const StepSize& size, const StepShape& shape,
                     const StepLimits& limits, std::byte* base);

}  // namespace kvasir
