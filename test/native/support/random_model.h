// A model of random float weights in a file of its own, of any sizes.
#pragma once

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "native/model_spec.h"

namespace testing {

// Exists as long as this object. Vectors are drawn around 1, matrices around 0.
class RandomModelFile {
 public:
  explicit RandomModelFile(const kvasir::ModelConfig& config) : config_(config) {
    char name[] = "/tmp/kvasir-random-XXXXXX";
    const int descriptor = mkstemp(name);
    CHECK(descriptor >= 0, "a file cannot be made in /tmp");
    path_ = name;
    file_ = fdopen(descriptor, "wb");
    add("token_embd.weight", {config.vocab_size, config.hidden_size});
    for (int layer = 0; layer < config.num_layers; ++layer) {
      add_layer("blk." + std::to_string(layer) + ".");
    }
    add("output_norm.weight", {config.hidden_size});
    if (!config.has_tied_embeddings) add("output.weight", {config.vocab_size, config.hidden_size});
    std::fclose(file_);
  }
  ~RandomModelFile() { unlink(path_.c_str()); }
  RandomModelFile(const RandomModelFile&) = delete;
  RandomModelFile& operator=(const RandomModelFile&) = delete;

  // Limits and device are the caller's.
  kvasir::ModelSpec spec() const {
    kvasir::ModelSpec spec{};
    spec.config = config_;
    spec.files = {{path_, num_bytes_}};
    spec.tensors = tensors_;
    return spec;
  }

 private:
  void add_layer(const std::string& prefix) {
    const int hidden = config_.hidden_size;
    add(prefix + "attn_norm.weight", {hidden});
    add(prefix + "attn_q.weight", {config_.q_size(), hidden});
    add(prefix + "attn_k.weight", {config_.kv_size(), hidden});
    add(prefix + "attn_v.weight", {config_.kv_size(), hidden});
    add(prefix + "attn_output.weight", {hidden, config_.q_size()});
    add(prefix + "ffn_norm.weight", {hidden});
    add(prefix + "ffn_gate.weight", {config_.intermediate_size, hidden});
    add(prefix + "ffn_up.weight", {config_.intermediate_size, hidden});
    add(prefix + "ffn_down.weight", {hidden, config_.intermediate_size});
  }

  void add(const std::string& name, const std::vector<std::int64_t>& shape) {
    std::uint64_t num_elements = 1;
    for (const std::int64_t dimension : shape) {
      num_elements *= static_cast<std::uint64_t>(dimension);
    }
    std::normal_distribution<float> values(shape.size() == 1 ? 1.0f : 0.0f, 0.3f);
    for (std::uint64_t i = 0; i < num_elements; ++i) {
      const float value = values(random_);
      std::fwrite(&value, sizeof value, 1, file_);
    }
    const std::uint64_t byte_length = num_elements * sizeof(float);
    tensors_.push_back({name, kernels::DType::kF32, shape, 0, num_bytes_, byte_length, 0});
    num_bytes_ += byte_length;
  }

  const kvasir::ModelConfig config_;
  std::string path_;
  FILE* file_;
  std::mt19937 random_{1};
  std::uint64_t num_bytes_ = 0;
  std::vector<kvasir::TensorRef> tensors_;
};

}  // namespace testing
