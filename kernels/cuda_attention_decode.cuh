// One block's work in the decode kernel; cuda_attention_decode.cu says how the work is cut.
#pragma once

#include "kernels/cuda_attention.h"
#include "kernels/cuda_attention_merge.cuh"
#include "kernels/cuda_attention_rotate.cuh"
#include "kernels/cuda_attention_tile.cuh"
#include "kernels/cuda_launch.cuh"

namespace kernels {

// What the kernel is told beyond the operator's own arguments.
struct DecodePlan {
  int rows;            // query heads a block has, at most 16
  int row_groups;      // blocks that share a KV head
  int num_splits;      // for each sequence and KV head
  int cluster_size;    // blocks of a cluster, neighbouring splits; a divisor of num_splits
  int cluster_tiles;   // up to how many tiles a sequence is left to the first cluster alone
  int parts_per_pair;  // room in the workspace for each (sequence, KV head, row group)
  int parts_per_tile;  // 1: a part for each tile, 0: for each split
  int* tickets;        // [pairs], one unit for each cluster that is done
  float* states;       // [pairs, parts_per_pair, rows, 2]: maximum, sum
  float* products;     // [pairs, parts_per_pair, rows, head_dim]
};

template <int kHeadDim, int kStages>
struct DecodeShared {
  static constexpr int kTileBytes = kTileKeys * SharedRows<kHeadDim>::kRowBytes;
  static constexpr int kQueries = 0;
  static constexpr int kNewKey = kQueries + kRowsPerFragment * SharedRows<kHeadDim>::kRowBytes;
  static constexpr int kTiles = (kNewKey + 2 * kHeadDim * 2 + 127) / 128 * 128;
  static constexpr int kWeights = kTiles + kStages * 2 * kTileBytes;
  static constexpr int kMaxima = kWeights + kRowsPerFragment * SharedRows<kTileKeys>::kRowBytes;
  static constexpr int kSums = kMaxima + kWarps * kRowsPerFragment * 4;
  static constexpr int kIsLast = kSums + kWarps * kRowsPerFragment * 4 * 4;
  static constexpr int kBytes = kIsLast + 16;

  static __device__ __forceinline__ int keys(int stage) { return kTiles + stage * 2 * kTileBytes; }
  static __device__ __forceinline__ int values(int stage) { return keys(stage) + kTileBytes; }
};

// How the tiles of a sequence fall to its splits: `first` to the first, `each` to the others.
struct TileShares {
  int num_tiles;
  int first;
  int each;
  int num_active;  // splits that have tiles
  int num_parts;   // of all splits together
};

__device__ __forceinline__ TileShares share_tiles(int num_tiles, const DecodePlan& plan) {
  const int splits = num_tiles <= plan.cluster_tiles ? plan.cluster_size : plan.num_splits;
  int first = (num_tiles + splits - 1) / splits;
  if (plan.parts_per_tile) first = max(first, num_tiles - (plan.parts_per_pair - 1));
  const int rest = num_tiles - first;
  if (rest <= 0) return {num_tiles, num_tiles, 0, num_tiles > 0 ? 1 : 0, 1};
  const int each = (rest + splits - 2) / (splits - 1);
  const int num_active = 1 + (rest + each - 1) / each;
  return {num_tiles, first, each, num_active, plan.parts_per_tile ? 1 + rest : num_active};
}

// The tiles [begin, end) of one split.
struct TileRange {
  int begin;
  int end;
};

__device__ __forceinline__ TileRange range_of(const TileShares& shares, int split) {
  if (split == 0) return {0, shares.first};
  const int begin = min(shares.num_tiles, shares.first + (split - 1) * shares.each);
  return {begin, min(shares.num_tiles, begin + shares.each)};
}

template <class T, int kHeadDim, int kStages>
struct DecodeBlock {
  using Shared = DecodeShared<kHeadDim, kStages>;
  static constexpr int kSteps = kHeadDim / 16;
  static constexpr int kPairs = (kSteps + kWarps - 1) / kWarps;  // 16 elements each, of o
  static constexpr int kSharePairs = kHeadDim <= 128 ? 1 : 2;
  static constexpr int kHeadsAtOnce = 2;

