// The loops of linear_tiles.h in AVX2 and FMA.
#include "kernels/linear_tiles.h"

namespace kernels {

const LinearKernels& linear_kernels_avx2() {
  static const LinearKernels kKernels = avx2::make_linear_kernels();
  return kKernels;
}

}  // namespace kernels
