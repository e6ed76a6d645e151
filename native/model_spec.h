// What a model is and how much of it may run at once, as TypeScript describes it
// (engine/model/model-description.ts, engine/core/addon.ts), in plain C++.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/types.h"

namespace kvasir {

enum class Architecture { kLlama, kQwen2, kQwen3 };

enum class Device { kCpu, kCuda };

// Whether sums are taken in the order that the references take, or in the fastest one.
enum class Numerics { kReference, kFast };

struct RopeScaling {
  float factor;
  float low_frequency_factor;
  float high_frequency_factor;
  float original_max_context_len;  // tokens
};

struct ModelConfig {
  Architecture architecture;
  int num_layers;
  int hidden_size;
  int intermediate_size;
  int num_heads;
  int num_kv_heads;
  int head_dim;
  int vocab_size;
  int max_context_len;  // tokens
  float rms_norm_epsilon;
  float rope_theta;
  std::optional<RopeScaling> rope_scaling;
  bool has_qkv_bias;
  bool has_qk_norm;
  bool has_tied_embeddings;

  int q_size() const { return num_heads * head_dim; }
  int kv_size() const { return num_kv_heads * head_dim; }
};

struct FileSpec {
  std::string path;
  std::uint64_t byte_length;
};

struct TensorRef {
  std::string name;
  kernels::DType type;
  std::vector<std::int64_t> shape;  // row-major, outermost first
  int file;                         // index into ModelSpec::files
  std::uint64_t offset;             // bytes from the start of the file
  std::uint64_t byte_length;
  int num_interleaved_heads;  // 0: rows are in order
};

struct StepLimits {
  int num_blocks;
  int block_size;
  int max_tokens_per_step;
  int max_sequences;
  int max_blocks_per_sequence;
  int max_adjustments;
};

struct ModelSpec {
  ModelConfig config;
  std::vector<FileSpec> files;
  std::vector<TensorRef> tensors;
  StepLimits limits;
  Device device;
  int num_threads;               // on the CPU
  kernels::DType kv_cache_type;  // on the CPU: kF16 or kF32

  // On CUDA.
  kernels::DType dtype;  // of weights, activations and KV cache: kF32, kF16 or kBF16
  Numerics numerics;
  bool is_batch_invariant;  // a sequence's ids do not depend on what it was batched with
  bool use_graphs;          // decode batches run as CUDA graphs
};

// Tokens of one sequence that model, block table and pool can all hold.
int max_context_len(const ModelSpec& spec);

// Throws kernels::Error that names the field, its value and the limit unless every number is in
// range, the sizes agree with each other, and no product of them can leave the range of its type.
void check_model_spec(const ModelSpec& spec);

// Throws unless the tensor's bytes are exactly its shape's and lie within its file.
void check_tensor_ref(const TensorRef& tensor, const std::vector<FileSpec>& files);

}  // namespace kvasir
