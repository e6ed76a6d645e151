// What there is of CUDA on this machine, and whether it can be used.
#include <algorithm>
#include <limits>

#include "native/cuda.h"
#include "native/cuda/count_tokens.h"
#include "native/cuda/device.h"

namespace kvasir {

namespace {

// Below this the tensor-core kernels lack instructions they are written with (cp.async, bf16).
constexpr int kMinComputeCapability = 80;

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string capability_text(int capability) {
  return std::to_string(capability / 10) + "." + std::to_string(capability % 10);
}

std::string reason(const char* call, cudaError_t status) {
  return std::string(call) + " failed with " + cudaGetErrorName(status) + " (" +
         cudaGetErrorString(status) + ")";
}

// Why no device can be used, from the answer to the first question that needs the driver.
std::string count_fault(cudaError_t status, const CudaStatus& found) {
  if (!found.driver_version) {
    return "There is no NVIDIA driver on this machine. Install one, or choose --device cpu.";
  }
  if (status == cudaErrorInsufficientDriver) {
    return "The NVIDIA driver is for CUDA " + version_text(*found.driver_version) +
           " and this build needs CUDA " + version_text(found.runtime_version.value_or(0)) +
           ". Update the driver, or choose --device cpu.";
  }
  if (status == cudaErrorNoDevice) {
    return "The NVIDIA driver finds no GPU (CUDA_VISIBLE_DEVICES hides them, or there is none). "
           "Choose --device cpu without one.";
  }
  return "The GPU cannot be used: " + reason("cudaGetDeviceCount", status) + ".";
}

// Asks the driver for the memory that is free, which makes a context there.
std::string read_free_bytes(CudaDevice& device) {
  std::size_t free_bytes = 0;
  std::size_t total_bytes = 0;
  const char* call = "cudaSetDevice";
  cudaError_t status = cudaSetDevice(device.index);
  if (status == cudaSuccess) {
    call = "cudaMemGetInfo";
    status = cudaMemGetInfo(&free_bytes, &total_bytes);
  }
  device.free_bytes = free_bytes;
  return status == cudaSuccess ? "" : reason(call, status);
}

// Fills in what is known of a device. Returns why it cannot be used, or nothing.
std::string read_device(int index, CudaDevice& device) {
  cudaDeviceProp properties{};
  const cudaError_t status = cudaGetDeviceProperties(&properties, index);
  if (status != cudaSuccess) return reason("cudaGetDeviceProperties", status) + ".";
  device = {index,
            properties.name,
            properties.major * 10 + properties.minor,
            properties.totalGlobalMem,
            0,
            properties.multiProcessorCount};
  const std::string name = "GPU " + std::to_string(index) + " (" + device.name + ")";
  const std::string advice = " Choose another with CUDA_VISIBLE_DEVICES, or --device cpu.";
  if (device.compute_capability < kMinComputeCapability) {
    return name + " has compute capability " + capability_text(device.compute_capability) +
           " and " + capability_text(kMinComputeCapability) + " or newer is needed." + advice;
  }
  const std::string fault = read_free_bytes(device);
  if (!fault.empty()) return name + " cannot be used: " + fault + "." + advice;
  if (!has_code_for_device()) {
    return "This build has no code for " + name + ", compute capability " +
           capability_text(device.compute_capability) +
           ". Build it with that capability in CMAKE_CUDA_ARCHITECTURES." + advice;
  }
  return "";
}

// Looks at no more than max_devices.
CudaStatus find_devices(int max_devices) {
  CudaStatus found{true, std::nullopt, std::nullopt, "", {}};
  int version = 0;
  if (cudaDriverGetVersion(&version) == cudaSuccess && version > 0) found.driver_version = version;
  if (cudaRuntimeGetVersion(&version) == cudaSuccess) found.runtime_version = version;
  int num_devices = 0;
  const cudaError_t status = cudaGetDeviceCount(&num_devices);
  if (status != cudaSuccess || num_devices == 0) {
    cudaGetLastError();
    found.fault = count_fault(status == cudaSuccess ? cudaErrorNoDevice : status, found);
    return found;
  }
  // The first device serves and is looked at last, so that it is the current one afterwards. The
  // others are only told of: their memory is given back.
  for (int index = std::min(num_devices, max_devices) - 1; index >= 0; --index) {
    CudaDevice device{};
    found.fault = read_device(index, device);
    found.devices.insert(found.devices.begin(), device);
    if (index > 0) cudaDeviceReset();
  }
  return found;
}

}  // namespace

CudaStatus cuda_status() { return find_devices(std::numeric_limits<int>::max()); }

void use_cuda_device() {
  const CudaStatus status = find_devices(1);
  CHECK(status.fault.empty(), status.fault);
}

}  // namespace kvasir
