// Every weight of a model of the Llama family, repacked for the kernels.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/linear.h"
#include "native/memory.h"
#include "native/model_spec.h"

namespace kvasir {

// Linear layers that share their input, their outputs side by side. When types agree they are one
// packed weight, so that the threads meet once and not three times.
struct FusedLinear {
  struct Part {
    kernels::PackedWeight weight;
    int out_offset;  // first output of this part
  };
  std::array<Part, 3> parts;
  int num_parts;
  const float* bias;  // over all outputs, or null
};

struct LayerWeights {
  const float* attn_norm;             // [hidden_size]
  FusedLinear qkv;                    // [q_size + 2 * kv_size, hidden_size]
  const float* q_norm;                // [head_dim], or null
  const float* k_norm;                // [head_dim], or null
  kernels::PackedWeight attn_output;  // [hidden_size, q_size]
  const float* ffn_norm;              // [hidden_size]
  FusedLinear gate_up;                // [2 * intermediate_size, hidden_size]
  kernels::PackedWeight ffn_down;     // [hidden_size, intermediate_size]
};

struct Weights {
  // Maps the files, checks the tensor table against config and files, and packs tensor by tensor,
  // giving pages of the files back behind. Throws kernels::Error that names the tensor, the value
  // and the limit. `on_progress` gets the bytes of tensors done so far, after each tensor.
  Weights(const ModelSpec& spec, const std::function<void(std::uint64_t)>& on_progress);

  Arena arena;
  kernels::PackedWeight token_embedding;  // [vocab_size, hidden_size]
  std::vector<LayerWeights> layers;
  const float* output_norm;              // [hidden_size]
  kernels::PackedWeight output;          // [vocab_size, hidden_size]; token_embedding when tied
  const float* rope_frequency_divisors;  // [head_dim / 2], or null: the file brings none
};

}  // namespace kvasir
