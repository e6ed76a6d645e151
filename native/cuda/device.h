// Owners of what the CUDA runtime hands out. Destructors ignore errors: when the device has failed
// there is nothing left to give back, and the process ends anyway.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "kernels/cuda_launch.cuh"

namespace kvasir {

// Makes the first device the calling thread's. Throws kernels::Error, a sentence with what was
// found and what is needed, unless this build can run on it (status.cpp).
void use_cuda_device();

// One allocation on the device.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  // Throws kernels::Error with needed, free and total bytes when it does not fit.
  explicit DeviceMemory(std::size_t num_bytes);
  ~DeviceMemory() { cudaFree(data_); }
  DeviceMemory(DeviceMemory&& other) noexcept { *this = std::move(other); }
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(num_bytes_, other.num_bytes_);
    return *this;
  }

  std::byte* data() const { return static_cast<std::byte*>(data_); }
  std::size_t num_bytes() const { return num_bytes_; }

 private:
  void* data_ = nullptr;
  std::size_t num_bytes_ = 0;
};

// Host memory that the device can copy from and to while the host goes on.
class PinnedMemory {
 public:
  PinnedMemory() = default;
  explicit PinnedMemory(std::size_t num_bytes);
  ~PinnedMemory() { cudaFreeHost(data_); }
  PinnedMemory(PinnedMemory&& other) noexcept { *this = std::move(other); }
  PinnedMemory& operator=(PinnedMemory&& other) noexcept {
    std::swap(data_, other.data_);
    return *this;
  }

  std::byte* data() const { return static_cast<std::byte*>(data_); }

 private:
  void* data_ = nullptr;
};

// A stream that does not wait for the legacy default stream.
class CudaStream {
 public:
  CudaStream() { CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }
  ~CudaStream() { cudaStreamDestroy(stream_); }
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;

  kernels::Stream get() const { return stream_; }
  void synchronize() const { CUDA_CHECK(cudaStreamSynchronize(stream_)); }

 private:
  cudaStream_t stream_ = nullptr;
};

// A point on a stream that other streams and the host can wait for.
class CudaEvent {
 public:
  // How the host waits: polling sees the event at once and takes a whole core; sleeping sees it
  // some 0.1 ms later and takes none.
  enum class Wait { kPolling, kSleeping };

  explicit CudaEvent(Wait wait = Wait::kPolling) {
    const unsigned sleeping = wait == Wait::kSleeping ? cudaEventBlockingSync : 0;
    CUDA_CHECK(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming | sleeping));
  }
  ~CudaEvent() { cudaEventDestroy(event_); }
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;

  void record(const CudaStream& stream) { CUDA_CHECK(cudaEventRecord(event_, stream.get())); }
  // What is enqueued on `stream` from here on starts after this point.
  void hold(const CudaStream& stream) const {
    CUDA_CHECK(cudaStreamWaitEvent(stream.get(), event_, 0));
  }
  // Returns at once if nothing was recorded.
  void synchronize() const { CUDA_CHECK(cudaEventSynchronize(event_)); }

 private:
  cudaEvent_t event_ = nullptr;
};

// A recorded sequence of launches that starts with one call.
class CudaGraph {
 public:
  // Records what `enqueue(stream)` launches without running it.
  template <class Enqueue>
  CudaGraph(const CudaStream& stream, Enqueue&& enqueue) {
    CUDA_CHECK(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal));
    cudaGraph_t graph = nullptr;
    try {
      enqueue(stream.get());
    } catch (...) {
      cudaStreamEndCapture(stream.get(), &graph);
      cudaGraphDestroy(graph);
      throw;
    }
    CUDA_CHECK(cudaStreamEndCapture(stream.get(), &graph));
    const cudaError_t status = cudaGraphInstantiate(&replay_, graph, 0);
    cudaGraphDestroy(graph);
    CUDA_CHECK(status);
  }
  ~CudaGraph() {
    if (replay_ != nullptr) cudaGraphExecDestroy(replay_);
  }
  CudaGraph(CudaGraph&& other) noexcept : replay_(std::exchange(other.replay_, nullptr)) {}
  CudaGraph& operator=(CudaGraph&&) = delete;

  void launch(const CudaStream& stream) const {
    CUDA_CHECK(cudaGraphLaunch(replay_, stream.get()));
  }

 private:
  cudaGraphExec_t replay_ = nullptr;
};

}  // namespace kvasir
