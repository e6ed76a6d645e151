// What the tensor-core kernels of a linear layer share: how the work is cut into blocks, and what
// happens to a finished tile. cuda_gemm.cu chooses among them.
//
// The product is taken as W x^T: rows of W are the 16-row (or 64-row) operand of the tensor cores
// and tokens the 8-column one, for every number of tokens, so that eight of them waste nothing.
// Both operands are contiguous in k, which is what the tensor cores want.
//
// A block owns `rows` x `tokens` of y and, with num_splits > 1, a contiguous part of k.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/cuda_gemm.h"
#include "kernels/cuda_tile.cuh"

namespace kernels {

// Elements of k a block takes at a time: 128 bytes, the reach of the shared memory's 32 banks.
inline constexpr int kGemmStep = 64;

// What a kernel is told. The operator's fields mean what they mean in CudaLinear.
struct GemmArguments {
  void* out;
  const void* x;
  const void* weight;
  const void* bias;
  LinearOutput output;
  Numerics numerics;
  bool has_even_rows;     // two-byte rows of out are pairs of elements, begun at multiples of two
  bool is_weight_shared;  // several blocks read the same part of W: it should stay in the L2
  int num_tokens;
  int in_features;
  int out_features;
  std::int64_t x_stride;
  std::int64_t out_stride;
  int num_row_tiles;
  int num_token_tiles;
  int num_splits;        // parts of k
  int num_rows_abreast;  // row tiles that are walked through together, see place_of()
  float* partials;       // sums of parts of k, see each kernel
  unsigned* arrivals;    // counters, zero before and after
};

enum class GemmKernel : std::uint8_t {
  kMma,         // cuda_gemm_mma.cu
  kWarpgroups,  // cuda_gemm_sm90a.cu
};

// Which kernel computes a product, and how.
struct GemmPlan {
  GemmKernel kernel;
  int tile;          // index into the kernel's table of tiles
  int num_splits;    // blocks along k for each tile
  int blocks;        // a multiprocessor should hold at a time; kWarpgroups alone
  bool is_streamed;  // what does not fill all multiprocessors is cut along k; kWarpgroups alone
};

// Most parts k is cut into, counters there are, and floats that sums of parts may take.
inline constexpr int kMaxSplits = 8;
inline constexpr int kMaxArrivals = 4096;
inline constexpr std::int64_t kMaxPartials = 6 * 1024 * 1024;

// Whether the current device has the instructions of the kernel for 9.0.
bool has_warpgroups();

// The plan cuda_gemm() follows on the current device. The kernel for 9.0 stores pairs of elements
// and cannot have rows of out that begin between two.
GemmPlan plan_gemm(int num_tokens, int in_features, int out_features, bool has_even_rows,
                   bool is_batch_invariant);

// cuda_gemm() with a plan of the caller's, to find out which is best. num_splits is at most
// kMaxSplits and the number of steps in in_features.
void cuda_gemm_as_planned(const CudaLinear& op, const GemmPlan& plan, Stream stream);

// Tiles of the kernel for 8.0 and newer. `stages` parts of W and x of one step each are in shared
// memory or on their way there.
struct MmaTile {
  int rows;
  int tokens;
  int stages;
  int row_warps;  // the tile is cut among row_warps x token_warps warps
  int token_warps;
  int blocks;  // a multiprocessor should hold: bounds the registers
};

inline constexpr MmaTile kMmaTiles[] = {
    {64, 8, 8, 4, 1, 3},     //
    {64, 16, 7, 4, 1, 3},    //
    {64, 32, 6, 4, 1, 3},    //
    {64, 64, 5, 2, 2, 2},    //
    {128, 16, 5, 4, 1, 2},   //
    {128, 32, 4, 4, 1, 2},   //
    {128, 64, 4, 4, 2, 2},   //
    {128, 128, 3, 4, 2, 1},  //
};
// 99 KB, the most 8.9 gives a block, hold every one of them.
inline constexpr int kNumMmaTiles = sizeof kMmaTiles / sizeof kMmaTiles[0];

void launch_gemm_mma(const GemmArguments& arguments, int tile, DType type, Stream stream);

// Tiles of the kernel for 9.0.
struct WarpgroupTile {
  int rows;
  int tokens;
  int warpgroups;  // the rows are cut among them, in multiples of 64
  int blocks;      // a multiprocessor may hold: bounds the registers
};

inline constexpr WarpgroupTile kWarpgroupTiles[] = {
    {64, 8, 1, 4},     //
    {64, 16, 1, 4},    //
    {64, 32, 1, 4},    //
    {64, 64, 1, 4},    //
    {128, 32, 2, 2},   //
    {128, 64, 2, 2},   //
    {64, 128, 1, 3},   //
    {128, 128, 2, 2},  //
    {64, 256, 1, 1},   //
    {128, 256, 2, 1},  //
};
inline constexpr int kNumWarpgroupTiles = sizeof kWarpgroupTiles / sizeof kWarpgroupTiles[0];

// Whether a tile is small enough for its parts of k to be gathered within a cluster.
__host__ __device__ constexpr bool may_split(const WarpgroupTile& tile) {
  return tile.rows * tile.tokens <= 64 * 128;
}

void launch_gemm_sm90a(const GemmArguments& arguments, const GemmPlan& plan, DType type,
                       Stream stream);

#ifdef __CUDACC__

// Where a tile of `rows` x `tokens` begins.
struct TilePlace {
  int first_row;
  int first_token;
};

// Blocks that run at the same time should share what they read. With many row tiles and many token
// tiles they form rectangles: num_rows_abreast row tiles, all token tiles, then the next rows.
__device__ __forceinline__ TilePlace place_of(const GemmArguments& args, int tile, int rows,
                                              int tokens) {
  const int group_size = args.num_rows_abreast * args.num_token_tiles;
  const int group = tile / group_size;
  const int first = group * args.num_rows_abreast;
  const int abreast = min(args.num_rows_abreast, args.num_row_tiles - first);
  const int within = tile - group * group_size;
  return {(first + within % abreast) * rows, within / abreast * tokens};
}

// ---- finished sums ----
//
// A lane of a warp has 4 of the 16 rows x 8 tokens of a fragment: with g = lane / 4, q = lane % 4
//
//   sums[0], sums[1]   row g,     tokens 2q and 2q + 1
//   sums[2], sums[3]   row g + 8, the same tokens
//
// In a gated layer rows 0-7 of a fragment are gate rows and rows 8-15 the up rows that belong to
// them, so that a lane has both. In memory out goes along rows: 8 x 8 of two-byte values change
// places within the warp before they are stored.

// Lane (g, q) gives the pair (g, 2q), (g, 2q + 1) of an 8 x 8 matrix and gets (2q, g), (2q + 1, g).
__device__ __forceinline__ std::uint32_t transposed(std::uint32_t pair) {
  std::uint32_t result;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(result) : "r"(pair));
  return result;
}

