// A tiny random model, loaded and stepped without Node, so that sanitizers see all of it.
#include "native/model.h"

#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "native/sampler_slots.h"
#include "test/kernels/tap.h"

namespace {

constexpr int kVocab = 67;
constexpr int kMaxBlocks = 8;

// Writes the weights behind each other into a file and remembers where they are.
class TinyModelFile {
 public:
  TinyModelFile() {
    char name[] = "/tmp/kvasir-tiny-XXXXXX";
    const int descriptor = mkstemp(name);
    path_ = name;
    file_ = fdopen(descriptor, "wb");
    add("token_embd.weight", {kVocab, 32});
    for (const std::string prefix : {"blk.0.", "blk.1."}) {
      add(prefix + "attn_norm.weight", {32});
      add(prefix + "attn_q.weight", {32, 32});
      add(prefix + "attn_k.weight", {16, 32});
      add(prefix + "attn_v.weight", {16, 32});
      add(prefix + "attn_output.weight", {32, 32});
      add(prefix + "ffn_norm.weight", {32});
      add(prefix + "ffn_gate.weight", {48, 32});
      add(prefix + "ffn_up.weight", {48, 32});
      add(prefix + "ffn_down.weight", {32, 48});
    }
    add("output_norm.weight", {32});
    std::fclose(file_);
  }
  ~TinyModelFile() { unlink(path_.c_str()); }

  kvasir::ModelSpec spec() const {
    kvasir::ModelSpec spec{};
    spec.config.architecture = kvasir::Architecture::kLlama;
    spec.config.num_layers = 2;
    spec.config.hidden_size = 32;
    spec.config.intermediate_size = 48;
    spec.config.num_heads = 4;
    spec.config.num_kv_heads = 2;
    spec.config.head_dim = 8;
    spec.config.vocab_size = kVocab;
    spec.config.max_context_len = 128;
    spec.config.rms_norm_epsilon = 1e-5f;
    spec.config.rope_theta = 10000;
    spec.config.has_tied_embeddings = true;
    spec.files = {{path_, num_bytes_}};
    spec.tensors = tensors_;
    spec.limits = {kMaxBlocks * 4, 16, 32, 4, kMaxBlocks, 8};
    spec.num_threads = 2;
    spec.kv_cache_type = kernels::DType::kF16;
    spec.dtype = kernels::DType::kF32;
    return spec;
  }

 private:
  void add(const std::string& name, const std::vector<std::int64_t>& shape) {
    std::uint64_t num_elements = 1;
    for (const std::int64_t dimension : shape)
      num_elements *= static_cast<std::uint64_t>(dimension);
    const float mean = shape.size() == 1 ? 1.0f : 0.0f;
    std::normal_distribution<float> values(mean, 0.3f);
    for (std::uint64_t i = 0; i < num_elements; ++i) {
      const float value = values(random_);
      std::fwrite(&value, sizeof value, 1, file_);
    }
    const std::uint64_t byte_length = num_elements * sizeof(float);
    tensors_.push_back({name, kernels::DType::kF32, shape, 0, num_bytes_, byte_length, 0});
    num_bytes_ += byte_length;
  }

