#include "kernels/paged_attention.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "kernels/attention_tile.h"
#include "kernels/vector_kernels.h"

namespace kernels {
namespace {

// Fewer (sequence, KV head) pairs than this many a thread are cut into chunks, so that one long
// context keeps all threads busy. It decides who computes, never what.
constexpr int kTasksPerThread = 4;

struct Shape {
  int group;        // query heads of a KV head
  int tile_tokens;  // query tokens of a tile
  int tile_rows;
  std::size_t thread_floats;  // scratch of a thread
  std::size_t state_floats;   // state of one (sequence, KV head, chunk) of a split step
};

Shape shape_of(int num_heads, int num_kv_heads, int head_dim) {
  Shape shape{};
  shape.group = num_heads / num_kv_heads;
  shape.tile_tokens = tokens_per_attention_tile(shape.group);
  shape.tile_rows = shape.tile_tokens * shape.group;
  shape.thread_floats = attention_scratch_floats(shape.tile_rows, head_dim, head_dim);
  shape.state_floats = attention_state_floats(shape.group, head_dim);
  return shape;
}

void check_model(int num_heads, int num_kv_heads, int head_dim) {
  CHECK(num_kv_heads > 0 && num_heads > 0 && num_heads % num_kv_heads == 0,
        "paged_attention: num_heads " + std::to_string(num_heads) +
            " is not a multiple of num_kv_heads " + std::to_string(num_kv_heads));
  CHECK(head_dim > 0 && head_dim <= kMaxHeadDim && head_dim % 8 == 0,
        "paged_attention: head_dim is " + std::to_string(head_dim) +
            ", but must be a multiple of 8 up to 256");
}

void check(const PagedAttention& op) {
  check_model(op.num_heads, op.num_kv_heads, op.head_dim);
  CHECK(op.block_size == kBlockKeys,
        "paged_attention: block_size is " + std::to_string(op.block_size) + ", but must be 16");
  CHECK(op.cache_type == DType::kF16 || op.cache_type == DType::kF32,
        std::string("paged_attention: a cache of ") + name_of(op.cache_type) +
            " is not supported; use f16 or f32");
}

int num_new_tokens(const PagedAttention& op, int sequence) {
  return op.query_starts[sequence + 1] - op.query_starts[sequence];
}

int num_chunks(int context_len) { return (context_len + kChunkKeys - 1) / kChunkKeys; }

// The tile of tokens [first, first + num_tokens) of a sequence's new ones, without its scratch.
AttentionTile tile_of(const PagedAttention& op, const Shape& shape, int sequence, int kv_head,
                      int first, int num_tokens) {
  const std::int64_t element = bytes_per_block(op.cache_type);
  const std::int64_t head_elements = static_cast<std::int64_t>(op.block_size) * op.head_dim;
  const std::int64_t block_elements = op.num_kv_heads * head_elements;
  const std::int64_t at = kv_head * head_elements * element;
  AttentionTile tile{};
  tile.keys = {static_cast<const char*>(op.k_cache) + at,
               static_cast<const char*>(op.v_cache) + at,
               op.cache_type,
               op.block_tables + static_cast<std::int64_t>(sequence) * op.max_blocks_per_sequence,
               block_elements,
               block_elements,
               op.head_dim,
               op.head_dim};
  tile.num_rows = num_tokens * shape.group;
  tile.rows_per_token = shape.group;
  tile.first_limit = op.context_lens[sequence] - num_new_tokens(op, sequence) + first + 1;
  tile.head_dim = op.head_dim;
  tile.value_dim = op.head_dim;
  tile.scale = op.scale;
  return tile;
}

// Gives the tile a thread's scratch and gathers its queries there.
void take_queries(const PagedAttention& op, const Shape& shape, int token, int kv_head,
                  const AttentionScratch& scratch, AttentionTile& tile) {
  tile.q = scratch.q;
  tile.key_span = scratch.key_span;
  tile.value_span = scratch.value_span;
  const std::int64_t row_floats = static_cast<std::int64_t>(shape.group) * op.head_dim;
  for (int t = 0; t < tile.num_rows / shape.group; ++t) {
    std::memcpy(scratch.q + t * row_floats, op.q + (token + t) * op.q_stride + kv_head * row_floats,
                row_floats * sizeof(float));
  }
}

void write_out(const PagedAttention& op, const Shape& shape, int token, int kv_head, int num_rows,
               const AttentionState& state) {
  const int width = padded_width(op.head_dim);
  for (int r = 0; r < num_rows; ++r) {
    const float inverse = 1 / state.sums[r];
    const float* from = state.out + static_cast<std::int64_t>(r) * width;
    const std::int64_t head = static_cast<std::int64_t>(kv_head) * shape.group + r % shape.group;
    float* out = op.out + (token + r / shape.group) * op.out_stride + head * op.head_dim;
    for (int i = 0; i < op.head_dim; ++i) out[i] = from[i] * inverse;
  }
}

AttentionScratch scratch_of(const PagedAttention& op, const Shape& shape, int thread) {
  return cut_attention_scratch(static_cast<float*>(op.scratch) + thread * shape.thread_floats,
                               shape.tile_rows, op.head_dim, op.head_dim);
}

// Whole rows: a task is a tile of query tokens of one sequence and KV head.
void attend_by_tile(const PagedAttention& op, const Shape& shape, ThreadPool& pool) {
  const VectorKernels& vector = vector_kernels(pool.isa());
  const auto num_tiles = [&](int sequence) {
    return (num_new_tokens(op, sequence) + shape.tile_tokens - 1) / shape.tile_tokens;
  };
  int num_tasks = 0;
  for (int s = 0; s < op.num_sequences; ++s) num_tasks += num_tiles(s) * op.num_kv_heads;

  pool.parallel_for(num_tasks, 1, [&](int begin, int end, int thread) {
    const AttentionScratch scratch = scratch_of(op, shape, thread);
    for (int task = begin; task < end; ++task) {
      // From the back: the prompts' tiles with the longest contexts should not come last.
      int tile_index = (num_tasks - 1 - task) / op.num_kv_heads;
      const int kv_head = (num_tasks - 1 - task) % op.num_kv_heads;
      int sequence = 0;
      for (; tile_index >= num_tiles(sequence); ++sequence) tile_index -= num_tiles(sequence);
      const int first = tile_index * shape.tile_tokens;
      const int num_tokens = std::min(shape.tile_tokens, num_new_tokens(op, sequence) - first);
      AttentionTile tile = tile_of(op, shape, sequence, kv_head, first, num_tokens);
      const int token = op.query_starts[sequence] + first;
      take_queries(op, shape, token, kv_head, scratch, tile);
      attend_tile(vector, tile, scratch);
      write_out(op, shape, token, kv_head, tile.num_rows, scratch.total);
    }
  });
}

// One new token a sequence: a task is one chunk of the context of a (sequence, KV head) pair. The
// chunks are then merged in order, exactly as attend_tile does.
void attend_by_chunk(const PagedAttention& op, const Shape& shape, int max_chunks,
                     ThreadPool& pool) {
  const VectorKernels& vector = vector_kernels(pool.isa());
  float* states = static_cast<float*>(op.scratch) + pool.num_threads() * shape.thread_floats;
  const auto state_of = [&](int pair, int chunk) {
    const std::size_t index = static_cast<std::size_t>(pair) * max_chunks + chunk;
    return cut_attention_state(states + index * shape.state_floats, shape.group, op.head_dim);
  };
  const int num_pairs = op.num_sequences * op.num_kv_heads;
  pool.parallel_for(num_pairs * max_chunks, 1, [&](int begin, int end, int thread) {
    const AttentionScratch scratch = scratch_of(op, shape, thread);
    for (int task = begin; task < end; ++task) {
      const int pair = task / max_chunks;
      const int chunk = task % max_chunks;
      const int sequence = pair / op.num_kv_heads;
      const int kv_head = pair % op.num_kv_heads;
      if (chunk >= num_chunks(op.context_lens[sequence])) continue;
      AttentionTile tile = tile_of(op, shape, sequence, kv_head, 0, 1);
      take_queries(op, shape, op.query_starts[sequence], kv_head, scratch, tile);
      vector.attend_chunk(tile, chunk * kChunkKeys, state_of(pair, chunk));
    }
  });
  pool.parallel_for(num_pairs, 1, [&](int begin, int end) {
    for (int pair = begin; pair < end; ++pair) {
      const int sequence = pair / op.num_kv_heads;
      const int kv_head = pair % op.num_kv_heads;
      const AttentionTile tile = tile_of(op, shape, sequence, kv_head, 0, 1);
      const AttentionState total = state_of(pair, 0);
      for (int chunk = 1; chunk < num_chunks(op.context_lens[sequence]); ++chunk) {
        vector.merge_chunk(tile, chunk * kChunkKeys, state_of(pair, chunk), total);
      }
      write_out(op, shape, op.query_starts[sequence], kv_head, shape.group, total);
    }
  });
}

}  // namespace

std::size_t paged_attention_scratch_bytes(int num_heads, int num_kv_heads, int head_dim,
                                          int max_context_len, int num_threads) {
  check_model(num_heads, num_kv_heads, head_dim);
  const Shape shape = shape_of(num_heads, num_kv_heads, head_dim);
  const std::size_t num_states =
      static_cast<std::size_t>(kTasksPerThread) * num_threads * num_chunks(max_context_len);
  return sizeof(float) * (num_threads * shape.thread_floats + num_states * shape.state_floats);
}

void paged_attention_cpu(const PagedAttention& op, ThreadPool& pool) {
  check(op);
  const Shape shape = shape_of(op.num_heads, op.num_kv_heads, op.head_dim);
  int most_tokens = 0;
  int longest_context = 0;
  for (int s = 0; s < op.num_sequences; ++s) {
    most_tokens = std::max(most_tokens, num_new_tokens(op, s));
    longest_context = std::max(longest_context, op.context_lens[s]);
  }
  const bool few = op.num_sequences * op.num_kv_heads < kTasksPerThread * pool.num_threads();
  if (few && most_tokens == 1 && longest_context > kChunkKeys && pool.num_threads() > 1) {
    attend_by_chunk(op, shape, num_chunks(longest_context), pool);
  } else {
    attend_by_tile(op, shape, pool);
  }
}

}  // namespace kernels
