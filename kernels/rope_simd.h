// The vector code of rope.h: one head turned in place, and the rounding of a row for the KV cache.
#pragma once

#include <cstring>

#include "kernels/simd_math.h"

namespace kernels {
namespace KERNELS_SIMD {

// Turns the pairs (head[j], head[half + j]). Each product is rounded before the sum, as in the
// common reference.
inline void rope_head(float* head, const float* cosines, const float* sines, int half) {
  for (int j = 0; j < half; j += kNumLanes) {
    const int left = half - j;
    const Lanes a = load_first(head + j, left);
    const Lanes b = load_first(head + half + j, left);
    const Lanes c = load_first(cosines + j, left);
    const Lanes s = load_first(sines + j, left);
    store_first(head + j, sub(mul(a, c), mul(b, s)), left);
    store_first(head + half + j, add(mul(b, c), mul(a, s)), left);
  }
}

// Writes `size` floats as kF32 or kF16.
inline void convert_row(DType type, void* out, const float* x, int size) {
  if (type == DType::kF32) {
    std::memcpy(out, x, size * sizeof(float));
    return;
  }
  f16* halves = static_cast<f16*>(out);
  for (int i = 0; i < size; i += kNumLanes) {
    store_first(halves + i, load_first(x + i, size - i), size - i);
  }
}

}  // namespace KERNELS_SIMD
}  // namespace kernels
