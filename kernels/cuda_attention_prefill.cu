// Attention of any number of new tokens of each sequence, after cuda_rope_write().
//
// Tiles. Grid (KV heads x sequences, query tiles), 4 warps a block.
//   block   one sequence, one KV head, 64 kFragments rows. A row is one new token and one of the
//           query heads that share the KV head, heads side by side: so a short chunk of a grouped
//           model still fills the tensor cores, and a block reaches over few positions.
//   warp    16 kFragments of the rows, all keys.
//   tile    64 keys; two tiles of K and V are in shared memory, one in use and one on its way.
//   shared  q, 2 x (K, V): 96 KB at kFragments 2 and head_dim 128.
// The block with the longest context starts first; tiles beyond the last row's position are not
// read, and a warp leaves out those beyond its own rows.
//
// o of a tile is computed from nothing, 32 elements of head_dim at a time, and merged
// (cuda_attention_tile.cuh says why): one multiply-add an element and tile, and while the maximum
// grows one multiplication more.
//
// Operations: 4 * num_heads * head_dim * sum of visible keys. A prompt of 4,096 tokens, 12 heads of
// 128: 52 GFLOP, 85 us at the 610 TFLOP/s that mma.sync reaches on an H200.
#include <string>

#include "kernels/cuda_attention_kernels.h"
#include "kernels/cuda_attention_tile.cuh"
#include "kernels/cuda_launch.cuh"

namespace kernels {
namespace {

template <int kHeadDim, int kFragments, int kStages>
struct PrefillShared {
  static constexpr int kRows = kWarps * kRowsPerFragment * kFragments;
  static constexpr int kTileBytes = kTileKeys * SharedRows<kHeadDim>::kRowBytes;
  static constexpr int kQueries = 0;
  static constexpr int kTiles = kQueries + kRows * SharedRows<kHeadDim>::kRowBytes;
  static constexpr int kPlace = kTiles + kStages * 2 * kTileBytes;
  static constexpr int kBytes = kPlace + 128;

  static __device__ __forceinline__ int keys(int stage) { return kTiles + stage * 2 * kTileBytes; }
  static __device__ __forceinline__ int values(int stage) { return keys(stage) + kTileBytes; }
};

// Where a block works. In shared memory, because every register is needed for o.
template <class T>
struct PrefillPlace {
  Pages<T> pages;
  int group;        // query heads of a KV head
  int first_token;  // of the sequence, in the step
  int num_rows;     // of the sequence: new tokens times group
  int first_row;    // of this block
  int past;         // keys before the sequence's first new token
  int kv_head;

  // Row r of the sequence is token r / group, head r % group; -1 for a row that does not exist.
  __device__ __forceinline__ int position_of(int row) const {
    return row < num_rows ? past + row / group : -1;
  }
};

template <class T, int kHeadDim, int kFragments, int kStages>
struct PrefillBlock {
  using Shared = PrefillShared<kHeadDim, kFragments, kStages>;
  static constexpr int kSteps = kHeadDim / 16;
  static constexpr int kNumbers = kTileKeys / 8;  // fragments of 8 keys
  static constexpr int kTogether = kFragments == 1 && kHeadDim <= 128 && kSteps % 2 == 0 ? 2 : 1;

  const CudaAttention& op;
  const PrefillPlace<T>& place;
  std::uint32_t address;
  int lane;
  int warp;
  float o[kFragments][2 * kSteps][4];
  RowState rows[kFragments][2];  // of this lane's rows lane / 4 and 8 more

  __device__ __forceinline__ std::int64_t out_offset(int row) const {
    const int token = row / place.group;
    const int head = place.kv_head * place.group + row - token * place.group;
    return (static_cast<std::int64_t>(place.first_token + token) * op.num_heads + head) * kHeadDim;
  }

  __device__ __forceinline__ void copy_queries() {
    using Rows = SharedRows<kHeadDim>;
    const int group = place.group;
    const int width = (op.num_heads + 2 * op.num_kv_heads) * kHeadDim;
    const T* qkv = static_cast<const T*>(op.qkv) +
                   static_cast<std::int64_t>(place.first_token) * width +
                   place.kv_head * group * kHeadDim;
    for (int index = threadIdx.x; index < Shared::kRows * Rows::kChunks; index += kThreads) {
      const int row = index / Rows::kChunks;
      const int chunk = index % Rows::kChunks;
      const int token = (place.first_row + row) / group;
      const int head = place.first_row + row - token * group;
      copy_async_if(place.first_row + row < place.num_rows,
                    address + Shared::kQueries + Rows::offset(row, chunk),
                    qkv + static_cast<std::int64_t>(token) * width + head * kHeadDim + chunk * 8);
    }
  }

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int f = 0; f < kFragments; ++f) {
      rows[f][0] = rows[f][1] = RowState{};
#pragma unroll
      for (int j = 0; j < 2 * kSteps; ++j) {
#pragma unroll
        for (int i = 0; i < 4; ++i) o[f][j][i] = 0;
      }
    }
  }

