// A loaded model: all the memory it will ever use, and the step over it. Knows nothing of Node.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "kernels/thread_pool.h"
#include "native/backend.h"
#include "native/kv_cache.h"
#include "native/models/llama_family.h"
#include "native/sampler_slots.h"
#include "native/step_batch.h"
#include "native/weights.h"
#include "native/workspace.h"

namespace kvasir {

// Bytes by purpose.
struct MemoryUse {
  std::size_t weights;
  std::size_t kv_cache;
  std::size_t workspace;
  std::size_t sampler;
};

class Model {
 public:
  // Loads; throws kernels::Error that names the field or tensor, the value and the limit. Call it
  // and step() on one thread: the pool counts that one as its first.
  Model(const ModelSpec& spec, const std::function<void(std::uint64_t)>& on_progress);

  const ModelSpec& spec() const { return spec_; }
  const std::shared_ptr<StepBatches>& step_batches() const { return step_batches_; }
  SamplerSlots& sampler_slots() { return sampler_slots_; }
  MemoryUse memory() const;

  // Step n (from 0) over batch n % 2: reads and checks what `size` says is in use, computes, and
  // writes a token for each sequence into the batch: the sampled one, -1 if it could not be
  // sampled, 0 if it does not sample. Throws kernels::Error on a value out of range; then nothing
  // was computed, and the same batch is read again by the next call. Allocates nothing.
  void step(const StepSize& size);

 private:
  const ModelSpec spec_;
  kernels::ThreadPool pool_;
  const Weights weights_;
  const KvCache kv_cache_;
  Workspace workspace_;
  SamplerSlots sampler_slots_;
  const std::shared_ptr<StepBatches> step_batches_;
  Arena step_arena_;
  StepBatch step_;  // the private copy that the kernels read
  const LlamaFamily forward_;
  std::uint64_t num_steps_ = 0;
};

}  // namespace kvasir
