#include "kernels/vector_kernels.h"

namespace kernels {

namespace portable {
extern const VectorKernels kVectorKernels;
}
#if defined(__x86_64__)
namespace avx2 {
extern const VectorKernels kVectorKernels;
}
namespace avx512 {
extern const VectorKernels kVectorKernels;
}
#elif defined(__aarch64__)
namespace neon {
extern const VectorKernels kVectorKernels;
}
#endif

const VectorKernels& vector_kernels(Isa isa) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::kAvx2:
      return avx2::kVectorKernels;
    case Isa::kAvx512:
      return avx512::kVectorKernels;
#elif defined(__aarch64__)
    case Isa::kNeon:
      return neon::kVectorKernels;
#endif
    default:
      return portable::kVectorKernels;
  }
}

}  // namespace kernels
