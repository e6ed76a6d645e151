// A model of DeepSeek-R1-Distill-Qwen-1.5B's widths with few layers and random weights, whose close
// choices show any bit that differs: with is_batch_invariant a prompt's ids are the same alone, in
// a crowd, in chunks, behind a shared prefix, computed again, with graphs and without.
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "bench/native/bench_models.h"
#include "bench/native/random_weights.h"
#include "native/cuda.h"
#include "native/cuda/cuda_model.h"
#include "native/cuda/device.h"
#include "test/kernels/tap.h"
#include "test/native/support/step_driver.h"

namespace {

using testing::Sequence;
using Ids = std::vector<std::int32_t>;

constexpr int kNumLayers = 3;
constexpr int kNumNewTokens = 24;

struct Loaded {
  explicit Loaded(const kvasir::ModelSpec& spec)
      : weights(spec.config, 0.02f), model(spec, weights, [](std::uint64_t) {}), driver(model) {}

  bench::RandomWeights weights;
  kvasir::CudaModel model;
  testing::StepDriver driver;
};

kvasir::ModelSpec make_spec(bool use_graphs, kvasir::Numerics numerics) {
  kvasir::ModelSpec spec{};
  spec.config = bench::config_of("dsr1");
  spec.config.num_layers = kNumLayers;
  spec.limits = {20000, 16, 8192, 256, 128, 64};
  spec.device = kvasir::Device::kCuda;
  spec.dtype = kernels::DType::kBF16;
  spec.numerics = numerics;
  spec.is_batch_invariant = true;
  spec.use_graphs = use_graphs;
  spec.num_threads = 8;
  spec.kv_cache_type = kernels::DType::kF16;
  return spec;
}

Ids random_prompt(int length, std::uint32_t seed) {
  std::mt19937 random(seed);
  Ids ids;
  for (int i = 0; i < length; ++i) ids.push_back(static_cast<std::int32_t>(random() % 151936));
  return ids;
}

class InvarianceTest {
 public:
  explicit InvarianceTest(tap::Report& report) : report_(report) {
    // Lengths around block and chunk borders, and one that spans several chunks of the cache.
    for (const int length : {1, 16, 37, 256, 300, 1100}) {
      prompts_.push_back(random_prompt(length, static_cast<std::uint32_t>(length)));
    }
  }

  void run(kvasir::Numerics numerics) {
    const std::string name = numerics == kvasir::Numerics::kFast ? "fast: " : "reference: ";
    Loaded loaded(make_spec(true, numerics));
    want_.clear();
    for (const Ids& prompt : prompts_) want_.push_back(among(loaded, {prompt}, 0, 8192)[0]);
    Ids distinct = want_[5];
    std::sort(distinct.begin(), distinct.end());
    const auto num_distinct = std::unique(distinct.begin(), distinct.end()) - distinct.begin();
    report_.note(name + std::to_string(num_distinct) + " distinct ids of " +
                 std::to_string(kNumNewTokens));
    for (const int num_others : {0, 1, 3, 12, 58, 124, 250}) {
      check(among(loaded, prompts_, num_others, 8192),
            name + "among " + std::to_string(num_others) + " others");
    }
    for (const int chunk_len : {1, 13, 64, 500}) {
      check(among(loaded, prompts_, 0, chunk_len),
            name + "in chunks of " + std::to_string(chunk_len));
    }
    check(behind_a_prefix(loaded), name + "behind a prefix that was there");
    check(computed_again(loaded), name + "computed again from the middle of the answer");
  }

  void run_without_graphs() {
    Loaded loaded(make_spec(false, kvasir::Numerics::kFast));
    check(among(loaded, prompts_, 3, 8192), "without graphs, among 3 others");
  }

 private:
  // What follows each prompt when `num_others` sequences of other lengths run beside them.
  std::vector<Ids> among(Loaded& loaded, const std::vector<Ids>& prompts, int num_others,
                         int chunk_len) const {
    std::vector<Sequence> sequences;
    for (const Ids& prompt : prompts) sequences.push_back(add(loaded, prompt));
    for (int i = 0; i < num_others; ++i) {
      sequences.push_back(add(loaded, random_prompt(5 + i % 20, 1000u + static_cast<unsigned>(i))));
    }
    loaded.driver.generate(sequences, kNumNewTokens, chunk_len);
    return answers(sequences, prompts);
  }

  std::vector<Ids> behind_a_prefix(Loaded& loaded) const {
    std::vector<Sequence> first;
    for (const Ids& prompt : prompts_) first.push_back(add(loaded, prompt));
    loaded.driver.generate(first, 1, 8192);
    std::vector<Sequence> second;
    for (std::size_t i = 0; i < prompts_.size(); ++i) {
      second.push_back(add(loaded, prompts_[i]));
      const int num_blocks = (static_cast<int>(prompts_[i].size()) - 1) / 16;
      std::copy_n(first[i].blocks.begin(), num_blocks, second[i].blocks.begin());
      second[i].num_computed = 16 * num_blocks;
    }
    loaded.driver.generate(second, kNumNewTokens, 8192);
    return answers(second, prompts_);
  }

  // As after a preemption: prompt and half of the answer are one prompt now.
  std::vector<Ids> computed_again(Loaded& loaded) const {
    std::vector<Sequence> sequences;
    for (std::size_t i = 0; i < prompts_.size(); ++i) {
      Sequence sequence = add(loaded, prompts_[i]);
      sequence.ids.insert(sequence.ids.end(), want_[i].begin(),
                          want_[i].begin() + kNumNewTokens / 2);
      sequences.push_back(sequence);
    }
    loaded.driver.generate(sequences, kNumNewTokens / 2, 8192);
    return answers(sequences, prompts_);
  }

  static Sequence add(Loaded& loaded, const Ids& prompt) {
    return loaded.driver.add(prompt, static_cast<int>(prompt.size()) + kNumNewTokens);
  }

  static std::vector<Ids> answers(const std::vector<Sequence>& sequences,
                                  const std::vector<Ids>& prompts) {
    std::vector<Ids> answers;
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      const auto start = static_cast<std::ptrdiff_t>(prompts[i].size());
      answers.emplace_back(sequences[i].ids.begin() + start, sequences[i].ids.end());
    }
    return answers;
  }

  void check(const std::vector<Ids>& got, const std::string& name) {
    if (report_.ok(got == want_, name)) return;
    for (std::size_t i = 0; i < got.size(); ++i) {
      if (got[i] == want_[i]) continue;
      const auto at = std::mismatch(got[i].begin(), got[i].end(), want_[i].begin()).first;
      report_.note("prompt of " + std::to_string(prompts_[i].size()) + " differs at token " +
                   std::to_string(at - got[i].begin()));
    }
  }

  tap::Report& report_;
  std::vector<Ids> prompts_;
  std::vector<Ids> want_;
};

}  // namespace

int main() {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const kvasir::CudaStatus status = kvasir::cuda_status();
  if (!status.fault.empty()) {
    std::printf("TAP version 14\n1..0 # skip %s\n", status.fault.c_str());
    return 0;
  }
  tap::Report report;
  InvarianceTest test(report);
  test.run(kvasir::Numerics::kReference);
  test.run(kvasir::Numerics::kFast);
  test.run_without_graphs();
  return report.finish();
}
