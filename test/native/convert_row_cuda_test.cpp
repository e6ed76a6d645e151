// Rows of files in the number type of the device. Runs on the host alone.
#include <cstring>
#include <random>
#include <vector>

#include "kernels/dequantize.h"
#include "native/cuda/convert_row.h"
#include "test/kernels/tap.h"

namespace {

using kernels::DType;

constexpr int kLength = 512;

std::uint16_t narrowed(DType to, float value) {
  return to == DType::kF16 ? kernels::to_f16(value).bits : kernels::to_bf16(value).bits;
}

// Random bytes are numbers in every format; one byte of offset, since files do not align rows.
void test_type(tap::Report& report, DType from) {
  std::mt19937 random(7);
  std::vector<std::uint8_t> bytes(kernels::row_bytes(from, kLength) + 1);
  for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random() & 0x3f);
  const void* const row = bytes.data() + 1;
  std::vector<float> exact(kLength);
  kernels::dequantize_row(from, row, kLength, exact.data());

  std::vector<float> scratch(kLength);
  const std::string name = kernels::name_of(from);
  std::vector<float> floats(kLength);
  kvasir::convert_row(from, row, kLength, DType::kF32, floats.data(), scratch.data());
  report.same_bits(floats.data(), exact.data(), kLength, name + " to float is exact");
  for (const DType to : {DType::kF16, DType::kBF16}) {
    std::vector<std::uint16_t> got(kLength);
    kvasir::convert_row(from, row, kLength, to, got.data(), scratch.data());
    std::vector<std::uint16_t> want;
    for (const float value : exact) want.push_back(narrowed(to, value));
    report.same_bits(got.data(), want.data(), kLength,
                     name + " to " + kernels::name_of(to) + " rounds once");
  }
}

}  // namespace

int main() {
  tap::Report report;
  for (int i = 0; i < kernels::kNumDTypes; ++i) test_type(report, static_cast<DType>(i));
  return report.finish();
}
