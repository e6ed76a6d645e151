// The forward pass of the Llama family: Llama, Qwen2 (biases on q, k and v) and Qwen3 (RMS norm on
// every head of q and k).
//
//   x = embedding[token]
//   for each layer:
//     q, k, v = W_qkv norm(x) (+ bias)
//     q, k    = rope(norm_head(q)), rope(norm_head(k))
//     x      += W_o attention(q, cached k, cached v)
//     x      += W_down (swiglu(W_gate norm(x), W_up norm(x)))
//   logits = W_output norm(x)         only for the rows that are sampled
//
// Every activation is float. The result of a token depends on its own sequence alone: no operator
// mixes rows but attention, and that one reads a token's own context.
#pragma once

#include "native/backend.h"
#include "native/kv_cache.h"
#include "native/sampler_slots.h"
#include "native/step_batch.h"
#include "native/weights.h"
#include "native/workspace.h"

namespace kvasir {

class LlamaFamily {
 public:
  // Keeps references to all of them. Fills the workspace's rope table, hence the pool.
  LlamaFamily(const ModelSpec& spec, const Weights& weights, const KvCache& kv_cache,
              Workspace& workspace, SamplerSlots& sampler_slots, const Backend& backend,
              kernels::ThreadPool& pool);

  // One step over a checked batch: K and V of its tokens into the cache, and one token for each
  // sequence that samples into step.sampled_token_ids: -1 where sampling was impossible. Sequences
  // that do not sample keep what stood there.
  void run(const StepBatch& step, const StepSize& size) const;

 private:
  void attention_layer(const LayerWeights& weights, int layer, const StepBatch& step,
                       const StepSize& size) const;
  void feed_forward_layer(const LayerWeights& weights, int first_token, int num_tokens) const;
  void sample(const StepBatch& step, const StepSize& size) const;

  void embed(const StepBatch& step, int num_tokens) const;
  void normalise(float* out, const float* x, const float* weight, int num_tokens) const;
  void normalise_heads(float* x, const float* weight, int num_heads, int num_tokens) const;
  void rotate(float* x, int num_heads, const StepBatch& step, int num_tokens) const;
  void write_kv(int layer, const StepBatch& step, int num_tokens) const;
  void attend(int layer, const StepBatch& step, const StepSize& size) const;
  void project(float* out, const float* x, const FusedLinear& linear, std::int64_t out_stride,
               int num_tokens) const;
  void add_projection(float* x, const float* from, std::int64_t from_stride,
                      const kernels::PackedWeight& weight, int num_tokens) const;
  int gather_sampled_rows(const StepBatch& step, const StepSize& size) const;
  void sample_rows(const StepBatch& step, int first_row, int num_rows) const;

  float* q() const { return workspace_.qkv; }
  float* k() const { return workspace_.qkv + config_.q_size(); }
  float* v() const { return workspace_.qkv + config_.q_size() + config_.kv_size(); }
  std::int64_t qkv_stride() const { return config_.q_size() + 2 * config_.kv_size(); }

  const ModelConfig config_;
  const StepLimits limits_;
  const float attention_scale_;  // 1 / sqrt(head_dim)
  const Weights& weights_;
  const KvCache& kv_cache_;
  Workspace& workspace_;
  SamplerSlots& sampler_slots_;
  const Backend backend_;
};

}  // namespace kvasir
