// Microseconds of sampling a step's rows: what kind of row, how many, how peaked the logits are.
// Bytes are one reading of the logits. The argument "flat" or "peaked" runs one kind of logits.
#include <cstdio>
#include <cstring>
#include <random>
#include <string>

#include "bench/kernels/cuda_timer.cuh"
#include "kernels/cuda_sample.h"
#include "test/kernels/device_buffer.cuh"

namespace {

using testing::DeviceBuffer;

constexpr int kVocabSize = 151936;
constexpr int kMaxRows = 256;
// Together larger than the cache, so that no call finds the logits of the one before.
constexpr int kNumSets = 2;

struct Case {
  const char* name;
  float temperature;
  int top_k;
  float top_p;
  float min_p;
  bool has_penalties;
  bool wants_logprobs;
};

constexpr Case kCases[] = {
    {"greedy", 0, 0, 1, 0, false, false},
    {"temperature", 0.7f, 0, 1, 0, false, false},
    {"top-k 50", 0.7f, 50, 1, 0, false, false},
    {"top-p 0.95", 0.7f, 0, 0.95f, 0, false, false},
    {"top-k 20 top-p 0.8", 0.7f, 20, 0.8f, 0, false, false},
    {"min-p 0.05", 0.7f, 0, 1, 0.05f, false, false},
    {"greedy, penalties", 0, 0, 1, 0, true, false},
    {"greedy, 20 log-probs", 0, 0, 1, 0, false, true},
};

// Normal with this deviation; a peaked row has a hundred tokens far above the rest besides.
std::vector<float> make_logits(float deviation, bool is_peaked) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> pool(1 << 20);
  for (float& value : pool) value = normal(random);
  std::vector<float> logits(static_cast<std::size_t>(kMaxRows) * kVocabSize);
  for (std::size_t i = 0; i < logits.size(); ++i)
    logits[i] = pool[(i * 7 + i / 1000003) % (1 << 20)];
  if (!is_peaked) return logits;
  for (int row = 0; row < kMaxRows; ++row) {
    for (int i = 0; i < 100; ++i) {
      logits[static_cast<std::size_t>(row) * kVocabSize + random() % kVocabSize] =
          18 - 0.15f * static_cast<float>(i);
    }
  }
  return logits;
}

class Bench {
 public:
  Bench()
      : workspace_(kernels::cuda_sample_workspace_bytes(kMaxRows, kVocabSize)),
        floats_(6 * kMaxRows),
        ints_(6 * kMaxRows),
        seeds_(std::vector<std::uint32_t>(kMaxRows, 12345)),
        counts_(static_cast<std::size_t>(kMaxRows) * kVocabSize),
        bits_(static_cast<std::size_t>(kMaxRows) * kVocabSize / 32),
        tokens_(kMaxRows),
        top_ids_(kMaxRows * kernels::kMaxTopLogprobs),
        logprobs_(kMaxRows),
        top_logprobs_(kMaxRows * kernels::kMaxTopLogprobs) {
    workspace_.clear();
    set_history();
    for (int i = 0; i < kNumSets; ++i) {
      logits_.emplace_back(static_cast<std::size_t>(kMaxRows) * kVocabSize);
    }
  }

  void set_logits(const std::vector<float>& values) {
    for (DeviceBuffer<float>& logits : logits_) logits.upload(values);
  }

  double microseconds(const Case& c, int num_rows) {
    std::vector<float> floats;
    for (const float value :
         {c.temperature, c.top_p, c.min_p, c.has_penalties ? 1.0001f : 1.0f, 0.0f, 0.0f}) {
      floats.insert(floats.end(), kMaxRows, value);
    }
    floats_.upload(floats);
    std::vector<std::int32_t> ints;
    for (int i = 0; i < kMaxRows; ++i) ints.push_back(i);  // sequences, slots
    for (const int value : {c.top_k, 0, 700, 20}) ints.insert(ints.end(), kMaxRows, value);
    ints_.upload(ints);
    kernels::CudaSample op = make_op(c, num_rows);
    // Few rows move on through the whole set, as the head writes its logits anew.
    const int num_places = num_rows <= 64 ? kMaxRows / num_rows : 1;
    const int calls = num_rows <= 64 ? 32 : 8;
    return bench::median_microseconds(calls, 20, [&](cudaStream_t stream, int i) {
      op.logits = logits_[i % kNumSets].data() +
                  static_cast<std::size_t>(i / kNumSets % num_places) * num_rows * kVocabSize;
      kernels::cuda_sample(op, stream);
    });
  }

