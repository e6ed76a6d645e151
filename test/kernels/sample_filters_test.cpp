// Top-k, top-p and min-p against sorting.
#include "kernels/sample_filters.h"

#include "kernels/vector_kernels.h"
#include "test/kernels/plain_values.h"
#include "test/kernels/tap.h"
#include "test/reference/sample.h"

namespace {

using namespace kernels;

struct Row {
  explicit Row(std::vector<float> values) : logits(std::move(values)), memory(4 * logits.size()) {
    store = cut_candidate_store(memory.data(), size());
    const float maximum = *std::max_element(logits.begin(), logits.end());
    for (const float logit : logits) weights.push_back(std::exp(logit - maximum));
  }
  int size() const { return static_cast<int>(logits.size()); }
  static const VectorKernels& vector() { return vector_kernels(best_isa()); }
  Candidates all() const { return {logits.data(), nullptr, weights.data(), size()}; }

  std::vector<float> logits, weights;
  std::vector<std::uint32_t> memory;
  CandidateStore store;
};

// The ids kept, having checked that logits and weights came along.
std::vector<int> ids_of(const Row& row, const Candidates& kept) {
  std::vector<int> ids;
  for (int i = 0; i < kept.size; ++i) {
    const std::uint32_t id = kept.ids[i];
    if (kept.logits[i] != row.logits[id] || kept.weights[i] != row.weights[id]) return {-1};
    ids.push_back(static_cast<int>(id));
  }
  return ids;
}

std::vector<int> wanted(const Row& row, int top_k, double top_p, double min_p) {
  reference::SampleParams params;
  params.top_k = top_k;
  // So hot that even the least likely of the k has a probability the reference can tell from 0.
  if (top_k > 0 && top_p == 1) params.temperature = 1e39;
  params.top_p = top_p;
  params.min_p = min_p;
  const std::vector<double> logits(row.logits.begin(), row.logits.end());
  const auto probabilities = reference::distribution(logits, params);
  std::vector<int> ids;
  for (int i = 0; i < row.size(); ++i) {
    if (probabilities[i] > 0) ids.push_back(i);
  }
  return ids;
}

// Rows of every kind: smooth, many ties, all equal, one far ahead, both zeros, banned tokens.
std::vector<Row> rows_of_every_kind() {
  std::vector<Row> rows;
  rows.emplace_back(testing::spiky_values<float>(5000, 81));
  auto ties = testing::spiky_values<float>(5000, 82);
  for (float& logit : ties) logit = std::round(2 * logit) / 2;
  rows.emplace_back(ties);
  rows.emplace_back(std::vector<float>(300, -2.5f));
  auto peaked = testing::uniform_values<float>(1000, -20, -19, 83);
  peaked[777] = 3;
  rows.emplace_back(peaked);
  rows.emplace_back(std::vector<float>{0.0f, -0.0f, -1, 0.0f, -0.0f, 1e-42f, -1e-42f});
  auto banned = testing::spiky_values<float>(500, 84);
  for (int i = 0; i < 500; i += 3) banned[i] = -HUGE_VALF;
  rows.emplace_back(banned);
  auto around_zero = testing::uniform_values<float>(400, -1e-6f, 1e-6f, 86);
  for (int i = 0; i < 400; i += 5) around_zero[i] = i % 2 ? -0.0f : 0.0f;
  rows.emplace_back(around_zero);
  rows.emplace_back(std::vector<float>{-3e38f, -1e38f, 3e38f, -HUGE_VALF, 2e38f, 3.4e38f});
  return rows;
}

void test_top_k(tap::Report& report, Row& row, const std::string& name) {
  bool same = true;
  for (const int k : {1, 2, 3, 5, 50, 299, 1000, 4999}) {
    if (k >= row.size()) continue;
    same = same &&
           ids_of(row, keep_top_k(row.all(), k, row.vector(), row.store)) == wanted(row, k, 1, 0);
  }
  report.ok(same, name + ": top-k");
}

void test_top_p(tap::Report& report, Row& row, const std::string& name) {
  bool same = true;
  for (const float p : {0.0f, 1e-6f, 0.1f, 0.5f, 0.9f, 0.95f, 0.999f}) {
    // The reference rounds its sums, so it is asked at the exact share the operator aims for.
    const double share = p * (1 - 0x1p-24);
    same = same && ids_of(row, keep_top_p(row.all(), p, row.vector(), row.store)) ==
                       wanted(row, 0, share, 0);
  }
  report.ok(same, name + ": top-p");
}

void test_min_p(tap::Report& report, Row& row, const std::string& name) {
  bool same = true;
  for (const float p : {1e-6f, 0.01f, 0.3f, 1.0f}) {
    std::vector<int> want;
    for (int i = 0; i < row.size(); ++i) {
      if (row.weights[i] >= p) want.push_back(i);
    }
    same = same && ids_of(row, keep_min_p(row.all(), p, row.vector(), row.store)) == want;
  }
  report.ok(same, name + ": min-p");
}

// Each filter works on what the one before left, in place.
void test_chain(tap::Report& report, Row& row) {
  const Candidates top_k = keep_top_k(row.all(), 200, row.vector(), row.store);
  const Candidates top_p = keep_top_p(top_k, 0.8f, row.vector(), row.store);
  const Candidates min_p = keep_min_p(top_p, 0.001f, row.vector(), row.store);
  report.ok(min_p.size > 1 && min_p.size < 200, "the chain drops some and keeps some");
  report.ok(ids_of(row, min_p) == wanted(row, 200, 0.8f * (1 - 0x1p-24), 0.001f),
            "top-k, then top-p, then min-p");
}

// 0.3 is a float above 0.3 and 0.7 one below 0.7: three and seven of ten equal tokens.
void test_round_shares(tap::Report& report) {
  Row row(std::vector<float>(10, 1));
  for (int tenths = 1; tenths <= 9; ++tenths) {
    const float p = static_cast<float>(tenths / 10.0);
    report.equal(keep_top_p(row.all(), p, row.vector(), row.store).size, tenths,
                 "top-p " + std::to_string(tenths) + "/10 of ten equal tokens");
  }
}

}  // namespace

int main() {
  tap::Report report;
  std::vector<Row> rows = rows_of_every_kind();
  const char* names[] = {"smooth", "ties",   "all equal",   "peaked",
                         "zeros",  "banned", "around zero", "huge"};
  for (std::size_t i = 0; i < rows.size(); ++i) {
    rows[i].store = cut_candidate_store(rows[i].memory.data(), rows[i].size());
    test_top_k(report, rows[i], names[i]);
    test_top_p(report, rows[i], names[i]);
    test_min_p(report, rows[i], names[i]);
  }
  Row flat(testing::uniform_values<float>(5000, -4, 4, 85));
  test_chain(report, flat);
  test_round_shares(report);
  return report.finish();
}
