// The functions every vector kernel shares: exp, and the rounding to half precision.
#include "kernels/vector_kernels.h"

#include "test/kernels/plain_values.h"
#include "test/kernels/tap.h"

namespace {

using kernels::Isa;

// Distance in units of the last place of the float nearest to `want`.
double ulps(float got, double want) {
  const float nearest = static_cast<float>(want);
  const float next = std::nextafterf(std::fabs(nearest), HUGE_VALF);
  return std::fabs(got - want) / (static_cast<double>(next) - std::fabs(nearest));
}

// Every 1000th float of the range where e^x is a normal number.
std::vector<float> arguments() {
  std::vector<float> xs;
  for (const float limit : {88.72f, -87.33f}) {
    for (std::uint32_t bits = kernels::bits_of(limit); (bits & 0x7fffffffu) > 0x30000000u;
         bits -= 1009) {
      xs.push_back(kernels::float_from_bits(bits));
    }
  }
  return xs;
}

void test_exp(tap::Report& report) {
  const std::vector<float> xs = arguments();
  std::vector<float> first;
  for (const Isa isa : kernels::available_isas()) {
    const std::string name = kernels::name_of(isa);
    auto out = testing::poisoned<float>(xs.size());
    kernels::vector_kernels(isa).exp_row(out.data(), xs.data(), static_cast<int>(xs.size()));
    double worst = 0;
    for (std::size_t i = 0; i < xs.size(); ++i) {
      worst = std::max(worst, ulps(out[i], std::exp(static_cast<double>(xs[i]))));
    }
    report.ok(worst <= 2, name + ": exp is within 2 ulp");
    report.note("worst " + std::to_string(worst) + " ulp of " + std::to_string(xs.size()));
    if (first.empty()) first = out;
    report.same_bits(out.data(), first.data(), out.size(), name + ": same bits as portable");

    const std::vector<float> ends = {0, -0.0f, 88.8f, HUGE_VALF, -104, -HUGE_VALF, NAN, -100};
    std::vector<float> at_ends(ends.size());
    kernels::vector_kernels(isa).exp_row(at_ends.data(), ends.data(), 8);
    report.ok(at_ends[0] == 1 && at_ends[1] == 1, name + ": exp(0) is 1");
    report.ok(at_ends[2] == HUGE_VALF && at_ends[3] == HUGE_VALF, name + ": too large is infinity");
    report.ok(at_ends[4] == 0 && at_ends[5] == 0, name + ": too small is 0");
    report.ok(std::isnan(at_ends[6]), name + ": NaN stays NaN");
    report.ok(std::fabs(at_ends[7] - std::exp(-100.0)) < 1e-45, name + ": subnormal results");
  }
}

void test_half_rounding(tap::Report& report) {
  // All kinds: normal, subnormal, ties, overflow, infinities.
  std::vector<float> xs = {65504,      65519.99f,    65520,       -65536, 0x1p-25f,
                           0x1.8p-25f, -0x1p-24f,    0,           -0.0f,  HUGE_VALF,
                           -HUGE_VALF, 1 + 0x1p-11f, 1 + 0x3p-11f};
  for (const float value : testing::spiky_values<float>(1000, 5)) xs.push_back(value * 1e-3f);
  for (const Isa isa : kernels::available_isas()) {
    std::vector<kernels::f16> out(xs.size() + 1, kernels::f16{0xabcd});
    kernels::vector_kernels(isa).convert_row(kernels::DType::kF16, out.data(), xs.data(),
                                             static_cast<int>(xs.size()));
    bool same = true;
    for (std::size_t i = 0; i < xs.size(); ++i) {
      same = same && out[i].bits == kernels::to_f16(xs[i]).bits;
    }
    report.ok(same, std::string(kernels::name_of(isa)) + ": halves are rounded to nearest even");
    report.ok(out.back().bits == 0xabcd,
              std::string(kernels::name_of(isa)) + ": and no more written");
  }
}

}  // namespace

int main() {
  tap::Report report;
  test_exp(report);
  test_half_rounding(report);
  return report.finish();
}
