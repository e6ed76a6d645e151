// Fills the table of vector_kernels.h for the instruction set this file is compiled for. Included
// by exactly one .cpp per set.
#pragma once

#include "kernels/attention_simd.h"
#include "kernels/rms_norm_simd.h"
#include "kernels/rope_simd.h"
#include "kernels/sample_simd.h"
#include "kernels/simd_math.h"
#include "kernels/swiglu_simd.h"
#include "kernels/vector_kernels.h"

namespace kernels {
namespace KERNELS_SIMD {

inline void exp_row(float* out, const float* x, int size) {
  for (int i = 0; i < size; i += kNumLanes) {
    store_first(out + i, exp(load_first(x + i, size - i)), size - i);
  }
}

extern const VectorKernels kVectorKernels;
const VectorKernels kVectorKernels = {
    rms_norm_group, swiglu_row,   rope_head,       convert_row,   attend_chunk, merge_chunk,
    largest_logit,  weigh_logits, collect_between, pick_from_all, exp_row,
};

}  // namespace KERNELS_SIMD
}  // namespace kernels