  // q k of the warp's rows and a tile's keys.
  __device__ __forceinline__ void multiply_keys(float (&s)[kFragments][kNumbers][4], int stage) {
    const auto queries = FragmentReader<kHeadDim>::of_rows(
        address + Shared::kQueries +
            warp * kFragments * kRowsPerFragment * SharedRows<kHeadDim>::kRowBytes,
        lane);
    const auto keys = FragmentReader<kHeadDim>::of_keys(address + Shared::keys(stage), lane);
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      std::uint32_t q[kFragments][4];
#pragma unroll
      for (int f = 0; f < kFragments; ++f) {
        load_matrices(q[f], queries.at(f * kRowsPerFragment, step));
      }
#pragma unroll
      for (int j = 0; j < kNumbers; j += 2) {
        std::uint32_t k[4];
        load_matrices(k, keys.at(j * 8, step));
#pragma unroll
        for (int f = 0; f < kFragments; ++f) {
          add_product<T>(step == 0, s[f][j], q[f], k[0], k[1]);
          add_product<T>(step == 0, s[f][j + 1], q[f], k[2], k[3]);
        }
      }
    }
  }

  __device__ __forceinline__ void mask(float (&s)[kFragments][kNumbers][4], int tile) {
    const int first_key = tile * kTileKeys + 2 * (lane % 4);
#pragma unroll
    for (int f = 0; f < kFragments; ++f) {
      const int row = place.first_row + (warp * kFragments + f) * kRowsPerFragment + lane / 4;
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int position = place.position_of(row + r * 8);
#pragma unroll
        for (int j = 0; j < kNumbers; ++j) {
          if (first_key + j * 8 > position) s[f][j][2 * r] = kMasked;
          if (first_key + j * 8 + 1 > position) s[f][j][2 * r + 1] = kMasked;
        }
      }
    }
  }

  // The weights of a tile as first operands of the product with V, and how to merge that product.
  __device__ __forceinline__ void weigh(const float (&s)[kFragments][kNumbers][4],
                                        std::uint32_t (&p)[kFragments][kTilePages][4],
                                        MergeWeights (&merge)[kFragments][2], float scale_log2) {
#pragma unroll
    for (int f = 0; f < kFragments; ++f) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        float largest = s[f][0][2 * r];
#pragma unroll
        for (int j = 0; j < kNumbers; ++j) {
          largest = fmaxf(largest, fmaxf(s[f][j][2 * r], s[f][j][2 * r + 1]));
        }
        const float maximum = tile_maximum(quad_max(largest), scale_log2);
        float sums[kTilePages];
#pragma unroll
        for (int page = 0; page < kTilePages; ++page) {
          const float a = weight_of(s[f][2 * page][2 * r], scale_log2, maximum);
          const float b = weight_of(s[f][2 * page][2 * r + 1], scale_log2, maximum);
          const float c = weight_of(s[f][2 * page + 1][2 * r], scale_log2, maximum);
          const float d = weight_of(s[f][2 * page + 1][2 * r + 1], scale_log2, maximum);
          sums[page] = sum4(a, b, c, d);
          p[f][page][r] = pack2<T>(a, b);
          p[f][page][2 + r] = pack2<T>(c, d);
        }
        merge[f][r] =
            merge_tile(rows[f][r], maximum, quad_sum(sum4(sums[0], sums[1], sums[2], sums[3])));
      }
    }
  }

  // o = o * keep; nearly always keep is 1 in all rows, and then there is nothing to do.
  __device__ __forceinline__ void keep(const MergeWeights (&merge)[kFragments][2]) {
    bool all_kept = true;
#pragma unroll
    for (int f = 0; f < kFragments; ++f) {
      all_kept = all_kept && merge[f][0].keep == 1 && merge[f][1].keep == 1;
    }
    if (__all_sync(0xffffffffu, all_kept)) return;
#pragma unroll
    for (int f = 0; f < kFragments; ++f) {
#pragma unroll
      for (int j = 0; j < 2 * kSteps; ++j) {
#pragma unroll
        for (int i = 0; i < 4; ++i) o[f][j][i] = __fmul_rn(o[f][j][i], merge[f][i / 2].keep);
      }
    }
  }

  __device__ __forceinline__ void multiply_values(
      const std::uint32_t (&p)[kFragments][kTilePages][4],
      const MergeWeights (&merge)[kFragments][2], int stage) {
    const auto values = FragmentReader<kHeadDim>::of_values(address + Shared::values(stage), lane);
#pragma unroll
    for (int step = 0; step < kSteps; step += kTogether) {
      float tile_o[kFragments][2 * kTogether][4];
#pragma unroll
      for (int page = 0; page < kTilePages; ++page) {
#pragma unroll
        for (int t = 0; t < kTogether; ++t) {
          std::uint32_t v[4];
          load_matrices_transposed(v, values.at(page * kPageKeys, step + t));
#pragma unroll
          for (int f = 0; f < kFragments; ++f) {
            add_product<T>(page == 0, tile_o[f][2 * t], p[f][page], v[0], v[1]);
            add_product<T>(page == 0, tile_o[f][2 * t + 1], p[f][page], v[2], v[3]);
          }
        }
      }
#pragma unroll
      for (int f = 0; f < kFragments; ++f) {
#pragma unroll
        for (int j = 0; j < 2 * kTogether; ++j) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            float& sum = o[f][2 * step + j][i];
            sum = __fmaf_rn(tile_o[f][j][i], merge[f][i / 2].take, sum);
          }
        }
      }
    }
  }

  __device__ __forceinline__ void write_output() {
#pragma unroll
    for (int f = 0; f < kFragments; ++f) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int row =
            place.first_row + (warp * kFragments + f) * kRowsPerFragment + lane / 4 + r * 8;
        if (row >= place.num_rows) continue;
        const float scale = __frcp_rn(rows[f][r].sum);
        T* out = static_cast<T*>(op.out) + out_offset(row) + 2 * (lane % 4);
#pragma unroll
        for (int j = 0; j < 2 * kSteps; ++j) {
          store_two(out + j * 8, __fmul_rn(o[f][j][2 * r], scale),
                    __fmul_rn(o[f][j][2 * r + 1], scale));
        }
      }
    }
  }

  static __device__ __forceinline__ void store_two(T* to, float low, float high) {
    *reinterpret_cast<std::uint32_t*>(to) = pack2<T>(low, high);
  }

  __device__ __forceinline__ void run() {
    const int last_row = min(place.first_row + Shared::kRows, place.num_rows) - 1;
    const int num_tiles = place.position_of(last_row) / kTileKeys + 1;
    // The first and last position among the warp's rows; its rows beyond the sequence's last one
    // are computed with the others and not written.
    const int warp_row = place.first_row + warp * kFragments * kRowsPerFragment;
    const int first_position = place.position_of(warp_row);
    const int last_position =
        place.position_of(min(warp_row + kFragments * kRowsPerFragment, place.num_rows) - 1);
    const bool has_rows = warp_row < place.num_rows;

    int ids = place.pages.load_ids(0, lane);
    copy_queries();
#pragma unroll
    for (int i = 0; i < kStages - 1; ++i) start_copy(i, ids, num_tiles);
    clear();
    const float scale_log2 = op.scale * kLog2E;
    for (int tile = 0; tile < num_tiles; ++tile) {
      if constexpr (kStages > 1) wait_for_copies<kStages - 2>();
      __syncthreads();
      start_copy(tile + kStages - 1, ids, num_tiles);
      if constexpr (kStages == 1) {
        wait_for_copies<0>();
        __syncthreads();
      }
      if (!has_rows || tile * kTileKeys > last_position) continue;
      float s[kFragments][kNumbers][4];
      multiply_keys(s, tile % kStages);
      if (tile * kTileKeys + kTileKeys - 1 > first_position) mask(s, tile);
      std::uint32_t p[kFragments][kTilePages][4];
      MergeWeights merge[kFragments][2];
      weigh(s, p, merge, scale_log2);
      keep(merge);
      multiply_values(p, merge, tile % kStages);
    }
    write_output();
  }

  // One group of copies, empty beyond the last tile, so that counting groups counts tiles.
  __device__ __forceinline__ void start_copy(int tile, int& ids, int num_tiles) {
    if (tile < num_tiles) {
      const int stage = tile % kStages;
      copy_tile<T, kHeadDim>(address + Shared::keys(stage), address + Shared::values(stage),
                             place.pages, tile, ids, 0, -1);
      ids = place.pages.load_ids(tile + 1, lane);
    }
    commit_copies();
  }
};

