// Sampling on CUDA against sample_cpu in the same program: the same rows must give the same ids,
// counts and failures, whatever they ask for. The argument "small" runs what a sanitizer can bear.
#include <cuda_runtime.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>

#include "kernels/cuda_sample.h"
#include "kernels/cuda_sample_gumbel.cuh"
#include "kernels/cuda_sample_row.cuh"
#include "test/kernels/device_buffer.cuh"
#include "test/kernels/draws.h"
#include "test/kernels/sampling_row.h"
#include "test/kernels/tap.h"
#include "test/reference/sample.h"

namespace {

using kernels::ThreadPool;
using kernels::cuda_sample_detail::kNumBins;
using kernels::cuda_sample_detail::WorkspaceLayout;
using testing::DeviceBuffer;

// What a row of this test can have beyond what the CPU's sampling knows.
struct Row : testing::SamplingRow {
  std::vector<std::uint32_t> mask;  // empty: none
  int num_top = -1;                 // log-probabilities to report; -1: none
  bool is_skipped = false;
  bool is_unsound = false;
};

struct Outcome {
  std::vector<std::int32_t> tokens;  // by row; -7 where none was to be written
  std::vector<float> logprobs;
  std::vector<std::int32_t> top_ids;  // [rows, 20]
  std::vector<float> top_logprobs;
  bool has_zero_counters = true;
  bool left_others_alone = true;
};

constexpr std::int32_t kUntouched = -7;

// Poisoned but for what has to be zero.
DeviceBuffer<std::byte> fresh_workspace(int num_rows, int vocab_size) {
  const WorkspaceLayout layout = WorkspaceLayout::of(vocab_size);
  DeviceBuffer<std::byte> workspace(kernels::cuda_sample_workspace_bytes(num_rows, vocab_size));
  for (int row = 0; row < num_rows; ++row) {
    std::byte* const bytes = workspace.data() + row * layout.row_bytes;
    CUDA_CHECK(cudaMemset(bytes, 0, 8));
    CUDA_CHECK(cudaMemset(bytes + layout.histogram, 0, kNumBins * 8));
  }
  return workspace;
}

bool has_zero_counters(const DeviceBuffer<std::byte>& workspace, int num_rows, int vocab_size) {
  const WorkspaceLayout layout = WorkspaceLayout::of(vocab_size);
  const std::vector<std::byte> bytes = workspace.download();
  const auto is_zero = [](std::byte b) { return b == std::byte{0}; };
  for (int row = 0; row < num_rows; ++row) {
    const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(row * layout.row_bytes);
    const auto bins = begin + static_cast<std::ptrdiff_t>(layout.histogram);
    if (!std::all_of(begin, begin + 8, is_zero)) return false;
    if (!std::all_of(bins, bins + kNumBins * 8, is_zero)) return false;
  }
  return true;
}

// Rows laid out as the engine does: sequences in another order than rows, sequences without a row,
// one sampler slot for each row with penalties, rows that fill up a graph.
class Batch {
 public:
  explicit Batch(const std::vector<Row>& rows)
      : num_rows_(static_cast<int>(rows.size())),
        vocab_size_(static_cast<int>(rows[0].logits.size())),
        stride_(vocab_size_ + (vocab_size_ % 2 == 0 ? 4 : 0)),
        num_sequences_(num_rows_ + 3) {
    pack(rows);
  }

  int sequence_of(int row) const { return num_sequences_ - 2 - row; }

