#include "native/weights.h"

#include <cstring>
#include <initializer_list>

#include "native/mapped_file.h"
#include "native/tensor_table.h"

namespace kvasir {

namespace {

using kernels::DType;
using kernels::PackedWeight;

// Bytes a tensor takes once packed; vectors become floats.
std::size_t stored_bytes(const TensorRef& tensor) {
  if (tensor.shape.size() == 1) return static_cast<std::size_t>(tensor.shape[0]) * sizeof(float);
  return kernels::packed_bytes(tensor.type, static_cast<int>(tensor.shape[0]),
                               static_cast<int>(tensor.shape[1]));
}

// Fusing only takes alignment padding away, so the sum over single tensors is always enough.
std::size_t arena_bytes(const std::vector<TensorRef>& tensors) {
  std::size_t num_bytes = 0;
  for (const TensorRef& tensor : tensors) {
    num_bytes = checked_add(num_bytes, align_up(stored_bytes(tensor)), "weights");
  }
  return num_bytes;
}

// Copied bytewise: a tensor may begin at any byte of its file.
float element(const TensorRef& tensor, const std::byte* data, int i) {
  if (tensor.type == DType::kF32) {
    float value;
    std::memcpy(&value, data + static_cast<std::size_t>(i) * sizeof value, sizeof value);
    return value;
  }
  std::uint16_t bits;
  std::memcpy(&bits, data + static_cast<std::size_t>(i) * sizeof bits, sizeof bits);
  return tensor.type == DType::kF16 ? kernels::to_float(kernels::f16{bits})
                                    : kernels::to_float(kernels::bf16{bits});
}

class WeightPacker {
 public:
  WeightPacker(const ModelSpec& spec, Arena& arena,
               const std::function<void(std::uint64_t)>& on_progress)
      : config_(spec.config), table_(spec), arena_(arena), on_progress_(on_progress) {
    for (const FileSpec& file : spec.files) files_.emplace_back(file.path, file.byte_length);
  }

  bool has(const std::string& name) const { return table_.has(name); }

  PackedWeight matrix(const std::string& name) {
    const TensorRef& tensor = table_.at(name);
    return pack(tensor, arena_.take(stored_bytes(tensor)));
  }

  const float* vector(const std::string& name) { return vectors({name}); }

  // Several vectors end to end.
  const float* vectors(std::initializer_list<std::string> names) {
    std::size_t length = 0;
    for (const std::string& name : names) {
      length += static_cast<std::size_t>(table_.at(name).shape[0]);
    }
    float* const values = arena_.take_array<float>(length);
    float* next = values;
    for (const std::string& name : names) next = convert(table_.at(name), next);
    return values;
  }

  FusedLinear fused(std::initializer_list<std::string> names) {
    if (!can_fuse(names)) return side_by_side(names);
    std::size_t num_bytes = 0;
    for (const std::string& name : names) num_bytes += stored_bytes(table_.at(name));
    auto* const data = static_cast<std::byte*>(arena_.take(num_bytes));

    PackedWeight whole{data, table_.at(*names.begin()).type, 0, config_.hidden_size};
    std::byte* next = data;
    for (const std::string& name : names) {
      const TensorRef& tensor = table_.at(name);
      whole.out_features += pack(tensor, next).out_features;
      next += stored_bytes(tensor);
    }
    return {{{{whole, 0}}}, 1, nullptr};
  }

  void check_files_unchanged() const {
    for (const MappedFile& file : files_) file.check_unchanged();
  }

 private:
  // Whole panels of one type lie in memory just as the panels of one larger weight would.
  bool can_fuse(std::initializer_list<std::string> names) const {
    for (const std::string& name : names) {
      const TensorRef& tensor = table_.at(name);
      if (tensor.type != table_.at(*names.begin()).type) return false;
      if (tensor.shape[0] % kernels::kPanelRows != 0) return false;
    }
    return true;
  }

