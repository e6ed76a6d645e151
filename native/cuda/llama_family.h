// The forward pass of the Llama family on CUDA, in fused operators (the formulas stand in
// native/models/llama_family.h):
//
//   x = embedding[token]
//   for each layer:
//     qkv  = W_qkv norm(x) (+ bias)
//     out  = attention(rope(q), cached rope(k), cached v)
//     x   += W_o out
//     act  = swiglu(W_gate norm(x), W_up norm(x))
//     x   += W_down act
//   logits = W_output norm(x)         only for the rows that are sampled
//
// Everything is enqueued on one stream; nothing waits for the host.
#pragma once

#include "kernels/cuda_linear.h"
#include "native/cuda/layout.h"
#include "native/cuda/step_inputs.h"

namespace kvasir {

class CudaLlamaFamily {
 public:
  // Keeps a copy of the addresses.
  CudaLlamaFamily(const ModelSpec& spec, const CudaLayout& layout);

  // One step: K and V of its tokens into the cache, and one token for each row of logits into
  // sampled_token_ids of `index` (by sequence). Negative token ids read those of the other index.
  void run(const StepShape& shape, int index, kernels::Stream stream) const;

  // Copies whole KV blocks in all layers, from and to pairs that lie on the device.
  void copy_blocks(const std::int32_t* block_copies, int num_copies, kernels::Stream stream) const;

 private:
  struct Step {
    StepShape shape;
    StepInputs inputs;
    int index;
    kernels::Stream stream;
  };

  void embed(const Step& step) const;
  void attend(const Step& step, const CudaLayerWeights& weights, int layer) const;
  void sample(const Step& step) const;
  void sample_rows(const Step& step, const void* rows, int first_row, int num_rows) const;

  // A linear layer over rows that lie behind each other.
  kernels::CudaLinear linear(void* out, const void* x, const void* weight, int num_tokens,
                             int in_features, int out_features, kernels::LinearOutput output) const;
  void qkv_projection(const Step& step, const CudaLayerWeights& weights) const;
  void output_projection(const Step& step, const CudaLayerWeights& weights) const;
  void gate_up_projection(const Step& step, const CudaLayerWeights& weights) const;
  void down_projection(const Step& step, const CudaLayerWeights& weights) const;

  const ModelConfig config_;
  const StepLimits limits_;
  const kernels::DType type_;
  const kernels::Numerics numerics_;
  const bool is_batch_invariant_;
  const float attention_scale_;  // 1 / sqrt(head_dim)
  const int intermediate_size_;  // as stored
  const int max_logit_rows_;
  const CudaLayout layout_;
};

}  // namespace kvasir
