// A model on the CPU: float activations, a thread pool, weights in whatever type the file has.
#pragma once

#include "kernels/thread_pool.h"
#include "native/kv_cache.h"
#include "native/model.h"
#include "native/models/llama_family.h"
#include "native/sampler_slots.h"
#include "native/step_check.h"
#include "native/weights.h"
#include "native/workspace.h"

namespace kvasir {

class CpuModel : public Model {
 public:
  // The spec must have passed check_model_spec(). The pool counts the calling thread as its first:
  // start_step() belongs there too.
  CpuModel(const ModelSpec& spec, const OnProgress& on_progress);

  const ModelSpec& spec() const override { return spec_; }
  const std::shared_ptr<StepBatches>& step_batches() const override { return step_batches_; }
  MemoryUse memory() const override;
  void start_step(const StepSize& size) override;
  void finish_step() override;
  void fill_sampler_slot(int slot, const std::int32_t* token_ids, int num_tokens,
                         int num_prompt_tokens) override;

 private:
  PreviousStep previous_step() const;
  void read_sampled_tokens(StepBatch& step, const StepSize& size) const;

  const ModelSpec spec_;
  kernels::ThreadPool pool_;
  const Weights weights_;
  const KvCache kv_cache_;
  Workspace workspace_;
  SamplerSlots sampler_slots_;
  const std::shared_ptr<StepBatches> step_batches_;
  Arena step_arena_;
  // The private copies that the kernels read and write; of step n the one with index n % 2. The
  // other holds what the step before sampled.
  StepBatch steps_[2];
  StepSize sizes_[2] = {};
  const LlamaFamily forward_;
  std::uint64_t num_started_ = 0;
  std::uint64_t num_finished_ = 0;  // on the finishing thread
};

}  // namespace kvasir