  std::string path_;
  FILE* file_;
  std::mt19937 random_{1};
  std::uint64_t num_bytes_ = 0;
  std::vector<kvasir::TensorRef> tensors_;
};

// Sequences 0..n-1 with blocks of their own; each has `length` tokens after this step.
kvasir::StepSize pack(kvasir::StepBatch& batch, int num_sequences, int num_computed, int length) {
  int t = 0;
  for (int s = 0; s < num_sequences; ++s) {
    batch.query_starts[s] = t;
    batch.context_lens[s] = length;
    batch.sampler_slots[s] = s;
    batch.sample_rows[s] = 1;
    batch.temperatures[s] = 0;
    batch.top_ps[s] = 1;
    batch.repetition_penalties[s] = 1;
    for (int b = 0; b < kMaxBlocks; ++b) {
      batch.block_tables[s * kMaxBlocks + b] = b * 4 + s;
    }
    for (int position = num_computed; position < length; ++position, ++t) {
      batch.token_ids[t] = (position * 5 + s) % kVocab;
      batch.positions[t] = position;
      batch.slot_mapping[t] = (position / 16 * 4 + s) * 16 + position % 16;
    }
  }
  batch.query_starts[num_sequences] = t;
  *batch.num_block_copies = 0;
  return {num_sequences, t, length - num_computed == 1 ? num_sequences : 0};
}

// The tokens that a model picks for `num_sequences` prompts of 8, then for 20 more positions.
std::vector<int> run(const kvasir::ModelSpec& spec, int num_sequences) {
  const auto model = kvasir::load_model(spec, [](std::uint64_t) {});
  std::vector<int> picked;
  for (int step = 0; step < 21; ++step) {
    kvasir::StepBatch& batch = model->step_batches()->batch(step % 2);
    model->start_step(pack(batch, num_sequences, step == 0 ? 0 : 7 + step, 8 + step));
    model->finish_step();
    picked.push_back(batch.sampled_token_ids[0]);
  }
  return picked;
}

// The same with two steps in flight: a step is finished on a thread of its own while the next one
// starts, whose tokens refer to rows of the one before.
std::vector<int> run_overlapped(const kvasir::ModelSpec& spec, int num_sequences) {
  const auto model = kvasir::load_model(spec, [](std::uint64_t) {});
  std::vector<int> picked;
  std::thread finisher;
  for (int step = 0; step < 21; ++step) {
    const int num_computed = step == 0 ? 0 : 7 + step;
    kvasir::StepBatch& batch = model->step_batches()->batch(step % 2);
    const kvasir::StepSize size = pack(batch, num_sequences, num_computed, 8 + step);
    for (int s = 0; step > 0 && s < num_sequences; ++s) batch.token_ids[s] = -1 - s;
    model->start_step(size);
    if (finisher.joinable()) finisher.join();
    finisher = std::thread([&] {
      model->finish_step();
      picked.push_back(batch.sampled_token_ids[0]);
    });
  }
  finisher.join();
  return picked;
}

// The tokens that a model generates from a prompt of 8, each step reading what the last one picked.
std::vector<int> run_in_turn(const kvasir::ModelSpec& spec) {
  const auto model = kvasir::load_model(spec, [](std::uint64_t) {});
  std::vector<int> picked;
  for (int step = 0; step < 21; ++step) {
    kvasir::StepBatch& batch = model->step_batches()->batch(step % 2);
    const kvasir::StepSize size = pack(batch, 1, step == 0 ? 0 : 7 + step, 8 + step);
    if (step > 0) batch.token_ids[0] = picked.back();
    model->start_step(size);
    model->finish_step();
    picked.push_back(batch.sampled_token_ids[0]);
  }
  return picked;
}

void test_overlap(tap::Report& report, const kvasir::ModelSpec& spec) {
  report.ok(run_overlapped(spec, 3) == run_in_turn(spec), "two steps in flight give the same ids");
}

void test_batch_is_solo(tap::Report& report, const kvasir::ModelSpec& spec) {
  const std::vector<int> solo = run(spec, 1);
  bool is_valid = true;
  for (const int id : solo) is_valid &= id >= 0 && id < kVocab;
  report.ok(is_valid, "ids are in the vocabulary");
  report.ok(run(spec, 4) == solo, "a sequence among four gets the ids it gets alone");
}

// TypeScript must not write into a batch whose step runs; if it does, nothing worse than a wrong
// token or an Error may follow, because kernels read a checked copy.
void test_scribbling(tap::Report& report, const kvasir::ModelSpec& spec) {
  const auto model = kvasir::load_model(spec, [](std::uint64_t) {});
  std::atomic<bool> is_done{false};
  std::thread scribbler([&, batches = model->step_batches()] {
    std::mt19937 random(3);
    auto* const words = reinterpret_cast<std::atomic<std::uint32_t>*>(batches->data());
    const std::size_t num_words = batches->num_bytes() / sizeof(std::uint32_t);
    while (!is_done) {
      words[random() % num_words].store(random(), std::memory_order_relaxed);
      // Slow enough that most steps pass the check and compute while memory changes.
      for (int i = 0; i < 50; ++i) std::this_thread::yield();
    }
  });
  int num_refused = 0;
  for (int i = 0; i < 2000; ++i) {
    kvasir::StepSize size{};
    for (int b = 0; b < 2; ++b) size = pack(model->step_batches()->batch(b), 4, 0, 8);
    try {
      model->start_step(size);
      model->finish_step();
    } catch (const kernels::Error&) {
      ++num_refused;
    }
  }
  is_done = true;
  scribbler.join();
  report.ok(true, "2,000 steps over memory that changes underneath");
  report.note(std::to_string(num_refused) + " of them were refused");
}

void test_sampler_slots(tap::Report& report) {
  kvasir::SamplerSlots slots(2, 40);
  const std::vector<std::int32_t> ids = {3, 39, 5, 5, 3};
  slots.fill(1, ids.data(), 5, 2);
  const kernels::SamplerSlot& slot = slots.slots()[1];
  report.equal(slot.prompt_bits[0], 1u << 3, "prompt bits of the first word");
  report.equal(slot.prompt_bits[1], 1u << 7, "prompt bits of the second word");
  report.ok(slot.output_counts[5] == 2 && slot.output_counts[3] == 1, "output is counted");
  report.equal(static_cast<int>(slot.output_counts[39]), 0, "the prompt is not");
  report.equal(slots.slots()[0].prompt_bits[0], 0u, "the neighbour is untouched");
  slots.fill(1, ids.data(), 1, 1);
  report.ok(slot.prompt_bits[1] == 0 && slot.output_counts[5] == 0, "filling again forgets");
  report.throws([&] { slots.fill(2, ids.data(), 1, 1); }, {"slot is 2"}, "there is no third slot");
  const std::vector<std::int32_t> many(70000, 7);
  slots.fill(0, many.data(), 70000, 0);
  report.equal(static_cast<int>(slots.slots()[0].output_counts[7]), 65535, "counts saturate");
}

}  // namespace

int main() {
  tap::Report report;
  const TinyModelFile file;
  test_batch_is_solo(report, file.spec());
  test_overlap(report, file.spec());
  test_scribbling(report, file.spec());
  test_sampler_slots(report);
  return report.finish();
}
