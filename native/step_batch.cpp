#include "native/step_batch.h"

namespace kvasir {

std::size_t step_batch_bytes(const StepLimits& limits) {
  std::size_t num_bytes = 0;
  StepBatch unplaced{};
  visit_views(unplaced, limits, [&](const char*, auto*& view, std::size_t length) {
    num_bytes += align_up(length * sizeof(*view));
  });
  return num_bytes;
}

StepBatch place_step_batch(const StepLimits& limits, Arena& arena) {
  StepBatch batch{};
  visit_views(batch, limits, [&](const char*, auto*& view, std::size_t length) {
    using Element = std::remove_reference_t<decltype(*view)>;
    view = arena.take_array<Element>(length);
  });
  return batch;
}

StepBatches::StepBatches(const StepLimits& limits)
    : arena_(2 * step_batch_bytes(limits), "step batches"),
      num_bytes_(2 * step_batch_bytes(limits)) {
  batches_[0] = place_step_batch(limits, arena_);
  batches_[1] = place_step_batch(limits, arena_);
  // tokenIds of the first batch is the first view of all, hence where the allocation begins.
  data_ = batches_[0].token_ids;
}

}  // namespace kvasir
