// Where everything a model keeps on the device lies: one allocation, taken at start.
//
// The layout is written once and runs twice: over no memory, to learn how much is needed, and over
// the memory, to hand out addresses. What is planned and what is taken can therefore not differ.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "native/model.h"
#include "native/model_spec.h"

namespace kvasir {

// Hands out 256-byte aligned pieces, first to last; without a base it only counts.
class DeviceSpace {
 public:
  explicit DeviceSpace(std::byte* base) : base_(reinterpret_cast<std::uintptr_t>(base)) {}

  template <class T = void>
  T* take(std::size_t num_bytes) {
    T* const piece = reinterpret_cast<T*>(base_ + num_bytes_);
    num_bytes_ += (num_bytes + 255) / 256 * 256;
    return piece;
  }

  std::size_t num_bytes() const { return num_bytes_; }

 private:
  std::uintptr_t base_;
  std::size_t num_bytes_ = 0;
};

// All matrices are row-major, [out_features, in_features] of the spec's dtype; so are vectors.
struct CudaLayerWeights {
  void* attn_norm;    // [hidden_size]
  void* qkv;          // [q_size + 2 * kv_size, hidden_size]: rows of q, then k, then v
  void* qkv_bias;     // [q_size + 2 * kv_size], or null
  void* q_norm;       // [head_dim], or null
  void* k_norm;       // [head_dim], or null
  void* attn_output;  // [hidden_size, q_size]
  void* ffn_norm;     // [hidden_size]
  void* gate_up;      // [2 * padded_intermediate_size, hidden_size]: 16 rows of gate, 16 of up ...
  void* ffn_down;     // [hidden_size, padded_intermediate_size]
};

struct CudaWeights {
  void* token_embedding;  // [vocab_size, hidden_size]
  std::vector<CudaLayerWeights> layers;
  void* output_norm;  // [hidden_size]
  void* output;       // [vocab_size, hidden_size]; token_embedding when tied
};

// The pool of KV blocks, [layer][K | V][block][kvHead][16][headDim].
struct CudaKvCache {
  std::byte* data;
  std::size_t plane_bytes;  // K or V of one layer

  void* keys(int layer) const { return data + 2 * static_cast<std::size_t>(layer) * plane_bytes; }
  void* values(int layer) const {
    return data + (2 * static_cast<std::size_t>(layer) + 1) * plane_bytes;
  }
};

struct CudaWorkspace {
  float* rope_table;  // [rope_table_len, head_dim]: cosines, then sines
  void* residual;     // [max_tokens, hidden_size]
  void* last_rows;    // [max_sequences, hidden_size], rows that are sampled

  // Alive one after the other, so they share their memory: q, k, v and attention's output; what
  // goes into ffn_down; logits.
  void* qkv;         // [max_tokens, q_size + 2 * kv_size]
  void* attention;   // [max_tokens, q_size]
  void* activation;  // [max_tokens, padded_intermediate_size]
  float* logits;     // [max_logit_rows, vocab_size]

  // What operators keep their counters in: zero before their first call.
  void* linear_scratch;
  void* attention_scratch;
  void* sample_scratch;

  // Of step n the one with index n % 2.
  std::int32_t* sampled_token_ids[2];  // [max_sequences]
  std::byte* step_inputs[2];           // step_inputs.h
};

// SamplerSlot of every slot.
struct CudaSamplerSlots {
  std::uint16_t* output_counts;  // [max_sequences, vocab_size], then 4 spare bytes
  std::uint32_t* prompt_bits;    // [max_sequences, (vocab_size + 31) / 32]
};

struct CudaLayout {
  // Over null it only counts.
  CudaLayout(const ModelSpec& spec, std::byte* base);

  CudaWeights weights;
  CudaKvCache kv_cache;
  CudaWorkspace workspace;
  CudaSamplerSlots sampler;
  MemoryUse use;
  std::size_t num_bytes;
  // Workspace and sampler, which lie side by side and begin as zeros.
  std::byte* zeroed;
  std::size_t num_zeroed_bytes;
};

// Rows of gate and up as they are stored, a multiple of kernels::kGateUpGroup.
int padded_intermediate_size(const ModelConfig& config);

// Tokens the rope table covers: independent of how many KV blocks there will be.
int rope_table_len(const ModelSpec& spec);

// Rows of logits that exist at once. Steps that sample more do so in groups.
int max_logit_rows(const ModelSpec& spec);

}  // namespace kvasir
