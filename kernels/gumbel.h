// The Gumbel number of a random word, with the same bits on every processor and on the GPU.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/host_device.h"

namespace kernels {

// One rounding per operation: a GPU compiler would fuse a product with the sum it goes into.
KERNELS_HOST_DEVICE inline double rounded_product(double a, double b) {
#ifdef __CUDA_ARCH__
  return __dmul_rn(a, b);
#else
  return a * b;
#endif
}

KERNELS_HOST_DEVICE inline double rounded_sum(double a, double b) {
#ifdef __CUDA_ARCH__
  return __dadd_rn(a, b);
#else
  return a + b;
#endif
}

// The C library's log differs between versions and processors in the last bit, and a pick must not.
// Only operations that IEEE 754 defines to the bit: x = m 2^e with m near 1, and with
// s = (m - 1) / (m + 1), log(m) = 2 (s + s^3/3 + s^5/5 + ..). |s| < 0.172: eleven terms reach
// 1e-17.
KERNELS_HOST_DEVICE inline double log_of(double x) {
  int exponent;
  double m = std::frexp(x, &exponent);
  if (m < 0.70710678118654752) {
    m *= 2;
    --exponent;
  }
  const double s = rounded_sum(m, -1) / rounded_sum(m, 1);
  const double square = rounded_product(s, s);
  double series = 0;
  for (int k = 21; k >= 1; k -= 2) {
    series = rounded_sum(rounded_product(series, square), 1.0 / k);
  }
  return rounded_sum(rounded_product(exponent, 0.69314718055994531),
                     rounded_product(2 * s, series));
}

// -log(-log((word + 0.5) / 2^32)).
KERNELS_HOST_DEVICE inline double gumbel_of(std::uint32_t word) {
  const double u = rounded_product(static_cast<double>(word) + 0.5, 0x1p-32);
  return -log_of(-log_of(u));
}

// The largest gumbel_of, rounded up: what a token may at most gain.
inline constexpr double kMaxGumbel = 22.9;

}  // namespace kernels
