// A strided copy, one element after the other.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/rearrange.h"

namespace reference {

inline void rearrange(const kernels::Rearrange& op, int dim = 0, std::int64_t out = 0,
                      std::int64_t in = 0) {
  if (dim == op.num_dims) {
    std::memcpy(static_cast<char*>(op.out) + out * op.element_bytes,
                static_cast<const char*>(op.in) + in * op.element_bytes, op.element_bytes);
    return;
  }
  for (std::int64_t i = 0; i < op.shape[dim]; ++i) {
    rearrange(op, dim + 1, out + i * op.out_strides[dim], in + i * op.in_strides[dim]);
  }
}

}  // namespace reference
