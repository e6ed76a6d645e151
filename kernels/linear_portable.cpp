// The loops of linear_tiles.h in plain C++.
#define KERNELS_FORCE_PORTABLE
#include "kernels/linear_tiles.h"

namespace kernels {

const LinearKernels& linear_kernels_portable() {
  static const LinearKernels kKernels = portable::make_linear_kernels();
  return kKernels;
}

}  // namespace kernels