// The row of W that is row `row` of a fragment that begins at row `first` of y, a multiple of 16.
__device__ __forceinline__ int weight_row(int first, int row, bool is_gated) {
  if (!is_gated) return first + row;
  const int group = first / (2 * kGateUpGroup) * (2 * kGateUpGroup);
  return group + first % (2 * kGateUpGroup) / 2 + row % 8 + row / 8 * kGateUpGroup;
}

// Applies what stands behind the product to fragments of the same 16 rows, group i being the 8
// tokens from first_token + 8 i on, and stores them. With kHasEvenRows there is no code for rows of
// out that are not pairs of elements.
template <class T, LinearOutput kOutput, bool kHasEvenRows = false>
class Finish {
 public:
  // `first_row` of y is a multiple of 16. Reads the bias.
  __device__ __forceinline__ Finish(const GemmArguments& args, int first_row, int first_token)
      : args_(args), column_(kIsGated ? first_row / 2 : first_row), first_token_(first_token) {
    low_bias_ = bias_of(weight_row(first_row, lane() / 4, kIsGated));
    high_bias_ = bias_of(weight_row(first_row, lane() / 4 + 8, kIsGated));
  }

  // Finishes groups [0, kCount). sums(group, i) is the lane's sum i of one; both are constants once
  // the loops here are unrolled.
  template <int kCount, class Sums>
  __device__ __forceinline__ void store_all(Sums sums) const {
    constexpr int kBatch = kCount < 2 ? kCount : 2;
    if (stores_pairs()) {
#pragma unroll
      for (int group = 0; group < kCount; group += kBatch) {
        std::uint32_t old[kBatch][2];
#pragma unroll
        for (int i = 0; i < kBatch; ++i) fetch(old[i], group + i);
#pragma unroll
        for (int i = 0; i < kBatch; ++i) {
          const float four[4] = {sums(group + i, 0), sums(group + i, 1), sums(group + i, 2),
                                 sums(group + i, 3)};
          store_pairs(four, old[i], group + i);
        }
      }
    } else {
#pragma unroll
      for (int group = 0; group < kCount; ++group) {
        const float four[4] = {sums(group, 0), sums(group, 1), sums(group, 2), sums(group, 3)};
        store_elements(four, group);
      }
    }
  }

  // Reads what out holds where a group goes, so that store() need not wait for it.
  __device__ __forceinline__ void fetch(std::uint32_t (&old)[2], int group) const {
    old[0] = old[1] = 0;
    if (kOutput != LinearOutput::kAddResidual || !stores_pairs()) return;
    if (has_pair(group, 0)) old[0] = *pair_at(group, 0);
    if (has_pair(group, 8)) old[1] = *pair_at(group, 8);
  }

  __device__ __forceinline__ void store(const float (&sums)[4], const std::uint32_t (&old)[2],
                                        int group) const {
    if (stores_pairs()) {
      store_pairs(sums, old, group);
    } else {
      store_elements(sums, group);
    }
  }

