// Plain loops even where the compiler's default set has vectors: this is the version for processors
// that are not known.
#define KERNELS_FORCE_PORTABLE
#include "kernels/vector_kernels_simd.h"
