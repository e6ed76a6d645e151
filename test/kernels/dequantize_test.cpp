// Dequantised values are exactly those of the Python gguf package (test/fixtures/make_dequant.py).
// Run in the project's root.
#include "kernels/dequantize.h"

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "kernels/linear.h"
#include "test/kernels/random_weights.h"
#include "test/kernels/tap.h"
#include "test/reference/dequantize.h"

namespace {

using kernels::DType;

std::vector<std::uint8_t> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void test_goldens(tap::Report& report, DType type) {
  const std::string stem = std::string("test/fixtures/dequant/") + kernels::name_of(type);
  const auto rows = read_file(stem + ".rows");
  const auto bytes = read_file(stem + ".f32");
  const int count =
      static_cast<int>(rows.size() / kernels::bytes_per_block(type)) * kernels::block_size(type);
  if (!report.ok(count > 0 && bytes.size() == 4u * count, stem + ".rows and .f32 are there"))
    return;
  std::vector<float> want(count);
  std::memcpy(want.data(), bytes.data(), bytes.size());

  std::vector<float> got(count);
  kernels::dequantize_row(type, rows.data(), count, got.data());
  report.same_bits(got.data(), want.data(), count, stem + ": as the gguf package");

  // Also at an odd address, as tensors of a small file may lie.
  std::vector<std::uint8_t> shifted(rows.size() + 1);
  std::memcpy(shifted.data() + 1, rows.data(), rows.size());
  kernels::dequantize_row(type, shifted.data() + 1, count, got.data());
  report.same_bits(got.data(), want.data(), count, stem + ": at an odd address");

  // The reference of the other tests computes in double: it may differ by the last rounding.
  const auto reference = reference::dequantize(type, rows.data(), count);
  report.close(reference.data(), want.data(), count, 1e-7, stem + ": the reference agrees");

  std::vector<std::uint8_t> packed(kernels::packed_bytes(type, 1, count));
  kernels::pack_weight(type, rows.data(), 1, count, packed.data());
  kernels::unpack_row({packed.data(), type, 1, count}, 0, got.data());
  report.same_bits(got.data(), want.data(), count, stem + ": packed and unpacked");
}

}  // namespace

int main() {
  tap::Report report;
  for (const DType type : testing::kAllTypes) test_goldens(report, type);
  float out[32];
  const std::uint8_t row[20] = {};
  report.throws([&] { kernels::dequantize_row(DType::kQ4_1, row, 31, out); }, {"31", "32", "q4_1"},
                "part of a block is refused");
  return report.finish();
}
