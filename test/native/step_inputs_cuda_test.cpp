// Packing a step for the device. Runs on the host alone.
#include <vector>

#include "native/cuda/step_inputs.h"
#include "test/kernels/tap.h"

namespace {

constexpr kvasir::StepLimits kLimits = {100, 16, 64, 8, 4, 6};

// A batch in memory of its own, and what was packed from it.
class Packing {
 public:
  Packing()
      : arena_(kvasir::step_batch_bytes(kLimits), "step batch"),
        step(kvasir::place_step_batch(kLimits, arena_)),
        // Poisoned: what is not written shows.
        bytes_(kvasir::step_input_bytes(kLimits), std::byte{0xee}) {
    for (int s = 0; s < kLimits.max_sequences; ++s) {
      step.top_ps[s] = 1;
      step.repetition_penalties[s] = 1;
    }
  }

  // Sequence s has context_lens[s] tokens, query_lens[s] of them new, and blocks 10 s, 10 s + 1 ...
  kvasir::StepSize fill(const std::vector<int>& query_lens, const std::vector<int>& context_lens) {
    int t = 0;
    const int n = static_cast<int>(query_lens.size());
    int num_decodes = 0;
    for (int s = 0; s < n; ++s) {
      const int query_len = query_lens[static_cast<std::size_t>(s)];
      const int context_len = context_lens[static_cast<std::size_t>(s)];
      step.query_starts[s] = t;
      step.context_lens[s] = context_len;
      step.sampler_slots[s] = 7 - s;
      step.sample_rows[s] = 1;
      for (int b = 0; b < kLimits.max_blocks_per_sequence; ++b) {
        step.block_tables[s * kLimits.max_blocks_per_sequence + b] = 10 * s + b;
      }
      for (int i = 0; i < query_len; ++i, ++t) {
        step.token_ids[t] = 1000 + t;
        step.positions[t] = context_len - query_len + i;
        step.slot_mapping[t] = 160 * s + step.positions[t];
      }
      num_decodes += query_len == 1;
    }
    step.query_starts[n] = t;
    return {n, t, num_decodes};
  }

  void pack(const kvasir::StepSize& size, const kvasir::StepShape& shape) {
    packed = kvasir::pack_step(step, size, shape, kLimits, bytes_.data());
    inputs = kvasir::place_step_inputs(bytes_.data(), shape, kLimits);
  }

  bool is_within(const std::int32_t* end) const {
    const auto num_bytes = reinterpret_cast<const std::byte*>(end) - bytes_.data();
    return static_cast<std::size_t>(num_bytes) <= packed.num_bytes &&
           packed.num_bytes <= bytes_.size();
  }
  const std::int32_t* block_copies() const {
    return reinterpret_cast<const std::int32_t*>(bytes_.data() + packed.block_copies_at);
  }

 private:
  kvasir::Arena arena_;

 public:
  kvasir::StepBatch step;
  kvasir::StepInputs inputs{};
  kvasir::PackedStep packed{};

