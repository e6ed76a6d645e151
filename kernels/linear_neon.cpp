// The loops of linear_tiles.h in NEON.
#include "kernels/linear_tiles.h"

namespace kernels {

const LinearKernels& linear_kernels_neon() {
  static const LinearKernels kKernels = neon::make_linear_kernels();
  return kKernels;
}

}  // namespace kernels
