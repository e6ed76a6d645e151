#include <string>

#include "kernels/cuda_launch.cuh"
#include "kernels/cuda_norm.h"
#include "kernels/cuda_plain.cuh"
#include "kernels/cuda_tile.cuh"

namespace kernels {
namespace {

// What a thread reads at a time: 16 bytes of a two-byte type, one float. Floats are not on a path
// for which speed is claimed, and single ones allow any size.
template <class T>
inline constexpr int kVectorSize = sizeof(T) == 2 ? 8 : 1;

// Vectors a thread keeps in registers between the sum and the scaling; rows beyond are read again.
inline constexpr int kHeldVectors = 2;

template <class T>
struct Vector {
  float values[kVectorSize<T>];
};

// Through the L2 cache: the block may have been resident since before x was written.
template <class T>
__device__ __forceinline__ Vector<T> load_vector(const T* pointer) {
  Vector<T> vector;
  if constexpr (kVectorSize<T> == 1) {
    vector.values[0] = __ldcg(pointer);
  } else {
    const uint4 bits = __ldcg(reinterpret_cast<const uint4*>(pointer));
    const std::uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 pair = unpack2<T>(words[i]);
      vector.values[2 * i] = pair.x;
      vector.values[2 * i + 1] = pair.y;
    }
  }
  return vector;
}

template <class T>
__device__ __forceinline__ void store_vector(T* pointer, const Vector<T>& vector) {
  if constexpr (kVectorSize<T> == 1) {
    *pointer = vector.values[0];
  } else {
    const float(&v)[8] = vector.values;
    *reinterpret_cast<uint4*>(pointer) = make_uint4(pack2<T>(v[0], v[1]), pack2<T>(v[2], v[3]),
                                                    pack2<T>(v[4], v[5]), pack2<T>(v[6], v[7]));
  }
}

template <class T>
__device__ __forceinline__ float sum_of_squares(const Vector<T>& vector, float sum) {
#pragma unroll
  for (const float value : vector.values) sum = fmaf(value, value, sum);
  return sum;
}

template <class T>
__device__ __forceinline__ Vector<T> scaled(Vector<T> vector, const T* weight, float scale,
                                            Numerics numerics) {
  const Vector<T> weights = load_vector(weight);
#pragma unroll
  for (int i = 0; i < kVectorSize<T>; ++i) {
    const float normalised = vector.values[i] * scale;
    const float stored = numerics == Numerics::kReference ? rounded<T>(normalised) : normalised;
    vector.values[i] = stored * weights.values[i];
  }
  return vector;
}

// Threads (kThreads, blockDim.y): kThreads normalise a group, blockDim.y groups a block.
template <class T, int kThreads>
__global__ void norm_kernel(const __grid_constant__ CudaNorm op) {
  let_next_start();
  wait_for_inputs();
  const std::int64_t index = std::int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  const std::int64_t num_groups = std::int64_t{op.num_tokens} * op.num_groups;
  if (index >= num_groups) return;  // whole warps; a block of several warps has one group
  const std::int64_t token = index / op.num_groups;
  const std::int64_t offset = index % op.num_groups * op.group_size;
  const T* x = static_cast<const T*>(op.x) + token * op.x_stride + offset;
  T* out = static_cast<T*>(op.out) + token * op.out_stride + offset;
  const T* weight = static_cast<const T*>(op.weight);
  constexpr int kStep = kThreads * kVectorSize<T>;
  const int first = threadIdx.x * kVectorSize<T>;

  Vector<T> held[kHeldVectors];
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kHeldVectors; ++i) {
    if (first + i * kStep < op.group_size) held[i] = load_vector(x + first + i * kStep);
  }
#pragma unroll
  for (int i = 0; i < kHeldVectors; ++i) {
    if (first + i * kStep < op.group_size) sum = sum_of_squares(held[i], sum);
  }
  for (int k = first + kHeldVectors * kStep; k < op.group_size; k += kStep) {
    sum = sum_of_squares(load_vector(x + k), sum);
  }
  sum = warp_sum(sum);
  if constexpr (kThreads > kWarpSize) {
    __shared__ float sums[kThreads / kWarpSize];
    if (threadIdx.x % kWarpSize == 0) sums[threadIdx.x / kWarpSize] = sum;
    __syncthreads();
    sum = 0;
#pragma unroll
    for (const float part : sums) sum += part;
  }
  const float scale = rsqrtf(sum / static_cast<float>(op.group_size) + op.epsilon);

#pragma unroll
  for (int i = 0; i < kHeldVectors; ++i) {
    const int k = first + i * kStep;
    if (k < op.group_size) store_vector(out + k, scaled(held[i], weight + k, scale, op.numerics));
  }
  for (int k = first + kHeldVectors * kStep; k < op.group_size; k += kStep) {
    store_vector(out + k, scaled(load_vector(x + k), weight + k, scale, op.numerics));
  }
}

void check(const CudaNorm& op) {
  const int multiple = op.type == DType::kF32 ? 1 : 8;
  CHECK(op.group_size > 0 && op.group_size % multiple == 0,
        "cuda_norm: group_size " + std::to_string(op.group_size) + " is not a multiple of " +
            std::to_string(multiple) + " above 0");
  CHECK(op.x_stride % multiple == 0 && op.out_stride % multiple == 0,
        "cuda_norm: strides " + std::to_string(op.x_stride) + " and " +
            std::to_string(op.out_stride) + " are not multiples of " + std::to_string(multiple));
}

}  // namespace

void cuda_norm(const CudaNorm& op, Stream stream) {
  check(op);
  const std::int64_t num_groups = std::int64_t{op.num_tokens} * op.num_groups;
  if (num_groups == 0) return;
  with_device_type(op.type, "cuda_norm", [&](auto zero) {
    using T = decltype(zero);
    // A warp for the norm of a head, a block for that of a row.
    if (op.group_size <= kHeldVectors * kVectorSize<T> * kWarpSize) {
      constexpr int kGroups = 4;
      const auto num_blocks = static_cast<unsigned>((num_groups + kGroups - 1) / kGroups);
      launch(norm_kernel<T, kWarpSize>, dim3(num_blocks), dim3(kWarpSize, kGroups), 0, stream, op);
    } else {
      constexpr int kThreads = 256;
      launch(norm_kernel<T, kThreads>, dim3(static_cast<unsigned>(num_groups)), dim3(kThreads), 0,
             stream, op);
    }
  });
}

}  // namespace kernels
