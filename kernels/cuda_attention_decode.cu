// Attention of the one new token of each sequence.
//
// Tiles. Grid (splits, KV heads x groups of 16 query heads, sequences), 4 warps a block.
//   block   one sequence, one KV head, up to 16 of the query heads that share it (the rows of the
//           tensor cores' first operand), and a run of tiles of 64 keys: each K and V row is read
//           once. kStages tiles of K and V are in shared memory or on their way there.
//   warp    16 of a tile's 64 keys in q k; a quarter of head_dim in the product with V.
//   shared  q, kStages x (K, V), the 16 x 64 weights, the warps' maxima and sums.
//
// The new key and value come from qkv: the block that has the last tile turns and places them, in
// shared memory for itself and in the cache for later steps, so nothing waits for a cache write.
//
// Splits. The grid has as many for each sequence as fill the device, whatever the contexts are; a
// split without tiles ends at once. With more than one in use, each leaves (m, l, o) in the
// workspace and whoever arrives last merges them in ascending order. When the result must not
// depend on the batch, a split leaves one such part for every tile, as if there were no splits; the
// first split may merge its own, because they are the beginning of the chain.
//
// Memory traffic in bytes: K and V, 2 * sum(context_lens) * num_kv_heads * head_dim * 2; the rest
// is small. 256 sequences of 320 tokens, 2 KV heads of 128: 84 MB a layer, 20 us at 4.3 TB/s.
#include <algorithm>
#include <string>

#include "kernels/cuda_attention_kernels.h"
#include "kernels/cuda_attention_rotate.cuh"
#include "kernels/cuda_attention_tile.cuh"
#include "kernels/cuda_launch.cuh"

namespace kernels {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarpSize;
constexpr int kMaxSplitParts = 1024;      // parts of all sequences together, one for each split
constexpr int kMaxInvariantParts = 8192;  // the same, one for each tile
constexpr float kLog2E = 1.4426950408889634f;

// What the kernel is told beyond the operator's own arguments.
struct DecodePlan {
  int rows;            // query heads a block has, at most 16
  int row_groups;      // blocks that share a KV head
  int num_splits;      // for each sequence and KV head
  int parts_per_pair;  // room in the workspace for each (sequence, KV head, row group)
  int parts_per_tile;  // 1: a part for each tile, 0: for each split
  int* tickets;        // [pairs]
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
  // While parts are merged, tiles make room for them and for how they are merged.
  static constexpr int kMergeBytes =
      kStages * 2 * kTileBytes - kRowsPerFragment * kWarpSize * static_cast<int>(sizeof(float4));
  static constexpr int kMergeWeights = kTiles + kMergeBytes;
  static constexpr int kMaxima = kWeights + kRowsPerFragment * SharedRows<kTileKeys>::kRowBytes;
  static constexpr int kSums = kMaxima + kWarps * kRowsPerFragment * 4;
  static constexpr int kIsLast = kSums + kWarps * kRowsPerFragment * 4 * 4;
  static constexpr int kBytes = kIsLast + 16;

