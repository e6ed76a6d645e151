// Conversions of the narrow floats against arithmetic that is obviously right.
#include "kernels/types.h"

#include <cmath>
#include <limits>

#include "test/kernels/tap.h"
#include "test/reference/dequantize.h"

namespace {

using kernels::bf16;
using kernels::DType;
using kernels::f16;

// Nearest of all finite halves by search, ties to the even one: slow and obviously right.
std::uint16_t nearest_half(double value) {
  std::uint16_t best = 0;
  double best_distance = HUGE_VAL;
  for (int bits = 0; bits < 0x7c00; ++bits) {
    const std::uint8_t bytes[2] = {static_cast<std::uint8_t>(bits),
                                   static_cast<std::uint8_t>(bits >> 8)};
    const double distance = std::fabs(reference::half_at(bytes) - value);
    if (distance < best_distance || (distance == best_distance && bits % 2 == 0)) {
      best_distance = distance;
      best = static_cast<std::uint16_t>(bits);
    }
  }
  return best;
}

void test_halves(tap::Report& report) {
  int num_wrong = 0;
  int num_not_back = 0;
  for (int bits = 0; bits < 0x10000; ++bits) {
    const std::uint8_t bytes[2] = {static_cast<std::uint8_t>(bits),
                                   static_cast<std::uint8_t>(bits >> 8)};
    const double want = reference::half_at(bytes);
    const float got = kernels::to_float(f16{static_cast<std::uint16_t>(bits)});
    if (std::isnan(want)) {
      num_wrong += !std::isnan(got);
      num_not_back += !std::isnan(kernels::to_float(kernels::to_f16(got)));
      continue;
    }
    num_wrong += !(static_cast<double>(got) == want && std::signbit(got) == std::signbit(want));
    num_not_back += kernels::to_f16(got).bits != bits;
  }
  report.equal(num_wrong, 0, "every half becomes its float");
  report.equal(num_not_back, 0, "and comes back");

  for (const float value : {1.00048828125f, 1.00146484375f, 2.98023224e-8f, 2.9802326e-8f, 8.9e-8f,
                            6.1e-5f, 6.1035e-5f, 0.1f, 65503.9f, 65519.99f, 0.33333334f, 1e-9f}) {
    report.equal(static_cast<int>(kernels::to_f16(value).bits),
                 static_cast<int>(nearest_half(value)), "half nearest to " + std::to_string(value));
  }
  report.equal(static_cast<int>(kernels::to_f16(65520.0f).bits), 0x7c00, "65520 is infinity");
  report.equal(static_cast<int>(kernels::to_f16(-1e30f).bits), 0xfc00, "so is -1e30, negative");
  report.equal(static_cast<int>(kernels::to_f16(-0.0f).bits), 0x8000, "minus zero");
}

void test_bfloats(tap::Report& report) {
  int num_not_back = 0;
  for (int bits = 0; bits < 0x10000; ++bits) {
    const float value = kernels::to_float(bf16{static_cast<std::uint16_t>(bits)});
    const bf16 back = kernels::to_bf16(value);
    num_not_back += std::isnan(value) ? !std::isnan(kernels::to_float(back)) : back.bits != bits;
  }
  report.equal(num_not_back, 0, "every bfloat16 comes back");
  const auto rounded = [](std::uint32_t bits) {
    return static_cast<int>(kernels::to_bf16(kernels::float_from_bits(bits)).bits);
  };
  report.equal(rounded(0x3f807fff), 0x3f80, "below half rounds down");
  report.equal(rounded(0x3f808000), 0x3f80, "half rounds to even, down");
  report.equal(rounded(0x3f818000), 0x3f82, "half rounds to even, up");
  report.equal(rounded(0x3f808001), 0x3f81, "above half rounds up");
  report.equal(rounded(0x7f7fffff), 0x7f80, "the largest float rounds to infinity");
  report.equal(rounded(0xff800000), 0xff80, "minus infinity stays");
  report.ok(std::isnan(kernels::to_float(kernels::to_bf16(kernels::float_from_bits(0x7f800001)))),
            "a NaN whose payload would be cut off stays NaN");
}

void test_formats(tap::Report& report) {
  report.equal(kernels::row_bytes(DType::kF32, 5), std::size_t{20}, "f32 rows");
  report.equal(kernels::row_bytes(DType::kBF16, 5), std::size_t{10}, "bf16 rows");
  report.equal(kernels::row_bytes(DType::kQ8_0, 64), std::size_t{68}, "q8_0 rows");
  report.equal(kernels::row_bytes(DType::kQ4_0, 64), std::size_t{36}, "q4_0 rows");
  report.equal(kernels::row_bytes(DType::kQ4_1, 64), std::size_t{40}, "q4_1 rows");
  report.equal(kernels::row_bytes(DType::kQ6_K, 512), std::size_t{420}, "q6_k rows");
  report.equal(std::string(kernels::name_of(DType::kQ6_K)), std::string("q6_k"), "names");
  report.throws([] { kernels::row_bytes(DType::kQ6_K, 255); }, {"255", "256", "q6_k"},
                "part of a block is refused");
  report.throws([] { kernels::block_size(static_cast<DType>(200)); }, {"200", "7"},
                "an unknown type is refused");
  report.throws([] { CHECK(1 > 2, "one is " + std::to_string(1)); }, {"one is 1", "types_test.cpp"},
                "CHECK names file and value");
}

}  // namespace

int main() {
  tap::Report report;
  test_halves(report);
  test_bfloats(report);
  test_formats(report);
  return report.finish();
}
