// Steps of decodes alone, recorded as CUDA graphs: launching some 150 kernels one by one would take
// the host about as long as the device takes to run them.
//
// A graph fits one number of sequences, so there is one for each of a series of sizes, and a step
// is filled up to the next. Whether graphs are used or not, steps are filled up the same way, so
// that the same kernels run and the same ids come out.
#pragma once

#include <array>
#include <functional>
#include <vector>

#include "native/cuda/device.h"
#include "native/model_spec.h"

namespace kvasir {

// Sizes that steps of decodes are filled up to, ascending; the last is the largest step there is.
std::vector<int> decode_sizes(const StepLimits& limits);

class DecodeGraphs {
 public:
  // Launches a step of so many sequences whose inputs lie at `index` (0 or 1).
  using Enqueue = std::function<void(int num_sequences, int index, kernels::Stream stream)>;

  // Records every size on `stream`. warm_up(num_sequences) runs each once before: that brings its
  // kernels to the device, which is not allowed while recording. Throws kernels::CudaError.
  DecodeGraphs(const StepLimits& limits, const CudaStream& stream,
               const std::function<void(int num_sequences)>& warm_up, const Enqueue& enqueue);

  // Launches the graph of exactly this size.
  void launch(int num_sequences, int index, const CudaStream& stream) const;

 private:
  struct Entry {
    int num_sequences;
    std::array<CudaGraph, 2> graphs;  // by index
  };

  std::vector<Entry> entries_;
};

}  // namespace kvasir