 private:
  std::vector<std::byte> bytes_;
};

void test_mixed_step(tap::Report& report) {
  Packing packing;
  const kvasir::StepSize size = packing.fill({1, 3, 20}, {17, 3, 40});
  packing.step.sample_rows[1] = 0;
  packing.step.temperatures[2] = -1;
  const kvasir::StepShape shape = kvasir::shape_of(packing.step, size);
  report.ok(shape.num_tokens == 24 && shape.num_sequences == 3 && shape.num_decodes == 1 &&
                shape.max_query_len == 20 && shape.num_rows == 2,
            "the shape of a mixed step");
  packing.pack(size, shape);
  const kvasir::StepInputs& in = packing.inputs;
  report.ok(in.token_ids[23] == 1023 && in.positions[4] == 20 && in.slot_mapping[4] == 340,
            "tokens");
  report.ok(in.query_starts[3] == 24 && in.context_lens[2] == 40 && in.sampler_slots[2] == 5,
            "sequences");
  report.ok(in.row_tokens[0] == 0 && in.row_sequences[0] == 0, "a row of logits for who samples");
  report.ok(in.row_tokens[1] == 23 && in.row_sequences[1] == -1,
            "a row whose parameters are no numbers is not sampled");
  const std::int32_t* const tables = in.block_tables;
  report.ok(tables[in.block_table_starts[0] + 1] == 1 && tables[in.block_table_starts[1]] == 10 &&
                tables[in.block_table_starts[2] + 2] == 22 &&
                in.block_table_starts[2] == in.block_table_starts[1] + 1,
            "block tables as long as their contexts, one behind the other");
  report.ok(packing.is_within(tables + in.block_table_starts[2] + 3), "and all of it is copied");
}

void test_filled_up_step(tap::Report& report) {
  Packing packing;
  const kvasir::StepSize size = packing.fill({1, 1, 1}, {16, 33, 1});
  packing.step.sample_rows[1] = 0;
  packing.pack(size, kvasir::decode_shape(8));
  const kvasir::StepInputs& in = packing.inputs;
  bool is_harmless = true;
  for (int s = 3; s < 8; ++s) {
    is_harmless &= in.token_ids[s] == 0 && in.positions[s] == 0 && in.slot_mapping[s] == -1;
    is_harmless &= in.context_lens[s] == 0 && in.block_table_starts[s] == 0;
    is_harmless &= in.row_tokens[s] == -1 && in.row_sequences[s] == -1;
    is_harmless &= in.query_starts[s + 1] == s + 1 && in.bias_starts[s + 1] == in.bias_starts[3];
    is_harmless &= in.top_ps[s] == 1 && in.repetition_penalties[s] == 1 && in.temperatures[s] == 0;
  }
  report.ok(is_harmless, "what fills a step up does nothing");
  report.ok(in.row_tokens[1] == 1 && in.row_sequences[1] == -1 && in.row_sequences[2] == 2,
            "every sequence keeps its row");
}

void test_adjustments_and_copies(tap::Report& report) {
  Packing packing;
  const kvasir::StepSize size = packing.fill({1, 1}, {5, 5});
  packing.step.bias_starts[1] = 1;
  packing.step.bias_starts[2] = 3;
  for (int i = 0; i < 3; ++i) {
    packing.step.bias_token_ids[i] = 40 + i;
    packing.step.bias_values[i] = 0.5f * static_cast<float>(i);
  }
  *packing.step.num_block_copies = 2;
  for (int i = 0; i < 4; ++i) packing.step.block_copies[i] = 60 + i;
  packing.pack(size, kvasir::decode_shape(2));
  const kvasir::StepInputs& in = packing.inputs;
  report.ok(in.bias_starts[2] == 3 && in.bias_token_ids[2] == 42 && in.bias_values[2] == 1.0f,
            "adjustments");
  report.ok(in.block_tables[in.block_table_starts[1]] == 10, "block tables behind them");
  report.ok(packing.block_copies()[0] == 60 && packing.block_copies()[3] == 63, "block copies");
  report.ok(packing.is_within(packing.block_copies() + 4), "and all of it is copied");

  // The places are those of the same shape without adjustments, as a graph has recorded them.
  Packing without;
  without.pack(without.fill({1, 1}, {5, 5}), kvasir::decode_shape(2));
  const auto offset = [](const kvasir::StepInputs& inputs, const void* place) {
    return static_cast<const std::byte*>(place) -
           reinterpret_cast<const std::byte*>(inputs.token_ids);
  };
  report.equal(offset(in, in.block_tables), offset(without.inputs, without.inputs.block_tables),
               "places do not depend on what a step brings");
  report.ok(without.packed.num_bytes + 2 * 4 * kLimits.max_adjustments <= packing.packed.num_bytes,
            "without adjustments their room is not copied");
}

}  // namespace

int main() {
  tap::Report report;
  test_mixed_step(report);
  test_filled_up_step(report);
  test_adjustments_and_copies(report);
  return report.finish();
}