  Outcome run(bool in_graph) {
    DeviceBuffer<float> logits(logits_);
    DeviceBuffer<std::uint16_t> counts(counts_);
    DeviceBuffer<std::uint32_t> bits(bits_), masks(masks_), low(low_), high(high_);
    DeviceBuffer<float> floats(floats_), bias(bias_);
    DeviceBuffer<std::int32_t> ints(ints_), row_sequences(row_sequences_), starts(starts_),
        bias_ids(bias_ids_);
    DeviceBuffer<std::int32_t> tokens(std::vector<std::int32_t>(num_sequences_, kUntouched));
    DeviceBuffer<float> logprobs(num_sequences_), top_logprobs(num_sequences_ * 20);
    DeviceBuffer<std::int32_t> top_ids(num_sequences_ * 20);
    DeviceBuffer<std::byte> workspace = fresh_workspace(num_rows_, vocab_size_);

    kernels::CudaSample op{};
    op.sampled_token_ids = tokens.data();
    op.sampled_logprobs = wants_logprobs_ ? logprobs.data() : nullptr;
    op.top_token_ids = wants_logprobs_ ? top_ids.data() : nullptr;
    op.top_logprobs = wants_logprobs_ ? top_logprobs.data() : nullptr;
    op.logits = logits.data();
    op.logits_stride = stride_;
    op.num_rows = num_rows_;
    op.vocab_size = vocab_size_;
    op.row_sequences = row_sequences.data();
    const float* const f = floats.data();
    const std::int32_t* const i = ints.data();
    const int n = num_sequences_;
    op.temperatures = f;
    op.top_ps = f + n;
    op.min_ps = f + 2 * n;
    op.repetition_penalties = f + 3 * n;
    op.frequency_penalties = f + 4 * n;
    op.presence_penalties = f + 5 * n;
    op.top_ks = i;
    op.choices = i + n;
    op.context_lens = i + 2 * n;
    op.sampler_slots = i + 3 * n;
    op.num_top_logprobs = wants_logprobs_ ? i + 4 * n : nullptr;
    op.mask_rows = masks_.empty() ? nullptr : i + 5 * n;
    op.token_masks = masks.data();
    op.seeds_low = low.data();
    op.seeds_high = high.data();
    op.output_counts = counts.data();
    op.prompt_bits = bits.data();
    op.bias_starts = bias_ids_.empty() ? nullptr : starts.data();
    op.bias_token_ids = bias_ids.data();
    op.bias_values = bias.data();
    op.workspace = workspace.data();
    enqueue(op, in_graph);

    Outcome outcome;
    const std::vector<std::int32_t> by_sequence = tokens.download();
    const std::vector<float> lp = logprobs.download(), top_lp = top_logprobs.download();
    const std::vector<std::int32_t> top = top_ids.download();
    for (int row = 0; row < num_rows_; ++row) {
      const int s = sequence_of(row);
      outcome.tokens.push_back(by_sequence[s]);
      outcome.logprobs.push_back(lp[s]);
      outcome.top_ids.insert(outcome.top_ids.end(), &top[s * 20], &top[s * 20] + 20);
      outcome.top_logprobs.insert(outcome.top_logprobs.end(), &top_lp[s * 20],
                                  &top_lp[s * 20] + 20);
    }
    outcome.left_others_alone = by_sequence[0] == kUntouched && by_sequence[n - 1] == kUntouched;
    outcome.has_zero_counters = has_zero_counters(workspace, num_rows_, vocab_size_);
    new_counts_ = counts.download();
    return outcome;
  }

  // After run(): the counts of a row with penalties.
  std::vector<std::uint16_t> counts_of(int row) const {
    const std::size_t slot = ints_[3 * num_sequences_ + sequence_of(row)];
    const auto begin = new_counts_.begin() + static_cast<std::ptrdiff_t>(slot * vocab_size_);
    return {begin, begin + vocab_size_};
  }

