#include <vector>

#include "kernels/cuda_plain.cuh"
#include "kernels/embedding.h"

namespace kernels {
namespace {

template <typename T>
__global__ void __launch_bounds__(kElementThreads)
    embedding_kernel(const __grid_constant__ Embedding op) {
  wait_for_inputs();
  const T* weight = static_cast<const T*>(op.weight);
  T* out = static_cast<T*>(op.out);
  for_each_element(op.num_tokens, op.hidden_size, [&](std::int64_t t, unsigned i) {
    out[t * op.out_stride + i] = weight[op.index[t] * op.weight_stride + i];
  });
}

void check_indices_on_host(const Embedding& op, Stream stream) {
  std::vector<std::int64_t> indices(op.num_tokens);
  CUDA_CHECK(cudaMemcpyAsync(indices.data(), op.index, indices.size() * sizeof(std::int64_t),
                             cudaMemcpyDeviceToHost, stream));
  CUDA_CHECK(cudaStreamSynchronize(stream));
  check_embedding_indices(indices.data(), op.num_tokens, op.vocab_size);
}

}  // namespace

void embedding_cuda(const Embedding& op, Stream stream) {
  with_device_type(op.type, "embedding", [&](auto zero) {
    using T = decltype(zero);
    if (op.num_tokens <= 0) return;
    check_indices_on_host(op, stream);
    if (op.hidden_size <= 0) return;
    launch(embedding_kernel<T>, element_grid(op.num_tokens, op.hidden_size), kElementThreads, 0,
           stream, op);
  });
}

}  // namespace kernels