  static __device__ __forceinline__ int keys(int stage) { return kTiles + stage * 2 * kTileBytes; }
  static __device__ __forceinline__ int values(int stage) { return keys(stage) + kTileBytes; }
};

// The tiles of one split, and where it leaves its parts.
struct TileRange {
  int begin;
  int end;
  int num_active;  // splits that have tiles
  int num_parts;   // of all splits together
  int first_part;  // of this split
};

__device__ __forceinline__ TileRange range_of(int num_tiles, int split, const DecodePlan& plan) {
  int first = (num_tiles + plan.num_splits - 1) / plan.num_splits;
  if (plan.parts_per_tile) first = max(first, num_tiles - (plan.parts_per_pair - 1));
  const int rest = num_tiles - first;
  if (rest <= 0) return {0, split == 0 ? num_tiles : 0, 1, 1, 0};
  const int each = (rest + plan.num_splits - 2) / (plan.num_splits - 1);
  const int num_active = 1 + (rest + each - 1) / each;
  const int num_parts = plan.parts_per_tile ? 1 + rest : num_active;
  if (split == 0) return {0, first, num_active, num_parts, 0};
  const int begin = min(num_tiles, first + (split - 1) * each);
  const int first_part = plan.parts_per_tile ? 1 + begin - first : split;
  return {begin, min(num_tiles, begin + each), num_active, num_parts, first_part};
}

// One unit more to the counter at `ticket`, ordered after this block's writes and before its later
// reads when a block-wide barrier stands on either side.
__device__ __forceinline__ int take_ticket(int* ticket) {
  int before;
  asm volatile("atom.add.acq_rel.gpu.global.s32 %0, [%1], 1;"
               : "=r"(before)
               : "l"(ticket)
               : "memory");
  return before;
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
  int ids[kStages];  // blocks of the tiles that are copied next, as load_id() has them
  int new_block;     // the block of the new key, in the split that has the last tile
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
#pragma unroll
    for (int i = 0; i < kStages; ++i) ids[i] = pages.load_id(range.begin + i, lane);
    const int position = context_len - 1;
    if (has_last) new_block = pages.ids[position / kPageKeys];
    angles.load(op.rope_table + static_cast<std::int64_t>(position) * kHeadDim, kHeadDim, lane);
#pragma unroll
    for (int i = 0; i < kStages - 1; ++i) {
      start_copy(range.begin + i, i, ids[i], has_last, range.end);
    }
    ids[0] = ids[kStages - 1];
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

  __device__ __forceinline__ void write_part(int part) {
    const std::int64_t index = static_cast<std::int64_t>(pair) * plan.parts_per_pair + part;
    float* products = plan.products + index * plan.rows * kHeadDim;
    for_each_product([&](int row, int element, float2 value, int) {
      store_two(products + row * kHeadDim + element, value);
    });
    if (warp == 0 && lane % 4 == 0) {
      float* states = plan.states + index * plan.rows * 2;
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int row = lane / 4 + r * 8;
        if (row < num_rows) store_two(states + row * 2, make_float2(rows[r].maximum, rows[r].sum));
      }
    }
  }

  __device__ __forceinline__ T* out_of(int row) const {
    return static_cast<T*>(op.out) +
           (static_cast<std::int64_t>(sequence) * op.num_heads + first_head + row) * kHeadDim;
  }

  __device__ __forceinline__ void write_output() {
    const float scale[2] = {__frcp_rn(rows[0].sum), __frcp_rn(rows[1].sum)};
    for_each_product([&](int row, int element, float2 value, int r) {
      store_two(out_of(row) + element,
                make_float2(__fmul_rn(value.x, scale[r]), __fmul_rn(value.y, scale[r])));
    });
  }

