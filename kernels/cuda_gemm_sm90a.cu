// y = x W^T with what Hopper adds: products that a warpgroup of 128 threads starts and that read
// both operands from shared memory themselves, a copy engine, and clusters of blocks that reach
// into each other's shared memory.
//
// Math, for the block's rows r and tokens t and its part [k0, k1) of k:
//
//   sums[t][r] = sum_k W[r, k] x[t, k]          float, k ascending in steps of 16
//
// Tiles (kWarpgroupTiles). A step is 64 elements of k.
//   warpgroup   rows / warpgroups of the tile for all its tokens, 64 rows an instruction
//   producer    one thread more: fills the ring by two copies a step, which also put the 16-byte
//               chunks where the tensor cores want them and write zeros beyond W, x and k
//   shared      a ring of steps of W and x, as long as the plan's blocks leave room for; `full`
//               counts the bytes that arrive, `empty` the warps that are done with a step
//
// Work is dealt out in one of two ways.
//   split       num_splits blocks, a cluster, share a tile: each has a part of k, and at the end
//               each is sent all parts of some of the tile's tokens, adds them from the lowest k to
//               the highest, and stores the result
//   streamed    a block goes from tile to tile while its producer runs ahead. What is left when
//               the tiles no longer fill all blocks is cut into equal parts, in steps, tile after
//               tile: a block then ends with the first steps of a tile whose last steps the next
//               block did first and left in the workspace; it adds them and stores the result
// Either way the bits are the same every time.
//
// Memory traffic: W and x once for each wave of blocks that share them through the L2, out once.
// With few tokens that is W, and what counts is bytes on their way, a ring for each block. W is
// prefetched before the kernel waits for the one that writes x.
#include <algorithm>
#include <utility>

#include "kernels/cuda_gemm.cuh"
#include "kernels/cuda_gemm_warpgroup.cuh"
#include "kernels/cuda_launch.cuh"

namespace kernels {
namespace {

constexpr int kBytesPerRow = kGemmStep * 2;
constexpr int kSlices = kGemmStep / 16;
constexpr int kWarpgroupSize = 128;
constexpr int kWarpsPerGroup = kWarpgroupSize / kWarpSize;
constexpr int kRingAlignment = 1024;  // the pattern of chunks repeats every 8 rows
constexpr int kMaxStages = 16;
constexpr int kBarrierBytes = (2 * kMaxStages + 1) * 8;

// Where one block fills a multiprocessor, the producer is a whole warpgroup so that it can leave
// its registers to the others; elsewhere it is a warp.
__host__ __device__ constexpr bool has_producer_group(const WarpgroupTile& tile) {
  return tile.blocks == 1;
}
__host__ __device__ constexpr int threads_of(const WarpgroupTile& tile) {
  return tile.warpgroups * kWarpgroupSize + (has_producer_group(tile) ? kWarpgroupSize : kWarpSize);
}
constexpr int kProducerRegisters = 56;
constexpr int kConsumerRegisters = 224;

// How the work is dealt out to the blocks.
struct Schedule {
  int num_stages;
  int num_steps;           // of a tile
  int num_whole_tiles;     // dealt out whole, one to each block in turn
  int num_streamed_steps;  // of the tiles after those
};

// A block's part of one tile.
struct Segment {
  int tile;
  int first_step;
  int num_steps;
};

// The segments of a block in order; producer and consumers each walk through them.
class Segments {
 public:
  __device__ __forceinline__ Segments(const GemmArguments& args, const Schedule& schedule)
      : schedule_(schedule), tile_(blockIdx.x) {
    if (args.num_splits > 1) {
      const int tile = blockIdx.x / args.num_splits;
      const int split = blockIdx.x - tile * args.num_splits;
      step_ = tile * schedule.num_steps + split * schedule.num_steps / args.num_splits;
      end_ = tile * schedule.num_steps + (split + 1) * schedule.num_steps / args.num_splits;
    } else {
      step_ = streamed_begin(schedule, blockIdx.x);
      end_ = streamed_begin(schedule, blockIdx.x + 1);
    }
  }

