#include "native/cuda/llama_family.h"

#include <algorithm>
#include <cmath>

#include "kernels/cuda_attention.h"
#include "kernels/cuda_copy_blocks.h"
#include "kernels/cuda_embedding.h"
#include "kernels/cuda_sample.h"

namespace kvasir {

using kernels::LinearOutput;

CudaLlamaFamily::CudaLlamaFamily(const ModelSpec& spec, const CudaLayout& layout)
    : config_(spec.config),
      limits_(spec.limits),
      type_(spec.dtype),
      numerics_(spec.numerics == Numerics::kReference ? kernels::Numerics::kReference
                                                      : kernels::Numerics::kFast),
      is_batch_invariant_(spec.is_batch_invariant),
      attention_scale_(1.0f / std::sqrt(static_cast<float>(spec.config.head_dim))),
      intermediate_size_(padded_intermediate_size(spec.config)),
      max_logit_rows_(max_logit_rows(spec)),
      layout_(layout) {}

void CudaLlamaFamily::run(const StepShape& shape, int index, kernels::Stream stream) const {
  std::byte* const base = layout_.workspace.step_inputs[index];
  const Step step{shape, place_step_inputs(base, shape, limits_), index, stream};
  embed(step);
  for (int layer = 0; layer < config_.num_layers; ++layer) {
    const CudaLayerWeights& weights = layout_.weights.layers[static_cast<std::size_t>(layer)];
    qkv_projection(step, weights);
    attend(step, weights, layer);
    output_projection(step, weights);
    gate_up_projection(step, weights);
    down_projection(step, weights);
  }
  sample(step);
}

void CudaLlamaFamily::copy_blocks(const std::int32_t* block_copies, int num_copies,
                                  kernels::Stream stream) const {
  const std::int64_t num_block_elements =
      std::int64_t{limits_.block_size} * config_.num_kv_heads * config_.head_dim;
  kernels::cuda_copy_blocks(
      {layout_.kv_cache.data, block_copies, num_copies, config_.num_layers, limits_.num_blocks,
       static_cast<std::int64_t>(kernels::row_bytes(type_, num_block_elements))},
      stream);
}

void CudaLlamaFamily::embed(const Step& step) const {
  kernels::cuda_embedding(
      {layout_.workspace.residual, step.inputs.token_ids,
       layout_.workspace.sampled_token_ids[1 - step.index], layout_.weights.token_embedding, type_,
       step.shape.num_tokens, config_.hidden_size},
      step.stream);
}

void CudaLlamaFamily::qkv_projection(const Step& step, const CudaLayerWeights& weights) const {
  kernels::CudaLinear op =
      linear(layout_.workspace.qkv, layout_.workspace.residual, weights.qkv, step.shape.num_tokens,
             config_.hidden_size, config_.q_size() + 2 * config_.kv_size(), LinearOutput::kStore);
  op.norm_weight = weights.attn_norm;
  op.bias = weights.qkv_bias;
  kernels::cuda_linear(op, step.stream);
}

void CudaLlamaFamily::attend(const Step& step, const CudaLayerWeights& weights, int layer) const {
  kernels::CudaAttention op{};
  op.out = layout_.workspace.attention;
  op.qkv = layout_.workspace.qkv;
  op.q_norm = weights.q_norm;
  op.k_norm = weights.k_norm;
  op.norm_epsilon = config_.rms_norm_epsilon;
  op.rope_table = layout_.workspace.rope_table;
  op.k_cache = layout_.kv_cache.keys(layer);
  op.v_cache = layout_.kv_cache.values(layer);
  op.positions = step.inputs.positions;
  op.slot_mapping = step.inputs.slot_mapping;
  op.block_tables = step.inputs.block_tables;
  op.block_table_starts = step.inputs.block_table_starts;
  op.query_starts = step.inputs.query_starts;
  op.context_lens = step.inputs.context_lens;
  op.type = type_;
  op.numerics = numerics_;
  op.is_batch_invariant = is_batch_invariant_;
  op.num_tokens = step.shape.num_tokens;
  op.num_sequences = step.shape.num_sequences;
  op.num_decodes = step.shape.num_decodes;
  op.max_query_len = step.shape.max_query_len;
  op.num_heads = config_.num_heads;
  op.num_kv_heads = config_.num_kv_heads;
  op.head_dim = config_.head_dim;
  op.scale = attention_scale_;
  op.workspace = layout_.workspace.attention_scratch;
  kernels::cuda_attention(op, step.stream);
}

void CudaLlamaFamily::output_projection(const Step& step, const CudaLayerWeights& weights) const {
  kernels::cuda_linear(linear(layout_.workspace.residual, layout_.workspace.attention,
                              weights.attn_output, step.shape.num_tokens, config_.q_size(),
                              config_.hidden_size, LinearOutput::kAddResidual),
                       step.stream);
}

void CudaLlamaFamily::gate_up_projection(const Step& step, const CudaLayerWeights& weights) const {
  kernels::CudaLinear op = linear(layout_.workspace.activation, layout_.workspace.residual,
                                  weights.gate_up, step.shape.num_tokens, config_.hidden_size,
                                  2 * intermediate_size_, LinearOutput::kSwiGlu);
  op.norm_weight = weights.ffn_norm;
  kernels::cuda_linear(op, step.stream);
}

void CudaLlamaFamily::down_projection(const Step& step, const CudaLayerWeights& weights) const {
  kernels::cuda_linear(linear(layout_.workspace.residual, layout_.workspace.activation,
                              weights.ffn_down, step.shape.num_tokens, intermediate_size_,
                              config_.hidden_size, LinearOutput::kAddResidual),
                       step.stream);
}

void CudaLlamaFamily::sample(const Step& step) const {
  const int num_rows = step.shape.num_rows;
  if (num_rows == 0) return;
  const void* rows = layout_.workspace.residual;
  // With a row for every token they are where they should be.
  if (num_rows < step.shape.num_tokens) {
    rows = layout_.workspace.last_rows;
    kernels::cuda_gather_rows({layout_.workspace.last_rows, layout_.workspace.residual,
                               step.inputs.row_tokens, type_, num_rows, config_.hidden_size},
                              step.stream);
  }
  for (int row = 0; row < num_rows; row += max_logit_rows_) {
    sample_rows(step, rows, row, std::min(max_logit_rows_, num_rows - row));
  }
}

void CudaLlamaFamily::sample_rows(const Step& step, const void* rows, int first_row,
                                  int num_rows) const {
  const std::size_t row_bytes = kernels::row_bytes(type_, config_.hidden_size);
  const auto* const first =
      static_cast<const std::byte*>(rows) + static_cast<std::size_t>(first_row) * row_bytes;
  kernels::CudaLinear head =
      linear(layout_.workspace.logits, first, layout_.weights.output, num_rows, config_.hidden_size,
             config_.vocab_size, LinearOutput::kLogits);
  head.norm_weight = layout_.weights.output_norm;
  kernels::cuda_linear(head, step.stream);

  const StepInputs& inputs = step.inputs;
  kernels::CudaSample op{};
  op.sampled_token_ids = layout_.workspace.sampled_token_ids[step.index];
  op.logits = layout_.workspace.logits;
  op.logits_stride = config_.vocab_size;
  op.num_rows = num_rows;
  op.vocab_size = config_.vocab_size;
  op.row_sequences = inputs.row_sequences + first_row;
  op.temperatures = inputs.temperatures;
  op.top_ps = inputs.top_ps;
  op.min_ps = inputs.min_ps;
  op.repetition_penalties = inputs.repetition_penalties;
  op.frequency_penalties = inputs.frequency_penalties;
  op.presence_penalties = inputs.presence_penalties;
  op.top_ks = inputs.top_ks;
  op.choices = inputs.choices;
  op.seeds_low = inputs.seeds_low;
  op.seeds_high = inputs.seeds_high;
  op.context_lens = inputs.context_lens;
  op.sampler_slots = inputs.sampler_slots;
  op.output_counts = layout_.sampler.output_counts;
  op.prompt_bits = layout_.sampler.prompt_bits;
  op.bias_starts = inputs.bias_starts;
  op.bias_token_ids = inputs.bias_token_ids;
  op.bias_values = inputs.bias_values;
  op.workspace = layout_.workspace.sample_scratch;
  kernels::cuda_sample(op, step.stream);
}

kernels::CudaLinear CudaLlamaFamily::linear(void* out, const void* x, const void* weight,
                                            int num_tokens, int in_features, int out_features,
                                            LinearOutput output) const {
  kernels::CudaLinear op{};
  op.out = out;
  op.x = x;
  op.weight = weight;
  op.norm_epsilon = config_.rms_norm_epsilon;
  op.type = type_;
  op.output = output;
  op.numerics = numerics_;
  op.is_batch_invariant = is_batch_invariant_;
  op.num_tokens = num_tokens;
  op.in_features = in_features;
  op.out_features = out_features;
  op.x_stride = in_features;
  op.out_stride = output == LinearOutput::kSwiGlu ? out_features / 2 : out_features;
  op.workspace = layout_.workspace.linear_scratch;
  return op;
}

}  // namespace kvasir
