#include "native/cuda/weight_loader.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "kernels/cuda_linear.h"
#include "native/cuda/device.h"

namespace kvasir {

namespace {

// Large enough that a copy runs at the bus's speed, small enough to pin quickly; every row fits.
constexpr std::size_t kBufferBytes = std::size_t{32} << 20;

// A matrix on the device and the tensors that its rows come from.
struct Matrix {
  void* out;
  int num_rows;
  int num_columns;         // on the device
  int num_source_columns;  // columns beyond are zero
  std::vector<std::string> tensors;
  int group;  // 0: tensors behind each other; else groups of so many rows of each in turn
};

// A row of an opened tensor; beyond its last row there are zeros.
struct SourceRow {
  int tensor;
  int row;
};

class WeightLoader {
 public:
  WeightLoader(const ModelSpec& spec, WeightSource& source, kernels::ThreadPool& pool,
               const OnProgress& on_progress)
      : type_(spec.dtype),
        source_(source),
        pool_(pool),
        on_progress_(on_progress),
        max_columns_(std::max({spec.config.hidden_size, spec.config.q_size(),
                               padded_intermediate_size(spec.config)})),
        scratch_(static_cast<std::size_t>(pool.num_threads() * max_columns_)) {
    for (Buffer& buffer : buffers_) buffer.memory = PinnedMemory(kBufferBytes);
  }

  void load(const Matrix& matrix) {
    tensors_.clear();
    for (const std::string& name : matrix.tensors) tensors_.push_back(source_.open(name));
    const std::size_t row_bytes = kernels::row_bytes(type_, matrix.num_columns);
    const int rows_at_once = static_cast<int>(std::min(kBufferBytes / row_bytes, kMaxRowsAtOnce));
    for (int row = 0; row < matrix.num_rows; row += rows_at_once) {
      send(matrix, row, std::min(rows_at_once, matrix.num_rows - row), row_bytes);
    }
    for (const int tensor : tensors_) source_.close(tensor);
  }

  void load_vector(void* out, int length, std::vector<std::string> tensors) {
    load({out, length, 1, 1, std::move(tensors), 0});
  }

  std::vector<float> read_vector(const std::string& name) {
    const int tensor = source_.open(name);
    std::vector<float> values(static_cast<std::size_t>(source_.num_rows(tensor)));
    for (std::size_t i = 0; i < values.size(); ++i) {
      source_.read_row(tensor, static_cast<int>(i), kernels::DType::kF32, &values[i],
                       scratch_.data());
    }
    report(values.size() * source_.row_bytes(tensor));
    source_.close(tensor);
    return values;
  }

  void finish() {
    stream_.synchronize();
    source_.check_unchanged();
  }

 private:
  static constexpr std::size_t kMaxRowsAtOnce = std::size_t{1} << 20;

  struct Buffer {
    PinnedMemory memory;
    CudaEvent is_free;
  };

  // Converts rows [first, first + num_rows) into a buffer and starts copying it.
  void send(const Matrix& matrix, int first, int num_rows, std::size_t row_bytes) {
    Buffer& buffer = buffers_[next_buffer_];
    next_buffer_ = 1 - next_buffer_;
    buffer.is_free.synchronize();
    // Vectors have one element a row: threads take at least 4 KB each.
    const int grain = static_cast<int>(std::max<std::size_t>(1, 4096 / row_bytes));
    pool_.parallel_for(num_rows, grain, [&](int begin, int end, int thread) {
      float* const scratch = scratch_.data() + static_cast<std::ptrdiff_t>(thread) * max_columns_;
      for (int i = begin; i < end; ++i) {
        std::byte* const out = buffer.memory.data() + static_cast<std::size_t>(i) * row_bytes;
        convert(matrix, first + i, row_bytes, out, scratch);
      }
    });
    CUDA_CHECK(cudaMemcpyAsync(
        static_cast<std::byte*>(matrix.out) + static_cast<std::size_t>(first) * row_bytes,
        buffer.memory.data(), static_cast<std::size_t>(num_rows) * row_bytes,
        cudaMemcpyHostToDevice, stream_.get()));
    buffer.is_free.record(stream_);
    report(source_bytes(matrix, first, num_rows));
  }

  void convert(const Matrix& matrix, int row, std::size_t row_bytes, std::byte* out,
               float* scratch) const {
    const SourceRow from = locate(matrix, row);
    std::size_t num_bytes = 0;
    if (from.row < source_.num_rows(from.tensor)) {
      source_.read_row(from.tensor, from.row, type_, out, scratch);
      num_bytes = kernels::row_bytes(type_, matrix.num_source_columns);
    }
    std::memset(out + num_bytes, 0, row_bytes - num_bytes);
  }

