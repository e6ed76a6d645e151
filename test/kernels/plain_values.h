// Values of the three plain types for tests: seeded, widened, poisoned.
#pragma once

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "kernels/cpu_features.h"
#include "kernels/thread_pool.h"
#include "kernels/types.h"

namespace testing {

// Type, name and the tolerance the operators' contract allows.
template <typename T>
struct PlainType;
template <>
struct PlainType<float> {
  static constexpr kernels::DType kType = kernels::DType::kF32;
  static constexpr const char* kName = "f32";
  static constexpr double kTolerance = 1e-5;
};
template <>
struct PlainType<kernels::f16> {
  static constexpr kernels::DType kType = kernels::DType::kF16;
  static constexpr const char* kName = "f16";
  static constexpr double kTolerance = 1e-3;
};
template <>
struct PlainType<kernels::bf16> {
  static constexpr kernels::DType kType = kernels::DType::kBF16;
  static constexpr const char* kName = "bf16";
  static constexpr double kTolerance = 1e-2;
};

// Uniform in [low, high), rounded to T.
template <typename T>
std::vector<T> uniform_values(std::size_t count, float low, float high, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(low, high);
  std::vector<T> values(count);
  for (T& value : values) value = kernels::from_float<T>(uniform(random));
  return values;
}

// Normally distributed with every 97th value twenty times as large: what activations look like.
template <typename T>
std::vector<T> spiky_values(std::size_t count, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 1);
  std::vector<T> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    const float value = normal(random);
    values[i] = kernels::from_float<T>(i % 97 == 5 ? 20 * value : value);
  }
  return values;
}

template <typename T>
std::vector<double> widened(const std::vector<T>& values) {
  std::vector<double> wide;
  wide.reserve(values.size());
  for (const T value : values) wide.push_back(kernels::to_float(value));
  return wide;
}

// Output memory that shows every element an operator forgets to write.
template <typename T>
std::vector<T> poisoned(std::size_t count) {
  return std::vector<T>(count, kernels::from_float<T>(NAN));
}

// Runs body(name, pool) once for every instruction set this machine has, with a pool of two
// threads.
template <typename Body>
void for_each_isa(Body&& body) {
  for (const kernels::Isa isa : kernels::available_isas()) {
    kernels::ThreadPool pool(2, isa);
    body(std::string(kernels::name_of(isa)), pool);
  }
}

}  // namespace testing
