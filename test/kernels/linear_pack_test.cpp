// Packing loses nothing: every row comes back, in the order that was asked for.
#include "kernels/linear_pack.h"

#include <string>
#include <vector>

#include "kernels/dequantize.h"
#include "test/kernels/random_weights.h"
#include "test/kernels/tap.h"

namespace {

using kernels::DType;

// Compares all rows of the packed weight with the source's, row r with source_row(r).
bool rows_come_back(DType type, int out_features, int in_features,
                    const std::function<int(int)>& source_row) {
  const auto rows = testing::random_rows(type, out_features, in_features, 21);
  // Room that is not zero: padding must be written, not assumed.
  std::vector<std::uint8_t> packed(kernels::packed_bytes(type, out_features, in_features), 0xa5);
  kernels::pack_weight(type, rows.data(), out_features, in_features, packed.data(), source_row);
  const std::size_t stride = kernels::row_bytes(type, in_features);
  std::vector<float> want(in_features);
  std::vector<float> got(in_features);
  for (int row = 0; row < out_features; ++row) {
    const int source = source_row ? source_row(row) : row;
    kernels::dequantize_row(type, rows.data() + source * stride, in_features, want.data());
    kernels::unpack_row({packed.data(), type, out_features, in_features}, row, got.data());
    if (std::memcmp(got.data(), want.data(), in_features * sizeof(float)) != 0) return false;
  }
  return true;
}

void test_rows(tap::Report& report, DType type) {
  const std::string name = kernels::name_of(type);
  const int block = kernels::block_size(type);
  for (const int out_features : {1, 16, 17, 40}) {
    for (const int in_features : {block, 3 * block, 5 * block}) {
      report.ok(rows_come_back(type, out_features, in_features, nullptr),
                name + " " + std::to_string(out_features) + " x " + std::to_string(in_features));
    }
  }
  report.ok(rows_come_back(type, 40, 2 * block, [](int row) { return 39 - row; }),
            name + ", rows reversed");
}

// The rows of a head of 8 in a GGUF llama file: 0 4 1 5 2 6 3 7.
void test_interleaved(tap::Report& report) {
  const int head_dim = 8;
  const auto stored_row = [&](int row) {
    const int i = row % head_dim;
    const int half = head_dim / 2;
    return row - i + i % half * 2 + i / half;
  };
  report.ok(rows_come_back(DType::kQ4_1, 32, 64, stored_row), "interleaved rows");
  report.equal(stored_row(4), 1, "the order is the one meant");
}

void test_sizes(tap::Report& report) {
  report.equal(kernels::packed_bytes(DType::kQ4_1, 576, 1536), std::size_t{576 * 1536 / 32 * 20},
               "whole panels take the source's bytes");
  report.equal(kernels::packed_bytes(DType::kQ6_K, 17, 256), std::size_t{32 * 210},
               "rows are padded to panels");
  report.equal(kernels::packed_bytes(DType::kBF16, 16, 7), std::size_t{16 * 7 * 2}, "odd rows");
  report.throws([] { kernels::packed_bytes(DType::kQ4_0, 16, 40); }, {"40", "32", "q4_0"},
                "part of a block is refused");
  report.throws([] { kernels::packed_bytes(DType::kF32, 0, 4); }, {"0 x 4"}, "no rows");
  std::vector<std::uint8_t> rows(4 * 4);
  std::vector<std::uint8_t> packed(16 * 4 * 4);
  report.throws(
      [&] {
        kernels::pack_weight(DType::kF32, rows.data(), 1, 4, packed.data(), [](int) { return 1; });
      },
      {"row 0", "row 1 of 1"}, "a source row that is not there");
  report.throws(
      [&] {
        float out[4];
        kernels::unpack_row({packed.data(), DType::kF32, 1, 4}, 1, out);
      },
      {"row 1"}, "unpacking a row that is not there");
}

}  // namespace

int main() {
  tap::Report report;
  for (const DType type : testing::kAllTypes) test_rows(report, type);
  test_interleaved(report);
  test_sizes(report);
  return report.finish();
}
