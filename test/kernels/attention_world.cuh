// A paged KV cache with sequences in it, to run attention steps against: shuffled block tables,
// every unused byte NaN, a reference in double on the device.
#pragma once

#include <cuda_fp16.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda_attention.h"
#include "test/kernels/device_buffer.cuh"
#include "test/kernels/plain_values.h"

namespace testing {

struct AttentionShape {
  int num_heads;
  int num_kv_heads;
  int head_dim;
  bool has_norm = false;
  kernels::Numerics numerics = kernels::Numerics::kFast;
  bool is_batch_invariant = false;
};

// A sequence of the world: its tokens' raw rows of qkv are given to steps from `num_past` on.
template <typename T>
struct WorldSequence {
  std::vector<std::int32_t> blocks;
  std::vector<T> qkv;  // of tokens [0, length)
  int num_past = 0;    // in the cache
};

struct ReferenceArguments {
  const void* q;  // [num_tokens, num_heads, head_dim], turned
  const void* k_cache;
  const void* v_cache;
  const std::int32_t* block_tables;
  const std::int32_t* block_table_starts;
  const std::int32_t* query_starts;
  const std::int32_t* context_lens;
  int num_heads;
  int num_kv_heads;
  int head_dim;
  double scale;
  double* out;  // [num_tokens, num_heads, head_dim]
};

__device__ inline double widen(float x) { return x; }
__device__ inline double widen(kernels::bf16 x) {
  return __uint_as_float(static_cast<unsigned>(x.bits) << 16);
}
__device__ inline double widen(kernels::f16 x) { return __half2float(__ushort_as_half(x.bits)); }

// Grid (num_sequences, num_heads, most new tokens), kReferenceThreads a block. Two passes over the
// keys: the maximum, then weights and their products.
constexpr int kReferenceThreads = 256;
template <typename T>
__global__ void reference_attention(ReferenceArguments a) {
  __shared__ double shared[kReferenceThreads];
  const int sequence = blockIdx.x;
  const int first = a.query_starts[sequence];
  const int num_new = a.query_starts[sequence + 1] - first;
  const int i = blockIdx.z;
  const int context_len = a.context_lens[sequence];
  if (i >= num_new || context_len == 0) return;
  const int num_keys = context_len - num_new + i + 1;
  const int head = blockIdx.y;
  const int kv_head = head / (a.num_heads / a.num_kv_heads);
  const std::int64_t row = (static_cast<std::int64_t>(first + i) * a.num_heads + head) * a.head_dim;
  const T* q = static_cast<const T*>(a.q) + row;
  const std::int32_t* blocks = a.block_tables + a.block_table_starts[sequence];
  const auto offset = [&](int key) {
    return ((static_cast<std::int64_t>(blocks[key / 16]) * a.num_kv_heads + kv_head) * 16 +
            key % 16) *
           a.head_dim;
  };
  const auto score = [&](int key) {
    const T* k = static_cast<const T*>(a.k_cache) + offset(key);
    double dot = 0;
    for (int d = 0; d < a.head_dim; ++d) dot += widen(q[d]) * widen(k[d]);
    return dot * a.scale;
  };
  double maximum = -1e300;
  for (int key = threadIdx.x; key < num_keys; key += kReferenceThreads) {
    maximum = fmax(maximum, score(key));
  }
  shared[threadIdx.x] = maximum;
  __syncthreads();
  for (int j = 0; j < kReferenceThreads; ++j) maximum = fmax(maximum, shared[j]);
  __syncthreads();
  double sum = 0;
  double o = 0;
  for (int start = 0; start < num_keys; start += kReferenceThreads) {
    const int key = start + threadIdx.x;
    shared[threadIdx.x] = key < num_keys ? exp(score(key) - maximum) : 0;
    __syncthreads();
    for (int j = 0; j < kReferenceThreads && start + j < num_keys; ++j) {
      sum += shared[j];
      if (threadIdx.x < a.head_dim) {
        o += shared[j] * widen(static_cast<const T*>(a.v_cache)[offset(start + j) + threadIdx.x]);
      }
    }
    __syncthreads();
  }
  if (threadIdx.x < a.head_dim) a.out[row + threadIdx.x] = o / sum;
}

// What one step computed.
template <typename T>
struct StepResult {
  std::vector<T> out;             // [num_tokens, num_heads * head_dim]
  std::vector<double> reference;  // the same, if it was asked for
};

template <typename T>
class AttentionWorld {
 public:
  AttentionWorld(const AttentionShape& shape, int num_blocks, int max_context_len,
                 std::uint32_t seed)
      : shape_(shape),
        random_(seed),
        free_(num_blocks),
        rope_(rope_table(max_context_len)),
        k_cache_(std::size_t(num_blocks) * shape.num_kv_heads * 16 * shape.head_dim),
        v_cache_(k_cache_.size()),
        rope_device_(rope_),
        q_norm_(uniform_values<T>(shape.head_dim, 0.5f, 1.5f, seed + 1)),
        k_norm_(uniform_values<T>(shape.head_dim, 0.5f, 1.5f, seed + 2)),
        q_norm_device_(q_norm_),
        k_norm_device_(k_norm_),
        workspace_(kernels::cuda_attention_workspace_bytes(
            8192, 512, max_context_len, shape.num_heads, shape.num_kv_heads, shape.head_dim,
            shape.is_batch_invariant)) {
    std::iota(free_.begin(), free_.end(), 0);
    std::shuffle(free_.begin(), free_.end(), random_);
    // Everything but the counters is NaN; the operator keeps them zero from here on.
    workspace_.clear();
  }