  // How each of up to 32 parts from `first` on is merged into its row, for all rows: a lane has a
  // part, the running maximum is a scan over the lanes.
  __device__ __forceinline__ void weigh_parts(int first, int count,
                                              float (&maximum)[kRowsPerFragment / kWarps]) {
    float4* weights = reinterpret_cast<float4*>(memory + Shared::kMergeWeights);
    const std::int64_t index = static_cast<std::int64_t>(pair) * plan.parts_per_pair + first + lane;
#pragma unroll
    for (int i = 0; i < kRowsPerFragment / kWarps; ++i) {
      const int row = warp + i * kWarps;
      if (row >= num_rows) break;
      const float2* states = reinterpret_cast<const float2*>(plan.states);
      const float2 state =
          lane < count ? __ldcg(states + index * plan.rows + row) : make_float2(kNothing, 0);
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

  // Merges all parts of this pair and writes the result. A thread has two neighbouring elements of
  // several rows; parts come through the shared memory that the tiles no longer need.
  __device__ __forceinline__ void combine(int num_parts) {
    constexpr int kTwos = kHeadDim / 2;
    constexpr int kItems = kRowsPerFragment * kTwos / kThreads;
    const int part_floats = plan.rows * kHeadDim;
    const int batch = min(kWarpSize, Shared::kMergeBytes / (part_floats * 4));
    const float* products =
        plan.products + static_cast<std::int64_t>(pair) * plan.parts_per_pair * part_floats;
    const float* parts = reinterpret_cast<const float*>(memory + Shared::kTiles);
    const float4* weights = reinterpret_cast<const float4*>(memory + Shared::kMergeWeights);
    float maximum[kRowsPerFragment / kWarps];
    for (float& value : maximum) value = kNothing;
    float2 sum[kItems];
    float divisor[kItems];
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      sum[i] = make_float2(0, 0);
      divisor[i] = 0;
    }
    for (int first = 0; first < num_parts; first += batch) {
      const int count = min(batch, num_parts - first);
      const float* from = products + static_cast<std::int64_t>(first) * part_floats;
      for (int i = threadIdx.x * 4; i < count * part_floats; i += kThreads * 4) {
        copy_async(address + Shared::kTiles + i * 4, from + i);
      }
      commit_copies();
      weigh_parts(first, count, maximum);
      wait_for_copies<0>();
      __syncthreads();
      for (int part = 0; part < count; ++part) {
#pragma unroll
        for (int i = 0; i < kItems; ++i) {
          const int item = i * kThreads + threadIdx.x;
          const int row = item / kTwos;
          if (row >= num_rows) break;
          const float4 weight = weights[row * kWarpSize + part];
          const MergeWeights merge{weight.x, weight.y};
          const float2 value =
              *reinterpret_cast<const float2*>(parts + part * part_floats + item * 2);
          sum[i].x = merge_product(sum[i].x, value.x, merge);
          sum[i].y = merge_product(sum[i].y, value.y, merge);
          divisor[i] = merge_product(divisor[i], weight.z, merge);
        }
      }
      __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      const int item = i * kThreads + threadIdx.x;
      const int row = item / kTwos;
      if (row >= num_rows) break;
      const float scale = __frcp_rn(divisor[i]);
      store_two(out_of(row) + item % kTwos * 2,
                make_float2(__fmul_rn(sum[i].x, scale), __fmul_rn(sum[i].y, scale)));
    }
  }

  __device__ __forceinline__ bool arrives_last(int num_active) {
    int* is_last = reinterpret_cast<int*>(memory + Shared::kIsLast);
    __syncthreads();
    if (threadIdx.x == 0) {
      const bool last = take_ticket(plan.tickets + pair) == num_active - 1;
      if (last) plan.tickets[pair] = 0;
      *is_last = last;
    }
    __syncthreads();
    return *is_last != 0;
  }

  __device__ __forceinline__ void run(const TileRange& range, bool has_last) {
    turn_heads(has_last);
    __syncthreads();
    const int num_tiles = range.end - range.begin;
    if (has_last && num_tiles < kStages) place_new_key(num_tiles - 1);
    load_queries();
    clear();

    const float scale_log2 = op.scale * kLog2E;
    const bool leaves_each_tile = plan.parts_per_tile && range.begin > 0;
    int part = range.first_part;
    int stage = 0;
    for (int tile = range.begin; tile < range.end; ++tile) {
      if constexpr (kStages > 1) wait_for_copies<kStages - 2>();
      __syncthreads();
      // The stage that was read in the round before is free now.
      const int next = tile + kStages - 1;
      const int free_stage = stage == 0 ? kStages - 1 : stage - 1;
      start_copy(next, free_stage, ids[0], has_last, range.end);
      if (has_last && next == range.end - 1) place_new_key(free_stage);
      ids[0] = pages.load_id(next + 1, lane);
      if constexpr (kStages == 1) {
        wait_for_copies<0>();
        __syncthreads();
      }
      add_tile(tile, stage, scale_log2);
      if (leaves_each_tile) {
        write_part(part++);
        clear();
      }
      stage = stage + 1 == kStages ? 0 : stage + 1;
    }
    if (range.num_active == 1) return write_output();
    if (!leaves_each_tile) write_part(part);
    if (arrives_last(range.num_active)) combine(range.num_parts);
  }

  // One group of copies, empty beyond the last tile, so that counting groups counts tiles.
  __device__ __forceinline__ void start_copy(int tile, int stage, int id, bool has_last, int end) {
    if (tile < end) {
      copy_tile<T, kHeadDim, kThreads>(address + Shared::keys(stage),
                                       address + Shared::values(stage), pages, tile, id,
                                       has_last ? context_len - 1 : -1);
    }
    commit_copies();
  }
};

template <class T, int kHeadDim, int kStages>
__global__ void __launch_bounds__(kThreads, 2)
    decode_kernel(const __grid_constant__ CudaAttention op,
                  const __grid_constant__ DecodePlan plan) {
  extern __shared__ __align__(128) unsigned char memory[];
  let_next_start();
  DecodeBlock<T, kHeadDim, kStages> block(op, plan, memory);
  const int num_tiles = (block.context_len + kTileKeys - 1) / kTileKeys;
  const TileRange range = range_of(num_tiles, blockIdx.x, plan);
  const bool has_work = range.begin < range.end;
  const bool has_last = range.end == num_tiles;
  if (has_work) block.prepare(range, has_last);
  wait_for_inputs();
  if (has_work) block.run(range, has_last);
}

int heads_per_block(int num_heads, int num_kv_heads) {
  return std::min(num_heads / num_kv_heads, kRowsPerFragment);
}

int blocks_per_kv_head(int num_heads, int num_kv_heads) {
  return (num_heads / num_kv_heads + kRowsPerFragment - 1) / kRowsPerFragment;
}

std::size_t ticket_bytes(int pairs) {
  return (static_cast<std::size_t>(pairs) * sizeof(int) + 255) / 256 * 256;
}

int max_parts(bool is_batch_invariant) {
  return is_batch_invariant ? kMaxInvariantParts : kMaxSplitParts;
}

// Splits for each pair that fill the device with `blocks_per_multiprocessor` blocks everywhere.
int splits_for(int pairs, int blocks_per_multiprocessor) {
  const int blocks = device_traits().num_multiprocessors * blocks_per_multiprocessor;
  return std::max(1, std::min(blocks, kMaxSplitParts) / pairs);
}

template <class T, int kHeadDim, int kStages>
void launch_for_stages(const CudaAttention& op, Stream stream) {
  using Shared = DecodeShared<kHeadDim, kStages>;
  DecodePlan plan{};
  plan.rows = heads_per_block(op.num_heads, op.num_kv_heads);
  plan.row_groups = blocks_per_kv_head(op.num_heads, op.num_kv_heads);
  const int blocks_per_sequence = op.num_kv_heads * plan.row_groups;
  const int pairs = op.num_decodes * blocks_per_sequence;
  plan.num_splits = splits_for(pairs, 2);
  // A part is only left where there are splits, and then pairs are few.
  plan.parts_per_pair = plan.num_splits == 1 ? 1 : max_parts(op.is_batch_invariant) / pairs;
  plan.parts_per_tile = op.is_batch_invariant ? 1 : 0;
  unsigned char* workspace = static_cast<unsigned char*>(op.workspace);
  plan.tickets = reinterpret_cast<int*>(workspace);
  plan.states = reinterpret_cast<float*>(workspace + ticket_bytes(pairs));
  plan.products =
      plan.states + static_cast<std::size_t>(max_parts(op.is_batch_invariant)) * 2 * plan.rows;
  launch(decode_kernel<T, kHeadDim, kStages>,
         dim3(plan.num_splits, blocks_per_sequence, op.num_decodes), dim3(kThreads), Shared::kBytes,
         stream, op, plan);
}

// Tiles under way: as many as let two blocks share a multiprocessor, or as fit at all.
template <class T, int kHeadDim>
void launch_for_head(const CudaAttention& op, Stream stream) {
  if constexpr (kHeadDim > 128) {
    launch_for_stages<T, kHeadDim, 1>(op, stream);
  } else if (DecodeShared<kHeadDim, 3>::kBytes <= device_traits().max_shared_bytes / 2) {
    launch_for_stages<T, kHeadDim, 3>(op, stream);
  } else {
    launch_for_stages<T, kHeadDim, 2>(op, stream);
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

std::size_t attention_decode_workspace_bytes(int max_sequences, int num_heads, int num_kv_heads,
                                             int head_dim, bool is_batch_invariant) {
  const int pairs = max_sequences * num_kv_heads * blocks_per_kv_head(num_heads, num_kv_heads);
  return ticket_bytes(pairs) + static_cast<std::size_t>(max_parts(is_batch_invariant)) *
                                   heads_per_block(num_heads, num_kv_heads) * (head_dim + 2) *
                                   sizeof(float);
}

void launch_attention_decode(const CudaAttention& op, Stream stream) {
  if (op.type == DType::kF16) return launch_for_type<__half>(op, stream);
  launch_for_type<__nv_bfloat16>(op, stream);
}

}  // namespace kernels
