// From a DType in an argument struct to a C++ type in a template, for the operators that take
// float, f16 and bf16.
#pragma once

#include <string>

#include "kernels/types.h"

namespace kernels {

// Calls body(T{}) with the C++ type of `type`. Throws Error, naming the operator, on a block
// format.
template <typename Body>
void with_plain_type(DType type, const char* operator_name, Body&& body) {
  switch (type) {
    case DType::kF32:
      return body(float{});
    case DType::kF16:
      return body(f16{});
    case DType::kBF16:
      return body(bf16{});
    default:
      CHECK(false, std::string(operator_name) + ": type " + name_of(type) +
                       " is not supported; use f32, f16 or bf16");
  }
}

}  // namespace kernels
