// A row of any element type as floats: exactly the values that the Python gguf package computes.
#pragma once

#include <cstdint>

#include "kernels/types.h"

namespace kernels {

// Writes num_elements floats. `row` is as in a file, at any alignment; num_elements is a multiple
// of block_size(type).
void dequantize_row(DType type, const void* row, std::int64_t num_elements, float* out);

}  // namespace kernels
