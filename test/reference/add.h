#pragma once

#include "test/reference/rounding.h"

namespace reference {

template <typename T>
double add(double a, double b) {
  return rounded<T>(a + b);
}

}  // namespace reference