  const CudaAttention& op;
  const DecodePlan& plan;
  unsigned char* memory;
  std::uint32_t address;
  int lane;
  int warp;
  int sequence;
  int kv_head;
  int first_head;
  int num_rows;
  int pair;  // of the workspace
  int context_len;
  Pages<T> pages;
  int ids;        // blocks of the tiles that are copied next, as load_ids() has them
  int new_block;  // the block of the new key, in the split that has the last tile
  AngleShare<kSharePairs> angles;
  std::uint32_t q[kSteps][4];
  float o[kPairs][2][4];
  RowState rows[2];  // of this lane's rows lane / 4 and 8 more

  __device__ __forceinline__ DecodeBlock(const CudaAttention& op_, const DecodePlan& plan_,
                                         unsigned char* memory_)
      : op(op_),
        plan(plan_),
        memory(memory_),
        address(shared_address(memory_)),
        lane(threadIdx.x % kWarpSize),
        warp(threadIdx.x / kWarpSize),
        sequence(blockIdx.z) {
    kv_head = blockIdx.y / plan.row_groups;
    const int group = blockIdx.y % plan.row_groups;
    const int heads_per_kv = op.num_heads / op.num_kv_heads;
    first_head = kv_head * heads_per_kv + group * plan.rows;
    num_rows = min(plan.rows, heads_per_kv - group * plan.rows);
    pair = sequence * gridDim.y + blockIdx.y;
    context_len = op.context_lens[sequence];
    const std::int64_t head_offset = static_cast<std::int64_t>(kv_head) * kPageKeys * kHeadDim;
    pages.k = static_cast<const T*>(op.k_cache) + head_offset;
    pages.v = static_cast<const T*>(op.v_cache) + head_offset;
    pages.stride = static_cast<std::int64_t>(op.num_kv_heads) * kPageKeys * kHeadDim;
    pages.ids = op.block_tables + op.block_table_starts[sequence];
    pages.num_keys = context_len - 1;  // the new one comes from qkv
  }

  // What may run while the kernel before this one still does: it reads what was in memory when the
  // step began (block tables, context lengths, keys and values of earlier tokens) and constants.
  __device__ __forceinline__ void prepare(const TileRange& range, bool has_last) {
    ids = pages.load_ids(range.begin, lane);
    const int position = context_len - 1;
    if (has_last) new_block = pages.ids[position / kPageKeys];
    angles.load(op.rope_table + static_cast<std::int64_t>(position) * kHeadDim, kHeadDim, lane);
    static_assert(kStages * kTilePages <= kWarpSize, "ids of the first tiles are read at once");
#pragma unroll 1
    for (int i = 0; i < kStages - 1; ++i) {
      start_copy(range.begin + i, i, i * kTilePages, has_last, range.end);
    }
    ids = __shfl_sync(0xffffffffu, ids, (kStages - 1) * kTilePages + lane % kTilePages);
  }

  // Turns this block's heads of q into the first operand and, in the split that has the last tile,
  // the new key; that one and the new value wait in shared memory for place_new_key().
  __device__ __forceinline__ void turn_heads(bool has_last) {
    const int width = (op.num_heads + 2 * op.num_kv_heads) * kHeadDim;
    const T* row = static_cast<const T*>(op.qkv) + static_cast<std::int64_t>(sequence) * width;
    const int num_items = num_rows + (has_last ? 2 : 0);
    for (int first = warp; first < num_items; first += kHeadsAtOnce * kWarps) {
      HeadShare<T, kSharePairs> share[kHeadsAtOnce];
#pragma unroll
      for (int i = 0; i < kHeadsAtOnce; ++i) {
        const int item = min(first + i * kWarps, num_items - 1);
        const int head = item < num_rows
                             ? first_head + item
                             : op.num_heads + kv_head + (item - num_rows) * op.num_kv_heads;
        share[i].load(row + head * kHeadDim, kHeadDim, lane);
      }
#pragma unroll
      for (int i = 0; i < kHeadsAtOnce; ++i) {
        if (first + i * kWarps < num_items) place_head(share[i], first + i * kWarps);
      }
    }
    // The rows that are no query's take part in every product; zeros keep them harmless.
    for (int i = num_rows * (kHeadDim / 8) + threadIdx.x; i < kRowsPerFragment * (kHeadDim / 8);
         i += kThreads) {
      const int offset = SharedRows<kHeadDim>::offset(i / (kHeadDim / 8), i % (kHeadDim / 8));
      *reinterpret_cast<uint4*>(memory + Shared::kQueries + offset) = make_uint4(0, 0, 0, 0);
    }
  }

