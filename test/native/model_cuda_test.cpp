// Whole models on the GPU, held to the reference's answers, to the CPU's model and to themselves.
// Run it from the project's root; `small` runs a subset for compute-sanitizer.
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "native/cuda.h"
#include "native/cuda/decode_graphs.h"
#include "native/model.h"
#include "test/kernels/tap.h"
#include "test/native/support/fixture_models.h"
#include "test/native/support/random_model.h"
#include "test/native/support/step_driver.h"

namespace {

using kernels::DType;
using testing::FixtureModel;
using testing::Sequence;
using testing::StepDriver;

using Ids = std::vector<std::int32_t>;

constexpr int kNumNewTokens = 64;

kvasir::ModelSpec on_cuda(kvasir::ModelSpec spec, DType dtype) {
  spec.limits = {512, 16, 512, 20, 40, 64};
  spec.device = kvasir::Device::kCuda;
  spec.dtype = dtype;
  spec.numerics = kvasir::Numerics::kReference;
  spec.use_graphs = true;
  spec.num_threads = 4;
  spec.kv_cache_type = DType::kF32;
  return spec;
}

// A model and the one driver of its steps, which alternate between two batches for as long as the
// model lives.
struct Loaded {
  explicit Loaded(const kvasir::ModelSpec& spec)
      : model(kvasir::load_model(spec, [](std::uint64_t) {})), driver(*model) {}

