#include <cuda_runtime.h>

#include <string>

#include "kernels/cuda_launch.cuh"
#include "native/llaisys/device.h"
#include "native/llaisys/guarded.h"

namespace llaisys {
namespace {

cudaMemcpyKind kind_of(llaisysMemcpyKind_t kind) {
  switch (kind) {
    case LLAISYS_MEMCPY_H2H:
      return cudaMemcpyHostToHost;
    case LLAISYS_MEMCPY_H2D:
      return cudaMemcpyHostToDevice;
    case LLAISYS_MEMCPY_D2H:
      return cudaMemcpyDeviceToHost;
    case LLAISYS_MEMCPY_D2D:
      return cudaMemcpyDeviceToDevice;
  }
  CHECK(false, "argument kind is " + std::to_string(static_cast<int>(kind)) + ", must be 0 to 3");
}

// ---- the runtime's functions, in the order of the table ----

// No driver, or one that is too old, is no device.
int get_device_count() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

void set_device(int id) {
  guarded("set_device", [&] {
    const int count = get_device_count();
    CHECK(id >= 0 && id < count, "argument id is " + std::to_string(id) +
                                     ", but this machine has " + std::to_string(count) +
                                     " NVIDIA devices, counted from 0");
    CUDA_CHECK(cudaSetDevice(id));
  });
}

void device_synchronize() {
  guarded("device_synchronize", [] { CUDA_CHECK(cudaDeviceSynchronize()); });
}

// Streams made here wait for the default one and the default one for them: so a copy with
// memcpy_sync comes after the operators called before it.
cudaStream_t make_stream() {
  cudaStream_t stream = nullptr;
  CUDA_CHECK(cudaStreamCreate(&stream));
  return stream;
}

llaisysStream_t create_stream() {
  return guarded("create_stream", []() -> llaisysStream_t { return make_stream(); });
}

void destroy_stream(llaisysStream_t stream) {
  guarded("destroy_stream", [&] {
    if (stream != nullptr) CUDA_CHECK(cudaStreamDestroy(static_cast<cudaStream_t>(stream)));
  });
}

void stream_synchronize(llaisysStream_t stream) {
  guarded("stream_synchronize",
          [&] { CUDA_CHECK(cudaStreamSynchronize(static_cast<cudaStream_t>(stream))); });
}

// cudaMalloc's error leaves the device usable, so it is worth a sentence of its own.
void* malloc_device(std::size_t num_bytes) {
  return guarded("malloc_device", [&] {
    void* memory = nullptr;
    const cudaError_t status = cudaMalloc(&memory, num_bytes != 0 ? num_bytes : 1);
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      CHECK(false, "the device has no " + std::to_string(num_bytes) + " bytes of free memory");
    }
    CUDA_CHECK(status);
    return memory;
  });
}

// Tensors that live until the end of the process may outlive the driver, which has freed them then.
void free_device(void* memory) {
  guarded("free_device", [&] {
    const cudaError_t status = cudaFree(memory);
    if (status != cudaErrorCudartUnloading) CUDA_CHECK(status);
  });
}

void* malloc_host(std::size_t num_bytes) {
  return guarded("malloc_host", [&] {
    void* memory = nullptr;
    CUDA_CHECK(cudaMallocHost(&memory, num_bytes != 0 ? num_bytes : 1));
    return memory;
  });
}

void free_host(void* memory) {
  guarded("free_host", [&] { CUDA_CHECK(cudaFreeHost(memory)); });
}

// cudaMemcpy alone returns early for some kinds.
void memcpy_sync(void* dst, const void* src, std::size_t num_bytes, llaisysMemcpyKind_t kind) {
  guarded("memcpy_sync", [&] {
    CUDA_CHECK(cudaMemcpyAsync(dst, src, num_bytes, kind_of(kind), nullptr));
    CUDA_CHECK(cudaStreamSynchronize(nullptr));
  });
}

void memcpy_async(void* dst, const void* src, std::size_t num_bytes, llaisysMemcpyKind_t kind,
                  llaisysStream_t stream) {
  guarded("memcpy_async", [&] {
    CUDA_CHECK(
        cudaMemcpyAsync(dst, src, num_bytes, kind_of(kind), static_cast<cudaStream_t>(stream)));
  });
}

class CudaOperators : public Operators {
 public:
  CudaOperators() : stream_(make_stream()) {}
  // At the end of the process the driver may be gone before its last thread: nothing to report.
  ~CudaOperators() override { cudaStreamDestroy(stream_); }
  CudaOperators(const CudaOperators&) = delete;
  CudaOperators& operator=(const CudaOperators&) = delete;

  void add(const kernels::Add& op) override { kernels::add_cuda(op, stream_); }
  void argmax(const kernels::Argmax& op) override { kernels::argmax_cuda(op, stream_); }
  void embedding(const kernels::Embedding& op) override { kernels::embedding_cuda(op, stream_); }
  void linear(const kernels::PlainLinear& op) override { kernels::linear_plain_cuda(op, stream_); }
  void rearrange(const kernels::Rearrange& op) override { kernels::rearrange_cuda(op, stream_); }
  void rms_norm(const kernels::RmsNorm& op) override { kernels::rms_norm_cuda(op, stream_); }
  void rope(const kernels::Rope& op) override { kernels::rope_cuda(op, stream_); }
  void swiglu(const kernels::SwiGlu& op) override { kernels::swiglu_cuda(op, stream_); }
  void self_attention(const kernels::SelfAttention& op) override {
    kernels::self_attention_cuda(op, stream_);
  }

 private:
  cudaStream_t stream_;
};

}  // namespace

const LlaisysRuntimeAPI& cuda_runtime() {
  static const LlaisysRuntimeAPI runtime = {get_device_count, set_device,     device_synchronize,
                                            create_stream,    destroy_stream, stream_synchronize,
                                            malloc_device,    free_device,    malloc_host,
                                            free_host,        memcpy_sync,    memcpy_async};
  return runtime;
}

std::unique_ptr<Operators> make_cuda_operators(int) { return std::make_unique<CudaOperators>(); }

}  // namespace llaisys
