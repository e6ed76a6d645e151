#include "kernels/sample.h"

#include "kernels/sample_row.h"
#include "test/kernels/draws.h"
#include "test/kernels/sampling_row.h"
#include "test/kernels/tap.h"
#include "test/reference/sample.h"

namespace {

using kernels::ThreadPool;
using testing::sample;
using testing::sample_one;
using testing::SamplingRow;

void test_distribution(tap::Report& report, const std::string& name, const SamplingRow& row,
                       const std::vector<double>& want, ThreadPool& pool) {
  testing::test_draws(report, name, row, want, 1000,
                      [&](std::vector<SamplingRow>& rows) { return sample(rows, pool); });
}

void test_distributions(tap::Report& report, ThreadPool& pool) {
  SamplingRow plain;
  plain.logits = testing::uniform_values<float>(101, -3, 3, 91);
  plain.logits[17] = plain.logits[60] = 2.9f;
  const std::vector<double> logits(plain.logits.begin(), plain.logits.end());
  const auto check = [&](const std::string& name, SamplingRow row, reference::SampleParams params) {
    row.temperature = static_cast<float>(params.temperature);
    row.top_k = params.top_k;
    row.top_p = static_cast<float>(params.top_p);
    row.min_p = static_cast<float>(params.min_p);
    test_distribution(report, name, row, reference::distribution(logits, params), pool);
  };
  reference::SampleParams params;
  check("temperature 1", plain, params);
  params.temperature = 0.5;
  check("temperature 0.5", plain, params);
  params.temperature = 3;
  check("temperature 3", plain, params);
  params.temperature = 1;
  params.top_k = 7;
  check("top-k 7", plain, params);
  params.top_k = 0;
  params.top_p = 0.75;
  check("top-p 0.75", plain, params);
  params.top_p = 1;
  params.min_p = 0.25;
  check("min-p 0.25", plain, params);
  params = {0.8, 40, 0.9, 0.05};
  check("top-k 40, top-p 0.9, min-p 0.05 at 0.8", plain, params);
}

void test_penalties(tap::Report& report, ThreadPool& pool) {
  const std::vector<int> prompt = {3, 64, 100, 7}, output = {7, 7, 7, 50, 64};
  reference::SampleParams params;
  params.repetition_penalty = 1.5;
  params.frequency_penalty = 0.25;
  params.presence_penalty = -0.5;
  SamplingRow row;
  row.logits = testing::uniform_values<float>(101, -3, 3, 92);
  row.logits[7] = 3;
  row.logits[64] = -1;
  row.take_prompt(prompt);
  row.take_output(output);
  const std::vector<double> logits(row.logits.begin(), row.logits.end());
  const auto adjusted = reference::penalised(logits, params, prompt, output);
  row.repetition_penalty = 1.5f;
  row.frequency_penalty = 0.25f;
  row.presence_penalty = -0.5f;
  test_distribution(report, "penalties", row, reference::distribution(adjusted, params), pool);

  // Greedy under a frequency penalty walks down the row, because each pick is counted.
  row.logits.assign(5, -9);
  row.logits[2] = 1;
  row.logits[4] = 0.9f;
  row.take_prompt({});
  row.take_output({});
  row.temperature = 0;
  row.repetition_penalty = 1;
  row.presence_penalty = 0;
  std::vector<SamplingRow> rows = {row};
  std::vector<std::int32_t> picks;
  for (int i = 0; i < 4; ++i) picks.push_back(sample(rows, pool)[0]);
  report.ok(picks == std::vector<std::int32_t>({2, 4, 2, 4}), "a picked token is counted");
  report.equal(static_cast<int>(rows[0].output_counts[2]), 2, "in its sequence's slot");
  rows[0].output_counts[2] = 65535;
  rows[0].frequency_penalty = -1e-6f;
  sample(rows, pool);
  report.equal(static_cast<int>(rows[0].output_counts[2]), 65535, "a full counter stays full");
  rows[0].frequency_penalty = 0;
  const auto before = rows[0].output_counts;
  sample(rows, pool);
  report.ok(rows[0].output_counts == before, "without penalties nothing is counted");
}

void test_adjustments(tap::Report& report, ThreadPool& pool) {
  SamplingRow row;
  row.logits = {1, 5, 2, 3};
  row.temperature = 0;
  const auto pick = [&](std::vector<std::int32_t> ids, std::vector<float> values) {
    row.bias_token_ids = std::move(ids);
    row.bias_values = std::move(values);
    return sample_one(row, pool);
  };
  report.equal(pick({}, {}), 1, "no adjustment");
  report.equal(pick({0}, {4.5f}), 0, "a bias lifts a token");
  report.equal(pick({1, 3}, {-HUGE_VALF, -HUGE_VALF}), 2, "bans");
  report.equal(pick({1, 1}, {-3, -3}), 3, "the same token twice adds up");
  report.equal(pick({0, 1, 2, 3}, std::vector<float>(4, -HUGE_VALF)), -1, "all banned: failed");
  report.equal(pick({4}, {1}), -1, "an id behind the row: failed");
  report.equal(pick({-1}, {1}), -1, "a negative id: failed");
  report.equal(pick({2}, {HUGE_VALF}), -1, "an infinite logit: failed");
  row.temperature = 1;
  row.top_p = 0.5f;
  row.top_k = 2;
  report.equal(pick({1, 2, 3}, std::vector<float>(3, -HUGE_VALF)), 0,
               "one token left is the one that is drawn");

  // One broken row among sound ones.
  SamplingRow sound;
  sound.logits = {1, 5, 2, 3};
  sound.temperature = 0;
  SamplingRow broken = sound;
  broken.bias_token_ids = {4};
  broken.bias_values = {100};
  SamplingRow nan = sound;
  nan.logits[3] = NAN;
  nan.bias_token_ids = {3};
  nan.bias_values = {-HUGE_VALF};
  std::vector<SamplingRow> rows = {sound, broken, sound, nan, sound};
  report.ok(sample(rows, pool) == std::vector<std::int32_t>({1, -1, 1, -1, 1}),
            "a broken row fails alone, a banned NaN included");
}

void test_greedy(tap::Report& report, ThreadPool& pool) {
  SamplingRow row;
  row.temperature = 0;
  row.top_k = 1;
  row.logits = {-2, 7, 7, 1};
  report.equal(sample_one(row, pool), 1, "the lowest id on ties");
  row.logits = {-5, -4, -4.5f};
  report.equal(sample_one(row, pool), 1, "all negative");
  row.logits = {0, NAN, 1};
  report.equal(sample_one(row, pool), -1, "NaN fails");
  row.logits = {1, 1, 1, 1, 1, 1};
  row.temperature = 1;
  row.top_k = 3;
  bool only_first = true;
  for (int i = 0; i < 200; ++i) {
    row.context_len = i;
    only_first = only_first && sample_one(row, pool) < 3;
  }
  report.ok(only_first, "top-k keeps the lowest ids among equals");
  row.top_k = 0;
  row.top_p = 0;
  row.logits[4] = 2;
  report.equal(sample_one(row, pool), 4, "top-p 0 keeps the top token");
}

// Written from the contract alone: the words, the noise, the argmax.
void test_definition(tap::Report& report, ThreadPool& pool) {
  bool same = true;
  for (int i = 0; i < 200; ++i) {
    SamplingRow row;
    row.logits = testing::spiky_values<float>(130, i);
    row.temperature = 0.7f;
    row.seed = 0x9e3779b97f4a7c15u * (i + 1);
    row.choice = i % 4;
    row.context_len = 3 * i;
    int best = -1;
    double best_score = -HUGE_VAL;
    for (std::uint32_t token = 0; token < row.logits.size(); ++token) {
      const auto words = kernels::philox4x32(
          {static_cast<std::uint32_t>(row.context_len), static_cast<std::uint32_t>(row.choice),
           token >> 2, 0},
          {static_cast<std::uint32_t>(row.seed), static_cast<std::uint32_t>(row.seed >> 32)});
      const double u = (words[token & 3] + 0.5) / 4294967296.0;
      const double score =
          row.logits[token] / static_cast<double>(row.temperature) - std::log(-std::log(u));
      if (score > best_score) {
        best_score = score;
        best = static_cast<int>(token);
      }
    }
    same = same && sample_one(row, pool) == best;
  }
  report.ok(same, "the pick is the contract's argmax");
}

// Alone or in a crowd, on any instruction set and number of threads, with every filter.
void test_invariance(tap::Report& report) {
  std::vector<std::int32_t> first;
  std::vector<SamplingRow> rows;
  for (int i = 0; i < 48; ++i) {
    SamplingRow row;
    row.logits = testing::spiky_values<float>(5003, 1000 + i);
    row.temperature = 0.1f * (i % 16);
    row.top_k = i % 3 == 1 ? 20 * i : 0;
    row.top_p = i % 4 < 2 ? 1 : 0.9f;
    row.min_p = i % 5 == 2 ? 0.02f : 0;
    row.seed = 77 + i / 2;
    row.context_len = 100 + i;
    rows.push_back(row);
  }
  testing::for_each_isa([&](const std::string& isa, ThreadPool& pool) {
    ThreadPool one(1, pool.isa()), three(3, pool.isa());
    auto copy = rows;
    const auto tokens = sample(copy, three);
    bool alone = true;
    for (int i = 0; i < 48; ++i) alone = alone && sample_one(rows[i], one) == tokens[i];
    report.ok(alone, isa + ": alone as in a crowd");
    if (first.empty()) first = tokens;
    report.ok(tokens == first, isa + ": same tokens as portable");
  });
}

}  // namespace

int main() {
  tap::Report report;
  ThreadPool pool(2);
  test_definition(report, pool);
  test_greedy(report, pool);
  test_adjustments(report, pool);
  test_penalties(report, pool);
  test_distributions(report, pool);
  test_invariance(report);
  return report.finish();
}
