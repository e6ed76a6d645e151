#include "kernels/types.h"

namespace kernels {

namespace {

struct Format {
  const char* name;
  int block_size;
  int bytes_per_block;
};

const Format& format_of(DType type) {
  // In the order of DType.
  static constexpr Format kFormats[kNumDTypes] = {
      {"f32", 1, 4},    {"f16", 1, 2},    {"bf16", 1, 2},    {"q8_0", 32, 34},
      {"q4_0", 32, 18}, {"q4_1", 32, 20}, {"q6_k", 256, 210}};
  const int index = static_cast<int>(type);
  CHECK(index < kNumDTypes, "type " + std::to_string(index) + " is not one of the " +
                                std::to_string(kNumDTypes) + " known element types");
  return kFormats[index];
}

}  // namespace

void throw_error(const char* file, int line, const std::string& message) {
  throw Error(message + " (" + file + ":" + std::to_string(line) + ")");
}

int block_size(DType type) { return format_of(type).block_size; }

int bytes_per_block(DType type) { return format_of(type).bytes_per_block; }

const char* name_of(DType type) { return format_of(type).name; }

std::size_t row_bytes(DType type, std::int64_t num_elements) {
  const Format& format = format_of(type);
  CHECK(num_elements >= 0 && num_elements % format.block_size == 0,
        "a row of " + std::to_string(num_elements) + " elements is not whole blocks of " +
            std::to_string(format.block_size) + " (" + format.name + ")");
  return static_cast<std::size_t>(num_elements / format.block_size) * format.bytes_per_block;
}

}  // namespace kernels
