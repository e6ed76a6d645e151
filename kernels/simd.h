// Sixteen floats at a time, written once for every instruction set. A file that includes this is
// compiled once per set (x_avx2.cpp, x_avx512.cpp, x_neon.cpp, x_portable.cpp) and finds the
// widest set its compiler flags allow under the same names in namespace kernels::KERNELS_SIMD. The
// namespace differs per set, so the linker never merges code of different sets.
//
// Every operation is exact or rounds once per lane, so all sets give the same bits.
// KERNELS_FORCE_PORTABLE chooses the plain loops although the compiler has vectors.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(KERNELS_FORCE_PORTABLE)
#include "kernels/simd_portable.h"
#elif defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && \
    defined(__AVX512DQ__)
#include "kernels/simd_avx512.h"
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include "kernels/simd_avx2.h"
#elif defined(__aarch64__)
#include "kernels/simd_neon.h"
#else
#include "kernels/simd_portable.h"
#endif
