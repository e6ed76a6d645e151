// The loops of linear_tiles.h in AVX-512 (F, BW, VL, DQ).
#include "kernels/linear_tiles.h"

namespace kernels {

const LinearKernels& linear_kernels_avx512() {
  static const LinearKernels kKernels = avx512::make_linear_kernels();
  return kKernels;
}

}  // namespace kernels
