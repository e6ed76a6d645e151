// Whole steps of a model on the GPU, two in flight as the engine has them: wall clock from one
// finished step to the next, and the device's own time beside it.
//
//   step_cuda_bench [--model dsr1|smollm2] [--batch-invariant] [--no-graphs] [--fast] [--quick]
//
// Weights are random (random_weights.h), the KV cache holds what the model itself computed. The
// floor is bytes at the H200's 4.8 TB/s or operations at its 989 TFLOP/s, per phase, whichever
// takes longer: weights, K and V, logits.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include "bench/native/bench_models.h"
#include "bench/native/random_weights.h"
#include "kernels/cuda_launch.cuh"
#include "native/cuda.h"
#include "native/cuda/cuda_model.h"
#include "native/cuda/device.h"

namespace {

using Clock = std::chrono::steady_clock;

constexpr double kBytesPerSecond = 4.8e12;
constexpr double kFlopPerSecond = 989e12;
constexpr int kBlockSize = 16;
constexpr int kMaxTokens = 8192;
constexpr int kMaxSequences = 256;
constexpr int kMaxBlocksPerSequence = 300;
// Enough for decodes after 2,048 tokens, and 256 times less than the pool has.
constexpr int kBlocksApart = 135;

struct Options {
  std::string model = "dsr1";
  bool is_batch_invariant = false;
  bool use_graphs = true;
  bool is_fast = false;
  bool is_quick = false;
};

kvasir::ModelSpec spec_of(const Options& options) {
  kvasir::ModelSpec spec{};
  spec.config = bench::config_of(options.model);
  spec.limits = {36000, kBlockSize, kMaxTokens, kMaxSequences, kMaxBlocksPerSequence, 1024};
  spec.device = kvasir::Device::kCuda;
  spec.dtype = kernels::DType::kBF16;
  spec.numerics = options.is_fast ? kvasir::Numerics::kFast : kvasir::Numerics::kReference;
  spec.is_batch_invariant = options.is_batch_invariant;
  spec.use_graphs = options.use_graphs;
  spec.num_threads = 8;
  spec.kv_cache_type = kernels::DType::kF16;
  return spec;
}

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Milliseconds that no implementation can be faster than.
double floor_of(const kvasir::ModelConfig& config, int num_tokens, int num_rows,
                double num_context_tokens, double num_attended) {
  const double linear_weights =
      static_cast<double>(config.num_layers) * config.hidden_size *
      (2.0 * config.q_size() + 2.0 * config.kv_size() + 3.0 * config.intermediate_size);
  const double head_weights = static_cast<double>(config.vocab_size) * config.hidden_size;
  const double weight_bytes = 2 * (linear_weights + head_weights);
  const double kv_bytes = num_context_tokens * 4.0 * config.num_layers * config.kv_size();
  const double linear_flop = 2 * (num_tokens * linear_weights + num_rows * head_weights);
  const double attention_flop = 4.0 * config.num_layers * config.q_size() * num_attended;
  return 1e3 * (std::max(weight_bytes / kBytesPerSecond, linear_flop / kFlopPerSecond) +
                std::max(kv_bytes / kBytesPerSecond, attention_flop / kFlopPerSecond));
}

// Timing on the device between two points of the model's stream.
class DeviceTimer {
 public:
  explicit DeviceTimer(kernels::Stream stream) : stream_(stream) {
    CUDA_CHECK(cudaEventCreate(&begin_));
    CUDA_CHECK(cudaEventCreate(&end_));
  }
  ~DeviceTimer() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  DeviceTimer(const DeviceTimer&) = delete;
  DeviceTimer& operator=(const DeviceTimer&) = delete;

  void begin() { CUDA_CHECK(cudaEventRecord(begin_, stream_)); }
  void end() { CUDA_CHECK(cudaEventRecord(end_, stream_)); }
  double milliseconds() {
    float elapsed = 0;
    CUDA_CHECK(cudaEventSynchronize(end_));
    CUDA_CHECK(cudaEventElapsedTime(&elapsed, begin_, end_));
    return elapsed;
  }

 private:
  kernels::Stream stream_;
  cudaEvent_t begin_;
  cudaEvent_t end_;
};

class StepBench {
 public:
  explicit StepBench(kvasir::CudaModel& model)
      : model_(model), config_(model.spec().config), timer_(model.stream()) {}

  // Gives every block of the pool K and V of real tokens: one sequence computes some, and the rest
  // are copies.
  void fill_pool() {
    constexpr int kNumOwn = 256;
    prefill(1, kNumOwn * kBlockSize);
    std::vector<bool> is_own(static_cast<std::size_t>(model_.spec().limits.num_blocks));
    for (int i = 0; i < kNumOwn; ++i) is_own[static_cast<std::size_t>(block_of(0, i))] = true;
    for (std::size_t block = 0; block < is_own.size();) {
      kvasir::StepBatch& batch = next_batch();
      pack_decode(batch, 1, 1);
      int num_copies = 0;
      for (; block < is_own.size() && num_copies < kMaxSequences; ++block) {
        if (is_own[block]) continue;
        batch.block_copies[2 * num_copies] = block_of(0, static_cast<int>(block % kNumOwn));
        batch.block_copies[2 * num_copies++ + 1] = static_cast<std::int32_t>(block);
      }
      *batch.num_block_copies = num_copies;
      start({1, 1, 1});
      finish();
    }
  }