  static __device__ __forceinline__ int streamed_begin(const Schedule& schedule, int block) {
    return static_cast<int>(static_cast<std::int64_t>(block) * schedule.num_streamed_steps /
                            static_cast<int>(gridDim.x));
  }

  __device__ __forceinline__ bool next(Segment& segment) {
    if (tile_ < schedule_.num_whole_tiles) {
      segment = {tile_, 0, schedule_.num_steps};
      tile_ += static_cast<int>(gridDim.x);
      return true;
    }
    if (step_ >= end_) return false;
    const int tile = step_ / schedule_.num_steps;
    const int first = step_ - tile * schedule_.num_steps;
    segment = {schedule_.num_whole_tiles + tile, first,
               min(schedule_.num_steps - first, end_ - step_)};
    step_ += segment.num_steps;
    return true;
  }

 private:
  const Schedule& schedule_;
  int tile_;
  int step_;
  int end_;
};

// The ring and its barriers, as addresses in shared memory, and a place in it that goes round.
template <int kIndex>
struct Ring {
  static constexpr WarpgroupTile kTile = kWarpgroupTiles[kIndex];
  static constexpr std::uint32_t kWeightBytes = kTile.rows * kBytesPerRow;
  static constexpr std::uint32_t kStepBytes = kWeightBytes + kTile.tokens * kBytesPerRow;

  std::uint32_t steps;
  std::uint32_t barriers;
  int num_stages;
  int slot = 0;
  std::uint32_t parity = 0;

  __device__ __forceinline__ std::uint32_t weight() const { return steps + slot * kStepBytes; }
  __device__ __forceinline__ std::uint32_t tokens() const { return weight() + kWeightBytes; }
  __device__ __forceinline__ std::uint32_t full() const { return barriers + slot * 16; }
  __device__ __forceinline__ std::uint32_t empty() const { return full() + 8; }

  __device__ __forceinline__ void advance() {
    if (++slot == num_stages) {
      slot = 0;
      parity ^= 1;
    }
  }
};

// The one thread that fills the ring.
template <int kIndex>
class Producer {
 public:
  __device__ __forceinline__ Producer(const GemmArguments& args, const Ring<kIndex>& ring,
                                      const CUtensorMap* weight_map, const CUtensorMap* token_map)
      : args_(args),
        ring_(ring),
        weight_map_(weight_map),
        token_map_(token_map),
        weight_policy_(args.is_weight_shared ? kKeepNormally : kDropFirst) {}

  __device__ __forceinline__ void run(Segments segments) {
    Segment segment;
    bool is_first = true;
    while (segments.next(segment)) {
      const TilePlace place = place_of(args_, segment.tile, ring_.kTile.rows, ring_.kTile.tokens);
      int step = 0;
      if (is_first) {
        // The ring is empty. W does not depend on the kernel before; x does.
        step = min(ring_.num_stages, segment.num_steps);
        Ring<kIndex> start = ring_;
#pragma unroll 1
        for (int i = 0; i < step; ++i) {
          copy_weight(place.first_row, segment.first_step + i);
          ring_.advance();
        }
        wait_for_inputs();
        ring_ = start;
#pragma unroll 1
        for (int i = 0; i < step; ++i) {
          copy_tokens(place.first_token, segment.first_step + i);
          ring_.advance();
        }
        is_first = false;
      }
#pragma unroll 1
      for (; step < segment.num_steps; ++step) {
        barrier_wait(ring_.empty(), ring_.parity ^ 1);
        copy_weight(place.first_row, segment.first_step + step);
        copy_tokens(place.first_token, segment.first_step + step);
        ring_.advance();
      }
    }
  }

 private:
  __device__ __forceinline__ void copy_weight(int first_row, int step) {
    barrier_expect(ring_.full(), ring_.kStepBytes);
    if (args_.output == LinearOutput::kSwiGlu) {
      copy_gated_box(ring_.weight(), weight_map_, step * kGemmStep, first_row / (2 * kGateUpGroup),
                     ring_.full(), weight_policy_);
    } else {
      copy_box(ring_.weight(), weight_map_, step * kGemmStep, first_row, ring_.full(),
               weight_policy_);
    }
  }