template <class T, int kHeadDim, int kFragments, int kStages>
__global__ void __launch_bounds__(kThreads, 2)
    prefill_kernel(const __grid_constant__ CudaAttention op) {
  using Block = PrefillBlock<T, kHeadDim, kFragments, kStages>;
  extern __shared__ __align__(128) unsigned char memory[];
  wait_for_inputs();
  let_next_start();
  const int sequence = op.num_decodes + blockIdx.x / op.num_kv_heads;
  const int context_len = op.context_lens[sequence];
  const int first_token = op.query_starts[sequence];
  const int num_new = op.query_starts[sequence + 1] - first_token;
  const int group = op.num_heads / op.num_kv_heads;
  const int num_rows = context_len > 0 ? num_new * group : 0;
  const int num_blocks = (num_rows + Block::Shared::kRows - 1) / Block::Shared::kRows;
  const int index = num_blocks - 1 - static_cast<int>(blockIdx.y);
  if (index < 0) return;

  auto& place = *reinterpret_cast<PrefillPlace<T>*>(memory + Block::Shared::kPlace);
  if (threadIdx.x == 0) {
    const int kv_head = blockIdx.x % op.num_kv_heads;
    const std::int64_t head_offset = static_cast<std::int64_t>(kv_head) * kPageKeys * kHeadDim;
    place.pages.k = static_cast<const T*>(op.k_cache) + head_offset;
    place.pages.v = static_cast<const T*>(op.v_cache) + head_offset;
    place.pages.stride = static_cast<std::int64_t>(op.num_kv_heads) * kPageKeys * kHeadDim;
    place.pages.ids = op.block_tables + op.block_table_starts[sequence];
    place.pages.num_keys = context_len;
    place.group = group;
    place.first_token = first_token;
    place.num_rows = num_rows;
    place.first_row = index * Block::Shared::kRows;
    place.past = context_len - num_new;
    place.kv_head = kv_head;
  }
  __syncthreads();
  Block block{op, place, shared_address(memory), static_cast<int>(threadIdx.x % kWarpSize),
              static_cast<int>(threadIdx.x / kWarpSize)};
  block.run();
}

