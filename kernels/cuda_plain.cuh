// What the contract forms on CUDA share: the device's number types, and a grid for work that is
// done element by element.
//
// These kernels define what an operator computes, for any shape and stride. None is on the engine's
// path, so they are plain; speed is the fused forms' business (cuda_linear.h, cuda_attention.h).
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cuda_launch.cuh"
#include "kernels/cuda_tile.cuh"
#include "kernels/plain_type.h"

namespace kernels {

template <typename T>
struct DeviceTypeOf {
  using Type = T;
};
template <>
struct DeviceTypeOf<f16> {
  using Type = __half;
};
template <>
struct DeviceTypeOf<bf16> {
  using Type = __nv_bfloat16;
};

// with_plain_type() with the type that device code computes with.
template <typename Body>
void with_device_type(DType type, const char* operator_name, Body&& body) {
  with_plain_type(type, operator_name,
                  [&](auto zero) { body(typename DeviceTypeOf<decltype(zero)>::Type{}); });
}

inline constexpr int kElementThreads = 256;
inline constexpr int kMaxGridRows = 65535;  // the hardware's limit in y and z

// A grid of blocks of kElementThreads for for_each_element() over the same matrix.
inline dim3 element_grid(int num_rows, int num_columns) {
  const unsigned num_blocks = (static_cast<unsigned>(num_columns) - 1) / kElementThreads + 1;
  return dim3(num_blocks, static_cast<unsigned>(std::min(num_rows, kMaxGridRows)));
}

// Calls body(row, column) once for each element of a matrix, neighbouring threads on neighbouring
// columns.
template <typename Body>
__device__ __forceinline__ void for_each_element(int num_rows, int num_columns, Body body) {
  const unsigned column = blockIdx.x * kElementThreads + threadIdx.x;
  if (column >= static_cast<unsigned>(num_columns)) return;
  for (std::int64_t row = blockIdx.y; row < num_rows; row += gridDim.y) body(row, column);
}

}  // namespace kernels
