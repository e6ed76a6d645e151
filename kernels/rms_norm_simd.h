// The vector code of rms_norm.h, one group at a time.
#pragma once

#include <cmath>

#include "kernels/simd_math.h"

namespace kernels {
namespace KERNELS_SIMD {

// Four running sums hide the latency of the addition; element i belongs to sum (i / 16) % 4.
template <typename T>
inline float sum_of_squares(const T* x, int size) {
  constexpr int kNumSums = 4;
  Lanes sums[kNumSums] = {zero(), zero(), zero(), zero()};
  int i = 0;
  for (; i + kNumSums * kNumLanes <= size; i += kNumSums * kNumLanes) {
    for (int s = 0; s < kNumSums; ++s) {
      const Lanes values = load_as(x + i + s * kNumLanes);
      sums[s] = fma(values, values, sums[s]);
    }
  }
  for (int s = 0; i < size; ++s, i += kNumLanes) {
    const Lanes values = load_first(x + i, size - i);
    sums[s] = fma(values, values, sums[s]);
  }
  return sum(add(add(sums[0], sums[1]), add(sums[2], sums[3])));
}

template <typename T>
inline void rms_norm_of(void* out_data, const void* x_data, const void* weight_data, int size,
                        float epsilon) {
  T* out = static_cast<T*>(out_data);
  const T* x = static_cast<const T*>(x_data);
  const T* weight = static_cast<const T*>(weight_data);
  const float mean = sum_of_squares(x, size) / static_cast<float>(size);
  const Lanes scale = broadcast(1.0f / std::sqrt(mean + epsilon));
  for (int i = 0; i < size; i += kNumLanes) {
    const int left = size - i;
    const Lanes normal = mul(load_first(x + i, left), scale);
    store_first(out + i, mul(normal, load_first(weight + i, left)), left);
  }
}

inline void rms_norm_group(DType type, void* out, const void* x, const void* weight, int size,
                           float epsilon) {
  if (type == DType::kF16) return rms_norm_of<f16>(out, x, weight, size, epsilon);
  if (type == DType::kBF16) return rms_norm_of<bf16>(out, x, weight, size, epsilon);
  return rms_norm_of<float>(out, x, weight, size, epsilon);
}

}  // namespace KERNELS_SIMD
}  // namespace kernels