  __device__ __forceinline__ void copy_tokens(int first_token, int step) {
    copy_box(ring_.tokens(), token_map_, step * kGemmStep, first_token, ring_.full(),
             kKeepNormally);
  }

  const GemmArguments& args_;
  Ring<kIndex> ring_;
  const CUtensorMap* weight_map_;
  const CUtensorMap* token_map_;
  std::uint64_t weight_policy_;
};

// A barrier of the warpgroups alone.
template <int kThreads>
__device__ __forceinline__ void consumers_sync() {
  asm volatile("bar.sync 1, %0;" ::"n"(kThreads) : "memory");
}

// What a warpgroup does: its rows of a tile for all tokens.
template <class T, int kIndex>
struct Consumer {
  static constexpr WarpgroupTile kTile = kWarpgroupTiles[kIndex];
  static constexpr int kThreads = kTile.warpgroups * kWarpgroupSize;
  static constexpr int kRows = kTile.rows / kTile.warpgroups;
  static constexpr int kRowTiles = kRows / 64;
  static constexpr int kGroups = kTile.tokens / 8;  // fragments along the tokens

  const GemmArguments& args;
  const Schedule& schedule;
  Ring<kIndex> ring;
  float sums[kRowTiles][kGroups * 4];

  __device__ __forceinline__ Consumer(const GemmArguments& a, const Schedule& s,
                                      const Ring<kIndex>& r)
      : args(a), schedule(s), ring(r) {}

  // The warp's first row of the tile's 64-row part i.
  static __device__ __forceinline__ int own_row(int i) {
    const int warp = threadIdx.x / kWarpSize % kWarpsPerGroup;
    return threadIdx.x / kWarpgroupSize * kRows + i * 64 + warp * 16;
  }

  __device__ __forceinline__ void hold_sums() {
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) hold(sums[i]);
  }

  __device__ __forceinline__ void multiply(bool is_first) {
    const std::uint32_t weight =
        ring.weight() + threadIdx.x / kWarpgroupSize * kRows * kBytesPerRow;
    hold_sums();
    warpgroup_fence();
#pragma unroll
    for (int slice = 0; slice < kSlices; ++slice) {
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i) {
        multiply_add_tiles<T>(sums[i], swizzled_tile(weight + i * 64 * kBytesPerRow + slice * 32),
                              swizzled_tile(ring.tokens() + slice * 32), !is_first || slice > 0);
      }
    }
    warpgroup_commit();
  }

  static __device__ __forceinline__ void release(std::uint32_t empty) {
    if (threadIdx.x % kWarpSize == 0) barrier_arrive(empty);
  }

  // The sums of a segment. A step is given back when the products of the next are under way.
  __device__ __forceinline__ void consume(int num_steps) {
    std::uint32_t last = 0;
#pragma unroll 1
    for (int step = 0; step < num_steps; ++step) {
      barrier_wait(ring.full(), ring.parity);
      multiply(step == 0);
      warpgroup_wait<1>();
      if (step > 0) release(last);
      last = ring.empty();
      ring.advance();
    }
    warpgroup_wait<0>();
    hold_sums();
    release(last);
  }

