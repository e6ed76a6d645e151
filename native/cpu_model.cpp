#include "native/cpu_model.h"

#include <algorithm>

namespace kvasir {

CpuModel::CpuModel(const ModelSpec& spec, const OnProgress& on_progress)
    : spec_(spec),
      pool_(spec.num_threads),
      weights_(spec_, on_progress),
      kv_cache_(spec_),
      workspace_(spec_),
      sampler_slots_(spec.limits.max_sequences, spec.config.vocab_size),
      step_batches_(std::make_shared<StepBatches>(spec.limits)),
      step_arena_(2 * step_batch_bytes(spec.limits), "step batches"),
      steps_{place_step_batch(spec.limits, step_arena_),
             place_step_batch(spec.limits, step_arena_)},
      forward_(spec_, weights_, kv_cache_, workspace_, sampler_slots_, cpu_backend(pool_), pool_) {}

MemoryUse CpuModel::memory() const {
  return {weights_.arena.num_bytes(), kv_cache_.num_bytes(),
          workspace_.num_bytes() + step_arena_.num_bytes() + step_batches_->num_bytes(),
          sampler_slots_.num_bytes()};
}

void CpuModel::start_step(const StepSize& size) {
  const int index = static_cast<int>(num_started_ % 2);
  StepBatch& step = steps_[index];
  read_step(step_batches_->batch(index), size, previous_step(),
            {spec_.limits, spec_.config.vocab_size, max_context_len(spec_)}, step);
  read_sampled_tokens(step, size);
  kv_cache_.copy_blocks(step.block_copies, *step.num_block_copies);
  std::fill_n(step.sampled_token_ids, size.num_sequences, 0);
  forward_.run(step, size);
  sizes_[index] = size;
  ++num_started_;
}

void CpuModel::finish_step() {
  const int index = static_cast<int>(num_finished_ % 2);
  std::copy_n(steps_[index].sampled_token_ids, sizes_[index].num_sequences,
              step_batches_->batch(index).sampled_token_ids);
  ++num_finished_;
}

void CpuModel::fill_sampler_slot(int slot, const std::int32_t* token_ids, int num_tokens,
                                 int num_prompt_tokens) {
  sampler_slots_.fill(slot, token_ids, num_tokens, num_prompt_tokens);
}

PreviousStep CpuModel::previous_step() const {
  if (num_started_ == 0) return {0, nullptr};
  const int index = static_cast<int>((num_started_ - 1) % 2);
  return {sizes_[index].num_sequences, steps_[index].sample_rows};
}

// A row that could not be sampled has failed: its sequence is over, and what is computed after it
// is thrown away. Token 0 serves as well as any.
void CpuModel::read_sampled_tokens(StepBatch& step, const StepSize& size) const {
  const StepBatch& previous = steps_[(num_started_ + 1) % 2];
  for (int t = 0; t < size.num_tokens; ++t) {
    if (step.token_ids[t] >= 0) continue;
    step.token_ids[t] = std::max(0, previous.sampled_token_ids[-1 - step.token_ids[t]]);
  }
}

}  // namespace kvasir