  int width() const { return (shape_.num_heads + 2 * shape_.num_kv_heads) * shape_.head_dim; }
  int out_width() const { return shape_.num_heads * shape_.head_dim; }
  const AttentionShape& shape() const { return shape_; }

  // Random numbers with a peaked softmax: q is three times as large as k.
  WorldSequence<T> add_sequence(int length) {
    WorldSequence<T> sequence;
    const int num_blocks = (length + 15) / 16;
    sequence.blocks.assign(free_.end() - num_blocks, free_.end());
    free_.resize(free_.size() - num_blocks);
    sequence.qkv.resize(std::size_t(length) * width());
    for (std::size_t i = 0; i < sequence.qkv.size(); ++i) {
      const bool is_query = int(i % width()) < out_width();
      sequence.qkv[i] = kernels::from_float<T>(fast_normal() * (is_query ? 3.0f : 1.0f));
    }
    return sequence;
  }
  void give_back(const WorldSequence<T>& sequence) {
    free_.insert(free_.end(), sequence.blocks.begin(), sequence.blocks.end());
  }

  // Fills the cache with random keys and values of the tokens [0, num_past): much faster than to
  // compute them.
  void fill_past(WorldSequence<T>& sequence, int num_past) {
    const std::size_t page = std::size_t(16) * shape_.head_dim;
    std::vector<T> k(page);
    std::vector<T> v(page);
    for (int block = 0; block * 16 < num_past; ++block) {
      for (int g = 0; g < shape_.num_kv_heads; ++g) {
        for (std::size_t i = 0; i < page; ++i) {
          const bool is_filled = block * 16 + int(i) / shape_.head_dim < num_past;
          k[i] = kernels::from_float<T>(is_filled ? fast_normal() : NAN);
          v[i] = kernels::from_float<T>(is_filled ? fast_normal() : NAN);
        }
        const std::size_t at =
            (std::size_t(sequence.blocks[block]) * shape_.num_kv_heads + g) * page;
        CUDA_CHECK(
            cudaMemcpy(k_cache_.data() + at, k.data(), page * sizeof(T), cudaMemcpyHostToDevice));
        CUDA_CHECK(
            cudaMemcpy(v_cache_.data() + at, v.data(), page * sizeof(T), cudaMemcpyHostToDevice));
      }
    }
    sequence.num_past = num_past;
  }