 private:
  void pack(const std::vector<Row>& rows) {
    const int n = num_sequences_;
    const std::size_t words = (vocab_size_ + 31) / 32;
    logits_.assign(static_cast<std::size_t>(num_rows_) * stride_, NAN);
    floats_.assign(6 * n, NAN);
    ints_.assign(6 * n, -1);
    low_.assign(n, 0);
    high_.assign(n, 0);
    counts_.assign(vocab_size_, 9);
    bits_.assign(words, ~0u);
    std::vector<std::vector<int>> bias_rows(n);
    for (int row = 0; row < num_rows_; ++row) {
      const Row& r = rows[row];
      const int s = sequence_of(row);
      std::copy(r.logits.begin(), r.logits.end(),
                logits_.begin() + static_cast<std::ptrdiff_t>(row) * stride_);
      row_sequences_.push_back(r.is_skipped ? -1 : s);
      const float f[] = {r.temperature,       r.top_p,           r.min_p, r.repetition_penalty,
                         r.frequency_penalty, r.presence_penalty};
      for (int k = 0; k < 6; ++k) floats_[k * n + s] = f[k];
      const bool has_slot = !r.output_counts.empty();
      const int slot = has_slot ? static_cast<int>(counts_.size()) / vocab_size_ : 0;
      const int mask_row = r.mask.empty() ? -1 : static_cast<int>(masks_.size() / words);
      const int i[] = {r.top_k, r.choice, r.context_len, slot, r.num_top, mask_row};
      for (int k = 0; k < 6; ++k) ints_[k * n + s] = i[k];
      low_[s] = static_cast<std::uint32_t>(r.seed);
      high_[s] = static_cast<std::uint32_t>(r.seed >> 32);
      if (has_slot) {
        counts_.insert(counts_.end(), r.output_counts.begin(), r.output_counts.end());
        bits_.insert(bits_.end(), r.prompt_bits.begin(), r.prompt_bits.end());
      }
      masks_.insert(masks_.end(), r.mask.begin(), r.mask.end());
      bias_rows[s].push_back(row);
      wants_logprobs_ = wants_logprobs_ || r.num_top >= 0;
    }
    starts_ = {0};
    for (int s = 0; s < n; ++s) {
      for (const int row : bias_rows[s]) {
        const Row& r = rows[row];
        bias_ids_.insert(bias_ids_.end(), r.bias_token_ids.begin(), r.bias_token_ids.end());
        bias_.insert(bias_.end(), r.bias_values.begin(), r.bias_values.end());
      }
      starts_.push_back(static_cast<std::int32_t>(bias_.size()));
    }
  }

  static void enqueue(const kernels::CudaSample& op, bool in_graph) {
    cudaStream_t stream;
    CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    CUDA_CHECK(cudaDeviceSynchronize());
    if (in_graph) {
      cudaGraph_t graph;
      cudaGraphExec_t replay;
      CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
      kernels::cuda_sample(op, stream);
      CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
      CUDA_CHECK(cudaGraphInstantiate(&replay, graph, 0));
      CUDA_CHECK(cudaGraphLaunch(replay, stream));
      CUDA_CHECK(cudaStreamSynchronize(stream));
      CUDA_CHECK(cudaGraphExecDestroy(replay));
      CUDA_CHECK(cudaGraphDestroy(graph));
    } else {
      kernels::cuda_sample(op, stream);
      CUDA_CHECK(cudaStreamSynchronize(stream));
    }
    CUDA_CHECK(cudaStreamDestroy(stream));
  }

