// Where a step's time goes on the GPU. Each operator of the forward pass over all layers, as a
// graph: alone, and what the whole step loses when it is left out, which tells how far it overlaps
// with its neighbours.
//
//   operators_cuda_bench [--model dsr1|smollm2] [--batch-invariant] [--fast] [--quick]
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/kernels/cuda_timer.cuh"
#include "bench/native/bench_models.h"
#include "bench/native/random_weights.h"
#include "kernels/cuda_attention.h"
#include "kernels/cuda_embedding.h"
#include "kernels/cuda_sample.h"
#include "native/cuda.h"
#include "native/cuda/device.h"
#include "native/cuda/layout.h"
#include "native/cuda/step_inputs.h"
#include "native/cuda/weight_loader.h"
#include "native/memory.h"

namespace {

constexpr int kBlockSize = 16;

struct Workload {
  int num_sequences;
  int query_len;
  int context_len;
};

struct Operator {
  const char* name;
  int num_layers;  // how often a step has it
  std::function<void(int layer, kernels::Stream stream)> enqueue;
};

// Weights, cache and inputs of a model, and its operators one by one.
class Operators {
 public:
  explicit Operators(const kvasir::ModelSpec& spec)
      : spec_(spec),
        memory_(kvasir::CudaLayout(spec, nullptr).num_bytes),
        layout_(spec, memory_.data()),
        step_arena_(kvasir::step_batch_bytes(spec.limits), "step batch"),
        step_(kvasir::place_step_batch(spec.limits, step_arena_)),
        inputs_(kvasir::step_input_bytes(spec.limits)) {
    CUDA_CHECK(cudaMemset(layout_.zeroed, 0, layout_.num_zeroed_bytes));
    bench::RandomWeights weights(spec.config, 0.02f);
    kernels::ThreadPool pool(spec.num_threads);
    kvasir::load_cuda_weights(spec, layout_.weights, weights, pool, [](std::uint64_t) {});
    fill_cache();
  }

  // Lays a step of this workload on the device.
  void prepare(const Workload& workload) {
    const int num_tokens = workload.num_sequences * workload.query_len;
    const int num_decodes = workload.query_len == 1 ? workload.num_sequences : 0;
    const kvasir::StepSize size{workload.num_sequences, num_tokens, num_decodes};
    for (int s = 0; s < workload.num_sequences; ++s) pack_sequence(workload, s);
    step_.query_starts[workload.num_sequences] = num_tokens;
    shape_ = kvasir::shape_of(step_, size);
    std::byte* const base = layout_.workspace.step_inputs[0];
    const kvasir::PackedStep packed =
        kvasir::pack_step(step_, size, shape_, spec_.limits, inputs_.data());
    CUDA_CHECK(cudaMemcpy(base, inputs_.data(), packed.num_bytes, cudaMemcpyHostToDevice));
    placed_ = kvasir::place_step_inputs(base, shape_, spec_.limits);
  }

  std::vector<Operator> list() const {
    const kvasir::ModelConfig& config = spec_.config;
    const int hidden = config.hidden_size;
    const int intermediate = kvasir::padded_intermediate_size(config);
    const int num_layers = config.num_layers;
    const auto& w = layout_.workspace;
    const auto weights = [this](int layer) -> const kvasir::CudaLayerWeights& {
      return layout_.weights.layers[static_cast<std::size_t>(layer)];
    };
    using kernels::LinearOutput;
    const int m = shape_.num_tokens;
    return {
        {"qkv", num_layers,
         [=](int layer, kernels::Stream stream) {
           auto op = linear(w.qkv, w.residual, weights(layer).qkv, m, hidden,
                            config.q_size() + 2 * config.kv_size(), LinearOutput::kStore);
           op.norm_weight = weights(layer).attn_norm;
           op.bias = weights(layer).qkv_bias;
           kernels::cuda_linear(op, stream);
         }},
        {"attention", num_layers,
         [=](int layer, kernels::Stream stream) { attend(layer, stream); }},
        {"o", num_layers,
         [=](int layer, kernels::Stream stream) {
           kernels::cuda_linear(linear(w.residual, w.attention, weights(layer).attn_output, m,
                                       config.q_size(), hidden, LinearOutput::kAddResidual),
                                stream);
         }},
        {"gate+up", num_layers,
         [=](int layer, kernels::Stream stream) {
           auto op = linear(w.activation, w.residual, weights(layer).gate_up, m, hidden,
                            2 * intermediate, LinearOutput::kSwiGlu);
           op.norm_weight = weights(layer).ffn_norm;
           kernels::cuda_linear(op, stream);
         }},
        {"down", num_layers,
         [=](int layer, kernels::Stream stream) {
           kernels::cuda_linear(linear(w.residual, w.activation, weights(layer).ffn_down, m,
                                       intermediate, hidden, LinearOutput::kAddResidual),
                                stream);
         }},
        {"gather", 1,
         [=](int, kernels::Stream stream) {
           kernels::cuda_gather_rows(
               {w.last_rows, w.residual, placed_.row_tokens, spec_.dtype, shape_.num_rows, hidden},
               stream);
         }},
        {"head", 1,
         [=](int, kernels::Stream stream) {
           auto op = linear(w.logits, w.last_rows, layout_.weights.output, shape_.num_rows, hidden,
                            config.vocab_size, LinearOutput::kLogits);
           op.norm_weight = layout_.weights.output_norm;
           kernels::cuda_linear(op, stream);
         }},
        {"sample", 1, [=](int, kernels::Stream stream) { sample(stream); }},
    };
  }

