// Drives a model through its steps as the engine does: packs batches, keeps two steps in flight if
// asked to, refers to tokens that are not known yet.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <vector>

#include "native/model.h"

namespace testing {

struct Sampling {
  float temperature = 0;
  float repetition_penalty = 1;
  float frequency_penalty = 0;
  int top_k = 0;
  std::uint32_t seed = 0;
  std::vector<std::pair<std::int32_t, float>> biases;
};

struct Sequence {
  std::vector<std::int32_t> ids;     // known
  std::vector<std::int32_t> blocks;  // its block table
  Sampling sampling;
  int slot = 0;
  int num_computed = 0;  // tokens that a started step has
  int num_unknown = 0;   // tokens that a started step samples, and that no finished one has told
  int row = 0;           // in the step that was started last
};

struct Scheduled {
  Sequence* sequence;
  int num_tokens;
};

class StepDriver {
 public:
  explicit StepDriver(kvasir::Model& model) : model_(model) {}

  // A sequence with blocks of its own for max_len tokens. Blocks are given out once, in an order
  // that neither rises nor falls.
  Sequence add(const std::vector<std::int32_t>& prompt, int max_len,
               const Sampling& sampling = {}) {
    const kvasir::StepLimits& limits = model_.spec().limits;
    Sequence sequence;
    sequence.ids = prompt;
    sequence.sampling = sampling;
    sequence.slot = num_sequences_++ % limits.max_sequences;
    for (int i = 0; i * limits.block_size < max_len; ++i) sequence.blocks.push_back(new_block());
    model_.fill_sampler_slot(sequence.slot, prompt.data(), static_cast<int>(prompt.size()),
                             static_cast<int>(prompt.size()));
    return sequence;
  }

  std::int32_t new_block() {
    const int num_blocks = model_.spec().limits.num_blocks;
    return static_cast<std::int32_t>((std::int64_t{num_blocks_given_++} * 37 + 11) % num_blocks);
  }

  // Blocks that the next step copies before it computes.
  void copy_block(std::int32_t from, std::int32_t to) {
    copies_.push_back(from);
    copies_.push_back(to);
  }

  void start(std::vector<Scheduled> scheduled) {
    std::stable_partition(scheduled.begin(), scheduled.end(),
                          [](const Scheduled& item) { return item.num_tokens == 1; });
    kvasir::StepBatch& batch = model_.step_batches()->batch(static_cast<int>(num_started_ % 2));
    kvasir::StepSize size{static_cast<int>(scheduled.size()), 0, 0};
    Flight flight;
    batch.bias_starts[0] = 0;
    for (int s = 0; s < size.num_sequences; ++s) {
      const Scheduled& item = scheduled[static_cast<std::size_t>(s)];
      pack_tokens(batch, size.num_tokens, item);
      pack_sequence(batch, s, item, size.num_tokens);
      size.num_tokens += item.num_tokens;
      size.num_decodes += item.num_tokens == 1;
      flight.push_back({item.sequence, batch.sample_rows[s] != 0});
    }
    batch.query_starts[size.num_sequences] = size.num_tokens;
    std::copy(copies_.begin(), copies_.end(), batch.block_copies);
    *batch.num_block_copies = static_cast<std::int32_t>(copies_.size() / 2);
    copies_.clear();
    model_.start_step(size);
    ++num_started_;
    for (int s = 0; s < size.num_sequences; ++s) {
      const Scheduled& item = scheduled[static_cast<std::size_t>(s)];
      item.sequence->num_computed += item.num_tokens;
      item.sequence->row = s;
      item.sequence->num_unknown += flight[static_cast<std::size_t>(s)].samples;
    }
    flights_.push_back(std::move(flight));
  }

