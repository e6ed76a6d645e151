// Merging the parts (m, l, o) that splits leave behind, in ascending order, by slices of o.
//
// Parts lie in the workspace, or in the shared memory of the blocks of a cluster: then nothing goes
// through global memory, and each block of the cluster merges a slice.
#pragma once

#include "kernels/cuda_attention_rotate.cuh"
#include "kernels/cuda_attention_tile.cuh"

namespace kernels {

// One unit more to the counter at `ticket`, ordered after this block's writes and before its later
// reads when a barrier over all who wrote or will read stands on either side.
__device__ __forceinline__ int take_ticket(int* ticket) {
  int before;
  asm volatile("atom.add.acq_rel.gpu.global.s32 %0, [%1], 1;"
               : "=r"(before)
               : "l"(ticket)
               : "memory");
  return before;
}

// ---- clusters: blocks that can read each other's shared memory; 9.0 and newer ----

// Waits for all threads of the cluster that have not ended. What they wrote before is visible
// after.
__device__ __forceinline__ void cluster_barrier() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  __syncwarp();
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::
                   : "memory");
#endif
}

// The address of what `shared` is here in the shared memory of another block of the cluster.
__device__ __forceinline__ std::uint32_t address_in_cluster(std::uint32_t shared, int rank) {
  std::uint32_t address = shared;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(shared), "r"(rank));
#endif
  return address;
}

__device__ __forceinline__ float2 load_two_in_cluster(std::uint32_t address) {
  float2 value = make_float2(0, 0);
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("ld.shared::cluster.v2.f32 {%0, %1}, [%2];"
               : "=f"(value.x), "=f"(value.y)
               : "r"(address)
               : "memory");
#endif
  return value;
}

__device__ __forceinline__ void store_in_cluster(std::uint32_t address, int value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("st.shared::cluster.s32 [%0], %1;" ::"r"(address), "r"(value) : "memory");
#endif
}

// ---- slices ----

// Elements [begin, end) of the rows of a part, laid out [rows, head_dim].
struct MergeSlice {
  int begin;
  int end;
};

// The part of `size` elements, a multiple of four, that falls to one of `count`.
__device__ __forceinline__ MergeSlice slice_of(int size, int index, int count) {
  const int each = (size / 4 + count - 1) / count * 4;
  return {min(size, index * each), min(size, index * each + each)};
}

template <class T>
__device__ __forceinline__ void store_quotient(T* out, float2 sum, float divisor) {
  const float scale = __frcp_rn(divisor);
  store_two(out, make_float2(__fmul_rn(sum.x, scale), __fmul_rn(sum.y, scale)));
}

// Parts in the shared memory of a cluster: one in block 0, then `each` in block 1, in block 2, ..;
// `size` bytes apart from `address` on. A part is its o, then (m, l) of each of its rows.
struct ClusterParts {
  std::uint32_t address;
  int size;
  int each;
  int num_rows;
  int num_parts;
};

template <class T, int kHeadDim>
__device__ __forceinline__ void merge_in_cluster(T* out, MergeSlice slice,
                                                 const ClusterParts& parts) {
  constexpr int kAhead = 16;
  for (int at = slice.begin + threadIdx.x * 2; at < slice.end; at += kThreads * 2) {
    const int state_at = parts.num_rows * kHeadDim + at / kHeadDim * 2;
    RowState row;
    float2 sum = make_float2(0, 0);
    int block = 0;
    int place = 0;
    for (int first = 0; first < parts.num_parts; first += kAhead) {
      float2 state[kAhead];
      float2 value[kAhead];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (first + i >= parts.num_parts) break;
        const std::uint32_t part = address_in_cluster(parts.address + place * parts.size, block);
        state[i] = load_two_in_cluster(part + state_at * 4);
        value[i] = load_two_in_cluster(part + at * 4);
        if (block == 0 || ++place == parts.each) {
          ++block;
          place = 0;
        }
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (first + i >= parts.num_parts) break;
        const MergeWeights merge = merge_tile(row, state[i].x, state[i].y);
        sum.x = merge_product(sum.x, value[i].x, merge);
        sum.y = merge_product(sum.y, value[i].y, merge);
      }
    }
    store_quotient(out + at, sum, row.sum);
  }
}

// Parts in the workspace, from the first of a pair on.
struct WorkspaceParts {
  const float* states;    // [parts, rows, 2]
  const float* products;  // [parts, rows, head_dim]
  int rows;
  int num_parts;
};