 private:
  void fill_cache() {
    // Values of the size that norms and rotations leave, the same megabytes over and over.
    std::vector<std::uint16_t> values(std::size_t{8} << 20);
    std::mt19937 random(2);
    std::normal_distribution<float> normal(0, 1);
    for (std::uint16_t& bits : values) bits = kernels::to_bf16(normal(random)).bits;
    for (std::size_t done = 0; done < layout_.use.kv_cache; done += values.size() * 2) {
      const std::size_t num_bytes = std::min(values.size() * 2, layout_.use.kv_cache - done);
      CUDA_CHECK(cudaMemcpy(layout_.kv_cache.data + done, values.data(), num_bytes,
                            cudaMemcpyHostToDevice));
    }
    CUDA_CHECK(cudaMemcpy(layout_.workspace.residual, values.data(),
                          static_cast<std::size_t>(spec_.limits.max_tokens_per_step) *
                              static_cast<std::size_t>(spec_.config.hidden_size) * 2 / 4,
                          cudaMemcpyHostToDevice));
    // No rotation: its cost does not depend on the angles.
    const std::vector<float> ones(static_cast<std::size_t>(kvasir::rope_table_len(spec_)) *
                                      static_cast<std::size_t>(spec_.config.head_dim),
                                  0.7071f);
    CUDA_CHECK(cudaMemcpy(layout_.workspace.rope_table, ones.data(), ones.size() * sizeof(float),
                          cudaMemcpyHostToDevice));
  }

  void pack_sequence(const Workload& workload, int s) {
    const int first = s * workload.query_len;
    const int blocks_apart = spec_.limits.num_blocks / workload.num_sequences;
    step_.query_starts[s] = first;
    step_.context_lens[s] = workload.context_len;
    step_.sampler_slots[s] = s;
    step_.sample_rows[s] = 1;
    step_.top_ps[s] = 1;
    step_.repetition_penalties[s] = 1;
    std::int32_t* const table =
        step_.block_tables + static_cast<std::ptrdiff_t>(s) * spec_.limits.max_blocks_per_sequence;
    for (int b = 0; b * kBlockSize < workload.context_len; ++b) table[b] = s * blocks_apart + b;
    for (int i = 0; i < workload.query_len; ++i) {
      const int position = workload.context_len - workload.query_len + i;
      step_.token_ids[first + i] = (first + i) * 31 % spec_.config.vocab_size;
      step_.positions[first + i] = position;
      step_.slot_mapping[first + i] = table[position / kBlockSize] * kBlockSize + position % 16;
    }
  }

  kernels::CudaLinear linear(void* out, const void* x, const void* weight, int num_tokens,
                             int in_features, int out_features,
                             kernels::LinearOutput output) const {
    kernels::CudaLinear op{};
    op.out = out;
    op.x = x;
    op.weight = weight;
    op.norm_epsilon = spec_.config.rms_norm_epsilon;
    op.type = spec_.dtype;
    op.output = output;
    op.numerics = numerics();
    op.is_batch_invariant = spec_.is_batch_invariant;
    op.num_tokens = num_tokens;
    op.in_features = in_features;
    op.out_features = out_features;
    op.x_stride = in_features;
    op.out_stride = output == kernels::LinearOutput::kSwiGlu ? out_features / 2 : out_features;
    op.workspace = layout_.workspace.linear_scratch;
    return op;
  }

  kernels::Numerics numerics() const {
    return spec_.numerics == kvasir::Numerics::kFast ? kernels::Numerics::kFast
                                                     : kernels::Numerics::kReference;
  }

  void attend(int layer, kernels::Stream stream) const {
    const kvasir::ModelConfig& config = spec_.config;
    kernels::CudaAttention op{};
    op.out = layout_.workspace.attention;
    op.qkv = layout_.workspace.qkv;
    op.norm_epsilon = config.rms_norm_epsilon;
    op.rope_table = layout_.workspace.rope_table;
    op.k_cache = layout_.kv_cache.keys(layer);
    op.v_cache = layout_.kv_cache.values(layer);
    op.positions = placed_.positions;
    op.slot_mapping = placed_.slot_mapping;
    op.block_tables = placed_.block_tables;
    op.block_table_starts = placed_.block_table_starts;
    op.query_starts = placed_.query_starts;
    op.context_lens = placed_.context_lens;
    op.type = spec_.dtype;
    op.numerics = numerics();
    op.is_batch_invariant = spec_.is_batch_invariant;
    op.num_tokens = shape_.num_tokens;
    op.num_sequences = shape_.num_sequences;
    op.num_decodes = shape_.num_decodes;
    op.max_query_len = shape_.max_query_len;
    op.num_heads = config.num_heads;
    op.num_kv_heads = config.num_kv_heads;
    op.head_dim = config.head_dim;
    op.scale = 1.0f / std::sqrt(static_cast<float>(config.head_dim));
    op.workspace = layout_.workspace.attention_scratch;
    kernels::cuda_attention(op, stream);
  }

