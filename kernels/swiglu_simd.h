// The vector code of swiglu.h, one row at a time.
#pragma once

#include "kernels/simd_math.h"

namespace kernels {
namespace KERNELS_SIMD {

template <typename T>
inline void swiglu_of(void* out_data, const void* gate_data, const void* up_data, int size) {
  T* out = static_cast<T*>(out_data);
  const T* gate = static_cast<const T*>(gate_data);
  const T* up = static_cast<const T*>(up_data);
  const Lanes one = broadcast(1.0f);
  for (int i = 0; i < size; i += kNumLanes) {
    const int left = size - i;
    const Lanes g = load_first(gate + i, left);
    const Lanes silu = div(g, add(one, exp(sub(zero(), g))));
    store_first(out + i, mul(load_first(up + i, left), silu), left);
  }
}

inline void swiglu_row(DType type, void* out, const void* gate, const void* up, int size) {
  if (type == DType::kF16) return swiglu_of<f16>(out, gate, up, size);
  if (type == DType::kBF16) return swiglu_of<bf16>(out, gate, up, size);
  return swiglu_of<float>(out, gate, up, size);
}

}  // namespace KERNELS_SIMD
}  // namespace kernels