  // Items are this block's heads of q, then k, then v.
  __device__ __forceinline__ void place_head(HeadShare<T, kSharePairs>& share, int item) {
    const bool is_reference = op.numerics == Numerics::kReference;
    if (item < num_rows) {
      share.turn({op.q_norm, op.norm_epsilon, is_reference, kHeadDim}, angles, lane);
      share.for_each(kHeadDim, lane, [&](int element, float2 value) {
        const int offset = SharedRows<kHeadDim>::offset(item, element / 8) + element % 8 * 2;
        store_two(reinterpret_cast<T*>(memory + Shared::kQueries + offset), value);
      });
      return;
    }
    const bool is_value = item > num_rows;
    if (!is_value) {
      share.turn({op.k_norm, op.norm_epsilon, is_reference, kHeadDim}, angles, lane);
    }
    T* shared = reinterpret_cast<T*>(memory + Shared::kNewKey) + (is_value ? kHeadDim : 0);
    share.for_each(kHeadDim, lane,
                   [&](int element, float2 value) { store_two(shared + element, value); });
    // Blocks that share a KV head all have the key; the first of them writes it.
    if (blockIdx.y % plan.row_groups != 0) return;
    T* cache = const_cast<T*>(is_value ? pages.v : pages.k) + new_block * pages.stride +
               (context_len - 1) % kPageKeys * kHeadDim;
    share.for_each(kHeadDim, lane,
                   [&](int element, float2 value) { store_two(cache + element, value); });
  }

  // To be called once the last tile's copies have been started in `stage`: they leave out its row.
  __device__ __forceinline__ void place_new_key(int stage) {
    constexpr int kChunks = kHeadDim / 8;
    if (threadIdx.x >= 2 * kChunks) return;
    const bool is_value = threadIdx.x >= kChunks;
    const int chunk = threadIdx.x - (is_value ? kChunks : 0);
    const int to = (is_value ? Shared::values(stage) : Shared::keys(stage)) +
                   SharedRows<kHeadDim>::offset((context_len - 1) % kTileKeys, chunk);
    *reinterpret_cast<uint4*>(memory + to) =
        *reinterpret_cast<const uint4*>(memory + Shared::kNewKey + threadIdx.x * 16);
  }

  __device__ __forceinline__ void load_queries() {
    const auto queries = FragmentReader<kHeadDim>::of_rows(address + Shared::kQueries, lane);
#pragma unroll
    for (int step = 0; step < kSteps; ++step) load_matrices(q[step], queries.at(0, step));
  }

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
#pragma unroll
      for (int j = 0; j < 8; ++j) o[i][j / 4][j % 4] = 0;
    }
    rows[0] = rows[1] = RowState{};
  }

  // Adds one tile, which lies in `stage`, to o and rows. Two barriers inside.
  __device__ __forceinline__ void add_tile(int tile, int stage, float scale_log2) {
    float* maxima = reinterpret_cast<float*>(memory + Shared::kMaxima);
    float* sums = reinterpret_cast<float*>(memory + Shared::kSums);
    const int row = lane / 4;
    const int column = lane % 4;

    const auto keys = FragmentReader<kHeadDim>::of_keys(address + Shared::keys(stage), lane);
    float s[2][4];
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      std::uint32_t k[4];
      load_matrices(k, keys.at(warp * 16, step));
      add_product<T>(step == 0, s[0], q[step], k[0], k[1]);
      add_product<T>(step == 0, s[1], q[step], k[2], k[3]);
    }
    const int first_key = tile * kTileKeys + warp * 16 + 2 * column;
