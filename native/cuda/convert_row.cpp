#include "native/cuda/convert_row.h"

#include <cstring>

#include "kernels/dequantize.h"

namespace kvasir {

namespace {

template <class T>
void narrow(const float* values, std::int64_t num_elements, T* out) {
  for (std::int64_t i = 0; i < num_elements; ++i) out[i] = kernels::from_float<T>(values[i]);
}

}  // namespace

void convert_row(kernels::DType from, const void* row, std::int64_t num_elements, kernels::DType to,
                 void* out, float* scratch) {
  if (from == to) {
    std::memcpy(out, row, kernels::row_bytes(from, num_elements));
    return;
  }
  kernels::dequantize_row(from, row, num_elements, scratch);
  if (to == kernels::DType::kBF16) {
    narrow(scratch, num_elements, static_cast<kernels::bf16*>(out));
  } else if (to == kernels::DType::kF16) {
    narrow(scratch, num_elements, static_cast<kernels::f16*>(out));
  } else {
    std::memcpy(out, scratch, static_cast<std::size_t>(num_elements) * sizeof(float));
  }
}

}  // namespace kvasir
