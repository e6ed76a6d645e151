#include "kernels/dequantize.h"

#include <cstring>

#include "kernels/quant_blocks.h"

namespace kernels {

namespace {

void dequantize_block(const BlockQ8_0& block, float* out) {
  const float scale = to_float(block.scale);
  for (int i = 0; i < 32; ++i) out[i] = scale * static_cast<float>(block.q[i]);
}

void dequantize_block(const BlockQ4_0& block, float* out) {
  const float scale = to_float(block.scale);
  for (int i = 0; i < 32; ++i) out[i] = scale * static_cast<float>(nibble_at(block.q, i) - 8);
}

void dequantize_block(const BlockQ4_1& block, float* out) {
  const float scale = to_float(block.scale);
  const float min = to_float(block.min);
  for (int i = 0; i < 32; ++i) out[i] = scale * static_cast<float>(nibble_at(block.q, i)) + min;
}

void dequantize_block(const BlockQ6K& block, float* out) {
  const float scale = to_float(block.scale);
  for (int i = 0; i < 256; ++i) {
    const float sub_scale = scale * static_cast<float>(block.sub_scales[i / 16]);
    out[i] = sub_scale * static_cast<float>(six_bits_at(block, i) - 32);
  }
}

template <typename Block>
void dequantize_blocks(const void* row, std::int64_t num_elements, float* out) {
  const auto* bytes = static_cast<const std::byte*>(row);
  for (std::int64_t i = 0; i < num_elements; i += Block::kLen) {
    Block block;
    std::memcpy(&block, bytes, sizeof block);
    dequantize_block(block, out + i);
    bytes += sizeof block;
  }
}

template <typename T>
void widen(const void* row, std::int64_t num_elements, float* out) {
  const auto* bytes = static_cast<const std::byte*>(row);
  for (std::int64_t i = 0; i < num_elements; ++i) {
    T value;
    std::memcpy(&value, bytes + i * sizeof value, sizeof value);
    out[i] = to_float(value);
  }
}

}  // namespace

void dequantize_row(DType type, const void* row, std::int64_t num_elements, float* out) {
  row_bytes(type, num_elements);  // refuses a row that is not whole blocks
  switch (type) {
    case DType::kF32:
      return widen<float>(row, num_elements, out);
    case DType::kF16:
      return widen<f16>(row, num_elements, out);
    case DType::kBF16:
      return widen<bf16>(row, num_elements, out);
    case DType::kQ8_0:
      return dequantize_blocks<BlockQ8_0>(row, num_elements, out);
    case DType::kQ4_0:
      return dequantize_blocks<BlockQ4_0>(row, num_elements, out);
    case DType::kQ4_1:
      return dequantize_blocks<BlockQ4_1>(row, num_elements, out);
    case DType::kQ6_K:
      return dequantize_blocks<BlockQ6K>(row, num_elements, out);
  }
}

}  // namespace kernels
