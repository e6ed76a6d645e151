// Linear layers: y = x W^T (+ bias).
//
// The engine's form takes float activations and a packed weight of any DType, unpacked in
// registers. Each output is summed in ONE order, a function of the weight's type and of k alone:
//
//   partial[b] = sum_{k in block b} q[k] * x[k]     k ascending, one fused multiply-add each
//   y          = sum_b  scale[b] * partial[b] (+ min[b] * sum_{k in b} x[k])       b ascending
//
// with blocks of 32 k (16 for q6_k; scale 1 for f32, f16, bf16). So the bits of y do not depend
// on how many tokens share the call, on the number of threads or on the instruction set.
//
// Packing. Rows of W are taken in panels of kPanelRows; lanes of a vector run along the rows and
// activations are broadcast. A panel is one contiguous region, read once from front to back; see
// linear_pack.cpp for the layout of each type. The bytes are the source's, with the rows padded
// to a whole panel.
//
// The plain form, the operator's contract, is in linear_plain.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "kernels/thread_pool.h"
#include "kernels/types.h"

namespace kernels {

// Output rows of a panel. Weights whose number of rows is a multiple of it may be packed one after
// the other into one buffer and used as a single weight (q, k and v; gate and up).
inline constexpr int kPanelRows = 16;

struct PackedWeight {
  const void* data;  // packed_bytes(type, out_features, in_features), 64-byte aligned
  DType type;
  int out_features;
  int in_features;  // a multiple of block_size(type)
};

// Bytes of a packed weight: the source's, rows padded to a multiple of kPanelRows.
std::size_t packed_bytes(DType type, int out_features, int in_features);

// Packs row-major `rows` [out_features, in_features] of `type` into `packed`. If `source_row` is
// given, row r of the packed weight is row source_row(r) of the source, which undoes the
// interleaved order of q and k in GGUF `llama` files.
void pack_weight(DType type, const void* rows, int out_features, int in_features, void* packed,
                 const std::function<int(int)>& source_row = nullptr);

// One row of a packed weight as floats [in_features]: the dequantised values, exactly. This is the
// embedding lookup of a table tied to the output layer.
void unpack_row(const PackedWeight& weight, int row, float* out);

struct Linear {
  float* out;      // [num_tokens, out_features], rows out_stride apart; must not overlap x
  const float* x;  // [num_tokens, in_features], rows x_stride apart
  PackedWeight weight;
  const float* bias;        // [out_features] or null
  int num_tokens;           // rows; 0 does nothing
  std::int64_t out_stride;  // elements
  std::int64_t x_stride;    // elements
  bool accumulate;          // out = out + (x W^T + bias) instead of out = x W^T + bias
};

void linear_packed_cpu(const Linear& op, ThreadPool& pool);

}  // namespace kernels