#pragma unroll
    for (int j = 0; j < 2; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (first_key + j * 8 + i % 2 >= context_len) s[j][i] = kMasked;
      }
    }
    const float upper = quad_max(fmaxf(fmaxf(s[0][0], s[0][1]), fmaxf(s[1][0], s[1][1])));
    const float lower = quad_max(fmaxf(fmaxf(s[0][2], s[0][3]), fmaxf(s[1][2], s[1][3])));
    if (column == 0) {
      maxima[warp * kRowsPerFragment + row] = upper;
      maxima[warp * kRowsPerFragment + row + 8] = lower;
    }
    __syncthreads();

    float maximum[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float* of_row = maxima + row + r * 8;
      const float largest =
          fmaxf(fmaxf(of_row[0], of_row[kRowsPerFragment]),
                fmaxf(of_row[2 * kRowsPerFragment], of_row[3 * kRowsPerFragment]));
      maximum[r] = tile_maximum(largest, scale_log2);
      float p[2][2];
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        p[j][0] = weight_of(s[j][2 * r], scale_log2, maximum[r]);
        p[j][1] = weight_of(s[j][2 * r + 1], scale_log2, maximum[r]);
        const int offset = SharedRows<kTileKeys>::offset(row + r * 8, warp * 2 + j);
        *reinterpret_cast<std::uint32_t*>(memory + Shared::kWeights + offset + column * 4) =
            pack2<T>(p[j][0], p[j][1]);
      }
      sums[(warp * kRowsPerFragment + row + r * 8) * 4 + column] =
          sum4(p[0][0], p[0][1], p[1][0], p[1][1]);
    }
    __syncthreads();

    MergeWeights merge[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float* of_row = sums + (row + r * 8) * 4 + column;
      constexpr int kNext = kRowsPerFragment * 4;
      const float sum =
          quad_sum(sum4(of_row[0], of_row[kNext], of_row[2 * kNext], of_row[3 * kNext]));
      merge[r] = merge_tile(rows[r], maximum[r], sum);
    }
    const auto tile_weights = FragmentReader<kTileKeys>::of_rows(address + Shared::kWeights, lane);
    const auto values = FragmentReader<kHeadDim>::of_values(address + Shared::values(stage), lane);
    std::uint32_t weights[kTilePages][4];
#pragma unroll
    for (int page = 0; page < kTilePages; ++page) {
      load_matrices(weights[page], tile_weights.at(0, page));
    }
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      const int quarter = warp + i * kWarps;
      if (quarter >= kSteps) break;
      float tile_o[2][4];
