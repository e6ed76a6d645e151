#include "kernels/linear_pack.h"

#include <cstring>
#include <string>

#include "kernels/quant_blocks.h"

namespace kernels {

namespace {

template <typename T>
T load_at(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <typename T>
void store_at(std::byte* to, T value) {
  std::memcpy(to, &value, sizeof value);
}

// One row's block goes into its lane of the panel's block. `lane` is in [0, kPanelRows).
void put_block(const BlockQ8_0& block, int lane, std::byte* to) {
  store_at(to + 2 * lane, block.scale);
  for (int k = 0; k < 32; ++k) store_at(to + kScaleBytes + k * kPanelRows + lane, block.q[k]);
}

template <typename Block>
void put_nibbles(const Block& block, int lane, std::byte* to) {
  for (int group = 0; group < 4; ++group) {
    std::uint32_t word = 0;
    for (int j = 0; j < 8; ++j) {
      word |= static_cast<std::uint32_t>(nibble_at(block.q, 8 * group + j)) << (4 * j);
    }
    store_at(to + group * kWordBytes + 4 * lane, word);
  }
}

void put_block(const BlockQ4_0& block, int lane, std::byte* to) {
  store_at(to + 2 * lane, block.scale);
  put_nibbles(block, lane, to + kScaleBytes);
}

void put_block(const BlockQ4_1& block, int lane, std::byte* to) {
  store_at(to + 2 * lane, block.scale);
  store_at(to + kScaleBytes + 2 * lane, block.min);
  put_nibbles(block, lane, to + 2 * kScaleBytes);
}

void put_block(const BlockQ6K& block, int lane, std::byte* to) {
  store_at(to + 2 * lane, block.scale);
  for (int sub = 0; sub < 16; ++sub) {
    store_at(to + kQ6SubScales + sub * kPanelRows + lane, block.sub_scales[sub]);
    std::uint32_t low[2] = {0, 0};
    std::uint32_t high = 0;
    for (int j = 0; j < 16; ++j) {
      const auto six = static_cast<std::uint32_t>(six_bits_at(block, 16 * sub + j));
      low[j / 8] |= (six & 15) << (4 * (j % 8));
      high |= (six >> 4) << (2 * j);
    }
    store_at(to + kQ6Low + (2 * sub) * kWordBytes + 4 * lane, low[0]);
    store_at(to + kQ6Low + (2 * sub + 1) * kWordBytes + 4 * lane, low[1]);
    store_at(to + kQ6High + sub * kWordBytes + 4 * lane, high);
  }
}

// Packs one row into its lane of a panel.
template <typename Block>
void put_blocks(const std::byte* row, int in_features, int lane, std::byte* panel) {
  for (int k = 0; k < in_features; k += Block::kLen) {
    put_block(load_at<Block>(row), lane, panel);
    row += sizeof(Block);
    panel += kPanelRows * sizeof(Block);
  }
}

template <typename T>
void put_elements(const std::byte* row, int in_features, int lane, std::byte* panel) {
  for (int k = 0; k < in_features; ++k) {
    const std::size_t to = (static_cast<std::size_t>(k) * kPanelRows + lane) * sizeof(T);
    std::memcpy(panel + to, row + k * sizeof(T), sizeof(T));
  }
}

void put_pairs(const std::byte* row, int in_features, int lane, std::byte* panel) {
  for (int k = 0; k < in_features; ++k) {
    const bool is_paired = (k | 1) < in_features;
    const std::size_t to = static_cast<std::size_t>(k / 2) * kWordBytes +
                           (is_paired ? 4 * lane + 2 * (k % 2) : 2 * lane);
    std::memcpy(panel + to, row + 2 * k, 2);
  }
}

using PutRow = void (*)(const std::byte* row, int in_features, int lane, std::byte* panel);

PutRow put_row_of(DType type) {
  switch (type) {
    case DType::kF32:
      return put_elements<float>;
    case DType::kF16:
      return put_elements<f16>;
    case DType::kBF16:
      return put_pairs;
    case DType::kQ8_0:
      return put_blocks<BlockQ8_0>;
    case DType::kQ4_0:
      return put_blocks<BlockQ4_0>;
    case DType::kQ4_1:
      return put_blocks<BlockQ4_1>;
    case DType::kQ6_K:
      return put_blocks<BlockQ6K>;
  }
  throw Error("a weight of unknown type cannot be packed");
}

void check_sizes(DType type, int out_features, int in_features) {
  CHECK(out_features > 0 && in_features > 0, "a weight of " + std::to_string(out_features) + " x " +
                                                 std::to_string(in_features) +
                                                 "; both sizes must be positive");
  row_bytes(type, in_features);  // refuses rows that are not whole blocks
}

}  // namespace

std::size_t packed_bytes(DType type, int out_features, int in_features) {
  check_sizes(type, out_features, in_features);
  return num_panels_of(out_features) * panel_bytes(type, in_features);
}

void pack_weight(DType type, const void* rows, int out_features, int in_features, void* packed,
                 const std::function<int(int)>& source_row) {
  check_sizes(type, out_features, in_features);
  const PutRow put_row = put_row_of(type);
  const std::size_t source_stride = row_bytes(type, in_features);
  const std::size_t panel_stride = panel_bytes(type, in_features);
  auto* panel = static_cast<std::byte*>(packed);
  for (int first = 0; first < out_features; first += kPanelRows) {
    if (out_features - first < kPanelRows) std::memset(panel, 0, panel_stride);
    for (int lane = 0; lane < kPanelRows && first + lane < out_features; ++lane) {
      const int row = source_row ? source_row(first + lane) : first + lane;
      CHECK(row >= 0 && row < out_features, "row " + std::to_string(first + lane) +
                                                " was to come from row " + std::to_string(row) +
                                                " of " + std::to_string(out_features));
      put_row(static_cast<const std::byte*>(rows) + row * source_stride, in_features, lane, panel);
    }
    panel += panel_stride;
  }
}

namespace {

float half_at(const std::byte* scales, int lane) {
  return to_float(load_at<f16>(scales + 2 * lane));
}

int nibble_of(const std::byte* words, int lane, int k) {
  return (load_at<std::uint32_t>(words + k / 8 * kWordBytes + 4 * lane) >> (4 * (k % 8))) & 15;
}

// Element k of a row of a panel.
float element_at(DType type, const std::byte* panel, int in_features, int lane, int k) {
  const std::size_t index = static_cast<std::size_t>(k) * kPanelRows + lane;
  switch (type) {
    case DType::kF32:
      return load_at<float>(panel + 4 * index);
    case DType::kF16:
      return to_float(load_at<f16>(panel + 2 * index));
    case DType::kBF16: {
      const std::byte* words = panel + static_cast<std::size_t>(k / 2) * kWordBytes;
      const bool is_paired = (k | 1) < in_features;
      return to_float(load_at<bf16>(words + (is_paired ? 4 * lane + 2 * (k % 2) : 2 * lane)));
    }
    case DType::kQ8_0: {
      const std::byte* block = panel + static_cast<std::size_t>(k / 32) * kQ8BlockBytes;
      const auto q = load_at<std::int8_t>(block + kScaleBytes + k % 32 * kPanelRows + lane);
      return half_at(block, lane) * static_cast<float>(q);
    }
    case DType::kQ4_0: {
      const std::byte* block = panel + static_cast<std::size_t>(k / 32) * kQ40BlockBytes;
      const int q = nibble_of(block + kScaleBytes, lane, k % 32) - 8;
      return half_at(block, lane) * static_cast<float>(q);
    }
    case DType::kQ4_1: {
      const std::byte* block = panel + static_cast<std::size_t>(k / 32) * kQ41BlockBytes;
      const int q = nibble_of(block + 2 * kScaleBytes, lane, k % 32);
      return half_at(block, lane) * static_cast<float>(q) + half_at(block + kScaleBytes, lane);
    }
    case DType::kQ6_K: {
      const std::byte* block = panel + static_cast<std::size_t>(k / 256) * kQ6BlockBytes;
      const int sub = k % 256 / 16;
      const auto sub_scale = load_at<std::int8_t>(block + kQ6SubScales + sub * kPanelRows + lane);
      const int low = nibble_of(block + kQ6Low, lane, k % 256);
      const auto pairs = load_at<std::uint32_t>(block + kQ6High + sub * kWordBytes + 4 * lane);
      const int q = low + static_cast<int>((pairs >> (2 * (k % 16)) & 3) << 4) - 32;
      return half_at(block, lane) * static_cast<float>(sub_scale) * static_cast<float>(q);
    }
  }
  return 0;
}

}  // namespace

void unpack_row(const PackedWeight& weight, int row, float* out) {
  CHECK(row >= 0 && row < weight.out_features,
        "row " + std::to_string(row) + " of a weight of " + std::to_string(weight.out_features));
  const std::byte* panel = static_cast<const std::byte*>(weight.data) +
                           row / kPanelRows * panel_bytes(weight.type, weight.in_features);
  for (int k = 0; k < weight.in_features; ++k) {
    out[k] = element_at(weight.type, panel, weight.in_features, row % kPanelRows, k);
  }
}

}  // namespace kernels
