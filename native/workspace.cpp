#include "native/workspace.h"

#include <algorithm>

namespace kvasir {

namespace {

// Elements and bytes of every buffer, in the order of the struct.
struct WorkspaceSizes {
  explicit WorkspaceSizes(const ModelSpec& spec) {
    const ModelConfig& config = spec.config;
    const auto num_tokens = static_cast<std::size_t>(spec.limits.max_tokens_per_step);
    const auto num_sequences = static_cast<std::size_t>(spec.limits.max_sequences);
    const auto size = [](int value) { return static_cast<std::size_t>(value); };
    rope_table = size(max_context_len(spec)) * size(config.head_dim);
    residual = num_tokens * size(config.hidden_size);
    qkv = num_tokens * size(config.q_size() + 2 * config.kv_size());
    normed = num_tokens * size(std::max(config.hidden_size, config.q_size()));
    gate_up =
        std::min(num_tokens, size(kMaxFeedForwardTokens)) * 2 * size(config.intermediate_size);
    last_normed = num_sequences * size(config.hidden_size);
    logits = std::min(num_sequences, size(kMaxLogitRows)) * size(config.vocab_size);
    row_sequences = num_sequences;
    attention_scratch_bytes = kernels::paged_attention_scratch_bytes(
        config.num_heads, config.num_kv_heads, config.head_dim, max_context_len(spec),
        spec.num_threads);
    sample_scratch_bytes = kernels::sample_scratch_bytes(config.vocab_size, spec.num_threads);
  }

  std::size_t num_bytes() const {
    std::size_t sum = 0;
    for (const std::size_t num_floats :
         {rope_table, residual, normed, qkv, gate_up, last_normed, logits}) {
      sum += align_up(num_floats * sizeof(float));
    }
    return sum + align_up(row_sequences * sizeof(std::int32_t)) +
           align_up(attention_scratch_bytes) + align_up(sample_scratch_bytes);
  }

  std::size_t rope_table, residual, normed, qkv, gate_up, last_normed, logits, row_sequences;
  std::size_t attention_scratch_bytes, sample_scratch_bytes;
};

}  // namespace

Workspace::Workspace(const ModelSpec& spec) {
  const WorkspaceSizes sizes(spec);
  arena = Arena(sizes.num_bytes(), "workspace");
  rope_table = arena.take_array<float>(sizes.rope_table);
  residual = arena.take_array<float>(sizes.residual);
  normed = arena.take_array<float>(sizes.normed);
  attention = normed;
  qkv = arena.take_array<float>(sizes.qkv);
  gate_up = arena.take_array<float>(sizes.gate_up);
  last_normed = arena.take_array<float>(sizes.last_normed);
  logits = arena.take_array<float>(sizes.logits);
  row_sequences = arena.take_array<std::int32_t>(sizes.row_sequences);
  attention_scratch = arena.take(sizes.attention_scratch_bytes);
  sample_scratch = arena.take(sizes.sample_scratch_bytes);
}

}  // namespace kvasir