  __device__ __forceinline__ void store(const TilePlace& place) const {
    for_output(args.output, [&](auto output) {
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i) {
        const Finish<T, decltype(output)::value, true> finish(args, place.first_row + own_row(i),
                                                              place.first_token);
        finish.template store_all<kGroups>([&](int j, int k) { return sums[i][4 * j + k]; });
      }
    });
  }

  // ---- streamed ----

  // Where the sums that block `block` leaves begin, for this thread: float4, kThreads apart.
  __device__ __forceinline__ float4* partials_of(int block) const {
    return reinterpret_cast<float4*>(args.partials) +
           static_cast<std::int64_t>(block) * (kRowTiles * kGroups * kThreads) + threadIdx.x;
  }

  __device__ __forceinline__ void leave() const {
    float4* place = partials_of(blockIdx.x);
#pragma unroll
    for (int i = 0; i < kRowTiles * kGroups; ++i) {
      const float(&from)[kGroups * 4] = sums[i / kGroups];
      const int j = i % kGroups * 4;
      __stcg(place + i * kThreads, make_float4(from[j], from[j + 1], from[j + 2], from[j + 3]));
    }
    __threadfence();
    consumers_sync<kThreads>();
    if (threadIdx.x == 0) atomicExch(args.arrivals + blockIdx.x, 1u);
  }

  // Adds what block `block` left of the tile whose lower steps this block has.
  __device__ __forceinline__ void add_from(int block) {
    unsigned* arrival = args.arrivals + block;
    if (threadIdx.x == 0) {
      while (*static_cast<volatile unsigned*>(arrival) == 0) {
      }
      *arrival = 0;
      __threadfence();
    }
    consumers_sync<kThreads>();
    const float4* place = partials_of(block);
#pragma unroll
    for (int i = 0; i < kRowTiles * kGroups; ++i) {
      float(&to)[kGroups * 4] = sums[i / kGroups];
      const int j = i % kGroups * 4;
      const float4 part = __ldcg(place + i * kThreads);
      to[j] += part.x, to[j + 1] += part.y, to[j + 2] += part.z, to[j + 3] += part.w;
    }
  }

  __device__ __forceinline__ void run_streamed(Segments segments) {
    Segment segment;
    while (segments.next(segment)) {
      consume(segment.num_steps);
      if (segment.first_step > 0) {
        leave();
        continue;
      }
      int block = blockIdx.x;
      for (int done = segment.num_steps; done < schedule.num_steps;) {
        ++block;
        done += Segments::streamed_begin(schedule, block + 1) -
                Segments::streamed_begin(schedule, block);
        add_from(block);
      }
      store(place_of(args, segment.tile, kTile.rows, kTile.tokens));
    }
  }

  // ---- split ----

  // Groups of 8 tokens in the tile that are not beyond the last token.
  __device__ __forceinline__ int groups_of(const TilePlace& place) const {
    return (min(kTile.tokens, args.num_tokens - place.first_token) + 7) / 8;
  }

  // The first group that block `rank` of the cluster finishes.
  __device__ __forceinline__ int first_group(int num_groups, int rank) const {
    return rank * num_groups / args.num_splits;
  }

  // Sends every block its groups. What one receives is laid out [group][part][fragment of 64 rows]
  // [thread] in 16 bytes; `received` is the same place in all of them.
  __device__ __forceinline__ void send_groups(int num_groups, int part, std::uint32_t received,
                                              std::uint32_t barrier) const {
    int rank = 0;
    int first = 0;
    int end = first_group(num_groups, 1);
#pragma unroll
    for (int j = 0; j < kGroups; ++j) {
      if (j >= num_groups) break;
      while (j >= end) {
        ++rank;
        first = end;
        end = first_group(num_groups, rank + 1);
      }
      const std::uint32_t place =
          received + static_cast<std::uint32_t>(
                         (((j - first) * args.num_splits + part) * kRowTiles * kThreads +
                          static_cast<int>(threadIdx.x)) *
                         16);
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i) {
        const float values[4] = {sums[i][4 * j], sums[i][4 * j + 1], sums[i][4 * j + 2],
                                 sums[i][4 * j + 3]};
        send(address_in_block(place + i * kThreads * 16, rank), values,
             address_in_block(barrier, rank));
      }
    }
  }

  __device__ __forceinline__ void run_split(Segments segments, const float4* received,
                                            std::uint32_t barrier) {
    Segment segment;
    segments.next(segment);
    const TilePlace place = place_of(args, segment.tile, kTile.rows, kTile.tokens);
    const int part = blockIdx.x % args.num_splits;
    const int num_groups = groups_of(place);
    const int first = first_group(num_groups, part);
    const int end = first_group(num_groups, part + 1);
    if (threadIdx.x == 0) {
      barrier_expect(barrier, (end - first) * args.num_splits * kRowTiles * kThreads * 16);
    }
    consume(segment.num_steps);
    cluster_wait();  // every block of the cluster has its barriers
    send_groups(num_groups, part, shared_address(received), barrier);
    for_output(args.output, [&](auto output) {
      gather<decltype(output)::value>(place, first, end, received, barrier);
    });
  }

  // Adds the parts of groups [first, end) and finishes them.
  template <LinearOutput kOutput>
  __device__ __forceinline__ void gather(const TilePlace& place, int first, int end,
                                         const float4* received, std::uint32_t barrier) const {
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) {
      const Finish<T, kOutput, true> finish(args, place.first_row + own_row(i), place.first_token);
      for (int j = first; j < end; ++j) {
        std::uint32_t old[2];
        finish.fetch(old, j);
        barrier_wait(barrier, 0);
        float total[4] = {};
        const float4* from =
            received + ((j - first) * args.num_splits * kRowTiles + i) * kThreads + threadIdx.x;
        for (int part = 0; part < args.num_splits; ++part) {
          const float4 sum = from[part * kRowTiles * kThreads];
          total[0] += sum.x, total[1] += sum.y, total[2] += sum.z, total[3] += sum.w;
        }
        finish.store(total, old, j);
      }
    }
  }
};

