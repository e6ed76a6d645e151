// A loaded model: all the memory it will ever use, and the steps over it. Knows nothing of Node.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "native/model_spec.h"
#include "native/step_batch.h"

namespace kvasir {

// Bytes by purpose.
struct MemoryUse {
  std::size_t weights;
  std::size_t kv_cache;
  std::size_t workspace;
  std::size_t sampler;
};

// Called with the bytes of tensors done so far.
using OnProgress = std::function<void(std::uint64_t)>;

// Step n, counted from 0 over the steps that were started, is over batch n % 2 of step_batches().
// Two steps at most are started and not finished. Everything is called on the thread that loaded
// the model, except finish_step(), which may run on another thread at the same time as the others.
// Nothing here allocates after loading.
class Model {
 public:
  virtual ~Model() = default;

  virtual const ModelSpec& spec() const = 0;
  virtual const std::shared_ptr<StepBatches>& step_batches() const = 0;
  virtual MemoryUse memory() const = 0;

  // Reads and checks what `size` says is in use of the next batch and copies it, so that the batch
  // may change from then on. The CPU computes here; a GPU is only given its work. Throws
  // kernels::Error on a value out of range: then nothing was computed, the step was not started,
  // and the next call reads the same batch again. Throws kernels::CudaError when the device failed.
  virtual void start_step(const StepSize& size) = 0;

  // Waits for the oldest step that was started and not finished, and writes a token for each of its
  // sequences into its batch: the sampled one, -1 if it could not be sampled, 0 if it does not
  // sample. Called exactly once for each start_step() that returned. Throws kernels::CudaError.
  virtual void finish_step() = 0;

  // Forgets what a sampler slot knew of its sequence; token_ids[0, num_prompt_tokens) become the
  // prompt and the rest the output. Holds from the next step that is started; no unfinished step
  // may use the slot. The ids are copied. Throws kernels::Error as check_slot_fill() does.
  virtual void fill_sampler_slot(int slot, const std::int32_t* token_ids, int num_tokens,
                                 int num_prompt_tokens) = 0;
};

// Loads onto the device that the spec names; throws kernels::Error that names the field or tensor,
// the value and the limit.
std::unique_ptr<Model> load_model(const ModelSpec& spec, const OnProgress& on_progress);

}  // namespace kvasir