  void finish() {
    model_.finish_step();
    const kvasir::StepBatch& batch =
        model_.step_batches()->batch(static_cast<int>(num_finished_++ % 2));
    const Flight flight = flights_.front();
    flights_.pop_front();
    for (std::size_t s = 0; s < flight.size(); ++s) {
      if (!flight[s].samples) continue;
      flight[s].sequence->ids.push_back(batch.sampled_token_ids[s]);
      --flight[s].sequence->num_unknown;
    }
  }

  // Prompts in chunks of at most chunk_len, then tokens one by one until each sequence has
  // num_new_tokens more; two steps in flight if `overlaps`.
  void generate(std::vector<Sequence>& sequences, int num_new_tokens, int chunk_len,
                bool overlaps = false) {
    std::vector<int> ends;
    for (const Sequence& sequence : sequences) ends.push_back(length(sequence) + num_new_tokens);
    for (;;) {
      std::vector<Scheduled> scheduled;
      for (std::size_t i = 0; i < sequences.size(); ++i) {
        const int num_left = length(sequences[i]) - sequences[i].num_computed;
        if (length(sequences[i]) < ends[i]) {
          scheduled.push_back({&sequences[i], std::min(num_left, chunk_len)});
        }
      }
      if (scheduled.empty()) break;
      start(scheduled);
      while (flights_.size() > (overlaps ? 1 : 0)) finish();
    }
    while (!flights_.empty()) finish();
  }

 private:
  struct Row {
    Sequence* sequence;
    bool samples;
  };
  using Flight = std::vector<Row>;

  static int length(const Sequence& sequence) {
    return static_cast<int>(sequence.ids.size()) + sequence.num_unknown;
  }

  void pack_tokens(kvasir::StepBatch& batch, int t, const Scheduled& item) const {
    const Sequence& sequence = *item.sequence;
    const int block_size = model_.spec().limits.block_size;
    for (int i = 0; i < item.num_tokens; ++i, ++t) {
      const int position = sequence.num_computed + i;
      const bool is_known = position < static_cast<int>(sequence.ids.size());
      batch.token_ids[t] =
          is_known ? sequence.ids[static_cast<std::size_t>(position)] : -1 - sequence.row;
      batch.positions[t] = position;
      const std::int32_t block = sequence.blocks[static_cast<std::size_t>(position / block_size)];
      batch.slot_mapping[t] = block * block_size + position % block_size;
    }
  }

  void pack_sequence(kvasir::StepBatch& batch, int s, const Scheduled& item,
                     int first_token) const {
    const Sequence& sequence = *item.sequence;
    const Sampling& sampling = sequence.sampling;
    batch.query_starts[s] = first_token;
    batch.context_lens[s] = sequence.num_computed + item.num_tokens;
    batch.sample_rows[s] = batch.context_lens[s] == length(sequence);
    batch.sampler_slots[s] = sequence.slot;
    std::copy(sequence.blocks.begin(), sequence.blocks.end(),
              batch.block_tables + s * model_.spec().limits.max_blocks_per_sequence);
    batch.temperatures[s] = sampling.temperature;
    batch.top_ps[s] = 1;
    batch.min_ps[s] = 0;
    batch.repetition_penalties[s] = sampling.repetition_penalty;
    batch.frequency_penalties[s] = sampling.frequency_penalty;
    batch.presence_penalties[s] = 0;
    batch.top_ks[s] = sampling.top_k;
    batch.choices[s] = 0;
    batch.seeds_low[s] = sampling.seed;
    batch.seeds_high[s] = 0;
    std::int32_t bias = batch.bias_starts[s];
    for (const auto& [token_id, value] : sampling.biases) {
      batch.bias_token_ids[bias] = token_id;
      batch.bias_values[bias++] = value;
    }
    batch.bias_starts[s + 1] = bias;
  }

  kvasir::Model& model_;
  std::vector<std::int32_t> copies_;
  std::deque<Flight> flights_;
  int num_sequences_ = 0;
  int num_blocks_given_ = 0;
  std::uint64_t num_started_ = 0;
  std::uint64_t num_finished_ = 0;
};

}  // namespace testing