// Shared memory: the ring, what is received from the cluster, the barriers.
template <class T, int kIndex>
__global__ void __launch_bounds__(threads_of(kWarpgroupTiles[kIndex]),
                                  kWarpgroupTiles[kIndex].blocks)
    gemm_sm90a_kernel(const __grid_constant__ GemmArguments args,
                      const __grid_constant__ Schedule schedule,
                      const __grid_constant__ CUtensorMap weight_map,
                      const __grid_constant__ CUtensorMap token_map, int barrier_offset) {
  constexpr WarpgroupTile kTile = kWarpgroupTiles[kIndex];
  constexpr int kConsumers = kTile.warpgroups * kWarpgroupSize;
  extern __shared__ __align__(1024) unsigned char shared[];

  let_next_start();
  const std::uint32_t start = shared_address(shared);
  const Ring<kIndex> ring{start, start + barrier_offset, schedule.num_stages};
  const std::uint32_t received_barrier = ring.barriers + 2 * kMaxStages * 8;
  if (threadIdx.x == 0) {
    if (start % kRingAlignment != 0) __trap();
    for (int slot = 0; slot < schedule.num_stages; ++slot) {
      barrier_init(ring.barriers + slot * 16, 1);
      barrier_init(ring.barriers + slot * 16 + 8, kTile.warpgroups * kWarpsPerGroup);
    }
    barrier_init(received_barrier, 1);
    barrier_init_fence();
  }
  __syncthreads();
  if (args.num_splits > 1) cluster_arrive();

  if (threadIdx.x >= kConsumers) {
    if constexpr (has_producer_group(kWarpgroupTiles[kIndex])) {
      shrink_registers<kProducerRegisters>();
    }
    if (threadIdx.x == kConsumers) {
      Producer<kIndex>(args, ring, &weight_map, &token_map).run(Segments(args, schedule));
    }
  } else {
    if constexpr (has_producer_group(kWarpgroupTiles[kIndex])) {
      grow_registers<kConsumerRegisters>();
    }
    wait_for_inputs();
    Consumer<T, kIndex> consumer(args, schedule, ring);
    if constexpr (may_split(kWarpgroupTiles[kIndex])) {
      if (args.num_splits > 1) {
        const auto* received =
            reinterpret_cast<const float4*>(shared + schedule.num_stages * ring.kStepBytes);
        consumer.run_split(Segments(args, schedule), received, received_barrier);
        return;
      }
    }
    consumer.run_streamed(Segments(args, schedule));
  }
}

