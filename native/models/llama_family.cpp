#include "native/models/llama_family.h"

#include <algorithm>
#include <cmath>

#include "native/models/rope_table.h"
#include "native/step_check.h"

namespace kvasir {

LlamaFamily::LlamaFamily(const ModelSpec& spec, const Weights& weights, const KvCache& kv_cache,
                         Workspace& workspace, SamplerSlots& sampler_slots, const Backend& backend,
                         kernels::ThreadPool& pool)
    : config_(spec.config),
      limits_(spec.limits),
      attention_scale_(1.0f / std::sqrt(static_cast<float>(spec.config.head_dim))),
      weights_(weights),
      kv_cache_(kv_cache),
      workspace_(workspace),
      sampler_slots_(sampler_slots),
      backend_(backend) {
  fill_rope_table(spec, weights.rope_frequency_divisors, max_context_len(spec),
                  workspace.rope_table, pool);
}

void LlamaFamily::run(const StepBatch& step, const StepSize& size) const {
  embed(step, size.num_tokens);
  for (int layer = 0; layer < config_.num_layers; ++layer) {
    const LayerWeights& weights = weights_.layers[static_cast<std::size_t>(layer)];
    attention_layer(weights, layer, step, size);
    for (int t = 0; t < size.num_tokens; t += kMaxFeedForwardTokens) {
      feed_forward_layer(weights, t, std::min(kMaxFeedForwardTokens, size.num_tokens - t));
    }
  }
  sample(step, size);
}

void LlamaFamily::attention_layer(const LayerWeights& weights, int layer, const StepBatch& step,
                                  const StepSize& size) const {
  const Workspace& w = workspace_;
  const int num_tokens = size.num_tokens;
  normalise(w.normed, w.residual, weights.attn_norm, num_tokens);
  project(w.qkv, w.normed, weights.qkv, qkv_stride(), num_tokens);
  if (config_.has_qk_norm) {
    normalise_heads(q(), weights.q_norm, config_.num_heads, num_tokens);
    normalise_heads(k(), weights.k_norm, config_.num_kv_heads, num_tokens);
  }
  // q and k lie side by side, so their heads turn in one call.
  rotate(q(), config_.num_heads + config_.num_kv_heads, step, num_tokens);
  write_kv(layer, step, num_tokens);
  attend(layer, step, size);
  add_projection(w.residual, w.attention, config_.q_size(), weights.attn_output, num_tokens);
}

void LlamaFamily::feed_forward_layer(const LayerWeights& weights, int first_token,
                                     int num_tokens) const {
  const Workspace& w = workspace_;
  float* const x = w.residual + static_cast<std::int64_t>(first_token) * config_.hidden_size;
  const std::int64_t stride = 2 * static_cast<std::int64_t>(config_.intermediate_size);
  float* const gate = w.gate_up;
  float* const up = w.gate_up + config_.intermediate_size;
  normalise(w.normed, x, weights.ffn_norm, num_tokens);
  project(w.gate_up, w.normed, weights.gate_up, stride, num_tokens);
  backend_.swiglu({gate, gate, up, kernels::DType::kF32, num_tokens, config_.intermediate_size,
                   stride, stride, stride});
  add_projection(x, gate, stride, weights.ffn_down, num_tokens);
}

void LlamaFamily::sample(const StepBatch& step, const StepSize& size) const {
  const int num_rows = gather_sampled_rows(step, size);
  for (int row = 0; row < num_rows; row += kMaxLogitRows) {
    sample_rows(step, row, std::min(kMaxLogitRows, num_rows - row));
  }
}

void LlamaFamily::embed(const StepBatch& step, int num_tokens) const {
  backend_.token_embedding({workspace_.residual, step.token_ids, weights_.token_embedding,
                            num_tokens, config_.hidden_size});
}

void LlamaFamily::normalise(float* out, const float* x, const float* weight, int num_tokens) const {
  backend_.rms_norm({out, x, weight, kernels::DType::kF32, num_tokens, config_.hidden_size,
                     config_.hidden_size, config_.hidden_size, config_.rms_norm_epsilon});
}

void LlamaFamily::normalise_heads(float* x, const float* weight, int num_heads,
                                  int num_tokens) const {
  backend_.rms_norm({x, x, weight, kernels::DType::kF32, num_tokens, config_.head_dim, qkv_stride(),
                     qkv_stride(), config_.rms_norm_epsilon, num_heads});
}

void LlamaFamily::rotate(float* x, int num_heads, const StepBatch& step, int num_tokens) const {
  backend_.rope({x, step.positions, workspace_.rope_table, num_tokens, num_heads, config_.head_dim,
                 qkv_stride()});
}

void LlamaFamily::write_kv(int layer, const StepBatch& step, int num_tokens) const {
  backend_.write_kv({kv_cache_.keys(layer), kv_cache_.values(layer), kv_cache_.type(), k(), v(),
                     step.slot_mapping, num_tokens, limits_.num_blocks, config_.num_kv_heads,
                     config_.head_dim, limits_.block_size, qkv_stride(), qkv_stride()});
}

void LlamaFamily::attend(int layer, const StepBatch& step, const StepSize& size) const {
  kernels::PagedAttention op{};
  op.out = workspace_.attention;
  op.q = q();
  op.k_cache = kv_cache_.keys(layer);
  op.v_cache = kv_cache_.values(layer);
  op.cache_type = kv_cache_.type();
  op.block_tables = step.block_tables;
  op.max_blocks_per_sequence = limits_.max_blocks_per_sequence;
  op.query_starts = step.query_starts;
  op.context_lens = step.context_lens;
  op.num_sequences = size.num_sequences;
  op.num_heads = config_.num_heads;
  op.num_kv_heads = config_.num_kv_heads;
  op.head_dim = config_.head_dim;
  op.block_size = limits_.block_size;
  op.scale = attention_scale_;
  op.out_stride = config_.q_size();
  op.q_stride = qkv_stride();
  op.scratch = workspace_.attention_scratch;
  backend_.paged_attention(op);
}

void LlamaFamily::project(float* out, const float* x, const FusedLinear& linear,
                          std::int64_t out_stride, int num_tokens) const {
  for (int i = 0; i < linear.num_parts; ++i) {
    const FusedLinear::Part& part = linear.parts[static_cast<std::size_t>(i)];
    const float* bias = linear.bias == nullptr ? nullptr : linear.bias + part.out_offset;
    backend_.linear({out + part.out_offset, x, part.weight, bias, num_tokens, out_stride,
                     config_.hidden_size, false});
  }
}

void LlamaFamily::add_projection(float* x, const float* from, std::int64_t from_stride,
                                 const kernels::PackedWeight& weight, int num_tokens) const {
  backend_.linear({x, from, weight, nullptr, num_tokens, config_.hidden_size, from_stride, true});
}

// Only the last token of a sequence is sampled, so only its row needs the final norm and logits.
int LlamaFamily::gather_sampled_rows(const StepBatch& step, const StepSize& size) const {
  int num_rows = 0;
  for (int s = 0; s < size.num_sequences; ++s) {
    if (step.sample_rows[s] == 0) continue;
    if (!has_sound_sampling(step, s)) {
      step.sampled_token_ids[s] = -1;
      continue;
    }
    const std::int64_t token = step.query_starts[s + 1] - 1;
    const std::int64_t hidden_size = config_.hidden_size;
    normalise(workspace_.last_normed + num_rows * hidden_size,
              workspace_.residual + token * hidden_size, weights_.output_norm, 1);
    workspace_.row_sequences[num_rows++] = s;
  }
  return num_rows;
}

void LlamaFamily::sample_rows(const StepBatch& step, int first_row, int num_rows) const {
  const std::int64_t hidden_size = config_.hidden_size;
  backend_.linear({workspace_.logits, workspace_.last_normed + first_row * hidden_size,
                   weights_.output, nullptr, num_rows, config_.vocab_size, hidden_size, false});

  kernels::Sample op{};
  op.sampled_token_ids = step.sampled_token_ids;
  op.logits = workspace_.logits;
  op.logits_stride = config_.vocab_size;
  op.num_rows = num_rows;
  op.vocab_size = config_.vocab_size;
  op.row_sequences = workspace_.row_sequences + first_row;
  op.temperatures = step.temperatures;
  op.top_ps = step.top_ps;
  op.min_ps = step.min_ps;
  op.repetition_penalties = step.repetition_penalties;
  op.frequency_penalties = step.frequency_penalties;
  op.presence_penalties = step.presence_penalties;
  op.top_ks = step.top_ks;
  op.choices = step.choices;
  op.seeds_low = step.seeds_low;
  op.seeds_high = step.seeds_high;
  op.context_lens = step.context_lens;
  op.sampler_slots = step.sampler_slots;
  op.slots = sampler_slots_.slots();
  op.bias_starts = step.bias_starts;
  op.bias_token_ids = step.bias_token_ids;
  op.bias_values = step.bias_values;
  op.scratch = workspace_.sample_scratch;
  backend_.sample(op);
}

}  // namespace kvasir
