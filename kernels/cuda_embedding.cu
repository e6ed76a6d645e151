#include <algorithm>
#include <string>

#include "kernels/cuda_embedding.h"
#include "kernels/cuda_launch.cuh"

namespace kernels {
namespace {

inline constexpr int kMaxThreads = 256;
inline constexpr int kVectorBytes = 16;

// One block a row of the output; `num_vectors` of 16 bytes each. It is the first kernel of a step,
// and lets nothing of the step start before the step before has ended: cuda_attention.h relies on
// it.
__global__ void embedding_kernel(const __grid_constant__ CudaEmbedding op, int num_vectors) {
  wait_for_inputs();
  let_next_start();
  const std::int64_t token = blockIdx.x;
  std::int32_t id = __ldcg(op.token_ids + token);
  if (id < 0) id = __ldcg(op.previous_token_ids + (-1 - id));
  if (id < 0) id = 0;
  const uint4* row = static_cast<const uint4*>(op.weight) + std::int64_t{id} * num_vectors;
  uint4* out = static_cast<uint4*>(op.out) + token * num_vectors;
  for (int i = threadIdx.x; i < num_vectors; i += blockDim.x) out[i] = row[i];
}

__global__ void gather_kernel(const __grid_constant__ CudaGatherRows op, int num_vectors) {
  let_next_start();
  wait_for_inputs();
  const std::int64_t row = blockIdx.x;
  const std::int64_t token = __ldcg(op.row_tokens + row);
  const uint4* x = static_cast<const uint4*>(op.x) + token * num_vectors;
  uint4* out = static_cast<uint4*>(op.out) + row * num_vectors;
  for (int i = threadIdx.x; i < num_vectors; i += blockDim.x) {
    out[i] = token < 0 ? make_uint4(0, 0, 0, 0) : __ldcg(x + i);
  }
}

// Vectors of a row of `size` elements. Throws Error unless rows are whole vectors.
int row_vectors(DType type, int size, const char* operator_name) {
  CHECK(type == DType::kF32 || type == DType::kF16 || type == DType::kBF16,
        std::string(operator_name) + ": type " + name_of(type) +
            " is not supported; use f32, f16 or bf16");
  CHECK(size > 0 && size % 8 == 0, std::string(operator_name) + ": hidden_size " +
                                       std::to_string(size) + " is not a multiple of 8 above 0");
  return static_cast<int>(row_bytes(type, size) / kVectorBytes);
}

dim3 threads_for(int num_vectors) {
  return dim3(static_cast<unsigned>(std::min((num_vectors + 31) / 32 * 32, kMaxThreads)));
}

}  // namespace

void cuda_embedding(const CudaEmbedding& op, Stream stream) {
  const int num_vectors = row_vectors(op.type, op.hidden_size, "cuda_embedding");
  if (op.num_tokens == 0) return;
  launch(embedding_kernel, dim3(static_cast<unsigned>(op.num_tokens)), threads_for(num_vectors), 0,
         stream, op, num_vectors);
}

void cuda_gather_rows(const CudaGatherRows& op, Stream stream) {
  const int num_vectors = row_vectors(op.type, op.hidden_size, "cuda_gather_rows");
  if (op.num_rows == 0) return;
  launch(gather_kernel, dim3(static_cast<unsigned>(op.num_rows)), threads_for(num_vectors), 0,
         stream, op, num_vectors);
}

}  // namespace kernels