 private:
  // Each row has seen a thousand tokens and written three hundred.
  void set_history() {
    std::mt19937 random(6);
    std::vector<std::uint16_t> counts(counts_.size());
    std::vector<std::uint32_t> bits(bits_.size());
    for (int row = 0; row < kMaxRows; ++row) {
      for (int i = 0; i < 300; ++i) {
        ++counts[static_cast<std::size_t>(row) * kVocabSize + random() % kVocabSize];
      }
      for (int i = 0; i < 1000; ++i) {
        const std::size_t token =
            static_cast<std::size_t>(row) * kVocabSize + random() % kVocabSize;
        bits[token / 32] |= 1u << token % 32;
      }
    }
    counts_.upload(counts);
    bits_.upload(bits);
  }

  kernels::CudaSample make_op(const Case& c, int num_rows) {
    kernels::CudaSample op{};
    op.sampled_token_ids = tokens_.data();
    op.logits_stride = kVocabSize;
    op.num_rows = num_rows;
    op.vocab_size = kVocabSize;
    const float* const f = floats_.data();
    const std::int32_t* const i = ints_.data();
    op.temperatures = f;
    op.top_ps = f + kMaxRows;
    op.min_ps = f + 2 * kMaxRows;
    op.repetition_penalties = f + 3 * kMaxRows;
    op.frequency_penalties = f + 4 * kMaxRows;
    op.presence_penalties = f + 5 * kMaxRows;
    op.row_sequences = i;
    op.sampler_slots = i;
    op.top_ks = i + kMaxRows;
    op.choices = i + 2 * kMaxRows;
    op.context_lens = i + 3 * kMaxRows;
    op.seeds_low = seeds_.data();
    op.seeds_high = seeds_.data();
    op.output_counts = counts_.data();
    op.prompt_bits = bits_.data();
    op.workspace = workspace_.data();
    if (c.wants_logprobs) {
      op.num_top_logprobs = i + 4 * kMaxRows;
      op.sampled_logprobs = logprobs_.data();
      op.top_token_ids = top_ids_.data();
      op.top_logprobs = top_logprobs_.data();
    }
    return op;
  }

  DeviceBuffer<std::byte> workspace_;
  DeviceBuffer<float> floats_;
  DeviceBuffer<std::int32_t> ints_;
  DeviceBuffer<std::uint32_t> seeds_;
  DeviceBuffer<std::uint16_t> counts_;
  DeviceBuffer<std::uint32_t> bits_;
  DeviceBuffer<std::int32_t> tokens_, top_ids_;
  DeviceBuffer<float> logprobs_, top_logprobs_;
  std::vector<DeviceBuffer<float>> logits_;
};

}  // namespace

int main(int argc, char** argv) {
  if (!testing::has_device()) return 0;
  Bench bench;
  const struct {
    const char* name;
    float deviation;
    bool is_peaked;
  } kinds[] = {{"flat", 0.8f, false}, {"peaked", 2.0f, true}};
  for (const auto& kind : kinds) {
    if (argc > 1 && std::strcmp(argv[1], kind.name) != 0) continue;
    bench.set_logits(make_logits(kind.deviation, kind.is_peaked));
    for (const Case& c : kCases) {
      std::printf("%-7s %-22s", kind.name, c.name);
      for (const int num_rows : {1, 8, 64, 256}) {
        const double us = bench.microseconds(c, num_rows);
        std::printf("  B=%d %.1f us (%.2f TB/s)", num_rows, us, num_rows * 4e-6 * kVocabSize / us);
      }
      std::printf("\n");
      std::fflush(stdout);
    }
  }
  return 0;
}