  FusedLinear side_by_side(std::initializer_list<std::string> names) {
    FusedLinear linear{};
    int out_offset = 0;
    for (const std::string& name : names) {
      const PackedWeight weight = matrix(name);
      linear.parts[static_cast<std::size_t>(linear.num_parts++)] = {weight, out_offset};
      out_offset += weight.out_features;
    }
    return linear;
  }

  PackedWeight pack(const TensorRef& tensor, void* packed) {
    const int out_features = static_cast<int>(tensor.shape[0]);
    const int in_features = static_cast<int>(tensor.shape[1]);
    std::function<int(int)> source_row;
    if (tensor.num_interleaved_heads > 0) {
      source_row = [head_dim = config_.head_dim](int r) { return stored_row(r, head_dim); };
    }
    kernels::pack_weight(tensor.type, bytes(tensor), out_features, in_features, packed, source_row);
    finish(tensor);
    return {packed, tensor.type, out_features, in_features};
  }

  float* convert(const TensorRef& tensor, float* out) {
    const int length = static_cast<int>(tensor.shape[0]);
    for (int i = 0; i < length; ++i) {
      const int stored = tensor.num_interleaved_heads > 0 ? stored_row(i, config_.head_dim) : i;
      out[i] = element(tensor, bytes(tensor), stored);
    }
    finish(tensor);
    return out + length;
  }

  const std::byte* bytes(const TensorRef& tensor) const {
    return files_[static_cast<std::size_t>(tensor.file)].range(tensor.offset, tensor.byte_length);
  }

  void finish(const TensorRef& tensor) {
    files_[static_cast<std::size_t>(tensor.file)].drop(tensor.offset, tensor.byte_length);
    num_bytes_done_ += tensor.byte_length;
    on_progress_(num_bytes_done_);
  }

  const ModelConfig& config_;
  const TensorTable table_;
  Arena& arena_;
  const std::function<void(std::uint64_t)>& on_progress_;
  std::vector<MappedFile> files_;
  std::uint64_t num_bytes_done_ = 0;
};

LayerWeights pack_layer(WeightPacker& packer, const ModelConfig& config, int layer) {
  const auto name = [&](const char* suffix) {
    return "blk." + std::to_string(layer) + "." + suffix;
  };
  LayerWeights weights{};
  weights.attn_norm = packer.vector(name("attn_norm.weight"));
  weights.qkv = packer.fused({name("attn_q.weight"), name("attn_k.weight"), name("attn_v.weight")});
  if (config.has_qkv_bias) {
    weights.qkv.bias =
        packer.vectors({name("attn_q.bias"), name("attn_k.bias"), name("attn_v.bias")});
  }
  if (config.has_qk_norm) {
    weights.q_norm = packer.vector(name("attn_q_norm.weight"));
    weights.k_norm = packer.vector(name("attn_k_norm.weight"));
  }
  weights.attn_output = packer.matrix(name("attn_output.weight"));
  weights.ffn_norm = packer.vector(name("ffn_norm.weight"));
  weights.gate_up = packer.fused({name("ffn_gate.weight"), name("ffn_up.weight")});
  weights.ffn_down = packer.matrix(name("ffn_down.weight"));
  return weights;
}

}  // namespace

Weights::Weights(const ModelSpec& spec, const std::function<void(std::uint64_t)>& on_progress) {
  const ModelConfig& config = spec.config;
  WeightPacker packer(spec, arena, on_progress);
  arena = Arena(arena_bytes(spec.tensors), "weights");

  token_embedding = packer.matrix("token_embd.weight");
  for (int layer = 0; layer < config.num_layers; ++layer) {
    layers.push_back(pack_layer(packer, config, layer));
  }
  output_norm = packer.vector("output_norm.weight");
  output = config.has_tied_embeddings ? token_embedding : packer.matrix("output.weight");
  rope_frequency_divisors =
      packer.has("rope_freqs.weight") ? packer.vector("rope_freqs.weight") : nullptr;
  packer.check_files_unchanged();
}

}  // namespace kvasir