  std::unique_ptr<kvasir::Model> model;
  StepDriver driver;
};

// How a run may differ without any id being allowed to.
struct Manner {
  bool is_batched = true;  // all prompts at once
  int chunk_len = 512;     // of prompts
  bool overlaps = false;   // two steps in flight
};

// What follows each prompt.
std::vector<Ids> answers_of(Loaded& loaded, const std::vector<Ids>& prompts, const Manner& manner,
                            const testing::Sampling& sampling = {}) {
  StepDriver& driver = loaded.driver;
  std::vector<Ids> answers;
  std::vector<Sequence> together;
  const auto run = [&](std::vector<Sequence>& sequences) {
    std::vector<std::size_t> starts;
    for (const Sequence& sequence : sequences) starts.push_back(sequence.ids.size());
    driver.generate(sequences, kNumNewTokens, manner.chunk_len, manner.overlaps);
    for (std::size_t i = 0; i < sequences.size(); ++i) {
      const Ids& ids = sequences[i].ids;
      answers.emplace_back(ids.begin() + static_cast<std::ptrdiff_t>(starts[i]), ids.end());
    }
  };
  for (const Ids& prompt : prompts) {
    const int max_len = static_cast<int>(prompt.size()) + kNumNewTokens;
    together.push_back(driver.add(prompt, max_len, sampling));
    if (manner.is_batched) continue;
    run(together);
    together.clear();
  }
  if (manner.is_batched) run(together);
  return answers;
}

std::size_t common_length(const Ids& a, const Ids& b) {
  std::size_t length = 0;
  while (length < a.size() && length < b.size() && a[length] == b[length]) ++length;
  return length;
}

bool same_answers(tap::Report& report, const std::vector<Ids>& got, const std::vector<Ids>& want,
                  const std::string& name) {
  const bool is_same = report.ok(got == want, name);
  for (std::size_t i = 0; i < want.size() && !is_same; ++i) {
    const std::size_t length = common_length(got[i], want[i]);
    if (length < want[i].size()) {
      report.note("prompt " + std::to_string(i) + " differs at token " + std::to_string(length) +
                  ": " + std::to_string(got[i][length]) + ", want " +
                  std::to_string(want[i][length]));
    }
  }
  return is_same;
}

const FixtureModel& find(const std::vector<FixtureModel>& models, const std::string& name) {
  for (const FixtureModel& model : models) {
    if (model.name == name) return model;
  }
  throw kernels::Error("there is no fixture " + name);
}

void test_goldens(tap::Report& report, const std::vector<FixtureModel>& models) {
  for (const FixtureModel& fixture : models) {
    Loaded model(on_cuda(fixture.spec, DType::kF32));
    same_answers(report, answers_of(model, fixture.prompts, {}), fixture.answers,
                 fixture.name + " in float32 answers as the reference does");
  }
}

// Rounding to two bytes changes close choices: how far the answers agree is told, and must be far
// enough that the arithmetic cannot be wrong.
void test_narrow_types(tap::Report& report, const std::vector<FixtureModel>& models) {
  for (const FixtureModel& fixture : models) {
    if (fixture.name.find("/bf16") == std::string::npos) continue;
    for (const DType dtype : {DType::kBF16, DType::kF16}) {
      for (const auto numerics : {kvasir::Numerics::kReference, kvasir::Numerics::kFast}) {
        kvasir::ModelSpec spec = on_cuda(fixture.spec, dtype);
        spec.numerics = numerics;
        Loaded model(spec);
        const std::vector<Ids> got = answers_of(model, fixture.prompts, {});
        std::string lengths;
        std::size_t sum = 0;
        for (std::size_t i = 0; i < got.size(); ++i) {
          const std::size_t length = common_length(got[i], fixture.answers[i]);
          lengths += " " + std::to_string(length);
          sum += length;
        }
        report.ok(sum >= 8 * got.size(),
                  fixture.name + " in " + kernels::name_of(dtype) +
                      (numerics == kvasir::Numerics::kFast ? ", fast" : ", reference") +
                      ": equal tokens" + lengths + " of 64 each");
      }
    }
  }
}

void test_invariance(tap::Report& report, const FixtureModel& fixture) {
  kvasir::ModelSpec spec = on_cuda(fixture.spec, DType::kBF16);
  spec.is_batch_invariant = true;
  Loaded model(spec);
  const std::vector<Ids> want = answers_of(model, fixture.prompts, {false, 512, false});
  const auto check = [&](Loaded& other, const Manner& manner, const char* what) {
    same_answers(report, answers_of(other, fixture.prompts, manner), want,
                 fixture.name + ", batch-invariant: " + what);
  };
  check(model, {true, 512, false}, "eight prompts together get what each gets alone");
  check(model, {true, 48, false}, "prompts in chunks of 48");
  check(model, {true, 7, false}, "prompts in chunks of 7");
  check(model, {false, 1, false}, "prompts token by token");
  check(model, {true, 5, true}, "chunks of 5 with two steps in flight");
  spec.use_graphs = false;
  Loaded without_graphs(spec);
  check(without_graphs, {true, 512, false}, "without graphs");
}

void test_graphs_and_overlap(tap::Report& report, const FixtureModel& fixture) {
  kvasir::ModelSpec spec = on_cuda(fixture.spec, DType::kBF16);
  Loaded model(spec);
  const std::vector<Ids> want = answers_of(model, fixture.prompts, {});
  same_answers(report, answers_of(model, fixture.prompts, {}), want,
               fixture.name + ": the same batch gives the same ids again");
  same_answers(report, answers_of(model, fixture.prompts, {true, 512, true}), want,
               fixture.name + ": two steps in flight");
  spec.use_graphs = false;
  Loaded without_graphs(spec);
  same_answers(report, answers_of(without_graphs, fixture.prompts, {}), want,
               fixture.name + ": without graphs");
}

// Steps of decodes are filled up to the next size; float32 gives every row the same bits alone.
void test_filling_up(tap::Report& report, const FixtureModel& fixture) {
  Loaded model(on_cuda(fixture.spec, DType::kF32));
  for (const std::size_t num_sequences : {2u, 3u, 5u, 9u, 17u, 20u}) {
    std::vector<Ids> prompts;
    std::vector<Ids> want;
    for (std::size_t i = 0; i < num_sequences; ++i) {
      prompts.push_back(fixture.prompts[i % 3]);
      want.push_back(fixture.answers[i % 3]);
    }
    same_answers(report, answers_of(model, prompts, {}), want,
                 std::to_string(num_sequences) + " sequences, filled up");
  }
}

// A sequence whose first blocks another one has computed, and one that goes on from a copy of a
// block that is half full.
void test_shared_blocks(tap::Report& report, const FixtureModel& fixture) {
  Loaded model(on_cuda(fixture.spec, DType::kF32));
  StepDriver& driver = model.driver;
  const Ids& prompt = fixture.prompts[6];  // 39 tokens: two blocks are full, a third has 7
  const int max_len = static_cast<int>(prompt.size()) + kNumNewTokens;
  std::vector<Sequence> first = {driver.add(prompt, max_len)};
  driver.generate(first, 1, 512);

  Sequence hit = driver.add(prompt, max_len);
  std::copy_n(first[0].blocks.begin(), 2, hit.blocks.begin());
  hit.num_computed = 32;
  Sequence fork = driver.add(first[0].ids, max_len);
  std::copy_n(first[0].blocks.begin(), 2, fork.blocks.begin());
  driver.copy_block(first[0].blocks[2], fork.blocks[2]);
  fork.num_computed = 39;
  std::vector<Sequence> others = {hit, fork};
  driver.generate(others, kNumNewTokens - 1, 512);
  const Ids& answer = fixture.answers[6];
  Ids want = prompt;
  want.insert(want.end(), answer.begin(), answer.end() - 1);
  report.ok(others[0].ids == want, "a prefix that is there already is not computed again");
  want.push_back(answer.back());
  report.ok(others[1].ids == want, "a copied block carries what it held");
}

void test_against_cpu(tap::Report& report, const kvasir::ModelSpec& plain,
                      const std::vector<Ids>& prompts, const std::string& name) {
  kvasir::ModelSpec spec = on_cuda(plain, DType::kF32);
  Loaded cuda(spec);
  spec.device = kvasir::Device::kCpu;
  Loaded cpu(spec);
  const auto compare = [&](const testing::Sampling& sampling, const char* what) {
    same_answers(report, answers_of(cuda, prompts, {}, sampling),
                 answers_of(cpu, prompts, {}, sampling), name + " on CPU and GPU: " + what);
  };
  compare({}, "greedy");
  testing::Sampling penalties;
  penalties.repetition_penalty = 1.4f;
  penalties.frequency_penalty = 0.3f;
  compare(penalties, "penalties, and the slots they count in");
  testing::Sampling biases;
  biases.biases = {{3, 2.5f}, {7, -1e30f}, {11, 1.0f}};
  compare(biases, "adjustments");
  testing::Sampling random;
  random.temperature = 0.8f;
  random.top_k = 20;
  random.seed = 5;
  compare(random, "seeded draws");
}

// Sizes that are no multiple of anything: rows of gate and up are padded, ids are odd.
void test_odd_sizes(tap::Report& report) {
  kvasir::ModelConfig config{};
  config.num_layers = 2;
  config.hidden_size = 40;
  config.intermediate_size = 52;
  config.num_heads = 3;
  config.num_kv_heads = 1;
  config.head_dim = 24;
  config.vocab_size = 131;
  config.max_context_len = 512;
  config.rms_norm_epsilon = 1e-5f;
  config.rope_theta = 10000;
  config.has_tied_embeddings = true;
  const testing::RandomModelFile file(config);
  test_against_cpu(report, file.spec(), {{5, 9, 130}, {1}, Ids(33, 77)}, "odd sizes");
}

void test_refusals(tap::Report& report, const FixtureModel& fixture) {
  kvasir::ModelSpec spec = on_cuda(fixture.spec, DType::kBF16);
  const kvasir::MemoryUse needs = kvasir::cuda_memory_needs(spec);
  const kvasir::MemoryUse taken = Loaded(spec).model->memory();
  report.ok(needs.weights == taken.weights && needs.workspace == taken.workspace &&
                needs.sampler == taken.sampler && needs.kv_cache == 0 && taken.kv_cache > 0,
            "what is planned is what is taken");
  spec.limits.num_blocks = 1 << 26;
  report.throws([&] { Loaded refused(spec); },
                {"GB free of", "are needed", "--gpu-memory-fraction"},
                "a cache larger than the GPU is refused with the numbers");
  spec = on_cuda(fixture.spec, DType::kBF16);
  Loaded model(spec);
  report.throws(
      [&] {
        model.model->start_step({0, 0, 0});
      },
      {"numSequences is 0"}, "an empty step is refused");
  report.ok(answers_of(model, {fixture.prompts[0]}, {}).size() == 1, "and the next one runs");
}

void test_decode_sizes(tap::Report& report) {
  const std::vector<int> sizes = kvasir::decode_sizes({1, 16, 4096, 100, 1, 1});
  report.ok(sizes == std::vector<int>{1, 2, 4, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 100},
            "decode sizes end with the largest step");
}

void test_all(tap::Report& report) {
  const std::vector<FixtureModel> models = testing::read_fixture_models();
  test_goldens(report, models);
  test_narrow_types(report, models);
  for (const char* name : {"llama-tiny/bf16", "qwen2-tiny/bf16", "qwen3-tiny/bf16"}) {
    test_invariance(report, find(models, name));
    test_graphs_and_overlap(report, find(models, name));
  }
  test_filling_up(report, find(models, "qwen3-tiny/f32"));
  test_shared_blocks(report, find(models, "llama-tiny/f32"));
  const FixtureModel& qwen2 = find(models, "qwen2-tiny/f32");
  test_against_cpu(report, qwen2.spec, qwen2.prompts, qwen2.name);
  test_odd_sizes(report);
  test_refusals(report, qwen2);
}

// Every kind of step once, for compute-sanitizer.
void test_some(tap::Report& report) {
  const std::vector<FixtureModel> models = testing::read_fixture_models();
  test_graphs_and_overlap(report, find(models, "qwen2-tiny/bf16"));
  test_shared_blocks(report, find(models, "llama-tiny/f32"));
  test_odd_sizes(report);
}

}  // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const kvasir::CudaStatus status = kvasir::cuda_status();
  if (!status.fault.empty()) {
    std::printf("TAP version 14\n1..0 # skip %s\n", status.fault.c_str());
    return 0;
  }
  tap::Report report;
  test_decode_sizes(report);
  const bool is_small = argc > 1 && std::strcmp(argv[1], "small") == 0;
  is_small ? test_some(report) : test_all(report);
  return report.finish();
}
