// Brings a model's weights to the device: rows are converted by several threads into one pinned
// buffer while the one before is on its way.
#pragma once

#include <vector>

#include "kernels/thread_pool.h"
#include "native/cuda/layout.h"
#include "native/cuda/weight_source.h"

namespace kvasir {

// Fills every weight of the layout. `on_progress` gets the bytes of the source done so far. Returns
// what divides the rope frequencies if the source says so (rope_freqs.weight), else nothing. Throws
// as the source does, and kernels::CudaError.
std::vector<float> load_cuda_weights(const ModelSpec& spec, const CudaWeights& weights,
                                     WeightSource& source, kernels::ThreadPool& pool,
                                     const OnProgress& on_progress);

}  // namespace kvasir
