#include "native/cuda/layout.h"

#include <algorithm>

#include "kernels/cuda_attention.h"
#include "kernels/cuda_linear.h"
#include "kernels/cuda_sample.h"
#include "native/cuda/step_inputs.h"
#include "native/memory.h"

namespace kvasir {

namespace {

// Logits of 256 sequences and 152,000 tokens take 156 MB: all at once where that is possible, for
// the head's weights are then read once.
constexpr std::size_t kMaxLogitBytes = std::size_t{256} << 20;

std::size_t size(int value) { return static_cast<std::size_t>(value); }

std::size_t element_bytes(const ModelSpec& spec) {
  return size(kernels::bytes_per_block(spec.dtype));
}

// Of the layers and of the head, which has far more outputs and far fewer rows.
std::size_t linear_scratch_bytes(const ModelSpec& spec) {
  const ModelConfig& config = spec.config;
  const int intermediate = padded_intermediate_size(config);
  const int max_in = std::max({config.hidden_size, config.q_size(), intermediate});
  const int max_out =
      std::max({config.q_size() + 2 * config.kv_size(), config.hidden_size, 2 * intermediate});
  return std::max(
      kernels::cuda_linear_workspace_bytes(spec.limits.max_tokens_per_step, max_in, max_out),
      kernels::cuda_linear_workspace_bytes(max_logit_rows(spec), config.hidden_size,
                                           config.vocab_size));
}

CudaWeights place_weights(const ModelSpec& spec, DeviceSpace& space) {
  const ModelConfig& config = spec.config;
  const auto take = [&](int num_rows, int num_columns) {
    return space.take(size(num_rows) * size(num_columns) * element_bytes(spec));
  };
  const int hidden = config.hidden_size;
  const int qkv = config.q_size() + 2 * config.kv_size();
  const int intermediate = padded_intermediate_size(config);

  CudaWeights weights{};
  weights.token_embedding = take(config.vocab_size, hidden);
  for (int layer = 0; layer < config.num_layers; ++layer) {
    CudaLayerWeights w{};
    w.attn_norm = take(1, hidden);
    w.qkv = take(qkv, hidden);
    if (config.has_qkv_bias) w.qkv_bias = take(1, qkv);
    if (config.has_qk_norm) {
      w.q_norm = take(1, config.head_dim);
      w.k_norm = take(1, config.head_dim);
    }
    w.attn_output = take(hidden, config.q_size());
    w.ffn_norm = take(1, hidden);
    w.gate_up = take(2 * intermediate, hidden);
    w.ffn_down = take(hidden, intermediate);
    weights.layers.push_back(w);
  }
  weights.output_norm = take(1, hidden);
  weights.output =
      config.has_tied_embeddings ? weights.token_embedding : take(config.vocab_size, hidden);
  return weights;
}

CudaKvCache place_kv_cache(const ModelSpec& spec, DeviceSpace& space) {
  std::uint64_t plane_bytes = element_bytes(spec);
  for (const int factor : {spec.limits.num_blocks, spec.limits.block_size, spec.config.num_kv_heads,
                           spec.config.head_dim}) {
    plane_bytes = checked_multiply(plane_bytes, size(factor), "KV cache");
  }
  const std::uint64_t num_bytes =
      checked_multiply(plane_bytes, 2 * size(spec.config.num_layers), "KV cache");
  return {space.take<std::byte>(num_bytes), plane_bytes};
}

// The largest of what is alive one after the other.
void place_shared(const ModelSpec& spec, DeviceSpace& space, CudaWorkspace& workspace) {
  const ModelConfig& config = spec.config;
  const std::size_t row = size(spec.limits.max_tokens_per_step) * element_bytes(spec);
  DeviceSpace counted(nullptr);
  counted.take(row * size(config.q_size() + 2 * config.kv_size()));
  const std::size_t attention_offset = counted.num_bytes();
  counted.take(row * size(config.q_size()));
  const std::size_t activation_bytes = row * size(padded_intermediate_size(config));
  const std::size_t logit_bytes =
      size(max_logit_rows(spec)) * size(config.vocab_size) * sizeof(float);

  auto* const shared =
      space.take<std::byte>(std::max({counted.num_bytes(), activation_bytes, logit_bytes}));
  workspace.qkv = shared;
  // Arithmetic on an integer: without a base, `shared` is no address.
  workspace.attention =
      reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(shared) + attention_offset);
  workspace.activation = shared;
  workspace.logits = reinterpret_cast<float*>(shared);
}

CudaWorkspace place_workspace(const ModelSpec& spec, DeviceSpace& space) {
  const ModelConfig& config = spec.config;
  const StepLimits& limits = spec.limits;
  const std::size_t row_bytes = size(config.hidden_size) * element_bytes(spec);

  CudaWorkspace workspace{};
  workspace.rope_table =
      space.take<float>(size(rope_table_len(spec)) * size(config.head_dim) * sizeof(float));
  workspace.residual = space.take(size(limits.max_tokens_per_step) * row_bytes);
  workspace.last_rows = space.take(size(limits.max_sequences) * row_bytes);
  place_shared(spec, space, workspace);
  workspace.linear_scratch = space.take(linear_scratch_bytes(spec));
  workspace.attention_scratch = space.take(kernels::cuda_attention_workspace_bytes(
      limits.max_tokens_per_step, limits.max_sequences, rope_table_len(spec), config.num_heads,
      config.num_kv_heads, config.head_dim, spec.is_batch_invariant));
  workspace.sample_scratch =
      space.take(kernels::cuda_sample_workspace_bytes(max_logit_rows(spec), config.vocab_size));
  for (int i = 0; i < 2; ++i) {
    workspace.sampled_token_ids[i] =
        space.take<std::int32_t>(size(limits.max_sequences) * sizeof(std::int32_t));
    workspace.step_inputs[i] = space.take<std::byte>(step_input_bytes(limits));
  }
  return workspace;
}

CudaSamplerSlots place_sampler(const ModelSpec& spec, DeviceSpace& space) {
  const std::size_t num_slots = size(spec.limits.max_sequences);
  const std::size_t vocab_size = size(spec.config.vocab_size);
  return {space.take<std::uint16_t>(num_slots * vocab_size * sizeof(std::uint16_t) + 4),
          space.take<std::uint32_t>(num_slots * ((vocab_size + 31) / 32) * sizeof(std::uint32_t))};
}

}  // namespace

