// Between the memory TypeScript writes and the kernels stands one copy and one check.
#pragma once

#include "native/step_batch.h"

namespace kvasir {

// The step before this one, which negative tokenIds refer to.
struct PreviousStep {
  int num_sequences;                // 0 if there was none
  const std::uint8_t* sample_rows;  // [num_sequences]
};

struct StepChecks {
  StepLimits limits;
  int vocab_size;
  int max_context_len;  // tokens of one sequence
};

// Throws kernels::Error unless the three numbers fit the limits and each other.
void check_step_size(const StepSize& size, const StepLimits& limits);

// Copies the part of `shared` in use into `step` and checks every value there, so that nothing a
// kernel indexes with can change after it was checked. tokenIds that refer to `previous` stay
// negative. Throws kernels::Error that names the view, the index, the value and the limit; `step`
// is then undefined and nothing was computed.
void read_step(const StepBatch& shared, const StepSize& size, const PreviousStep& previous,
               const StepChecks& checks, StepBatch& step);

// Whether the sampling parameters of sequence s are numbers the sampler is defined for. A sequence
// whose parameters are not fails alone.
bool has_sound_sampling(const StepBatch& step, int s);

}  // namespace kvasir