#pragma unroll
      for (int page = 0; page < kTilePages; ++page) {
        std::uint32_t v[4];
        load_matrices_transposed(v, values.at(page * kPageKeys, quarter));
        add_product<T>(page == 0, tile_o[0], weights[page], v[0], v[1]);
        add_product<T>(page == 0, tile_o[1], weights[page], v[2], v[3]);
      }
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        float& sum = o[i][j / 4][j % 4];
        sum = merge_product(sum, tile_o[j / 4][j % 4], merge[(j % 4) / 2]);
      }
    }
  }

  // Calls body(row, element, two numbers of o) for what this lane has of the rows that exist.
  template <class Body>
  __device__ __forceinline__ void for_each_product(Body body) const {
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      const int quarter = warp + i * kWarps;
      if (quarter >= kSteps) break;
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int element = quarter * 16 + j * 8 + (lane % 4) * 2;
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          const int row = lane / 4 + r * 8;
          if (row < num_rows)
            body(row, element, make_float2(o[i][j][2 * r], o[i][j][2 * r + 1]), r);
        }
      }
    }
  }

  // The rows that exist are kept [rows, head_dim]; (m, l) of each row apart.
  __device__ __forceinline__ void write_part(float* products, float* states) {
    for_each_product([&](int row, int element, float2 value, int) {
      store_two(products + row * kHeadDim + element, value);
    });
    if (warp == 0 && lane % 4 == 0) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int row = lane / 4 + r * 8;
        if (row < num_rows) store_two(states + row * 2, make_float2(rows[r].maximum, rows[r].sum));
      }
    }
  }

  __device__ __forceinline__ void write_workspace_part(int part) {
    const std::int64_t index = static_cast<std::int64_t>(pair) * plan.parts_per_pair + part;
    write_part(plan.products + index * plan.rows * kHeadDim, plan.states + index * plan.rows * 2);
  }

  // Where a tile's keys were: nobody reads them once the tile's weights are known.
  __device__ __forceinline__ void write_shared_part(int stage) {
    float* part = reinterpret_cast<float*>(memory + Shared::keys(stage));
    write_part(part, part + num_rows * kHeadDim);
  }

  __device__ __forceinline__ T* out() const {
    return static_cast<T*>(op.out) +
           (static_cast<std::int64_t>(sequence) * op.num_heads + first_head) * kHeadDim;
  }

  __device__ __forceinline__ void write_output() {
    for_each_product([&](int row, int element, float2 value, int r) {
      store_quotient(out() + row * kHeadDim + element, value, rows[r].sum);
    });
  }

  // Parts are in the cluster's shared memory.
  __device__ __forceinline__ void merge_parts_of_cluster(const TileShares& shares) {
    cluster_barrier();
    const MergeSlice slice = slice_of(num_rows * kHeadDim, blockIdx.x, shares.num_active);
    const ClusterParts parts{address + Shared::keys(0), 2 * Shared::kTileBytes,
                             plan.parts_per_tile ? shares.each : 1, num_rows, shares.num_parts};
    merge_in_cluster<T, kHeadDim>(out(), slice, parts);
    // Nobody ends while another may still read its memory.
    cluster_barrier();
  }

  // Parts are in the workspace; the last cluster to arrive merges them, each block a slice.
  __device__ __forceinline__ void merge_parts_of_workspace(const TileShares& shares) {
    const int size = plan.cluster_size;
    const int cluster = blockIdx.x / size;
    const int rank = blockIdx.x % size;
    const int num_blocks = min(size, shares.num_active - cluster * size);
    const bool is_alone = num_blocks == 1;
    int* is_last = reinterpret_cast<int*>(memory + Shared::kIsLast);
    is_alone ? __syncthreads() : cluster_barrier();
    if (rank == 0 && threadIdx.x < num_blocks) {
      int last = 0;
      if (threadIdx.x == 0) {
        const int num_clusters = (shares.num_active + size - 1) / size;
        last = take_ticket(plan.tickets + pair) == num_clusters - 1;
        if (last) plan.tickets[pair] = 0;
      }
      last = __shfl_sync((1u << num_blocks) - 1, last, 0);
      if (is_alone) {
        *is_last = last;
      } else {
        store_in_cluster(address_in_cluster(address + Shared::kIsLast, threadIdx.x), last);
      }
    }
    is_alone ? __syncthreads() : cluster_barrier();
    if (!*is_last) return;
    const std::int64_t first = static_cast<std::int64_t>(pair) * plan.parts_per_pair * plan.rows;
    WorkspaceMerge<T, kHeadDim, kStages * 2 * Shared::kTileBytes> merge;
    merge.memory = memory + Shared::kTiles;
    merge.parts = {plan.states + first * 2, plan.products + first * kHeadDim, plan.rows,
                   shares.num_parts};
    merge.slice = slice_of(num_rows * kHeadDim, rank, num_blocks);
    merge.run(out());
  }

  __device__ __forceinline__ void run(const TileShares& shares, const TileRange& range) {
    const bool has_last = range.end == shares.num_tiles;
    turn_heads(has_last);
    __syncthreads();
    const int num_tiles = range.end - range.begin;
    if (has_last && num_tiles < kStages) place_new_key(num_tiles - 1);
    load_queries();
    clear();

    const float scale_log2 = op.scale * kLog2E;
    const bool leaves_each_tile = plan.parts_per_tile && range.begin > 0;
    const bool is_within_cluster =
        shares.num_active <= plan.cluster_size && (!plan.parts_per_tile || shares.each <= kStages);
    int stage = 0;
    for (int tile = range.begin; tile < range.end; ++tile) {
      if constexpr (kStages > 1) wait_for_copies<kStages - 2>();
      __syncthreads();
      // The stage that was read in the round before is free now.
      const int next = tile + kStages - 1;
      const int free_stage = stage == 0 ? kStages - 1 : stage - 1;
      start_copy(next, free_stage, 0, has_last, range.end);
      if (has_last && next == range.end - 1) place_new_key(free_stage);
      ids = pages.load_ids(next + 1, lane);
      if constexpr (kStages == 1) {
        wait_for_copies<0>();
        __syncthreads();
      }
      add_tile(tile, stage, scale_log2);
      if (leaves_each_tile) {
        if (is_within_cluster) {
          write_shared_part(stage);
        } else {
          write_workspace_part(1 + tile - shares.first);
        }
        clear();
      }
      stage = stage + 1 == kStages ? 0 : stage + 1;
    }
    if (shares.num_active == 1) return write_output();
    if (!leaves_each_tile) {
      if (is_within_cluster) {
        write_shared_part(0);
      } else {
        write_workspace_part(blockIdx.x);
      }
    }
    if (is_within_cluster) return merge_parts_of_cluster(shares);
    merge_parts_of_workspace(shares);
  }

  // One group of copies, empty beyond the last tile, so that counting groups counts tiles.
  __device__ __forceinline__ void start_copy(int tile, int stage, int first_lane, bool has_last,
                                             int end) {
    if (tile < end) {
      copy_tile<T, kHeadDim>(address + Shared::keys(stage), address + Shared::values(stage), pages,
                             tile, ids, first_lane, has_last ? context_len - 1 : -1);
    }
    commit_copies();
  }
};

}  // namespace kernels