CudaLayout::CudaLayout(const ModelSpec& spec, std::byte* base) {
  DeviceSpace space(base);
  weights = place_weights(spec, space);
  use.weights = space.num_bytes();
  kv_cache = place_kv_cache(spec, space);
  use.kv_cache = space.num_bytes() - use.weights;
  const std::size_t zeroed_start = space.num_bytes();
  zeroed = space.take<std::byte>(0);
  workspace = place_workspace(spec, space);
  use.workspace = space.num_bytes() - zeroed_start;
  sampler = place_sampler(spec, space);
  use.sampler = space.num_bytes() - zeroed_start - use.workspace;
  num_zeroed_bytes = space.num_bytes() - zeroed_start;
  num_bytes = space.num_bytes();
}

int padded_intermediate_size(const ModelConfig& config) {
  constexpr int kGroup = kernels::kGateUpGroup;
  return (config.intermediate_size + kGroup - 1) / kGroup * kGroup;
}

int rope_table_len(const ModelSpec& spec) {
  const std::int64_t num_tokens =
      static_cast<std::int64_t>(spec.limits.max_blocks_per_sequence) * spec.limits.block_size;
  return static_cast<int>(std::min<std::int64_t>(num_tokens, spec.config.max_context_len));
}

int max_logit_rows(const ModelSpec& spec) {
  const std::size_t row_bytes = size(spec.config.vocab_size) * sizeof(float);
  const std::size_t num_rows = std::max<std::size_t>(1, kMaxLogitBytes / row_bytes);
  return static_cast<int>(std::min(num_rows, size(spec.limits.max_sequences)));
}

}  // namespace kvasir