  int num_rows_;
  int vocab_size_;
  int stride_;
  int num_sequences_;
  bool wants_logprobs_ = false;
  std::vector<float> logits_, floats_, bias_;
  std::vector<std::int32_t> ints_, row_sequences_, starts_, bias_ids_;
  std::vector<std::uint32_t> low_, high_, bits_, masks_;
  std::vector<std::uint16_t> counts_, new_counts_;
};

// ---- rows ----

// Logits of one of several kinds; cheap, because there are thousands of rows of 151,936.
std::vector<float> logits_of_kind(int kind, int vocab_size, std::uint32_t seed) {
  std::vector<float> values(vocab_size);
  std::uint32_t state = seed * 2654435761u + 1;
  const auto uniform = [&] {
    state = state * 1664525u + 1013904223u;
    return static_cast<float>(state >> 8) * 0x1p-24f;
  };
  const auto normal = [&] { return 1.732f * (uniform() + uniform() + uniform() + uniform() - 2); };
  const bool is_wide = kind == 1;
  for (float& value : values) {
    value = normal() * (is_wide ? 3.0f : 0.8f);
    if (kind == 1 && uniform() < 0.001f) value += 8 * uniform();
    if (kind == 2) value = kernels::to_float(kernels::to_bf16(value + 12));  // many ties
    if (kind == 3) value = 1.5f;
    if (kind == 4 && uniform() < 0.97f) value = -INFINITY;
    if (kind == 5) value *= 1e6f;
    if (kind == 6) value = uniform() < 0.5f ? 0.0f : -0.0f;
  }
  return values;
}

Row random_row(int vocab_size, std::mt19937& random) {
  const auto any = [&](int count) { return static_cast<int>(random() % count); };
  const auto one_of = [&](std::initializer_list<float> list) {
    return list.begin()[any(static_cast<int>(list.size()))];
  };
  Row row;
  row.logits = logits_of_kind(any(4) == 0 ? any(7) : any(2), vocab_size, random());
  row.temperature = one_of({0, 1e-3f, 0.7f, 0.7f, 2, 1, 1, 50, 1e-20f});
  const int ks[] = {0, 0, 0, 1, 20, 50, vocab_size / 200, vocab_size - 1, vocab_size};
  row.top_k = ks[any(9)];
  row.top_p = one_of({1, 1, 0, 0.1f, 0.9f, 0.95f, 0.3f});
  row.min_p = one_of({0, 0, 0, 0.02f, 0.5f, 1});
  row.seed = static_cast<std::uint64_t>(random()) << 32 | random();
  row.choice = any(3);
  row.context_len = any(5000);
  if (any(3) == 0) {
    row.repetition_penalty = one_of({1, 1.3f, 0.8f});
    row.frequency_penalty = one_of({0, 0.4f, -0.2f});
    row.presence_penalty = one_of({0, 0.6f});
    std::vector<int> prompt(40), output(60);
    for (int& token : prompt) token = any(vocab_size);
    for (int& token : output) token = any(3) == 0 ? 3 : any(vocab_size);
    row.take_prompt(prompt);
    row.take_output(output);
    row.output_counts[any(vocab_size)] = 65535;
  }
  if (any(4) == 0) {
    for (int i = any(12); i >= 0; --i) {
      row.bias_token_ids.push_back(any(3) == 0 ? any(7) : any(vocab_size));
      row.bias_values.push_back(one_of({5, -3, 0.1f, -INFINITY, 1e-3f}));
    }
  }
  if (any(6) == 0) {
    row.mask.resize((vocab_size + 31) / 32);
    for (std::uint32_t& word : row.mask) word = any(2) == 0 ? random() & random() : 0;
  }
  const int trouble = any(40);
  const int where = any(vocab_size);
  if (trouble == 0) row.logits[where] = NAN;
  if (trouble == 1) row.logits[where] = INFINITY;
  if (trouble == 2) row.logits.assign(vocab_size, -INFINITY);
  if (trouble == 3) row.bias_token_ids.push_back(any(2) == 0 ? vocab_size : -1);
  if (trouble == 3) row.bias_values.push_back(1);
  row.is_skipped = trouble == 4;
  return row;
}

// The ids and counts that the CPU gives. It knows no masks: a ban for each token instead.
std::vector<std::int32_t> on_cpu(std::vector<Row>& rows, ThreadPool& pool) {
  std::vector<testing::SamplingRow> plain;
  for (const Row& row : rows) {
    plain.push_back(row);
    for (std::size_t token = 0; !row.mask.empty() && token < row.logits.size(); ++token) {
      if (row.mask[token / 32] >> token % 32 & 1u) continue;
      plain.back().bias_token_ids.push_back(static_cast<std::int32_t>(token));
      plain.back().bias_values.push_back(-INFINITY);
    }
  }
  std::vector<std::int32_t> tokens = testing::sample(plain, pool);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].is_skipped) {
      tokens[i] = kUntouched;
    } else if (rows[i].is_unsound) {
      tokens[i] = -1;
    } else {
      rows[i].output_counts = plain[i].output_counts;
    }
  }
  return tokens;
}