using WarpgroupKernel = void (*)(GemmArguments, Schedule, CUtensorMap, CUtensorMap, int);

template <class T, int... kIndices>
WarpgroupKernel kernel_of(int tile, std::integer_sequence<int, kIndices...>) {
  static constexpr WarpgroupKernel kKernels[] = {gemm_sm90a_kernel<T, kIndices>...};
  return kKernels[tile];
}

using EncodeTiled = decltype(&cuTensorMapEncodeTiled);

// The driver's own function, asked for at run time: the addon must load where there is no driver.
EncodeTiled encode_tiled() {
  static const EncodeTiled function = [] {
    constexpr unsigned kVersion = 12000;
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result{};
    CUDA_CHECK(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, kVersion,
                                                cudaEnableDefault, &result));
    CHECK(result == cudaDriverEntryPointSuccess,
          "the CUDA driver has no cuTensorMapEncodeTiled; it must be of CUDA 12.0 or newer");
    return reinterpret_cast<EncodeTiled>(found);
  }();
  return function;
}

// A view of memory in two-byte elements; strides count bytes, from the second dimension on.
struct View {
  int num_dimensions;
  cuuint64_t sizes[5];
  cuuint64_t strides[4];
  cuuint32_t box[5];
};

// How the copy engine sees a matrix: boxes of one step of k and some rows.
CUtensorMap map_of(const void* matrix, DType type, const View& view) {
  const cuuint32_t element_strides[5] = {1, 1, 1, 1, 1};
  CUtensorMap map;
  const CUresult result = encode_tiled()(
      &map,
      type == DType::kF16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
      view.num_dimensions, const_cast<void*>(matrix), view.sizes, view.strides, view.box,
      element_strides, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
      CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  CHECK(result == CUDA_SUCCESS,
        "linear: no tensor map for rows of " + std::to_string(view.sizes[0]) + " elements, " +
            std::to_string(view.strides[0]) + " bytes apart: CUresult " + std::to_string(result));
  return map;
}

View rows_of(int rows, int columns, std::int64_t stride, int box_rows) {
  const auto unsigned64 = [](std::int64_t value) { return static_cast<cuuint64_t>(value); };
  return {2,
          {unsigned64(columns), unsigned64(rows)},
          {unsigned64(stride * 2)},
          {kGemmStep, static_cast<cuuint32_t>(box_rows)}};
}

// Groups of 16 gate and 16 up rows, so that a box holds 8 of gate, their 8 of up, the other 8 of
// gate and theirs of up: what Finish wants of a fragment's rows.
View gated_rows_of(int rows, int columns, int box_rows) {
  const cuuint64_t row_bytes = static_cast<cuuint64_t>(columns) * 2;
  constexpr cuuint64_t kGroup = kGateUpGroup;
  return {5,
          {static_cast<cuuint64_t>(columns), 8, 2, 2, rows / (2 * kGroup)},
          {row_bytes, kGroup * row_bytes, 8 * row_bytes, 2 * kGroup * row_bytes},
          {kGemmStep, 8, 2, 2, static_cast<cuuint32_t>(box_rows / (2 * kGroup))}};
}

// Shared memory of a multiprocessor, and what the system takes of it for each block.
constexpr int kMultiprocessorBytes = 228 * 1024;
constexpr int kReservedBytes = 1024;

// Bytes in which a block of a cluster receives its share of the tile's parts.
int received_bytes(const WarpgroupTile& tile, int num_tokens, int num_splits) {
  if (num_splits == 1) return 0;
  const int num_groups = (std::min(tile.tokens, num_tokens) + 7) / 8;
  const int most_groups = (num_groups + num_splits - 1) / num_splits;
  return most_groups * num_splits * tile.rows * 8 * static_cast<int>(sizeof(float));
}

int stages_of(const WarpgroupTile& tile, int num_received_bytes, int blocks, int num_steps) {
  const int most = std::min(kMultiprocessorBytes / blocks - kReservedBytes,
                            static_cast<int>(device_traits().max_shared_bytes));
  const int step_bytes = (tile.rows + tile.tokens) * kBytesPerRow;
  const int room = (most - kBarrierBytes - num_received_bytes) / step_bytes;
  return std::max(2, std::min({room, num_steps, kMaxStages}));
}

// Deals out the tiles; returns how many blocks there are.
int deal_out(const GemmArguments& args, const WarpgroupTile& tile, const GemmPlan& plan,
             Schedule& schedule) {
  const int num_tiles = args.num_row_tiles * args.num_token_tiles;
  schedule.num_steps = (args.in_features + kGemmStep - 1) / kGemmStep;
  if (plan.num_splits > 1) return num_tiles * plan.num_splits;
  const int num_slots = device_traits().num_multiprocessors * plan.blocks;
  schedule.num_whole_tiles = num_tiles;
  if (!plan.is_streamed || num_tiles % num_slots == 0) return std::min(num_tiles, num_slots);
  // The last whole round is cut up as well, so that nobody's part is short.
  schedule.num_whole_tiles = std::max(0, num_tiles / num_slots - 1) * num_slots;
  schedule.num_streamed_steps = (num_tiles - schedule.num_whole_tiles) * schedule.num_steps;
  const int num_blocks = std::min(num_slots, schedule.num_streamed_steps);
  const std::int64_t partials = static_cast<std::int64_t>(num_blocks) * tile.rows * tile.tokens;
  CHECK(partials <= kMaxPartials && num_blocks <= kMaxArrivals,
        "linear: parts of " + std::to_string(num_blocks) + " tiles of " +
            std::to_string(tile.rows) + " x " + std::to_string(tile.tokens) +
            " do not fit the workspace");
  return num_blocks;
}

}  // namespace

