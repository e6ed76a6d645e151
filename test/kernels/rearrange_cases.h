// What the strided copy is tested with, on every device.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "kernels/rearrange.h"

namespace testing {

// Strides are in elements, from the elements out_first and in_first on.
struct RearrangeCase {
  const char* name;
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> out_strides;
  std::vector<std::int64_t> in_strides;
  std::int64_t out_first = 0;
  std::int64_t in_first = 0;
};

inline std::vector<RearrangeCase> rearrange_cases() {
  return {
      {"a single element", {}, {}, {}},
      {"one stretch", {3, 5, 7}, {35, 7, 1}, {35, 7, 1}},
      {"a transposed matrix", {67, 130}, {130, 1}, {1, 67}},
      {"three dimensions turned round", {5, 3, 17}, {51, 17, 1}, {1, 5, 15}},
      {"a slice of rows into rows further apart", {40, 33}, {50, 1}, {99, 1}, 3, 34},
      {"heads before tokens", {6, 9, 64}, {576, 64, 1}, {64, 384, 1}},
      {"a broadcast row", {12, 31}, {31, 1}, {0, 1}},
      {"backwards", {4, 9}, {9, 1}, {-9, -1}, 0, 35},
      {"dimensions of one element", {1, 4, 1, 6, 1}, {7, 6, 3, 1, 9}, {2, 1, 8, 4, 5}},
      {"eight dimensions",
       {2, 2, 2, 2, 2, 2, 2, 2},
       {128, 64, 32, 16, 8, 4, 2, 1},
       {1, 2, 4, 8, 16, 32, 64, 128}},
      {"nothing", {3, 0, 2}, {2, 2, 1}, {2, 2, 1}},
      {"more than one task", {300, 700}, {700, 1}, {1, 300}},
  };
}

// Elements from the first to the last that a view of `shape` and `strides` can reach.
inline std::int64_t extent(const std::vector<std::int64_t>& shape,
                           const std::vector<std::int64_t>& strides, std::int64_t first) {
  std::int64_t last = first;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (strides[i] > 0 && shape[i] > 0) last += (shape[i] - 1) * strides[i];
  }
  return last + 1;
}

inline std::vector<std::uint8_t> random_bytes(std::size_t count, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<std::uint8_t> bytes(count);
  for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random() >> 8);
  return bytes;
}

// The copy between memory that begins at `out` and `in`.
inline kernels::Rearrange rearrange_of(const RearrangeCase& test, void* out, const void* in,
                                       int element_bytes) {
  kernels::Rearrange op = {};
  op.out = static_cast<char*>(out) + test.out_first * element_bytes;
  op.in = static_cast<const char*>(in) + test.in_first * element_bytes;
  op.element_bytes = element_bytes;
  op.num_dims = static_cast<int>(test.shape.size());
  for (int i = 0; i < op.num_dims; ++i) {
    op.shape[i] = test.shape[i];
    op.out_strides[i] = test.out_strides[i];
    op.in_strides[i] = test.in_strides[i];
  }
  return op;
}

}  // namespace testing
