#include "kernels/vector_kernels_simd.h"