  // Decode steps of `num_sequences`, each after `context_len` tokens.
  void decode(int num_sequences, int context_len, int num_steps) {
    constexpr int kWarmUp = 8;
    std::vector<double> host_us;
    Clock::time_point begin;
    std::clock_t cpu_begin = 0;
    const kvasir::StepSize size{num_sequences, num_sequences, num_sequences};
    for (int i = 0; i < kWarmUp + num_steps; ++i) {
      kvasir::StepBatch& batch = next_batch();
      pack_decode(batch, num_sequences, context_len + i + 1);
      if (i > 0) {
        for (int s = 0; s < num_sequences; ++s) batch.token_ids[s] = -1 - s;
      }
      if (i == kWarmUp) timer_.begin();
      const Clock::time_point start_time = Clock::now();
      start(size);
      if (i >= kWarmUp) host_us.push_back(1e3 * milliseconds_since(start_time));
      if (i > 0) finish();
      // The step before this one has just been finished.
      if (i == kWarmUp) {
        begin = Clock::now();
        cpu_begin = std::clock();
      }
    }
    timer_.end();
    finish();
    const double wall_ms = milliseconds_since(begin) / num_steps;
    const double cpu_ms = 1e3 * static_cast<double>(std::clock() - cpu_begin) / CLOCKS_PER_SEC;
    const double device_ms = timer_.milliseconds() / num_steps;
    const double num_context = static_cast<double>(num_sequences) * (context_len + num_steps / 2.0);
    const double floor_ms =
        floor_of(config_, num_sequences, num_sequences, num_context, num_context);
    std::printf(
        "decode  B=%-4d after %-5d %8.3f ms %9.0f tok/s  device %8.3f ms  floor %6.3f ms "
        "%3.0f %%  host %4.0f us a start, %3.0f %% of a core\n",
        num_sequences, context_len, wall_ms, 1e3 * num_sequences / wall_ms, device_ms, floor_ms,
        100 * floor_ms / device_ms, median(host_us), 100 * cpu_ms / (wall_ms * num_steps));
  }

  void measure_prefill(int num_sequences, int num_tokens, int num_runs) {
    std::vector<double> wall_ms;
    std::vector<double> device_ms;
    double first_ms = 0;
    for (int i = 0; i < num_runs + 1; ++i) {
      const Clock::time_point begin = Clock::now();
      timer_.begin();
      prefill(num_sequences, num_tokens);
      if (i == 0) first_ms = milliseconds_since(begin);
      if (i == 0) continue;
      wall_ms.push_back(milliseconds_since(begin));
      device_ms.push_back(timer_.milliseconds());
    }
    const double total = static_cast<double>(num_sequences) * num_tokens;
    const double floor_ms = floor_of(config_, static_cast<int>(total), num_sequences, total,
                                     total * (num_tokens + 1) / 2);
    std::printf(
        "prefill %2d x %-5d         %8.3f ms %9.0f tok/s  device %8.3f ms  floor %6.3f ms "
        "%3.0f %%  the first %.1f ms\n",
        num_sequences, num_tokens, median(wall_ms), 1e3 * total / median(wall_ms),
        median(device_ms), floor_ms, 100 * floor_ms / median(device_ms), first_ms);
  }

 private:
  kvasir::StepBatch& next_batch() {
    return model_.step_batches()->batch(static_cast<int>(num_started_ % 2));
  }

  void start(const kvasir::StepSize& size) {
    model_.start_step(size);
    ++num_started_;
  }

  void finish() {
    model_.finish_step();
    const kvasir::StepBatch& batch =
        model_.step_batches()->batch(static_cast<int>(num_finished_++ % 2));
    CHECK(batch.sampled_token_ids[0] >= 0, "a step sampled no token: its logits are no numbers");
  }

  // Blocks are spread over the pool, as they are after a while of serving.
  std::int32_t block_of(int sequence, int index) const {
    const std::int64_t number = std::int64_t{sequence} * blocks_apart_ + index;
    return static_cast<std::int32_t>(number * 7919 % model_.spec().limits.num_blocks);
  }

  void pack_sequence(kvasir::StepBatch& batch, int s, int first_token, int context_len) const {
    batch.query_starts[s] = first_token;
    batch.context_lens[s] = context_len;
    batch.sampler_slots[s] = s;
    batch.sample_rows[s] = 1;
    batch.temperatures[s] = 0;
    batch.top_ps[s] = 1;
    batch.min_ps[s] = 0;
    batch.repetition_penalties[s] = 1;
    batch.frequency_penalties[s] = 0;
    batch.presence_penalties[s] = 0;
    batch.top_ks[s] = 0;
    batch.choices[s] = 0;
    batch.bias_starts[s + 1] = 0;
    for (int b = 0; b * kBlockSize < context_len; ++b) {
      batch.block_tables[s * kMaxBlocksPerSequence + b] = block_of(s, b);
    }
  }