std::string text_of(const Row& row) {
  char text[200];
  std::snprintf(text, sizeof text,
                "T %g top-k %d top-p %g min-p %g penalties %g %g %g biases %zu mask %d",
                row.temperature, row.top_k, row.top_p, row.min_p, row.repetition_penalty,
                row.frequency_penalty, row.presence_penalty, row.bias_values.size(),
                row.mask.empty() ? 0 : 1);
  return text;
}

// Runs the rows on both and compares everything but log-probabilities.
Outcome check_rows(tap::Report& report, const std::string& name, std::vector<Row> rows,
                   ThreadPool& pool, bool in_graph = false) {
  Batch batch(rows);
  const Outcome outcome = batch.run(in_graph);
  const std::vector<std::int32_t> want = on_cpu(rows, pool);
  int num_wrong = 0, num_wrong_counts = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (outcome.tokens[i] != want[i] && num_wrong++ < 4) {
      report.note("row " + std::to_string(i) + ": got " + std::to_string(outcome.tokens[i]) +
                  ", want " + std::to_string(want[i]) + "; " + text_of(rows[i]));
    }
    if (rows[i].output_counts.empty()) continue;
    if (batch.counts_of(static_cast<int>(i)) != rows[i].output_counts) ++num_wrong_counts;
  }
  report.equal(num_wrong, 0, name + ": the CPU's ids");
  report.equal(num_wrong_counts, 0, name + ": the CPU's counts");
  report.ok(outcome.has_zero_counters, name + ": counters are zero afterwards");
  report.ok(outcome.left_others_alone, name + ": other sequences are left alone");
  const Outcome again = batch.run(!in_graph);
  report.ok(again.tokens == outcome.tokens, name + ": the same ids again");
  return outcome;
}

void test_random_rows(tap::Report& report, int vocab_size, int num_rows, int rows_per_call,
                      ThreadPool& pool) {
  std::mt19937 random(static_cast<std::uint32_t>(vocab_size));
  for (int first = 0; first < num_rows; first += rows_per_call) {
    std::vector<Row> rows;
    for (int i = 0; i < rows_per_call; ++i) rows.push_back(random_row(vocab_size, random));
    check_rows(report,
               "vocabulary " + std::to_string(vocab_size) + ", rows from " + std::to_string(first),
               std::move(rows), pool, first % 2 == 1);
  }
}

// One row a call: other grids.
void test_single_rows(tap::Report& report, int vocab_size, int num_rows, ThreadPool& pool) {
  std::mt19937 random(static_cast<std::uint32_t>(vocab_size) + 1);
  for (int i = 0; i < num_rows; ++i) {
    check_rows(report, "one row of " + std::to_string(vocab_size), {random_row(vocab_size, random)},
               pool, i % 2 == 0);
  }
}

void test_unsound(tap::Report& report, ThreadPool& pool) {
  std::vector<Row> rows(10);
  for (Row& row : rows) {
    row.logits = logits_of_kind(0, 100, 3);
    row.is_unsound = true;
  }
  rows[0].temperature = NAN;
  rows[1].temperature = -1;
  rows[2].top_p = 1.5f;
  rows[3].top_p = NAN;
  rows[4].min_p = -0.1f;
  rows[5].repetition_penalty = 0;
  rows[6].frequency_penalty = NAN;
  rows[7].presence_penalty = INFINITY;
  rows[8].top_k = -1;
  rows[9].choice = -1;
  // The CPU is only asked for the sound ones.
  std::vector<Row> sound(3, rows[0]);
  for (Row& row : sound) row.is_unsound = false;
  for (Row& row : sound) row.temperature = 0.7f;
  Batch batch(rows);
  report.ok(batch.run(false).tokens == std::vector<std::int32_t>(10, -1),
            "unsound parameters fail their row");
  check_rows(report, "sound rows", sound, pool);
}