template <class T, int kHeadDim, int kFragments, int kStages>
void launch_tiled(const CudaAttention& op, Stream stream) {
  using Shared = PrefillShared<kHeadDim, kFragments, kStages>;
  const int num_rows = op.max_query_len * (op.num_heads / op.num_kv_heads);
  const int num_sequences = op.num_sequences - op.num_decodes;
  const int num_tiles = (num_rows + Shared::kRows - 1) / Shared::kRows;
  CHECK(num_tiles <= 65535, "cuda_attention: " + std::to_string(op.max_query_len) +
                                " new tokens of one sequence are more than a grid holds; cut the "
                                "prompt into chunks");
  launch(prefill_kernel<T, kHeadDim, kFragments, kStages>,
         dim3(op.num_kv_heads * num_sequences, num_tiles), dim3(kThreads), Shared::kBytes, stream,
         op);
}

// Two fragments a warp halve what is read from shared memory for each product, but need twice the
// rows to give every multiprocessor two blocks.
template <class T, int kHeadDim>
void launch_for_head(const CudaAttention& op, Stream stream) {
  if constexpr (kHeadDim > 128) {
    launch_tiled<T, kHeadDim, 1, 1>(op, stream);
  } else {
    const int num_tokens = op.num_tokens - op.num_decodes;
    const std::int64_t wide_blocks =
        static_cast<std::int64_t>(num_tokens) * op.num_heads / PrefillShared<kHeadDim, 2, 2>::kRows;
    if (wide_blocks >= 2 * device_traits().num_multiprocessors) {
      launch_tiled<T, kHeadDim, 2, 2>(op, stream);
    } else {
      launch_tiled<T, kHeadDim, 1, 2>(op, stream);
    }
  }
}

template <class T>
void launch_for_type(const CudaAttention& op, Stream stream) {
  switch (op.head_dim) {
    case 64:
      return launch_for_head<T, 64>(op, stream);
    case 80:
      return launch_for_head<T, 80>(op, stream);
    case 96:
      return launch_for_head<T, 96>(op, stream);
    case 128:
      return launch_for_head<T, 128>(op, stream);
    default:
      return launch_for_head<T, 256>(op, stream);
  }
}

}  // namespace

void launch_attention_prefill(const CudaAttention& op, Stream stream) {
  if (op.type == DType::kF16) return launch_for_type<__half>(op, stream);
  launch_for_type<__nv_bfloat16>(op, stream);
}

}  // namespace kernels
