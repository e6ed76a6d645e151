#include "native/cuda/cuda_model.h"

#include <algorithm>

#include "kernels/thread_pool.h"
#include "native/cuda.h"
#include "native/cuda/weight_loader.h"
#include "native/models/rope_table.h"

namespace kvasir {

namespace {

// Block tables and adjustments of a step are addressed with 32 bits.
constexpr std::size_t kMaxStepInputBytes = std::size_t{1} << 31;

}  // namespace

void check_cuda_spec(const ModelSpec& spec) {
  CHECK(spec.config.hidden_size % 8 == 0,
        "hiddenSize is " + std::to_string(spec.config.hidden_size) +
            "; on CUDA it must be a multiple of 8: choose --device cpu for this model");
  CHECK(step_input_bytes(spec.limits) <= kMaxStepInputBytes,
        "a step may bring " + std::to_string(step_input_bytes(spec.limits)) +
            " bytes of block tables and adjustments; " + std::to_string(kMaxStepInputBytes) +
            " are the limit: lower --max-sequences or --max-context-len");
}

MemoryUse cuda_memory_needs(const ModelSpec& spec) {
  check_cuda_spec(spec);
  ModelSpec without_cache = spec;
  without_cache.limits.num_blocks = 0;
  return CudaLayout(without_cache, nullptr).use;
}

std::unique_ptr<Model> load_cuda_model(const ModelSpec& spec, const OnProgress& on_progress) {
  check_cuda_spec(spec);
  const std::unique_ptr<WeightSource> source = open_weight_files(spec);
  use_cuda_device();
  return std::make_unique<CudaModel>(spec, *source, on_progress);
}

CudaModel::CudaModel(const ModelSpec& spec, WeightSource& source, const OnProgress& on_progress)
    : spec_(spec),
      memory_(CudaLayout(spec, nullptr).num_bytes),
      layout_(spec, memory_.data()),
      step_batches_(std::make_shared<StepBatches>(spec.limits)),
      step_arena_(2 * step_batch_bytes(spec.limits), "step batches"),
      decode_sizes_(decode_sizes(spec.limits)),
      forward_(spec_, layout_),
      sampler_filler_(layout_.sampler, spec_) {
  const std::size_t num_id_bytes =
      static_cast<std::size_t>(spec.limits.max_sequences) * sizeof(std::int32_t);
  for (Flight& flight : flights_) {
    flight.step = place_step_batch(spec.limits, step_arena_);
    flight.inputs = PinnedMemory(step_input_bytes(spec.limits));
    flight.sampled_token_ids = PinnedMemory(num_id_bytes);
  }
  load(source, on_progress);
  if (spec_.use_graphs) record_graphs();
}

CudaModel::~CudaModel() { cudaStreamSynchronize(compute_.get()); }

void CudaModel::load(WeightSource& source, const OnProgress& on_progress) {
  CUDA_CHECK(cudaMemsetAsync(layout_.zeroed, 0, layout_.num_zeroed_bytes, compute_.get()));
  // A block that was never written may be read beyond its last token, times a weight of zero: it
  // must hold numbers.
  CUDA_CHECK(cudaMemsetAsync(layout_.kv_cache.data, 0, layout_.use.kv_cache, compute_.get()));

  kernels::ThreadPool pool(spec_.num_threads);
  const std::vector<float> divisors =
      load_cuda_weights(spec_, layout_.weights, source, pool, on_progress);
  const int num_positions = rope_table_len(spec_);
  std::vector<float> table(static_cast<std::size_t>(num_positions) *
                           static_cast<std::size_t>(spec_.config.head_dim));
  fill_rope_table(spec_, divisors.empty() ? nullptr : divisors.data(), num_positions, table.data(),
                  pool);
  CUDA_CHECK(cudaMemcpyAsync(layout_.workspace.rope_table, table.data(),
                             table.size() * sizeof(float), cudaMemcpyHostToDevice, compute_.get()));
  compute_.synchronize();
}

void CudaModel::record_graphs() {
  graphs_.emplace(
      spec_.limits, compute_, [this](int num_sequences) { run_empty_decode(num_sequences); },
      [this](int num_sequences, int index, kernels::Stream stream) {
        forward_.run(decode_shape(num_sequences), index, stream);
      });
}

// A step of nothing but filling: it reads the weights, and writes and samples nothing.
void CudaModel::run_empty_decode(int num_sequences) {
  Flight& flight = flights_[0];
  const StepShape shape = decode_shape(num_sequences);
  const PackedStep packed =
      pack_step(flight.step, {0, 0, 0}, shape, spec_.limits, flight.inputs.data());
  send_inputs(flight, 0, packed);
  forward_.run(shape, 0, compute_.get());
  compute_.synchronize();
}

void CudaModel::start_step(const StepSize& size) {
  CHECK(num_started_ - num_finished_ < 2, "step: two steps are running; finish one first");
  const int index = static_cast<int>(num_started_ % 2);
  Flight& flight = flights_[static_cast<std::size_t>(index)];
  read_step(step_batches_->batch(index), size, previous_step(),
            {spec_.limits, spec_.config.vocab_size, max_context_len(spec_)}, flight.step);
  flight.size = size;
  const StepShape shape = launch_shape(flight);
  const PackedStep packed = pack_step(flight.step, size, shape, spec_.limits, flight.inputs.data());
  send_inputs(flight, index, packed);
  compute(flight, index, shape, packed);
  fetch_sampled(flight, index);
  ++num_started_;
}

void CudaModel::finish_step() {
  const int index = static_cast<int>(num_finished_ % 2);
  const Flight& flight = flights_[static_cast<std::size_t>(index)];
  flight.is_done.synchronize();
  const auto* const sampled =
      reinterpret_cast<const std::int32_t*>(flight.sampled_token_ids.data());
  std::int32_t* const out = step_batches_->batch(index).sampled_token_ids;
  for (int s = 0; s < flight.size.num_sequences; ++s) {
    const bool samples = flight.step.sample_rows[s] != 0;
    out[s] = !samples ? 0 : has_sound_sampling(flight.step, s) ? sampled[s] : -1;
  }
  ++num_finished_;
}

void CudaModel::fill_sampler_slot(int slot, const std::int32_t* token_ids, int num_tokens,
                                  int num_prompt_tokens) {
  sampler_filler_.fill(slot, token_ids, num_tokens, num_prompt_tokens, compute_);
}

PreviousStep CudaModel::previous_step() const {
  if (num_started_ == 0) return {0, nullptr};
  const Flight& flight = flights_[(num_started_ - 1) % 2];
  return {flight.size.num_sequences, flight.step.sample_rows};
}

// A step of decodes alone is filled up to the next size there is a graph of.
StepShape CudaModel::launch_shape(const Flight& flight) const {
  if (flight.size.num_tokens > flight.size.num_sequences) {
    return shape_of(flight.step, flight.size);
  }
  return decode_shape(
      *std::lower_bound(decode_sizes_.begin(), decode_sizes_.end(), flight.size.num_sequences));
}

void CudaModel::send_inputs(Flight& flight, int index, const PackedStep& packed) {
  CUDA_CHECK(cudaMemcpyAsync(layout_.workspace.step_inputs[index], flight.inputs.data(),
                             packed.num_bytes, cudaMemcpyHostToDevice, copy_in_.get()));
  flight.has_inputs.record(copy_in_);
  flight.has_inputs.hold(compute_);
}

void CudaModel::compute(const Flight& flight, int index, const StepShape& shape,
                        const PackedStep& packed) {
  const int num_block_copies = *flight.step.num_block_copies;
  if (num_block_copies > 0) {
    const std::byte* const pairs = layout_.workspace.step_inputs[index] + packed.block_copies_at;
    forward_.copy_blocks(reinterpret_cast<const std::int32_t*>(pairs), num_block_copies,
                         compute_.get());
  }
  const bool is_decode = shape.num_decodes == shape.num_sequences;
  if (is_decode && graphs_) {
    graphs_->launch(shape.num_sequences, index, compute_);
  } else {
    forward_.run(shape, index, compute_.get());
  }
}

void CudaModel::fetch_sampled(Flight& flight, int index) {
  flight.has_sampled.record(compute_);
  flight.has_sampled.hold(copy_out_);
  CUDA_CHECK(
      cudaMemcpyAsync(flight.sampled_token_ids.data(), layout_.workspace.sampled_token_ids[index],
                      static_cast<std::size_t>(flight.size.num_sequences) * sizeof(std::int32_t),
                      cudaMemcpyDeviceToHost, copy_out_.get()));
  flight.is_done.record(copy_out_);
}

}  // namespace kvasir
