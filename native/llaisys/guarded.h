// The frame of every exported function: what goes wrong inside is printed with the function's name
// before it leaves the library.
#pragma once

#include <cstdio>
#include <exception>

namespace llaisys {

template <typename Body>
auto guarded(const char* function, Body&& body) -> decltype(body()) {
  try {
    return body();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", function, error.what());
    throw;
  }
}

}  // namespace llaisys
