// A row of a model file in the number type that the device computes with.
#pragma once

#include <cstdint>

#include "kernels/types.h"

namespace kvasir {

// Writes num_elements of type `to` (kF32, kF16 or kBF16), each rounded once from the exact value of
// the file. `row` may lie at any address; num_elements is a multiple of block_size(from); `scratch`
// holds num_elements floats.
void convert_row(kernels::DType from, const void* row, std::int64_t num_elements, kernels::DType to,
                 void* out, float* scratch);

}  // namespace kvasir
