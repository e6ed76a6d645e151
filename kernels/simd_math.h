// What simd.h leaves out because the linears do not need it: comparisons, integers, transposition,
// loads of any plain type, exp. The same rule holds: every operation is exact or rounds once per
// lane, in an order that is written down, so all instruction sets give the same bits.
#pragma once

#include <cstdint>

#include "kernels/simd.h"
#include "kernels/types.h"

#if defined(KERNELS_FORCE_PORTABLE)
#include "kernels/simd_math_portable.h"
#elif defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && \
    defined(__AVX512DQ__)
#include "kernels/simd_math_avx512.h"
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include "kernels/simd_math_avx2.h"
#elif defined(__aarch64__)
#include "kernels/simd_math_neon.h"
#else
#include "kernels/simd_math_portable.h"
#endif

namespace kernels {
namespace KERNELS_SIMD {

inline constexpr int kNumLanes = 16;

inline Lanes load_as(const float* from) { return load(from); }
inline Lanes load_as(const f16* from) { return load_f16(from); }
inline Lanes load_as(const bf16* from) { return load_bf16(from); }

inline void store_as(float* to, Lanes a) { store(to, a); }
inline void store_as(f16* to, Lanes a) { store_f16(to, a); }
inline void store_as(bf16* to, Lanes a) {
  float values[kNumLanes];
  store(values, a);
  for (int i = 0; i < kNumLanes; ++i) to[i] = to_bf16(values[i]);
}

// The first n of 16 elements; the lanes behind them are 0 and their memory is not touched.
template <typename T>
inline Lanes load_first(const T* from, int n) {
  if (n >= kNumLanes) return load_as(from);
  T values[kNumLanes] = {};
  for (int i = 0; i < n; ++i) values[i] = from[i];
  return load_as(values);
}

// Stores the first n lanes; the memory behind them is not touched.
template <typename T>
inline void store_first(T* to, Lanes a, int n) {
  if (n >= kNumLanes) return store_as(to, a);
  T values[kNumLanes];
  store_as(values, a);
  for (int i = 0; i < n; ++i) to[i] = values[i];
}

// e^x within 1 ulp for results that are normal numbers, infinity above 88.72, 0 below -103.97; NaN
// stays NaN.
//
// x = n ln 2 + r with |r| <= ln 2 / 2, then a polynomial for e^r. Adding 1.5 * 2^23 rounds
// x / ln 2 to the integer n and leaves n in the low bits. The power of two is applied in two
// halves, as 2^n alone is no float at either end.
inline Lanes exp(Lanes x) {
  const Lanes clamped = min(broadcast(89.0f), max(broadcast(-104.0f), x));
  const Lanes magic = broadcast(12582912.0f);
  const Lanes shifted = fma(clamped, broadcast(1.44269504f), magic);
  const Lanes n = sub(shifted, magic);
  const Words exponent = sub_words(as_words(shifted), as_words(magic));

  // ln 2 in two parts, the first short enough that its product with n is exact.
  Lanes r = fma(n, broadcast(-0.693359375f), clamped);
  r = fma(n, broadcast(2.12194440e-4f), r);

  Lanes p = broadcast(1.9875691500e-4f);
  p = fma(p, r, broadcast(1.3981999507e-3f));
  p = fma(p, r, broadcast(8.3334519073e-3f));
  p = fma(p, r, broadcast(4.1665795894e-2f));
  p = fma(p, r, broadcast(1.6666665459e-1f));
  p = fma(p, r, broadcast(5.0000001201e-1f));
  p = fma(mul(r, r), p, r);
  p = add(p, broadcast(1.0f));

  const Words half = shift_right_signed<1>(exponent);
  const Words bias = broadcast_word(127);
  const Lanes first = as_lanes(shift_left<23>(add_words(half, bias)));
  const Lanes second = as_lanes(shift_left<23>(add_words(sub_words(exponent, half), bias)));
  return mul(mul(p, first), second);
}

}  // namespace KERNELS_SIMD
}  // namespace kernels
