// Device memory for the CUDA test programs and benches: filled from the host, read back, and
// poisoned, so that what a kernel leaves unwritten shows as NaN.
#pragma once

#include <cuda_runtime.h>

#include <cstdio>
#include <utility>
#include <vector>

#include "kernels/cuda_launch.cuh"

namespace testing {

template <typename T>
class DeviceBuffer {
 public:
  // Poisoned: every byte is 0xFF, which is NaN in all three number types and -1 as an integer.
  explicit DeviceBuffer(std::size_t count) : count_(count) {
    CUDA_CHECK(cudaMalloc(&data_, num_bytes() + 1));
    poison();
  }
  explicit DeviceBuffer(const std::vector<T>& values) : DeviceBuffer(values.size()) {
    upload(values);
  }
  ~DeviceBuffer() { cudaFree(data_); }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;
  DeviceBuffer(DeviceBuffer&& other) noexcept
      : count_(other.count_), data_(std::exchange(other.data_, nullptr)) {}

  T* data() const { return data_; }
  std::size_t size() const { return count_; }
  std::size_t num_bytes() const { return count_ * sizeof(T); }

  void poison() { CUDA_CHECK(cudaMemset(data_, 0xff, num_bytes())); }
  void clear() { CUDA_CHECK(cudaMemset(data_, 0, num_bytes())); }
  void upload(const std::vector<T>& values) {
    CUDA_CHECK(cudaMemcpy(data_, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
  }
  // Waits for all work on the device.
  std::vector<T> download() const {
    std::vector<T> values(count_);
    CUDA_CHECK(cudaDeviceSynchronize());
    CUDA_CHECK(cudaMemcpy(values.data(), data_, num_bytes(), cudaMemcpyDeviceToHost));
    return values;
  }

 private:
  std::size_t count_;
  T* data_ = nullptr;
};

// Says so and returns false where there is no device: a test program then ends with "1..0 # skip".
inline bool has_device() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess && count > 0) return true;
  std::printf("TAP version 14\n1..0 # skip no CUDA device\n");
  return false;
}

}  // namespace testing