  void pack_token(kvasir::StepBatch& batch, int t, int s, int position) const {
    batch.token_ids[t] = (t * 7907 + position * 31) % config_.vocab_size;
    batch.positions[t] = position;
    batch.slot_mapping[t] = block_of(s, position / kBlockSize) * kBlockSize + position % kBlockSize;
  }

  void pack_decode(kvasir::StepBatch& batch, int num_sequences, int context_len) const {
    batch.bias_starts[0] = 0;
    *batch.num_block_copies = 0;
    for (int s = 0; s < num_sequences; ++s) {
      pack_sequence(batch, s, s, context_len);
      pack_token(batch, s, s, context_len - 1);
    }
    batch.query_starts[num_sequences] = num_sequences;
  }

  // Whole prompts, several a step where they fit, two steps in flight.
  void prefill(int num_sequences, int num_tokens) {
    blocks_apart_ = std::max(kBlocksApart, num_tokens / kBlockSize);
    const int num_at_once = std::max(1, kMaxTokens / num_tokens);
    int num_in_flight = 0;
    for (int first = 0; first < num_sequences; first += num_at_once) {
      const int num_now = std::min(num_at_once, num_sequences - first);
      kvasir::StepBatch& batch = next_batch();
      batch.bias_starts[0] = 0;
      *batch.num_block_copies = 0;
      for (int s = 0; s < num_now; ++s) {
        pack_sequence(batch, s, s * num_tokens, num_tokens);
        for (int i = 0; i < num_tokens; ++i) pack_token(batch, s * num_tokens + i, s, i);
      }
      batch.query_starts[num_now] = num_now * num_tokens;
      start({num_now, num_now * num_tokens, 0});
      if (++num_in_flight > 1) {
        finish();
        --num_in_flight;
      }
    }
    timer_.end();
    finish();
    blocks_apart_ = kBlocksApart;
  }

  kvasir::CudaModel& model_;
  const kvasir::ModelConfig config_;
  DeviceTimer timer_;
  int blocks_apart_ = kBlocksApart;  // from the first block of a sequence to that of the next
  std::uint64_t num_started_ = 0;
  std::uint64_t num_finished_ = 0;
};

Options read_options(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--model" && i + 1 < argc) {
      options.model = argv[++i];
    } else if (argument == "--batch-invariant") {
      options.is_batch_invariant = true;
    } else if (argument == "--no-graphs") {
      options.use_graphs = false;
    } else if (argument == "--fast") {
      options.is_fast = true;
    } else if (argument == "--quick") {
      options.is_quick = true;
    } else {
      std::fprintf(stderr, "step_cuda_bench: %s is not an option\n", argument.c_str());
      std::exit(2);
    }
  }
  return options;
}

void run(const Options& options) {
  const kvasir::ModelSpec spec = spec_of(options);
  kvasir::use_cuda_device();
  Clock::time_point begin = Clock::now();
  bench::RandomWeights weights(spec.config, 0.02f);
  double weights_ms = 0;
  kvasir::CudaModel model(spec, weights,
                          [&](std::uint64_t) { weights_ms = milliseconds_since(begin); });
  const kvasir::MemoryUse use = model.memory();
  std::printf(
      "# %s%s%s%s: weights %.2f GB in %.0f ms, loaded after %.0f ms; workspace %.2f GB, "
      "sampler %.2f GB, KV cache %.2f GB\n",
      options.model.c_str(), options.is_batch_invariant ? ", batch-invariant" : "",
      options.use_graphs ? "" : ", no graphs", options.is_fast ? ", fast" : "",
      1e-9 * static_cast<double>(use.weights), weights_ms, milliseconds_since(begin),
      1e-9 * static_cast<double>(use.workspace), 1e-9 * static_cast<double>(use.sampler),
      1e-9 * static_cast<double>(use.kv_cache));
  begin = Clock::now();
  StepBench bench(model);
  bench.fill_pool();
  std::printf("# pool filled in %.0f ms\n", milliseconds_since(begin));

  bench.decode(1, 512, 200);
  if (!options.is_quick) bench.decode(1, 2048, 200);
  for (const int num_sequences : {8, 32, 64, 128, 256}) bench.decode(num_sequences, 256, 100);
  if (!options.is_quick) {
    for (const int num_sequences : {8, 32, 64, 128, 256}) bench.decode(num_sequences, 2048, 50);
  }
  for (const int num_tokens : {512, 1024, 4096}) bench.measure_prefill(1, num_tokens, 7);
  if (!options.is_quick) bench.measure_prefill(16, 4096, 2);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = read_options(argc, argv);
  const kvasir::CudaStatus status = kvasir::cuda_status();
  if (!status.fault.empty()) {
    std::printf("# skipped: %s\n", status.fault.c_str());
    return 0;
  }
  try {
    run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "step_cuda_bench: %s\n", error.what());
    return 1;
  }
  return 0;
}