void launch_gemm_sm90a(const GemmArguments& args, const GemmPlan& plan, DType type, Stream stream) {
  const WarpgroupTile& tile = kWarpgroupTiles[plan.tile];
  const bool is_gated = args.output == LinearOutput::kSwiGlu;
  const CUtensorMap weight_map =
      map_of(args.weight, type,
             is_gated ? gated_rows_of(args.out_features, args.in_features, tile.rows)
                      : rows_of(args.out_features, args.in_features, args.in_features, tile.rows));
  const CUtensorMap token_map =
      map_of(args.x, type, rows_of(args.num_tokens, args.in_features, args.x_stride, tile.tokens));

  Schedule schedule{};
  const int num_blocks = deal_out(args, tile, plan, schedule);
  const int received = received_bytes(tile, args.num_tokens, plan.num_splits);
  const int steps = (schedule.num_steps + plan.num_splits - 1) / plan.num_splits;
  const bool is_one_tile = plan.num_splits > 1 || schedule.num_whole_tiles == num_blocks;
  schedule.num_stages = stages_of(tile, received, plan.blocks, is_one_tile ? steps : kMaxStages);
  const int barrier_offset =
      schedule.num_stages * (tile.rows + tile.tokens) * kBytesPerRow + received;

  constexpr auto kIndices = std::make_integer_sequence<int, kNumWarpgroupTiles>();
  const WarpgroupKernel kernel = type == DType::kF16
                                     ? kernel_of<__half>(plan.tile, kIndices)
                                     : kernel_of<__nv_bfloat16>(plan.tile, kIndices);
  const std::size_t bytes = static_cast<std::size_t>(barrier_offset) + kBarrierBytes;
  allow_shared_bytes(reinterpret_cast<const void*>(kernel), bytes);
  cudaLaunchAttribute attributes[2]{};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim.x = static_cast<unsigned>(plan.num_splits);
  attributes[1].val.clusterDim.y = 1;
  attributes[1].val.clusterDim.z = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = num_blocks;
  config.blockDim = threads_of(tile);
  config.dynamicSmemBytes = bytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = plan.num_splits > 1 ? 2 : 1;
  CUDA_CHECK(
      cudaLaunchKernelEx(&config, kernel, args, schedule, weight_map, token_map, barrier_offset));
}

}  // namespace kernels
