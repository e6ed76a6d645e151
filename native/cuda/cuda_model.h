// A model on an NVIDIA GPU.
//
// Three streams: inputs go in on one, steps compute on the second, sampled ids come out on the
// third. What a step brings lies in memory of its own, so step n + 1 arrives while step n computes
// and begins the moment that one ends; the ids in between never leave the device.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "native/cuda/decode_graphs.h"
#include "native/cuda/device.h"
#include "native/cuda/layout.h"
#include "native/cuda/llama_family.h"
#include "native/cuda/sampler_slots.h"
#include "native/cuda/weight_source.h"
#include "native/step_check.h"

namespace kvasir {

// Throws kernels::Error unless the sizes are what the CUDA operators are made for. The spec must
// have passed check_model_spec().
void check_cuda_spec(const ModelSpec& spec);

class CudaModel : public Model {
 public:
  // The spec must have passed check_model_spec(), and its device is there (use_cuda_device()).
  CudaModel(const ModelSpec& spec, WeightSource& source, const OnProgress& on_progress);
  // Waits for steps that were started.
  ~CudaModel() override;

  const ModelSpec& spec() const override { return spec_; }
  const std::shared_ptr<StepBatches>& step_batches() const override { return step_batches_; }
  MemoryUse memory() const override { return layout_.use; }
  void start_step(const StepSize& size) override;
  void finish_step() override;
  void fill_sampler_slot(int slot, const std::int32_t* token_ids, int num_tokens,
                         int num_prompt_tokens) override;

  // Where steps compute; for timing.
  kernels::Stream stream() const { return compute_.get(); }

 private:
  // What belongs to step n, with index n % 2.
  struct Flight {
    StepBatch step;  // the private, checked copy
    StepSize size;
    PinnedMemory inputs;
    PinnedMemory sampled_token_ids;
    CudaEvent has_inputs;
    CudaEvent has_sampled;
    // The next step computes while this one is waited for, so the host need not be quick.
    CudaEvent is_done{CudaEvent::Wait::kSleeping};
  };

  void load(WeightSource& source, const OnProgress& on_progress);
  void record_graphs();
  void run_empty_decode(int num_sequences);
  PreviousStep previous_step() const;
  StepShape launch_shape(const Flight& flight) const;
  void send_inputs(Flight& flight, int index, const PackedStep& packed);
  void compute(const Flight& flight, int index, const StepShape& shape, const PackedStep& packed);
  void fetch_sampled(Flight& flight, int index);

  const ModelSpec spec_;
  const DeviceMemory memory_;
  const CudaLayout layout_;
  const std::shared_ptr<StepBatches> step_batches_;
  Arena step_arena_;
  const std::vector<int> decode_sizes_;
  const CudaLlamaFamily forward_;
  CudaSamplerFiller sampler_filler_;
  std::array<Flight, 2> flights_;
  std::optional<DecodeGraphs> graphs_;
  std::uint64_t num_started_ = 0;
  std::atomic<std::uint64_t> num_finished_{0};
  // Last: they end before what they work on does.
  CudaStream copy_in_;
  CudaStream compute_;
  CudaStream copy_out_;
};

}  // namespace kvasir
