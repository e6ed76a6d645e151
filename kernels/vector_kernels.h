// The inner loops that exist once per instruction set, as a table of functions. An operator asks
// for the table once a call and works through it; what the entries compute does not depend on the
// set.
#pragma once

#include <cstdint>

#include "kernels/attention_tile.h"
#include "kernels/cpu_features.h"
#include "kernels/sample_row.h"
#include "kernels/types.h"

namespace kernels {

struct VectorKernels {
  // rms_norm.h, one group of `size` elements.
  void (*rms_norm_group)(DType type, void* out, const void* x, const void* weight, int size,
                         float epsilon);
  // swiglu.h, one row.
  void (*swiglu_row)(DType type, void* out, const void* gate, const void* up, int size);
  // rope.h, one head of 2 * half elements, in place.
  void (*rope_head)(float* head, const float* cosines, const float* sines, int half);
  // Floats to kF32 or kF16, rounded to nearest even.
  void (*convert_row)(DType type, void* out, const float* x, int size);

  // attention_tile.h: state over the keys [begin, begin + kChunkKeys); and its merge into `total`.
  void (*attend_chunk)(const AttentionTile& tile, int begin, const AttentionState& state);
  void (*merge_chunk)(const AttentionTile& tile, int begin, const AttentionState& chunk,
                      const AttentionState& total);

  // sample_row.h.
  float (*largest_logit)(const float* logits, int size);
  void (*weigh_logits)(float* weights, const float* logits, int size, float maximum,
                       float inverse_temperature);
  int (*collect_between)(const float* values, int size, float low, float high,
                         std::uint32_t* indices);
  void (*pick_from_all)(const LogitRow& row, GumbelPick& pick);

  // e^x of `size` floats, for tests of the function all of the above share.
  void (*exp_row)(float* out, const float* x, int size);
};

// The table for an instruction set that can run here (cpu_features.h).
const VectorKernels& vector_kernels(Isa isa);

}  // namespace kernels