// ---- the float's error ----

// Words from both ends, where the logarithms are steep, and everywhere between.
__global__ void gumbel_error_kernel(double* worst) {
  double own = 0;
  for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < 1u << 24;
       i += gridDim.x * blockDim.x) {
    for (const std::uint32_t word : {i, ~i, i * 2654435761u}) {
      const double error =
          kernels::cuda_sample_detail::gumbel_near(word) - kernels::gumbel_of(word);
      own = fmax(own, fabs(error));
    }
  }
  // Positive doubles are in the order of their bits.
  atomicMax(reinterpret_cast<unsigned long long*>(worst),
            static_cast<unsigned long long>(__double_as_longlong(own)));
}

void test_gumbel_error(tap::Report& report) {
  DeviceBuffer<double> worst(std::vector<double>{0});
  gumbel_error_kernel<<<1024, 256>>>(worst.data());
  CUDA_CHECK(cudaGetLastError());
  const double error = worst.download()[0];
  report.ok(error > 0 && error < 2e-5, "the Gumbel numbers in float are within 2e-5");
  report.note("worst " + std::to_string(error * 1e6) + "e-6");
}

// ---- distributions ----

void test_distribution(tap::Report& report, const std::string& name, Row row,
                       const reference::SampleParams& params) {
  row.temperature = static_cast<float>(params.temperature);
  row.top_k = params.top_k;
  row.top_p = static_cast<float>(params.top_p);
  row.min_p = static_cast<float>(params.min_p);
  const std::vector<double> logits(row.logits.begin(), row.logits.end());
  testing::test_draws(report, name, row, reference::distribution(logits, params), 2000,
                      [](const std::vector<Row>& rows) { return Batch(rows).run(false).tokens; });
}

void test_distributions(tap::Report& report) {
  Row plain;
  plain.logits = testing::uniform_values<float>(101, -3, 3, 91);
  plain.logits[17] = plain.logits[60] = 2.9f;
  test_distribution(report, "temperature 1", plain, {1, 0, 1, 0});
  test_distribution(report, "temperature 0.5", plain, {0.5, 0, 1, 0});
  test_distribution(report, "temperature 3", plain, {3, 0, 1, 0});
  test_distribution(report, "top-k 7", plain, {1, 7, 1, 0});
  test_distribution(report, "top-p 0.75", plain, {1, 0, 0.75, 0});
  test_distribution(report, "min-p 0.25", plain, {1, 0, 1, 0.25});
  test_distribution(report, "top-k 40, top-p 0.9, min-p 0.05 at 0.8", plain, {0.8, 40, 0.9, 0.05});
}

// ---- log-probabilities ----

// Logits after penalties, adjustments and mask.
std::vector<double> adjusted(const Row& row) {
  std::vector<double> values;
  for (std::size_t token = 0; token < row.logits.size(); ++token) {
    float logit = row.logits[token];
    const unsigned count = row.output_counts.empty() ? 0 : row.output_counts[token];
    const bool in_prompt =
        !row.prompt_bits.empty() && (row.prompt_bits[token / 32] >> token % 32 & 1u) != 0;
    if (count > 0 || in_prompt) {
      logit = logit > 0 ? logit / row.repetition_penalty : logit * row.repetition_penalty;
    }
    if (count > 0) {
      logit = logit - row.frequency_penalty * static_cast<float>(count) - row.presence_penalty;
    }
    if (!row.mask.empty() && (row.mask[token / 32] >> token % 32 & 1u) == 0) logit = -INFINITY;
    values.push_back(logit);
  }
  for (std::size_t i = 0; i < row.bias_token_ids.size(); ++i) {
    double& value = values[row.bias_token_ids[i]];
    value = static_cast<float>(value) + row.bias_values[i];
  }
  return values;
}

