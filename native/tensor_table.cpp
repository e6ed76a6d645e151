#include "native/tensor_table.h"

#include <utility>

namespace kvasir {

namespace {

using Shape = std::vector<std::int64_t>;

std::string text_of(const Shape& shape) {
  std::string text = "[";
  for (const std::int64_t dimension : shape) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(dimension);
  }
  return text + "]";
}

std::vector<std::pair<std::string, Shape>> expected_tensors(const ModelConfig& config) {
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t intermediate = config.intermediate_size;
  const std::int64_t q = config.q_size();
  const std::int64_t kv = config.kv_size();

  std::vector<std::pair<std::string, Shape>> expected;
  expected.push_back({"token_embd.weight", {config.vocab_size, hidden}});
  for (int layer = 0; layer < config.num_layers; ++layer) {
    const std::string prefix = "blk." + std::to_string(layer) + ".";
    expected.push_back({prefix + "attn_norm.weight", {hidden}});
    expected.push_back({prefix + "attn_q.weight", {q, hidden}});
    expected.push_back({prefix + "attn_k.weight", {kv, hidden}});
    expected.push_back({prefix + "attn_v.weight", {kv, hidden}});
    if (config.has_qkv_bias) {
      expected.push_back({prefix + "attn_q.bias", {q}});
      expected.push_back({prefix + "attn_k.bias", {kv}});
      expected.push_back({prefix + "attn_v.bias", {kv}});
    }
    if (config.has_qk_norm) {
      expected.push_back({prefix + "attn_q_norm.weight", {config.head_dim}});
      expected.push_back({prefix + "attn_k_norm.weight", {config.head_dim}});
    }
    expected.push_back({prefix + "attn_output.weight", {hidden, q}});
    expected.push_back({prefix + "ffn_norm.weight", {hidden}});
    expected.push_back({prefix + "ffn_gate.weight", {intermediate, hidden}});
    expected.push_back({prefix + "ffn_up.weight", {intermediate, hidden}});
    expected.push_back({prefix + "ffn_down.weight", {hidden, intermediate}});
  }
  expected.push_back({"output_norm.weight", {hidden}});
  if (!config.has_tied_embeddings)
    expected.push_back({"output.weight", {config.vocab_size, hidden}});
  return expected;
}

void check_interleaving(const TensorRef& tensor, const ModelConfig& config) {
  const std::int64_t num_heads = tensor.num_interleaved_heads;
  CHECK(num_heads == 0 || num_heads * config.head_dim == tensor.shape[0],
        tensor.name + ": numInterleavedHeads is " + std::to_string(num_heads) + "; " +
            std::to_string(tensor.shape[0]) + " rows are " +
            std::to_string(tensor.shape[0] / config.head_dim) + " heads");
}

}  // namespace

TensorTable::TensorTable(const ModelSpec& spec) {
  for (const TensorRef& tensor : spec.tensors) {
    CHECK(by_name_.emplace(tensor.name, &tensor).second, tensor.name + ": is there twice");
  }

  auto expected = expected_tensors(spec.config);
  if (has("rope_freqs.weight")) {
    CHECK(!spec.config.rope_scaling,
          "rope_freqs.weight: the config scales the frequencies too; one of them must go");
    expected.push_back({"rope_freqs.weight", {spec.config.head_dim / 2}});
  }
  std::unordered_map<std::string, bool> is_expected;
  for (const auto& [name, shape] : expected) {
    CHECK(has(name), name + ": is missing; a tensor of shape " + text_of(shape) + " is needed");
    const TensorRef& tensor = at(name);
    CHECK(tensor.shape == shape, name + ": has shape " + text_of(tensor.shape) +
                                     "; the config calls for " + text_of(shape));
    CHECK(shape.size() == 2 || kernels::block_size(tensor.type) == 1,
          name + ": is " + kernels::name_of(tensor.type) + "; a vector must be f32, f16 or bf16");
    check_interleaving(tensor, spec.config);
    is_expected[name] = true;
  }
  for (const TensorRef& tensor : spec.tensors) {
    CHECK(is_expected.count(tensor.name) != 0,
          tensor.name + ": is not a tensor of this architecture; the file is of another model");
  }
}

const TensorRef& TensorTable::at(const std::string& name) const { return *by_name_.at(name); }

int stored_row(int r, int head_dim) {
  const int i = r % head_dim;
  const int half = head_dim / 2;
  return r - i + (i < half ? 2 * i : 2 * (i - half) + 1);
}

}  // namespace kvasir
