#include "native/model.h"

#include <algorithm>

#include "native/step_check.h"

namespace kvasir {

namespace {

const ModelSpec& checked(const ModelSpec& spec) {
  check_model_spec(spec);
  return spec;
}

}  // namespace

Model::Model(const ModelSpec& spec, const std::function<void(std::uint64_t)>& on_progress)
    : spec_(checked(spec)),
      pool_(spec.num_threads),
      weights_(spec_, on_progress),
      kv_cache_(spec_),
      workspace_(spec_),
      sampler_slots_(spec.limits.max_sequences, spec.config.vocab_size),
      step_batches_(std::make_shared<StepBatches>(spec.limits)),
      step_arena_(step_batch_bytes(spec.limits), "step batch"),
      step_(place_step_batch(spec.limits, step_arena_)),
      forward_(spec_, weights_, kv_cache_, workspace_, sampler_slots_, cpu_backend(pool_), pool_) {}

MemoryUse Model::memory() const {
  return {weights_.arena.num_bytes(), kv_cache_.num_bytes(),
          workspace_.num_bytes() + step_arena_.num_bytes() + step_batches_->num_bytes(),
          sampler_slots_.num_bytes()};
}

void Model::step(const StepSize& size) {
  StepBatch& shared = step_batches_->batch(static_cast<int>(num_steps_ % 2));
  read_step(shared, size, {spec_.limits, spec_.config.vocab_size, max_context_len(spec_)}, step_);
  std::fill_n(step_.sampled_token_ids, size.num_sequences, 0);
  forward_.run(step_, size);
  std::copy_n(step_.sampled_token_ids, size.num_sequences, shared.sampled_token_ids);
  ++num_steps_;
}

}  // namespace kvasir