bool has_right_logprobs(tap::Report& report, const Row& row, std::int32_t token, float logprob,
                        const std::int32_t* top_ids, const float* top_logprobs) {
  const std::vector<double> logits = adjusted(row);
  std::vector<int> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const int num_top = std::min<int>(row.num_top, static_cast<int>(order.size()));
  std::partial_sort(order.begin(), order.begin() + num_top, order.end(), [&](int a, int b) {
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
  });
  const double maximum = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const double logit : logits) sum += std::exp(logit - maximum);
  const auto is_close = [&](float got, double logit) {
    const double want = logit - maximum - std::log(sum);
    return std::fabs(got - want) <= 1e-4 + 1e-6 * std::fabs(want);
  };
  bool is_right = is_close(logprob, logits[token]);
  if (!is_right) report.note("log-probability " + std::to_string(logprob) + "; " + text_of(row));
  for (int i = 0; i < 20; ++i) {
    const bool is_there = i < num_top && logits[order[i]] > -HUGE_VAL;
    const bool is_same = is_there
                             ? top_ids[i] == order[i] && is_close(top_logprobs[i], logits[order[i]])
                             : top_ids[i] == -1 && std::isnan(top_logprobs[i]);
    if (!is_same) report.note("place " + std::to_string(i) + ": " + std::to_string(top_ids[i]));
    is_right = is_right && is_same;
  }
  return is_right;
}

void test_logprobs(tap::Report& report, int vocab_size, int num_rows, ThreadPool& pool) {
  std::mt19937 random(77);
  std::vector<Row> rows;
  for (int i = 0; i < num_rows; ++i) {
    rows.push_back(random_row(vocab_size, random));
    rows.back().num_top = static_cast<int>(random() % 23) - 1;
    if (rows.back().num_top > 20) rows.back().num_top = 20;
  }
  const std::string name = "log-probabilities, vocabulary " + std::to_string(vocab_size);
  const Outcome outcome = check_rows(report, name, rows, pool);
  int num_wrong = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::int32_t token = outcome.tokens[i];
    const std::int32_t* ids = &outcome.top_ids[20 * i];
    const float* logprobs = &outcome.top_logprobs[20 * i];
    bool is_right = true;
    if (rows[i].is_skipped || rows[i].num_top < 0) {
      is_right = std::isnan(outcome.logprobs[i]) && ids[0] == -1;
    } else if (token < 0) {
      is_right = std::isnan(outcome.logprobs[i]) && std::count(ids, ids + 20, -1) == 20;
    } else {
      is_right = has_right_logprobs(report, rows[i], token, outcome.logprobs[i], ids, logprobs);
    }
    if (!is_right) ++num_wrong;
  }
  report.equal(num_wrong, 0, name + ": picked and top tokens within 1e-4");
}

}  // namespace

int main(int argc, char** argv) {
  if (!testing::has_device()) return 0;
  const bool is_small = argc > 1 && std::strcmp(argv[1], "small") == 0;
  tap::Report report;
  ThreadPool pool(is_small ? 2 : 8);
  test_unsound(report, pool);
  test_gumbel_error(report);
  if (is_small) {
    test_random_rows(report, 7, 60, 30, pool);
    test_random_rows(report, 512, 60, 30, pool);
    test_random_rows(report, 9001, 60, 20, pool);
    test_single_rows(report, 9000, 6, pool);
    test_logprobs(report, 9000, 20, pool);
    return report.finish();
  }
  test_random_rows(report, 7, 4000, 1000, pool);
  test_random_rows(report, 512, 4000, 1000, pool);
  test_random_rows(report, 9001, 600, 200, pool);
  test_random_rows(report, 49152, 600, 200, pool);
  test_random_rows(report, 151936, 600, 200, pool);
  test_single_rows(report, 151936, 20, pool);
  test_logprobs(report, 7, 100, pool);
  test_logprobs(report, 9000, 100, pool);
  test_logprobs(report, 151936, 60, pool);
  test_distributions(report);
  return report.finish();
}
