#include "native/cuda/decode_graphs.h"

#include <algorithm>

namespace kvasir {

std::vector<int> decode_sizes(const StepLimits& limits) {
  const int max_size = std::min(limits.max_sequences, limits.max_tokens_per_step);
  std::vector<int> sizes;
  // Steps grow with the size: what is filled up stays a small part of what is computed anyway.
  for (int size = 1; size < max_size;) {
    sizes.push_back(size);
    size += size < 8 ? size : size < 64 ? 8 : size < 256 ? 16 : 64;
  }
  sizes.push_back(max_size);
  return sizes;
}

DecodeGraphs::DecodeGraphs(const StepLimits& limits, const CudaStream& stream,
                           const std::function<void(int num_sequences)>& warm_up,
                           const Enqueue& enqueue) {
  for (const int size : decode_sizes(limits)) {
    warm_up(size);
    const auto record = [&](int index) {
      return CudaGraph(stream, [&](kernels::Stream s) { enqueue(size, index, s); });
    };
    entries_.push_back({size, {record(0), record(1)}});
  }
}

void DecodeGraphs::launch(int num_sequences, int index, const CudaStream& stream) const {
  const auto entry = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& candidate) {
    return candidate.num_sequences == num_sequences;
  });
  CHECK(entry != entries_.end(),
        "there is no graph of " + std::to_string(num_sequences) + " sequences");
  entry->graphs[static_cast<std::size_t>(index)].launch(stream);
}

}  // namespace kvasir
