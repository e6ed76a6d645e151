#include "native/model_spec.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "native/memory.h"

namespace kvasir {

namespace {

// Far above any model of the family; low enough that no product below leaves 64 bits.
constexpr int kMaxLayers = 1024;
constexpr int kMaxHidden = 1 << 20;
constexpr int kMaxVocab = 1 << 24;
constexpr int kMaxHeads = 4096;
constexpr int kMaxHeadDim = 256;
constexpr int kMaxContext = 1 << 26;
constexpr int kMaxThreads = 256;
constexpr int kMaxStepTokens = 1 << 20;
constexpr int kMaxStepSequences = 1 << 16;
constexpr int kMaxStepAdjustments = 1 << 24;
constexpr int kBlockSize = 16;
constexpr std::size_t kMaxDimensions = 4;
constexpr std::int64_t kMaxDimension = std::int64_t{1} << 31;

void check_range(const char* field, std::int64_t value, std::int64_t low, std::int64_t high) {
  CHECK(value >= low && value <= high, std::string(field) + " is " + std::to_string(value) +
                                           "; it must be from " + std::to_string(low) + " to " +
                                           std::to_string(high));
}

void check_positive(const char* field, float value) {
  CHECK(std::isfinite(value) && value > 0,
        std::string(field) + " is " + std::to_string(value) + "; it must be a positive number");
}

void check_config(const ModelConfig& config) {
  check_range("numLayers", config.num_layers, 1, kMaxLayers);
  check_range("hiddenSize", config.hidden_size, 1, kMaxHidden);
  check_range("intermediateSize", config.intermediate_size, 1, kMaxHidden);
  check_range("numHeads", config.num_heads, 1, kMaxHeads);
  check_range("numKvHeads", config.num_kv_heads, 1, config.num_heads);
  CHECK(config.num_heads % config.num_kv_heads == 0,
        "numHeads is " + std::to_string(config.num_heads) +
            "; it must be a multiple of numKvHeads " + std::to_string(config.num_kv_heads));
  check_range("headDim", config.head_dim, 8, kMaxHeadDim);
  CHECK(config.head_dim % 8 == 0,
        "headDim is " + std::to_string(config.head_dim) + "; it must be a multiple of 8");
  check_range("vocabSize", config.vocab_size, 1, kMaxVocab);
  check_range("maxContextLen", config.max_context_len, 1, kMaxContext);
  check_positive("rmsNormEpsilon", config.rms_norm_epsilon);
  check_positive("ropeTheta", config.rope_theta);
  if (!config.rope_scaling) return;
  check_positive("ropeScaling.factor", config.rope_scaling->factor);
  check_positive("ropeScaling.lowFrequencyFactor", config.rope_scaling->low_frequency_factor);
  check_positive("ropeScaling.highFrequencyFactor", config.rope_scaling->high_frequency_factor);
  check_positive("ropeScaling.originalMaxContextLen",
                 config.rope_scaling->original_max_context_len);
  CHECK(config.rope_scaling->high_frequency_factor > config.rope_scaling->low_frequency_factor,
        "ropeScaling.highFrequencyFactor must be above ropeScaling.lowFrequencyFactor");
}

void check_limits(const StepLimits& limits) {
  CHECK(limits.block_size == kBlockSize, "blockSize is " + std::to_string(limits.block_size) +
                                             "; this build has blocks of " +
                                             std::to_string(kBlockSize) + " tokens");
  // Slots are 32-bit: blockId * blockSize + offset.
  check_range("numBlocks", limits.num_blocks, 1,
              std::numeric_limits<std::int32_t>::max() / kBlockSize);
  check_range("maxTokensPerStep", limits.max_tokens_per_step, 1, kMaxStepTokens);
  check_range("maxSequences", limits.max_sequences, 1, kMaxStepSequences);
  check_range("maxBlocksPerSequence", limits.max_blocks_per_sequence, 1, kMaxContext / kBlockSize);
  check_range("maxAdjustments", limits.max_adjustments, 0, kMaxStepAdjustments);
}

}  // namespace

int max_context_len(const ModelSpec& spec) {
  const std::int64_t num_blocks =
      std::min(spec.limits.max_blocks_per_sequence, spec.limits.num_blocks);
  return static_cast<int>(
      std::min<std::int64_t>(num_blocks * spec.limits.block_size, spec.config.max_context_len));
}

void check_model_spec(const ModelSpec& spec) {
  check_config(spec.config);
  check_limits(spec.limits);
  check_range("numThreads", spec.num_threads, 1, kMaxThreads);
  CHECK(spec.kv_cache_type == kernels::DType::kF16 || spec.kv_cache_type == kernels::DType::kF32,
        "kvCacheType must be float16 or float32");
  CHECK(spec.dtype == kernels::DType::kF32 || spec.dtype == kernels::DType::kF16 ||
            spec.dtype == kernels::DType::kBF16,
        std::string("dtype is ") + kernels::name_of(spec.dtype) +
            "; it must be float32, float16 or bfloat16");
  for (const TensorRef& tensor : spec.tensors) check_tensor_ref(tensor, spec.files);
}

void check_tensor_ref(const TensorRef& tensor, const std::vector<FileSpec>& files) {
  const std::string& name = tensor.name;
  CHECK(!tensor.shape.empty() && tensor.shape.size() <= kMaxDimensions,
        name + ": has " + std::to_string(tensor.shape.size()) + " dimensions; 1 to " +
            std::to_string(kMaxDimensions) + " are read");
  std::uint64_t num_elements = 1;
  for (const std::int64_t dimension : tensor.shape) {
    CHECK(dimension >= 1 && dimension <= kMaxDimension,
          name + ": a dimension is " + std::to_string(dimension) + "; it must be from 1 to 2^31");
    num_elements = checked_multiply(num_elements, static_cast<std::uint64_t>(dimension), name);
  }
  const int block = kernels::block_size(tensor.type);
  CHECK(tensor.shape.back() % block == 0,
        name + ": rows of " + std::to_string(tensor.shape.back()) + " elements; " +
            kernels::name_of(tensor.type) + " needs a multiple of " + std::to_string(block));
  const std::uint64_t num_bytes =
      checked_multiply(num_elements / static_cast<std::uint64_t>(block),
                       static_cast<std::uint64_t>(kernels::bytes_per_block(tensor.type)), name);
  CHECK(tensor.byte_length == num_bytes,
        name + ": byteLength is " + std::to_string(tensor.byte_length) +
            "; its shape and type take " + std::to_string(num_bytes));
  CHECK(tensor.file >= 0 && static_cast<std::size_t>(tensor.file) < files.size(),
        name + ": file is " + std::to_string(tensor.file) + "; there are " +
            std::to_string(files.size()) + " files");
  const FileSpec& file = files[static_cast<std::size_t>(tensor.file)];
  CHECK(checked_add(tensor.offset, tensor.byte_length, name) <= file.byte_length,
        name + ": ends at byte " + std::to_string(tensor.offset + tensor.byte_length) + " of " +
            file.path + ", which has " + std::to_string(file.byte_length));
}

}  // namespace kvasir