  void sample(kernels::Stream stream) const {
    kernels::CudaSample op{};
    op.sampled_token_ids = layout_.workspace.sampled_token_ids[0];
    op.logits = layout_.workspace.logits;
    op.logits_stride = spec_.config.vocab_size;
    op.num_rows = shape_.num_rows;
    op.vocab_size = spec_.config.vocab_size;
    op.row_sequences = placed_.row_sequences;
    op.temperatures = placed_.temperatures;
    op.top_ps = placed_.top_ps;
    op.min_ps = placed_.min_ps;
    op.repetition_penalties = placed_.repetition_penalties;
    op.frequency_penalties = placed_.frequency_penalties;
    op.presence_penalties = placed_.presence_penalties;
    op.top_ks = placed_.top_ks;
    op.choices = placed_.choices;
    op.seeds_low = placed_.seeds_low;
    op.seeds_high = placed_.seeds_high;
    op.context_lens = placed_.context_lens;
    op.sampler_slots = placed_.sampler_slots;
    op.output_counts = layout_.sampler.output_counts;
    op.prompt_bits = layout_.sampler.prompt_bits;
    op.bias_starts = placed_.bias_starts;
    op.bias_token_ids = placed_.bias_token_ids;
    op.bias_values = placed_.bias_values;
    op.workspace = layout_.workspace.sample_scratch;
    kernels::cuda_sample(op, stream);
  }

  const kvasir::ModelSpec spec_;
  const kvasir::DeviceMemory memory_;
  const kvasir::CudaLayout layout_;
  kvasir::Arena step_arena_;
  kvasir::StepBatch step_;
  const kvasir::PinnedMemory inputs_;
  kvasir::StepShape shape_{};
  kvasir::StepInputs placed_{};
};

// Microseconds of a step of the operators that `takes` accepts, in the order of the forward pass.
template <class Takes>
double time_step(const std::vector<Operator>& operators, Takes takes) {
  return bench::median_microseconds(1, 9, [&](kernels::Stream stream, int) {
    for (int layer = 0; layer < operators.front().num_layers; ++layer) {
      for (const Operator& op : operators) {
        if (layer >= operators.front().num_layers - op.num_layers && takes(op)) {
          op.enqueue(layer, stream);
        }
      }
    }
  });
}

void measure(Operators& operators, const Workload& workload) {
  operators.prepare(workload);
  const std::vector<Operator> list = operators.list();
  const double whole = time_step(list, [](const Operator&) { return true; });
  std::printf("%d x %d after %d: step %.1f us\n", workload.num_sequences, workload.query_len,
              workload.context_len, whole);
  double sum = 0;
  for (const Operator& op : list) {
    const char* const name = op.name;
    const double alone = time_step(list, [&](const Operator& o) { return o.name == name; });
    const double without = time_step(list, [&](const Operator& o) { return o.name != name; });
    sum += alone;
    std::printf("  %-10s alone %8.1f us, %6.2f each; the step without it is shorter by %8.1f us\n",
                name, alone, alone / op.num_layers, whole - without);
  }
  std::printf("  %-10s %14.1f us\n", "sum", sum);
}

void run(int argc, char** argv) {
  kvasir::ModelSpec spec{};
  std::string model = "dsr1";
  bool is_quick = false;
  spec.numerics = kvasir::Numerics::kReference;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--model" && i + 1 < argc) model = argv[++i];
    if (argument == "--batch-invariant") spec.is_batch_invariant = true;
    if (argument == "--fast") spec.numerics = kvasir::Numerics::kFast;
    if (argument == "--quick") is_quick = true;
  }
  spec.config = bench::config_of(model);
  spec.limits = {36000, kBlockSize, 8192, 256, 300, 64};
  spec.device = kvasir::Device::kCuda;
  spec.dtype = kernels::DType::kBF16;
  spec.num_threads = 8;
  kvasir::use_cuda_device();
  Operators operators(spec);
  measure(operators, {1, 1, 512});
  if (!is_quick) measure(operators, {1, 1, 2048});
  for (const int n : {8, 32, 64, 128, 256}) measure(operators, {n, 1, 306});
  measure(operators, {1, 512, 512});
  if (!is_quick) measure(operators, {1, 1024, 1024});
  measure(operators, {1, 4096, 4096});
}

}  // namespace

int main(int argc, char** argv) {
  const kvasir::CudaStatus status = kvasir::cuda_status();
  if (!status.fault.empty()) {
    std::printf("# skipped: %s\n", status.fault.c_str());
    return 0;
  }
  try {
    run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "operators_cuda_bench: %s\n", error.what());
    return 1;
  }
  return 0;
}