  SourceRow locate(const Matrix& matrix, int row) const {
    if (matrix.group > 0) {
      const int num_tensors = static_cast<int>(tensors_.size());
      const int group = row / matrix.group;
      return {tensors_[static_cast<std::size_t>(group % num_tensors)],
              group / num_tensors * matrix.group + row % matrix.group};
    }
    std::size_t i = 0;
    while (i + 1 < tensors_.size() && row >= source_.num_rows(tensors_[i])) {
      row -= source_.num_rows(tensors_[i++]);
    }
    return {tensors_[i], row};
  }

  std::uint64_t source_bytes(const Matrix& matrix, int first, int num_rows) const {
    std::uint64_t num_bytes = 0;
    for (int row = first; row < first + num_rows; ++row) {
      const SourceRow from = locate(matrix, row);
      if (from.row < source_.num_rows(from.tensor)) num_bytes += source_.row_bytes(from.tensor);
    }
    return num_bytes;
  }

  void report(std::uint64_t num_bytes) {
    num_bytes_done_ += num_bytes;
    on_progress_(num_bytes_done_);
  }

  const kernels::DType type_;
  WeightSource& source_;
  kernels::ThreadPool& pool_;
  const OnProgress& on_progress_;
  const int max_columns_;
  std::vector<float> scratch_;  // [threads, max_columns_]
  std::vector<int> tensors_;    // of the matrix being loaded
  std::array<Buffer, 2> buffers_;
  std::size_t next_buffer_ = 0;
  std::uint64_t num_bytes_done_ = 0;
  // Last: it ends before the buffers that it copies from.
  CudaStream stream_;
};

void load_layer(WeightLoader& loader, const ModelConfig& config, int layer,
                const CudaLayerWeights& w) {
  const auto name = [&](const char* suffix) {
    return "blk." + std::to_string(layer) + "." + suffix;
  };
  const int hidden = config.hidden_size;
  const int qkv = config.q_size() + 2 * config.kv_size();
  const int padded = padded_intermediate_size(config);
  loader.load_vector(w.attn_norm, hidden, {name("attn_norm.weight")});
  loader.load({w.qkv,
               qkv,
               hidden,
               hidden,
               {name("attn_q.weight"), name("attn_k.weight"), name("attn_v.weight")},
               0});
  if (config.has_qkv_bias) {
    loader.load_vector(w.qkv_bias, qkv,
                       {name("attn_q.bias"), name("attn_k.bias"), name("attn_v.bias")});
  }
  if (config.has_qk_norm) {
    loader.load_vector(w.q_norm, config.head_dim, {name("attn_q_norm.weight")});
    loader.load_vector(w.k_norm, config.head_dim, {name("attn_k_norm.weight")});
  }
  loader.load(
      {w.attn_output, hidden, config.q_size(), config.q_size(), {name("attn_output.weight")}, 0});
  loader.load_vector(w.ffn_norm, hidden, {name("ffn_norm.weight")});
  loader.load({w.gate_up,
               2 * padded,
               hidden,
               hidden,
               {name("ffn_gate.weight"), name("ffn_up.weight")},
               kernels::kGateUpGroup});
  loader.load({w.ffn_down, hidden, padded, config.intermediate_size, {name("ffn_down.weight")}, 0});
}

}  // namespace

std::vector<float> load_cuda_weights(const ModelSpec& spec, const CudaWeights& weights,
                                     WeightSource& source, kernels::ThreadPool& pool,
                                     const OnProgress& on_progress) {
  const ModelConfig& config = spec.config;
  const int hidden = config.hidden_size;
  WeightLoader loader(spec, source, pool, on_progress);
  loader.load(
      {weights.token_embedding, config.vocab_size, hidden, hidden, {"token_embd.weight"}, 0});
  for (int layer = 0; layer < config.num_layers; ++layer) {
    load_layer(loader, config, layer, weights.layers[static_cast<std::size_t>(layer)]);
  }
  loader.load_vector(weights.output_norm, hidden, {"output_norm.weight"});
  if (!config.has_tied_embeddings) {
    loader.load({weights.output, config.vocab_size, hidden, hidden, {"output.weight"}, 0});
  }
  std::vector<float> rope_divisors;
  if (source.has("rope_freqs.weight")) rope_divisors = loader.read_vector("rope_freqs.weight");
  loader.finish();
  return rope_divisors;
}

}  // namespace kvasir
