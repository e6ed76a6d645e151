// Norm and rotation of one head of q or k by one warp. Decode and prefill both call this, and every
// operation in it is rounded by itself (no contraction left to the compiler), so a key has the same
// bits whichever of them wrote it.
#pragma once

#include "kernels/cuda_rope_write.h"
#include "kernels/cuda_tile.cuh"

namespace kernels {

__device__ __forceinline__ float2 load_two(const float* x) {
  return *reinterpret_cast<const float2*>(x);
}
template <class T>
__device__ __forceinline__ float2 load_two(const T* x) {
  return unpack2<T>(*reinterpret_cast<const std::uint32_t*>(x));
}

__device__ __forceinline__ void store_two(float* x, float2 value) {
  *reinterpret_cast<float2*>(x) = value;
}
template <class T>
__device__ __forceinline__ void store_two(T* x, float2 value) {
  *reinterpret_cast<std::uint32_t*>(x) = pack2<T>(value.x, value.y);
}

// A lane's share of a head: pair u = lane + 32 i holds the elements 2u and 2u + 1 of both halves.
// kPairs = 1 suffices up to a head_dim of 128, 2 up to 256.

// The cosines and sines of a position, the same for all its heads.
template <int kPairs>
struct AngleShare {
  float2 cosine[kPairs];
  float2 sine[kPairs];

  __device__ __forceinline__ void load(const float* rope_row, int head_dim, int lane) {
    const int half = head_dim / 2;
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      const int element = 2 * (lane + i * kWarpSize);
      cosine[i] = sine[i] = make_float2(0, 0);
      if (element < half) {
        cosine[i] = load_two(rope_row + element);
        sine[i] = load_two(rope_row + half + element);
      }
    }
  }
};

template <class T, int kPairs>
struct HeadShare {
  float2 low[kPairs];
  float2 high[kPairs];

  // Only starts the loads: several heads can be under way before the first is turned.
  __device__ __forceinline__ void load(const T* head, int head_dim, int lane) {
    const int half = head_dim / 2;
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      const int element = 2 * (lane + i * kWarpSize);
      low[i] = high[i] = make_float2(0, 0);
      if (element < half) {
        low[i] = load_two(head + element);
        high[i] = load_two(head + half + element);
      }
    }
  }

  __device__ __forceinline__ void turn(const HeadTreatment& treatment,
                                       const AngleShare<kPairs>& angles, int lane) {
    if (treatment.norm_weight != nullptr) normalise(treatment, lane);
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      const float2 cosine = angles.cosine[i];
      const float2 sine = angles.sine[i];
      if (treatment.is_reference) {
        turn_rounding(low[i].x, high[i].x, rounded<T>(cosine.x), rounded<T>(sine.x));
        turn_rounding(low[i].y, high[i].y, rounded<T>(cosine.y), rounded<T>(sine.y));
      } else {
        turn_exactly(low[i].x, high[i].x, cosine.x, sine.x);
        turn_exactly(low[i].y, high[i].y, cosine.y, sine.y);
      }
    }
  }

  // Calls store(element, two numbers) for this lane's elements of the turned head.
  template <class Store>
  __device__ __forceinline__ void for_each(int head_dim, int lane, Store store) const {
    const int half = head_dim / 2;
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      const int element = 2 * (lane + i * kWarpSize);
      if (element < half) {
        store(element, low[i]);
        store(half + element, high[i]);
      }
    }
  }

 private:
  __device__ __forceinline__ void normalise(const HeadTreatment& treatment, int lane) {
    const T* weight = static_cast<const T*>(treatment.norm_weight);
    const int half = treatment.head_dim / 2;
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      sum = __fmaf_rn(low[i].x, low[i].x, sum);
      sum = __fmaf_rn(low[i].y, low[i].y, sum);
      sum = __fmaf_rn(high[i].x, high[i].x, sum);
      sum = __fmaf_rn(high[i].y, high[i].y, sum);
    }
    sum = warp_sum(sum);
    const float mean = __fdiv_rn(sum, static_cast<float>(treatment.head_dim));
    const float scale = rsqrtf(__fadd_rn(mean, treatment.norm_epsilon));
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      const int element = 2 * (lane + i * kWarpSize);
      if (element >= half) continue;
      const float2 low_weight = load_two(weight + element);
      const float2 high_weight = load_two(weight + half + element);
      scale_one(low[i].x, scale, low_weight.x, treatment.is_reference);
      scale_one(low[i].y, scale, low_weight.y, treatment.is_reference);
      scale_one(high[i].x, scale, high_weight.x, treatment.is_reference);
      scale_one(high[i].y, scale, high_weight.y, treatment.is_reference);
    }
  }

  static __device__ __forceinline__ void scale_one(float& x, float scale, float weight,
                                                   bool is_reference) {
    const float normal = __fmul_rn(x, scale);
    x = is_reference ? rounded<T>(__fmul_rn(rounded<T>(normal), weight))
                     : __fmul_rn(normal, weight);
  }

  static __device__ __forceinline__ void turn_exactly(float& low, float& high, float cosine,
                                                      float sine) {
    const float turned = __fmaf_rn(low, cosine, -__fmul_rn(high, sine));
    high = __fmaf_rn(high, cosine, __fmul_rn(low, sine));
    low = turned;
  }

  static __device__ __forceinline__ void turn_rounding(float& low, float& high, float cosine,
                                                       float sine) {
    const float turned =
        __fadd_rn(rounded<T>(__fmul_rn(low, cosine)), -rounded<T>(__fmul_rn(high, sine)));
    high = __fadd_rn(rounded<T>(__fmul_rn(high, cosine)), rounded<T>(__fmul_rn(low, sine)));
    low = turned;
  }
};

}  // namespace kernels
