#pragma once

#include <cmath>

#include "test/reference/rounding.h"

namespace reference {

template <typename T>
double swiglu(double gate, double up) {
  return rounded<T>(up * gate / (1 + std::exp(-gate)));
}

}  // namespace reference
