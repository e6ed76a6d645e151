// Hopper's warpgroup instructions: matrix products whose operands 128 threads read from shared
// memory in the background, barriers that count bytes, tensor copies, clusters. For sources that
// are compiled for sm_90a alone (*_sm90a.cu).
#pragma once

#include <cuda.h>

#include <cstdint>

#include "kernels/cuda_tile.cuh"

namespace kernels {

// ---- barriers in shared memory ----

__device__ __forceinline__ void barrier_init(std::uint32_t barrier, int num_arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(num_arrivals));
}

// Makes initialised barriers visible to the copy engine and to the other blocks of the cluster.
__device__ __forceinline__ void barrier_init_fence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void barrier_expect(std::uint32_t barrier, std::uint32_t num_bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier),
               "r"(num_bytes)
               : "memory");
}

__device__ __forceinline__ void barrier_arrive(std::uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// Arrives at the barrier that stands at the same place in block `rank` of the cluster.
__device__ __forceinline__ void barrier_arrive_at(std::uint32_t barrier, int rank) {
  asm volatile(
      "{\n"
      ".reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [remote];\n"
      "}\n" ::"r"(barrier),
      "r"(rank)
      : "memory");
}

// Waits until the phase with this parity (0, 1, 0 ...) is over.
__device__ __forceinline__ void barrier_wait(std::uint32_t barrier, std::uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra finished;\n"
      "bra again;\n"
      "finished:\n"
      "}\n" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

// ---- the cluster ----

// Both halves together are a barrier of all threads of the cluster that have not ended.
__device__ __forceinline__ void cluster_arrive() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
__device__ __forceinline__ void cluster_wait() {
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// 16 bytes of the shared memory of block `rank` of the cluster, at this block's address.
__device__ __forceinline__ float4 load_from_block(std::uint32_t shared, int rank) {
  float4 value;
  asm volatile(
      "{\n"
      ".reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %4, %5;\n"
      "ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [remote];\n"
      "}\n"
      : "=f"(value.x), "=f"(value.y), "=f"(value.z), "=f"(value.w)
      : "r"(shared), "r"(rank));
  return value;
}

// ---- copies of boxes of a tensor ----

// The L2 should keep what other blocks read too, and drop first what nobody will read again.
inline constexpr std::uint64_t kKeepNormally = 0x1000000000000000u;
inline constexpr std::uint64_t kDropFirst = 0x12f0000000000000u;
inline constexpr std::uint64_t kKeepLonger = 0x14f0000000000000u;

// Copies the map's box that begins at (column, row); `barrier` counts its bytes.
__device__ __forceinline__ void copy_box(std::uint32_t shared, const CUtensorMap* map, int column,
                                         int row, std::uint32_t barrier, std::uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".L2::cache_hint [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(shared),
      "l"(map), "r"(column), "r"(row), "r"(barrier), "l"(policy)
      : "memory");
}

// The same into every block of the cluster whose bit is set; each one's own barrier counts.
__device__ __forceinline__ void copy_box_to_blocks(std::uint32_t shared, const CUtensorMap* map,
                                                   int column, int row, std::uint32_t barrier,
                                                   std::uint16_t blocks, std::uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".multicast::cluster.L2::cache_hint [%0], [%1, {%2, %3}], [%4], %5, %6;" ::"r"(shared),
      "l"(map), "r"(column), "r"(row), "r"(barrier), "h"(blocks), "l"(policy)
      : "memory");
}

// ---- products ----

// Describes a tile of rows of 128 bytes, contiguous in k, whose 16-byte chunks stand at
// chunk ^ (row % 8). `shared` is 1,024-byte aligned but for the offset along k.
__device__ __forceinline__ std::uint64_t swizzled_tile(std::uint32_t shared) {
  constexpr std::uint64_t kEightRows = 1024;
  return static_cast<std::uint64_t>((shared & 0x3ffff) >> 4) | std::uint64_t{1} << 16 |
         (kEightRows >> 4) << 32 | std::uint64_t{1} << 62;
}

__device__ __forceinline__ void warpgroup_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ __forceinline__ void warpgroup_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

// A warpgroup that needs few registers gives some up, and another gets more. Every thread of the
// warpgroup calls it.
template <int kRegisters>
__device__ __forceinline__ void shrink_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void grow_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// Waits until at most kPending of the committed groups of products are under way.
template <int kPending>
__device__ __forceinline__ void warpgroup_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// The compiler must not move a sum that a product in the background still writes.
template <int kCount>
__device__ __forceinline__ void hold(float (&d)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

// d = a b + (is_sum ? d : 0) in the background, with a 64 x 16, b 16 x (2 * kCount), both
// described by swizzled_tile(). A thread holds the fragments of multiply_add() for its warp's 16
// rows, 4 sums for every 8 columns.
template <class T, int kCount>
__device__ __forceinline__ void multiply_add_tiles(float (&d)[kCount], std::uint64_t a,
                                                   std::uint64_t b, bool is_sum);

#define KVASIR_SUMS_4(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define KVASIR_SUMS_8(d, i) KVASIR_SUMS_4(d, i), KVASIR_SUMS_4(d, i + 4)
#define KVASIR_SUMS_16(d, i) KVASIR_SUMS_8(d, i), KVASIR_SUMS_8(d, i + 8)
#define KVASIR_SUMS_32(d, i) KVASIR_SUMS_16(d, i), KVASIR_SUMS_16(d, i + 16)
#define KVASIR_SUMS_64(d, i) KVASIR_SUMS_32(d, i), KVASIR_SUMS_32(d, i + 32)
#define KVASIR_SUMS_128(d, i) KVASIR_SUMS_64(d, i), KVASIR_SUMS_64(d, i + 64)

#define KVASIR_PLACES_4 "%0, %1, %2, %3"
#define KVASIR_PLACES_8 \
  KVASIR_PLACES_4       \
  ", %4, %5, %6, %7"
#define KVASIR_PLACES_16 \
  KVASIR_PLACES_8        \
  ", %8, %9, %10, %11, %12, %13, %14, %15"
#define KVASIR_PLACES_32 \
  KVASIR_PLACES_16       \
  ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define KVASIR_PLACES_64                                                             \
  KVASIR_PLACES_32                                                                   \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47" \
  ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define KVASIR_PLACES_128                                                                        \
  KVASIR_PLACES_64                                                                               \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"             \
  ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"             \
  ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111" \
  ", %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, " \
  "%127"

#define KVASIR_MULTIPLY_ADD_TILES(Type, type, columns, count, a_place, b_place, sum_place)         \
  template <>                                                                                      \
  __device__ __forceinline__ void multiply_add_tiles<Type, count>(                                 \
      float(&d)[count], std::uint64_t a, std::uint64_t b, bool is_sum) {                           \
    asm volatile("{\n.reg .pred sum;\nsetp.ne.b32 sum, %" sum_place                                \
                 ", 0;\n"                                                                          \
                 "wgmma.mma_async.sync.aligned.m64n" columns "k16.f32." type "." type              \
                 " {" KVASIR_PLACES_##count "}, %" a_place ", %" b_place ", sum, 1, 1, 0, 0;\n}\n" \
                 : KVASIR_SUMS_##count(d, 0)                                                       \
                 : "l"(a), "l"(b), "r"(static_cast<int>(is_sum)));                                 \
  }
#define KVASIR_MULTIPLY_ADD_TILES_OF(Type, type)                     \
  KVASIR_MULTIPLY_ADD_TILES(Type, type, "8", 4, "4", "5", "6")       \
  KVASIR_MULTIPLY_ADD_TILES(Type, type, "16", 8, "8", "9", "10")     \
  KVASIR_MULTIPLY_ADD_TILES(Type, type, "32", 16, "16", "17", "18")  \
  KVASIR_MULTIPLY_ADD_TILES(Type, type, "64", 32, "32", "33", "34")  \
  KVASIR_MULTIPLY_ADD_TILES(Type, type, "128", 64, "64", "65", "66") \
  KVASIR_MULTIPLY_ADD_TILES(Type, type, "256", 128, "128", "129", "130")

KVASIR_MULTIPLY_ADD_TILES_OF(__half, "f16")
KVASIR_MULTIPLY_ADD_TILES_OF(__nv_bfloat16, "bf16")

}  // namespace kernels
