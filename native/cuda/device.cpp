#include "native/cuda/device.h"

namespace kvasir {

namespace {

std::string gigabytes(std::size_t num_bytes) {
  const std::string hundredths = std::to_string((num_bytes + 5'000'000) / 10'000'000);
  const std::string padded = std::string(hundredths.size() < 3 ? 3 - hundredths.size() : 0, '0');
  std::string text = padded + hundredths;
  text.insert(text.size() - 2, ".");
  return text + " GB";
}

}  // namespace

DeviceMemory::DeviceMemory(std::size_t num_bytes) : num_bytes_(num_bytes) {
  const cudaError_t status = cudaMalloc(&data_, num_bytes);
  if (status == cudaErrorMemoryAllocation) {
    // Not sticky: taken note of here, so that the next call does not report it again.
    cudaGetLastError();
    std::size_t free_bytes = 0;
    std::size_t total_bytes = 0;
    CUDA_CHECK(cudaMemGetInfo(&free_bytes, &total_bytes));
    throw kernels::Error("the GPU has " + gigabytes(free_bytes) + " free of " +
                         gigabytes(total_bytes) + " and " + gigabytes(num_bytes) +
                         " are needed; end other programs on it, lower --gpu-memory-fraction or "
                         "--max-sequences, or choose a smaller model");
  }
  CUDA_CHECK(status);
}

PinnedMemory::PinnedMemory(std::size_t num_bytes) {
  CUDA_CHECK(cudaHostAlloc(&data_, num_bytes, cudaHostAllocDefault));
}

}  // namespace kvasir