// Merges those with kBytes of shared memory at `memory`, 16-byte aligned.
template <class T, int kHeadDim, int kBytes>
struct WorkspaceMerge {
  static constexpr int kItems = kRowsPerFragment * kHeadDim / 2 / kThreads;
  static constexpr int kWeightBytes =
      kRowsPerFragment * kWarpSize * static_cast<int>(sizeof(float4));
  static constexpr int kPartBytes = kBytes - kWeightBytes;

  unsigned char* memory;
  WorkspaceParts parts;
  MergeSlice slice;
  float maximum[kRowsPerFragment / kWarps];  // of this warp's rows, so far

  // How each of up to 32 parts from `first` on is merged into its row, for the slice's rows: a lane
  // has a part, the running maximum is a scan over the lanes.
  __device__ __forceinline__ void weigh(int first, int count) {
    float4* weights = reinterpret_cast<float4*>(memory);
    const int lane = threadIdx.x % kWarpSize;
    const int last_row = (slice.end - 1) / kHeadDim;
#pragma unroll
    for (int i = 0; i < kRowsPerFragment / kWarps; ++i) {
      const int row = slice.begin / kHeadDim + threadIdx.x / kWarpSize + i * kWarps;
      if (row > last_row) break;
      const std::int64_t index = static_cast<std::int64_t>(first + lane) * parts.rows + row;
      const float2 state = lane < count
                               ? __ldcg(reinterpret_cast<const float2*>(parts.states) + index)
                               : make_float2(kNothing, 0);
      float merged = fmaxf(maximum[i], state.x);
#pragma unroll
      for (int offset = 1; offset < kWarpSize; offset *= 2) {
        const float before = __shfl_up_sync(0xffffffffu, merged, offset);
        if (lane >= offset) merged = fmaxf(merged, before);
      }
      float before = __shfl_up_sync(0xffffffffu, merged, 1);
      if (lane == 0) before = maximum[i];
      weights[row * kWarpSize + lane] =
          make_float4(exp2_approx(before - merged), exp2_approx(state.x - merged), state.y, 0);
      maximum[i] = __shfl_sync(0xffffffffu, merged, kWarpSize - 1);
    }
  }

  __device__ __forceinline__ void run(T* out) {
    const int size = slice.end - slice.begin;
    if (size == 0) return;
    const int batch = min(kWarpSize, kPartBytes / (size * 4));
    const float* staged = reinterpret_cast<const float*>(memory + kWeightBytes);
    const std::uint32_t staged_address = shared_address(staged);
    const float4* weights = reinterpret_cast<const float4*>(memory);
    // Which piece of which part a thread copies: neighbours copy neighbouring pieces.
    const int fours = size / 4;
    const int parts_at_once = max(1, kThreads / fours);
    const int first_copied = fours < kThreads ? threadIdx.x / fours : 0;
    const int copied_at = fours < kThreads ? threadIdx.x % fours : threadIdx.x;
    for (float& value : maximum) value = kNothing;
    float2 sum[kItems];
    float divisor[kItems];
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      sum[i] = make_float2(0, 0);
      divisor[i] = 0;
    }
    for (int first = 0; first < parts.num_parts; first += batch) {
      const int count = min(batch, parts.num_parts - first);
      for (int part = first_copied < parts_at_once ? first_copied : count; part < count;
           part += parts_at_once) {
        const float* from = parts.products +
                            static_cast<std::int64_t>(first + part) * parts.rows * kHeadDim +
                            slice.begin;
        for (int at = copied_at; at < fours; at += kThreads) {
          copy_async(staged_address + (part * fours + at) * 16, from + at * 4);
        }
      }
      commit_copies();
      weigh(first, count);
      wait_for_copies<0>();
      __syncthreads();
      for (int part = 0; part < count; ++part) {
#pragma unroll
        for (int i = 0; i < kItems; ++i) {
          const int at = (i * kThreads + threadIdx.x) * 2;
          if (at >= size) break;
          const float4 weight = weights[(slice.begin + at) / kHeadDim * kWarpSize + part];
          const MergeWeights merge{weight.x, weight.y};
          const float2 value = *reinterpret_cast<const float2*>(staged + part * size + at);
          sum[i].x = merge_product(sum[i].x, value.x, merge);
          sum[i].y = merge_product(sum[i].y, value.y, merge);
          divisor[i] = merge_product(divisor[i], weight.z, merge);
        }
      }
      __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      const int at = (i * kThreads + threadIdx.x) * 2;
      if (at < size) store_quotient(out + slice.begin + at, sum[i], divisor[i]);
    }
  }
};

}  // namespace kernels
