#include "kernels/cuda_launch.cuh"
#include "native/cuda/count_tokens.h"

namespace kvasir {

namespace {

constexpr int kThreads = 256;
constexpr int kMaxBlocks = 64;

// Atomics come in 32 bits, so the word that holds the count is exchanged, its neighbour unchanged.
__device__ void count_once(std::uint16_t* count) {
  const auto address = reinterpret_cast<std::uintptr_t>(count);
  auto* const word = reinterpret_cast<std::uint32_t*>(address & ~std::uintptr_t{3});
  const int shift = static_cast<int>(address & 2) * 8;
  std::uint32_t seen = *word;
  for (;;) {
    if ((seen >> shift & 0xffffu) == 0xffffu) return;
    const std::uint32_t before = atomicCAS(word, seen, seen + (1u << shift));
    if (before == seen) return;
    seen = before;
  }
}

__global__ void __launch_bounds__(kThreads) count_tokens_kernel(const CountTokens op) {
  kernels::wait_for_inputs();
  for (int i = blockIdx.x * kThreads + threadIdx.x; i < op.num_tokens; i += gridDim.x * kThreads) {
    const int token = op.token_ids[i];
    if (i < op.num_prompt_tokens) {
      atomicOr(op.prompt_bits + token / 32, 1u << token % 32);
    } else {
      count_once(op.output_counts + token);
    }
  }
}

}  // namespace

void count_tokens(const CountTokens& op, kernels::Stream stream) {
  if (op.num_tokens == 0) return;
  const int num_blocks = (op.num_tokens + kThreads - 1) / kThreads;
  kernels::launch(count_tokens_kernel, dim3(num_blocks < kMaxBlocks ? num_blocks : kMaxBlocks),
                  dim3(kThreads), 0, stream, op);
}

bool has_code_for_device() {
  cudaFuncAttributes attributes{};
  const cudaError_t status = cudaFuncGetAttributes(&attributes, count_tokens_kernel);
  if (status != cudaSuccess) cudaGetLastError();
  return status == cudaSuccess;
}

}  // namespace kvasir
