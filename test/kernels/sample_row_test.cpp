// The generator, the Gumbel numbers and the pick, below the operator.
#include "kernels/sample_row.h"

#include "kernels/vector_kernels.h"
#include "test/kernels/plain_values.h"
#include "test/kernels/tap.h"

namespace {

using namespace kernels;

// The vectors published with Random123.
void test_philox(tap::Report& report) {
  const PhiloxCounter zeros = philox4x32({0, 0, 0, 0}, {0, 0});
  report.ok(zeros == PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
            "philox4x32-10 of zeros");
  const std::uint32_t ones = 0xffffffff;
  const PhiloxCounter all = philox4x32({ones, ones, ones, ones}, {ones, ones});
  report.ok(all == PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
            "philox4x32-10 of ones");
  const PhiloxCounter pi =
      philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0});
  report.ok(pi == PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1},
            "philox4x32-10 of pi");
}

void test_gumbel(tap::Report& report) {
  double worst = 0;
  bool bounded = true;
  std::uint32_t word = 1;
  for (int i = 0; i < 200000; ++i) {
    word = i < 40 ? (i < 20 ? i : 0u - (i - 19)) : word * 1664525u + 1013904223u;
    const double u = (word + 0.5) * 0x1p-32;
    const double want = -std::log(-std::log(u));
    // Where log(u) is near 1 the outer logarithm is near 0 and only its absolute error counts.
    worst = std::max(worst, std::fabs(gumbel_of(word) - want) / (1 + std::fabs(want)));
    const double bound = -std::log(static_cast<double>(one_minus_u_at_least(word)));
    bounded = bounded && gumbel_of(word) <= bound + 1e-9 && gumbel_of(word) < kMaxGumbel;
  }
  report.ok(worst < 1e-15, "the Gumbel numbers agree with the C library's logarithm");
  report.note("worst relative difference " + std::to_string(worst * 1e16) + "e-16");
  report.ok(bounded, "no Gumbel number exceeds the bound from 1 - u");
}

LogitRow row_of(const std::vector<float>& logits, float temperature, std::uint32_t seed) {
  return {logits.data(),
          static_cast<int>(logits.size()),
          *std::max_element(logits.begin(), logits.end()),
          temperature,
          {seed, seed * 7919},
          seed % 1000,
          seed % 5};
}

// Every token scored, nothing skipped.
int plain_pick(const LogitRow& row) {
  double best = -HUGE_VAL;
  int token = -1;
  for (int i = 0; i < row.vocab_size; ++i) {
    const PhiloxCounter counter = {row.position, row.choice, static_cast<std::uint32_t>(i / 4), 0};
    const double score = static_cast<double>(row.logits[i]) / row.temperature +
                         gumbel_of(philox4x32(counter, row.key)[i % 4]);
    if (score > best) {
      best = score;
      token = i;
    }
  }
  return token;
}

// The skipping pick against the plain one, on every instruction set.
void test_pick(tap::Report& report, Isa isa) {
  const VectorKernels& vector = vector_kernels(isa);
  int num_wrong = 0, num_picks = 0, num_unlikely = 0;
  for (const int vocab_size : {1, 3, 63, 64, 65, 777, 4099}) {
    for (const float temperature : {1e-3f, 0.3f, 1.0f, 2.0f, 50.0f}) {
      for (std::uint32_t seed = 1; seed <= 20; ++seed) {
        auto logits = testing::spiky_values<float>(vocab_size, seed);
        for (float& logit : logits) logit *= 3;
        if (vocab_size > 60) logits[seed] = -HUGE_VALF;
        const LogitRow row = row_of(logits, temperature, seed);
        const int likeliest =
            static_cast<int>(std::max_element(logits.begin(), logits.end()) - logits.begin());
        GumbelPick pick(row);
        pick.consider(likeliest, row.maximum, word_of(row, likeliest));
        vector.pick_from_all(row, pick);
        const int want = plain_pick(row);
        num_wrong += pick.token() != want;
        num_unlikely += want != likeliest;
        ++num_picks;
      }
    }
  }
  const std::string name = name_of(isa);
  report.equal(num_wrong, 0,
               name + ": the pick is the plain argmax, " + std::to_string(num_picks) + " rows");
  report.ok(num_unlikely > num_picks / 4, name + ": and often not the likeliest token");
}

void test_ties(tap::Report& report) {
  const std::vector<float> logits(8, 1);
  GumbelPick pick(row_of(logits, 1, 1));
  pick.consider(5, 1, 1234567);
  pick.consider(6, 1, 1234567);
  report.equal(pick.token(), 5, "an equal score with a higher id does not win");
  pick.consider(2, 1, 1234567);
  report.equal(pick.token(), 2, "an equal score with a lower id does");
}

void test_row_passes(tap::Report& report, Isa isa) {
  const VectorKernels& vector = vector_kernels(isa);
  const std::string name = name_of(isa);
  bool largest = true, nan = true;
  for (const int size : {1, 15, 16, 17, 100, 1000}) {
    auto logits = testing::spiky_values<float>(size, 9);
    for (float& logit : logits) logit -= 100;
    largest = largest && vector.largest_logit(logits.data(), size) ==
                             *std::max_element(logits.begin(), logits.end());
    for (const int at : {0, size / 2, size - 1}) {
      auto broken = logits;
      broken[at] = NAN;
      nan = nan && std::isnan(vector.largest_logit(broken.data(), size));
    }
  }
  report.ok(largest, name + ": the largest of a row, also when all are negative");
  report.ok(nan, name + ": a NaN anywhere shows");
}

}  // namespace

int main() {
  tap::Report report;
  test_philox(report);
  test_gumbel(report);
  test_ties(report);
  for (const Isa isa : available_isas()) {
    test_row_passes(report, isa);
    test_pick(report, isa);
  }
  return report.finish();
}