  // One step: sequences[i] gets num_new[i] tokens. The first num_decodes have one; then come
  // num_padding rows that hold nothing.
  StepResult<T> run(const std::vector<WorldSequence<T>*>& sequences,
                    const std::vector<int>& num_new, int num_decodes, int num_padding = 0,
                    bool with_reference = false) {
    std::vector<T> qkv;
    std::vector<T> turned;
    std::vector<std::int32_t> positions, slots, tables, table_starts, query_starts{0}, context_lens;
    const auto add_padding = [&] {
      for (int i = 0; i < num_padding; ++i) {
        qkv.insert(qkv.end(), width(), kernels::from_float<T>(NAN));
        turned.insert(turned.end(), out_width(), kernels::from_float<T>(NAN));
        positions.push_back(1 << 30);
        slots.push_back(1 << 30);
        table_starts.push_back(1 << 30);
        query_starts.push_back(query_starts.back() + 1);
        context_lens.push_back(0);
      }
    };
    for (std::size_t s = 0; s < sequences.size(); ++s) {
      if (int(s) == num_decodes) add_padding();
      WorldSequence<T>& sequence = *sequences[s];
      table_starts.push_back(static_cast<std::int32_t>(tables.size()));
      tables.insert(tables.end(), sequence.blocks.begin(), sequence.blocks.end());
      for (int i = 0; i < num_new[s]; ++i) {
        const int position = sequence.num_past + i;
        const T* row = &sequence.qkv[std::size_t(position) * width()];
        qkv.insert(qkv.end(), row, row + width());
        if (with_reference) append_turned(turned, row, position);
        positions.push_back(position);
        slots.push_back(sequence.blocks[position / 16] * 16 + position % 16);
      }
      sequence.num_past += num_new[s];
      query_starts.push_back(query_starts.back() + num_new[s]);
      context_lens.push_back(sequence.num_past);
    }
    if (num_decodes == int(sequences.size())) add_padding();

    const int num_tokens = query_starts.back();
    DeviceBuffer<T> qkv_device(qkv);
    DeviceBuffer<T> out(std::size_t(num_tokens) * out_width());
    DeviceBuffer<std::int32_t> d_positions(positions), d_slots(slots), d_tables(tables),
        d_table_starts(table_starts), d_query_starts(query_starts), d_context_lens(context_lens);
    kernels::CudaAttention op{};
    op.out = out.data();
    op.qkv = qkv_device.data();
    op.q_norm = shape_.has_norm ? q_norm_device_.data() : nullptr;
    op.k_norm = shape_.has_norm ? k_norm_device_.data() : nullptr;
    op.norm_epsilon = 1e-6f;
    op.rope_table = rope_device_.data();
    op.k_cache = k_cache_.data();
    op.v_cache = v_cache_.data();
    op.positions = d_positions.data();
    op.slot_mapping = d_slots.data();
    op.block_tables = d_tables.data();
    op.block_table_starts = d_table_starts.data();
    op.query_starts = d_query_starts.data();
    op.context_lens = d_context_lens.data();
    op.type = PlainType<T>::kType;
    op.numerics = shape_.numerics;
    op.is_batch_invariant = shape_.is_batch_invariant;
    op.num_tokens = num_tokens;
    op.num_sequences = static_cast<int>(context_lens.size());
    op.num_decodes = num_decodes + num_padding;
    op.max_query_len = *std::max_element(num_new.begin(), num_new.end());
    op.num_heads = shape_.num_heads;
    op.num_kv_heads = shape_.num_kv_heads;
    op.head_dim = shape_.head_dim;
    op.scale = scale();
    op.workspace = workspace_.data();
    kernels::cuda_attention(op, nullptr);
    StepResult<T> result;
    result.out = out.download();
    if (with_reference) {
      DeviceBuffer<T> d_turned(turned);
      DeviceBuffer<double> d_reference(result.out.size());
      const ReferenceArguments arguments{d_turned.data(),
                                         k_cache_.data(),
                                         v_cache_.data(),
                                         d_tables.data(),
                                         d_table_starts.data(),
                                         d_query_starts.data(),
                                         d_context_lens.data(),
                                         shape_.num_heads,
                                         shape_.num_kv_heads,
                                         shape_.head_dim,
                                         static_cast<double>(scale()),
                                         d_reference.data()};
      reference_attention<T>
          <<<dim3(op.num_sequences, shape_.num_heads, op.max_query_len), kReferenceThreads>>>(
              arguments);
      CUDA_CHECK(cudaGetLastError());
      result.reference = d_reference.download();
    }
    return result;
  }

  // Rows [first, first + count) of a sequence in the cache: k of each KV head, then v.
  std::vector<T> cached(const WorldSequence<T>& sequence, int first, int count) const {
    std::vector<T> rows;
    std::vector<T> row(shape_.head_dim);
    CUDA_CHECK(cudaDeviceSynchronize());
    for (int position = first; position < first + count; ++position) {
      for (const T* cache : {k_cache_.data(), v_cache_.data()}) {
        for (int g = 0; g < shape_.num_kv_heads; ++g) {
          const std::size_t page =
              std::size_t(sequence.blocks[position / 16]) * shape_.num_kv_heads + g;
          CUDA_CHECK(cudaMemcpy(row.data(), cache + (page * 16 + position % 16) * shape_.head_dim,
                                row.size() * sizeof(T), cudaMemcpyDeviceToHost));
          rows.insert(rows.end(), row.begin(), row.end());
        }
      }
    }
    return rows;
  }

  // What cached() must return for tokens the operator wrote.
  std::vector<T> expected_cache(const WorldSequence<T>& sequence, int first, int count) const {
    std::vector<T> rows;
    for (int position = first; position < first + count; ++position) {
      const T* row = &sequence.qkv[std::size_t(position) * width()] + out_width();
      for (int g = 0; g < shape_.num_kv_heads; ++g) {
        append_head(rows, row + g * shape_.head_dim, k_norm_, position);
      }
      row += shape_.num_kv_heads * shape_.head_dim;
      rows.insert(rows.end(), row, row + shape_.num_kv_heads * shape_.head_dim);
    }
    return rows;
  }

