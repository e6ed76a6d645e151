#include <mutex>
#include <unordered_map>

#include "kernels/cuda_launch.cuh"

namespace kernels {

void throw_cuda_error(const char* file, int line, const char* call, cudaError_t code) {
  throw CudaError(std::string(file) + ":" + std::to_string(line) + ": " + call + ": " +
                      cudaGetErrorName(code) + " (" + cudaGetErrorString(code) + ")",
                  static_cast<int>(code));
}

namespace {

int attribute_of(cudaDeviceAttr attribute, int device) {
  int value = 0;
  CUDA_CHECK(cudaDeviceGetAttribute(&value, attribute, device));
  return value;
}

DeviceTraits read_traits(int device) {
  const int major = attribute_of(cudaDevAttrComputeCapabilityMajor, device);
  const int minor = attribute_of(cudaDevAttrComputeCapabilityMinor, device);
  const int shared = attribute_of(cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  return {attribute_of(cudaDevAttrMultiProcessorCount, device), major * 10 + minor,
          static_cast<std::size_t>(shared), major >= 9};
}

std::mutex mutex;

}  // namespace

const DeviceTraits& device_traits() {
  thread_local int cached_device = -1;
  thread_local const DeviceTraits* cached = nullptr;
  int device = 0;
  CUDA_CHECK(cudaGetDevice(&device));
  if (device != cached_device) {
    static std::unordered_map<int, DeviceTraits> traits;  // nodes never move
    const std::lock_guard<std::mutex> lock(mutex);
    const auto [entry, is_new] = traits.try_emplace(device);
    if (is_new) entry->second = read_traits(device);
    cached = &entry->second;
    cached_device = device;
  }
  return *cached;
}

void allow_shared_bytes(const void* kernel, std::size_t bytes) {
  static std::unordered_map<const void*, std::size_t> allowed;
  const std::lock_guard<std::mutex> lock(mutex);
  std::size_t& most = allowed[kernel];
  if (bytes <= most) return;
  CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  static_cast<int>(bytes)));
  most = bytes;
}

}  // namespace kernels
