// Marks what host and device compile from the same source, because both must give the same bits.
#pragma once

#ifdef __CUDACC__
#define KERNELS_HOST_DEVICE __host__ __device__
#else
#define KERNELS_HOST_DEVICE
#endif