  // Every block that no sequence has is still NaN in every byte.
  bool unused_blocks_untouched() const {
    const std::vector<T> k = k_cache_.download();
    const std::vector<T> v = v_cache_.download();
    const std::size_t size = std::size_t(shape_.num_kv_heads) * 16 * shape_.head_dim * sizeof(T);
    const std::vector<unsigned char> nan(size, 0xff);
    return std::all_of(free_.begin(), free_.end(), [&](int block) {
      const auto at = [&](const std::vector<T>& cache) {
        return reinterpret_cast<const unsigned char*>(cache.data()) + std::size_t(block) * size;
      };
      return std::memcmp(at(k), nan.data(), size) == 0 && std::memcmp(at(v), nan.data(), size) == 0;
    });
  }

  // NaN in all of the workspace but its first `bytes`, where the counters are.
  void poison_workspace_beyond(std::size_t bytes) {
    if (workspace_.size() <= bytes) return;
    CUDA_CHECK(cudaMemset(workspace_.data() + bytes, 0xff, workspace_.size() - bytes));
  }

 private:
  float scale() const { return 1 / std::sqrt(static_cast<float>(shape_.head_dim)); }

  std::vector<float> rope_table(int num_positions) const {
    const int half = shape_.head_dim / 2;
    std::vector<float> table(std::size_t(num_positions) * shape_.head_dim);
    for (int j = 0; j < half; ++j) {
      const double power = std::pow(10000.0, 2.0 * j / shape_.head_dim);
      for (int p = 0; p < num_positions; ++p) {
        const double angle = p / power;
        table[std::size_t(p) * shape_.head_dim + j] = static_cast<float>(std::cos(angle));
        table[std::size_t(p) * shape_.head_dim + half + j] = static_cast<float>(std::sin(angle));
      }
    }
    return table;
  }

  // The sum of four uniform numbers of 16 bits, close enough to a normal one with deviation 1.
  float fast_normal() {
    const std::uint32_t a = random_();
    const std::uint32_t b = random_();
    const std::uint32_t sum = (a & 0xffff) + (a >> 16) + (b & 0xffff) + (b >> 16);
    return (static_cast<float>(sum) * 0x1p-16f - 2) * 1.7320508f;
  }

  void append_turned(std::vector<T>& to, const T* row, int position) const {
    for (int h = 0; h < shape_.num_heads; ++h) {
      append_head(to, row + h * shape_.head_dim, q_norm_, position);
    }
  }

  static float store(float x) { return kernels::to_float(kernels::from_float<T>(x)); }

  // Norm and rotation as cuda_attention.h says, in float.
  void append_head(std::vector<T>& to, const T* head, const std::vector<T>& norm,
                   int position) const {
    const int half = shape_.head_dim / 2;
    const bool rounds = shape_.numerics == kernels::Numerics::kReference;
    std::vector<float> x(shape_.head_dim);
    double squares = 0;
    for (int i = 0; i < shape_.head_dim; ++i) {
      x[i] = kernels::to_float(head[i]);
      squares += double(x[i]) * x[i];
    }
    if (shape_.has_norm) {
      const float scale = static_cast<float>(1 / std::sqrt(squares / shape_.head_dim + 1e-6));
      for (int i = 0; i < shape_.head_dim; ++i) {
        const float weight = kernels::to_float(norm[i]);
        x[i] = rounds ? store(store(x[i] * scale) * weight) : x[i] * scale * weight;
      }
    }
    const float* table = &rope_[std::size_t(position) * shape_.head_dim];
    std::vector<float> y(shape_.head_dim);
    for (int j = 0; j < half; ++j) {
      const float a = x[j];
      const float b = x[half + j];
      const float c = rounds ? store(table[j]) : table[j];
      const float s = rounds ? store(table[half + j]) : table[half + j];
      y[j] = rounds ? store(a * c) - store(b * s) : std::fmaf(a, c, -(b * s));
      y[half + j] = rounds ? store(b * c) + store(a * s) : std::fmaf(b, c, a * s);
    }
    for (const float value : y) to.push_back(kernels::from_float<T>(value));
  }

  AttentionShape shape_;
  std::mt19937 random_;
  std::vector<std::int32_t> free_;
  std::vector<float> rope_;
  DeviceBuffer<T> k_cache_;
  DeviceBuffer<T> v_cache_;
  DeviceBuffer<float> rope_device_;
  std::vector<T> q_norm_;
  std::vector<T> k_norm_;
  DeviceBuffer<T> q_norm_device_;
  DeviceBuffer<T> k_norm_device_;
  DeviceBuffer<unsigned char> workspace_;
};

}  // namespace testing
