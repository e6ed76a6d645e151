// Weights made up on the spot, the same for the same seed: timing a model takes its shape, not its
// knowledge, and a checkpoint of 3.5 GB need not be kept for that.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "native/cuda/weight_source.h"

namespace bench {

// Matrices and biases are drawn from a normal distribution around 0, norms around 1.
class RandomWeights : public kvasir::WeightSource {
 public:
  RandomWeights(const kvasir::ModelConfig& config, float deviation) : config_(config) {
    std::mt19937 random(1);
    std::normal_distribution<float> values(0, deviation);
    for (std::uint16_t& bits : table_) bits = kernels::to_bf16(values(random)).bits;
  }

  bool has(const std::string& name) const override { return name != "rope_freqs.weight"; }

  int open(const std::string& name) override {
    tensors_.push_back(shape_of(name));
    return static_cast<int>(tensors_.size()) - 1;
  }

  int num_rows(int tensor) const override { return at(tensor).num_rows; }

  void read_row(int tensor, int row, kernels::DType type, void* out, float* scratch) override {
    const Tensor& t = at(tensor);
    std::uint64_t state = (static_cast<std::uint64_t>(tensor) << 32) + static_cast<unsigned>(row);
    state *= 0x9e3779b97f4a7c15u;
    for (int i = 0; i < t.num_columns; i += 4) {
      const std::uint64_t words = next(state);
      for (int j = i; j < i + 4 && j < t.num_columns; ++j) {
        const kernels::bf16 value{table_[words >> (j - i) * 16 & 0xffff]};
        scratch[j] = t.mean + kernels::to_float(value);
      }
    }
    for (int i = 0; i < t.num_columns; ++i) {
      if (type == kernels::DType::kF32) {
        static_cast<float*>(out)[i] = scratch[i];
      } else {
        static_cast<std::uint16_t*>(out)[i] = type == kernels::DType::kF16
                                                  ? kernels::to_f16(scratch[i]).bits
                                                  : kernels::to_bf16(scratch[i]).bits;
      }
    }
  }

  std::uint64_t row_bytes(int tensor) const override {
    return static_cast<std::uint64_t>(at(tensor).num_columns) * sizeof(kernels::bf16);
  }
  void close(int) override {}
  void check_unchanged() const override {}

 private:
  struct Tensor {
    int num_rows;
    int num_columns;
    float mean;
  };

  static std::uint64_t next(std::uint64_t& state) {
    std::uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  const Tensor& at(int tensor) const { return tensors_[static_cast<std::size_t>(tensor)]; }

  Tensor shape_of(const std::string& name) const {
    const int hidden = config_.hidden_size;
    const auto is = [&](const char* part) { return name.find(part) != std::string::npos; };
    if (is("_q_norm") || is("_k_norm")) return {config_.head_dim, 1, 1};
    if (is("norm")) return {hidden, 1, 1};
    if (is("attn_q.bias")) return {config_.q_size(), 1, 0};
    if (is(".bias")) return {config_.kv_size(), 1, 0};
    if (is("token_embd") || name == "output.weight") return {config_.vocab_size, hidden, 0};
    if (is("attn_q.")) return {config_.q_size(), hidden, 0};
    if (is("attn_output")) return {hidden, config_.q_size(), 0};
    if (is("attn_")) return {config_.kv_size(), hidden, 0};
    if (is("ffn_down")) return {hidden, config_.intermediate_size, 0};
    return {config_.intermediate_size, hidden, 0};
  }

  const kvasir::ModelConfig config_;
  std::vector<Tensor> tensors_;
  std::uint16_t table_[1 << 16];
};

}  // namespace bench