 private:
  static constexpr bool kIsGated = kOutput == LinearOutput::kSwiGlu;

  __device__ __forceinline__ bool stores_pairs() const {
    return kOutput != LinearOutput::kLogits && (kHasEvenRows || args_.has_even_rows);
  }

  static __device__ __forceinline__ int lane() { return threadIdx.x % kWarpSize; }

  __device__ __forceinline__ int num_columns() const {
    return kIsGated ? args_.out_features / 2 : args_.out_features;
  }

  __device__ __forceinline__ float bias_of(int row) const {
    if (args_.bias == nullptr || row >= args_.out_features) return 0.0f;
    return as_float(static_cast<const T*>(args_.bias)[row]);
  }

  // Where this lane's pair of a group stands in memory: token g, columns 2q and 2q + 1.
  __device__ __forceinline__ bool has_pair(int group, int column) const {
    return first_token_ + 8 * group + lane() / 4 < args_.num_tokens &&
           column_ + column + lane() % 4 * 2 < num_columns();
  }
  __device__ __forceinline__ std::uint32_t* pair_at(int group, int column) const {
    const std::int64_t token = first_token_ + 8 * group + lane() / 4;
    return reinterpret_cast<std::uint32_t*>(static_cast<T*>(args_.out) + token * args_.out_stride +
                                            column_ + column + lane() % 4 * 2);
  }

  // y with the bias, rounded where y is stored by others; gated: what is stored, in y[0] and y[1].
  __device__ __forceinline__ void finish(float (&y)[4]) const {
    y[0] += low_bias_, y[1] += low_bias_, y[2] += high_bias_, y[3] += high_bias_;
    if (args_.numerics == Numerics::kReference) {
#pragma unroll
      for (float& value : y) value = rounded<T>(value);
    }
    if constexpr (kIsGated) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float gate = y[i];
        if (args_.numerics == Numerics::kReference) {
          y[i] = rounded<T>(gate / (1.0f + expf(-gate))) * y[i + 2];
        } else {
          y[i] = __fdividef(gate, 1.0f + __expf(-gate)) * y[i + 2];
        }
      }
    }
  }

  __device__ __forceinline__ void store_pairs(const float (&sums)[4], const std::uint32_t (&old)[2],
                                              int group) const {
    float y[4] = {sums[0], sums[1], sums[2], sums[3]};
    finish(y);
    if (kOutput == LinearOutput::kAddResidual) {
      const float2 low = unpack2<T>(transposed(old[0]));
      const float2 high = unpack2<T>(transposed(old[1]));
      y[0] += low.x, y[1] += low.y, y[2] += high.x, y[3] += high.y;
    }
    const std::uint32_t low = transposed(pack2<T>(y[0], y[1]));
    if (has_pair(group, 0)) *pair_at(group, 0) = low;
    if (kIsGated) return;
    const std::uint32_t high = transposed(pack2<T>(y[2], y[3]));
    if (has_pair(group, 8)) *pair_at(group, 8) = high;
  }

  // The same one by one: float, or rows of out that begin at odd elements.
  __device__ __forceinline__ void store_elements(const float (&sums)[4], int group) const {
    using Out = std::conditional_t<kOutput == LinearOutput::kLogits, float, T>;
    float y[4] = {sums[0], sums[1], sums[2], sums[3]};
    finish(y);
    const std::int64_t token = first_token_ + 8 * group + lane() % 4 * 2;
    const int column = column_ + lane() / 4;
    Out* to = static_cast<Out*>(args_.out) + token * args_.out_stride + column;
#pragma unroll
    for (int i = 0; i < (kIsGated ? 2 : 4); ++i) {
      if (token + i % 2 < args_.num_tokens && column + i / 2 * 8 < num_columns()) {
        Out* place = to + i % 2 * args_.out_stride + i / 2 * 8;
        if (kOutput == LinearOutput::kAddResidual) y[i] += as_float(*place);
        *place = narrow<Out>(y[i]);
      }
    }
  }

  const GemmArguments& args_;
  int column_;  // of out where the fragments begin
  int first_token_;
  float low_bias_;
  float high_bias_;
};

// Calls body(std::integral_constant<LinearOutput, output>()): the output as a template argument.
template <class Body>
__device__ __forceinline__ void for_output(LinearOutput output, Body body) {
  switch (output) {
    case LinearOutput::kStore:
      body(std::integral_constant<LinearOutput, LinearOutput::kStore>());
      break;
    case LinearOutput::kAddResidual:
      body(std::integral_constant<LinearOutput, LinearOutput::kAddResidual>());
      break;
    case LinearOutput::kSwiGlu:
      body(std::integral_constant<LinearOutput, LinearOutput::kSwiGlu>());
      break;
    case LinearOutput::kLogits:
      body(std::integral_constant<LinearOutput, LinearOutput::kLogits>());
      break;
  }
}

#endif

}  // namespace kernels
