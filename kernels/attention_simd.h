// The vector code of attention_tile.h: one chunk of keys for a tile of rows, and the merge of two
// chunks. Included once per instruction set by vector_kernels_simd.h.
//
// Both products, scores = q K^T and out += p V, are the same small matrix product with the lanes
// along the columns: keys for the scores, elements of the value for the output. K is transposed
// while it is unpacked, so that no sum across lanes is needed and the order of a dot product is the
// order of its elements.
#pragma once

#include <cmath>

#include "kernels/attention_tile.h"
#include "kernels/simd_math.h"

namespace kernels {
namespace KERNELS_SIMD {

// Register tile: kMaxTileRows rows times kMaxTileVectors vectors of 16 columns.
inline constexpr bool kHasWideFile = kNumRegisters / kRegistersPerLanes >= 32;
inline constexpr int kMaxTileRows = kHasWideFile ? 4 : 2;
inline constexpr int kMaxTileVectors = kHasWideFile ? 4 : 2;

// How a product starts: from nothing, from what is there, from that times a factor per row.
enum class Start { kZero, kKeep, kScale };

struct Product {
  const float* a;  // [rows, depth], rows a_stride apart
  int a_stride;
  const float* b;  // [depth, columns], rows b_stride apart
  int b_stride;
  float* c;  // [rows, columns], rows c_stride apart
  int c_stride;
  int depth;
  const float* factors;  // [rows], for Start::kScale
};

template <int kRows, int kVectors, Start kStart>
inline void product_tile(const Product& op, int column) {
  Lanes sums[kRows][kVectors];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      const float* from = op.c + r * op.c_stride + column + kNumLanes * v;
      if constexpr (kStart == Start::kZero) sums[r][v] = zero();
      if constexpr (kStart == Start::kKeep) sums[r][v] = load(from);
      if constexpr (kStart == Start::kScale) {
        sums[r][v] = mul(load(from), broadcast(op.factors[r]));
      }
    }
  }
  const float* b = op.b + column;
  for (int i = 0; i < op.depth; ++i, b += op.b_stride) {
    Lanes a[kRows];
    for (int r = 0; r < kRows; ++r) a[r] = broadcast(op.a[r * op.a_stride + i]);
    for (int v = 0; v < kVectors; ++v) {
      const Lanes column_values = load(b + kNumLanes * v);
      for (int r = 0; r < kRows; ++r) sums[r][v] = fma(a[r], column_values, sums[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      store(op.c + r * op.c_stride + column + kNumLanes * v, sums[r][v]);
    }
  }
}

template <int kRows, Start kStart>
inline void product_rows(const Product& op, int num_vectors) {
  int v = 0;
  for (; v + kMaxTileVectors <= num_vectors; v += kMaxTileVectors) {
    product_tile<kRows, kMaxTileVectors, kStart>(op, v * kNumLanes);
  }
  if constexpr (kMaxTileVectors > 2) {
    for (; v + 2 <= num_vectors; v += 2) product_tile<kRows, 2, kStart>(op, v * kNumLanes);
  }
  for (; v < num_vectors; ++v) product_tile<kRows, 1, kStart>(op, v * kNumLanes);
}

template <Start kStart>
inline void compute_product(const Product& op, int num_rows, int num_vectors) {
  if (num_rows == 1) return product_rows<1, kStart>(op, num_vectors);
  if (num_rows == 2) return product_rows<2, kStart>(op, num_vectors);
  if constexpr (kMaxTileRows > 2) {
    if (num_rows == 3) return product_rows<3, kStart>(op, num_vectors);
    return product_rows<4, kStart>(op, num_vectors);
  }
}

// key_span[d, j] = k[begin + j, d] for the first num_keys keys of the span; the others are 0.
template <typename T>
inline void unpack_keys(const AttentionTile& tile, int begin, int num_keys) {
  const AttentionKeys& keys = tile.keys;
  for (int first = 0; first < num_keys; first += kBlockKeys) {
    const int index = (begin + first) / kBlockKeys;
    const std::int64_t block = keys.blocks == nullptr ? index : keys.blocks[index];
    const T* k = static_cast<const T*>(keys.k) + block * keys.k_block_stride;
    const int num_rows = num_keys - first < kBlockKeys ? num_keys - first : kBlockKeys;
    for (int d = 0; d < tile.head_dim; d += kNumLanes) {
      const int width = tile.head_dim - d;
      Lanes rows[kBlockKeys];
      if (num_rows == kBlockKeys && width >= kNumLanes) {
        for (int j = 0; j < kBlockKeys; ++j) rows[j] = load_as(k + j * keys.k_stride + d);
      } else {
        for (int j = 0; j < kBlockKeys; ++j) {
          rows[j] = j < num_rows ? load_first(k + j * keys.k_stride + d, width) : zero();
        }
      }
      transpose(rows);
      float* to = tile.key_span + d * kSpanKeys + first;
      for (int i = 0; i < kNumLanes; ++i) store(to + i * kSpanKeys, rows[i]);
    }
  }
}

// value_span[j, :] = v[begin + j, :] for the first num_keys keys of the span.
template <typename T>
inline void unpack_values(const AttentionTile& tile, int begin, int num_keys) {
  const AttentionKeys& keys = tile.keys;
  const int width = padded_width(tile.value_dim);
  for (int j = 0; j < num_keys; ++j) {
    const int index = (begin + j) / kBlockKeys;
    const std::int64_t block = keys.blocks == nullptr ? index : keys.blocks[index];
    const T* v = static_cast<const T*>(keys.v) + block * keys.v_block_stride +
                 (begin + j) % kBlockKeys * keys.v_stride;
    float* to = tile.value_span + j * width;
    for (int d = 0; d < tile.value_dim; d += kNumLanes) {
      store(to + d, load_first(v + d, tile.value_dim - d));
    }
  }
}

inline void unpack_span(const AttentionTile& tile, int begin, int num_keys) {
  switch (tile.keys.type) {
    case DType::kF16:
      unpack_keys<f16>(tile, begin, num_keys);
      return unpack_values<f16>(tile, begin, num_keys);
    case DType::kBF16:
      unpack_keys<bf16>(tile, begin, num_keys);
      return unpack_values<bf16>(tile, begin, num_keys);
    default:
      unpack_keys<float>(tile, begin, num_keys);
      return unpack_values<float>(tile, begin, num_keys);
  }
}

// Turns the scores of a row over its num_keys keys of this span into weights relative to the new
// maximum; returns the factor for what was accumulated relative to the old one.
inline float weigh_row(float* scores, int num_keys, float scale, float& maximum, float& sum_out) {
  const Lanes scales = broadcast(scale);
  const Lanes nothing = broadcast(-HUGE_VALF);
  Lanes scaled[kSpanKeys / kNumLanes];
  Lanes largest = nothing;
  for (int v = 0; v < kSpanKeys / kNumLanes; ++v) {
    const int num_lanes = num_keys - v * kNumLanes;
    scaled[v] = nothing;
    if (num_lanes <= 0) continue;
    scaled[v] = mul(load(scores + v * kNumLanes), scales);
    if (num_lanes < kNumLanes) scaled[v] = first_lanes(num_lanes, scaled[v], nothing);
    largest = max(scaled[v], largest);
  }
  const float old_maximum = maximum;
  const float span_maximum = max_of(largest);
  maximum = span_maximum > old_maximum ? span_maximum : old_maximum;

  const Lanes maxima = broadcast(maximum);
  Lanes weights[kSpanKeys / kNumLanes];
  for (int v = 0; v < kSpanKeys / kNumLanes; ++v) {
    const int num_lanes = num_keys - v * kNumLanes;
    weights[v] = zero();
    if (num_lanes <= 0) continue;
    weights[v] = exp(sub(scaled[v], maxima));
    if (num_lanes < kNumLanes) weights[v] = first_lanes(num_lanes, weights[v], zero());
    store(scores + v * kNumLanes, weights[v]);
  }
  float factor[kNumLanes];
  store(factor, exp(broadcast(old_maximum - maximum)));
  sum_out =
      sum_out * factor[0] + sum(add(add(weights[0], weights[1]), add(weights[2], weights[3])));
  return factor[0];
}

// The keys of this span for rows [row, row + num_rows): all see at least one key of it, or none of
// them are touched.
inline void attend_rows(const AttentionTile& tile, int begin, int row, int num_rows,
                        const AttentionState& state) {
  const int width = padded_width(tile.value_dim);
  int num_keys[kMaxTileRows];
  for (int r = 0; r < num_rows; ++r) {
    const int visible = row_limit(tile, row + r) - begin;
    num_keys[r] = visible < 0 ? 0 : visible < kSpanKeys ? visible : kSpanKeys;
  }
  const int most_keys = num_keys[num_rows - 1];
  const int common_keys = num_keys[0];
  if (most_keys == 0) return;

  alignas(64) float scores[kMaxTileRows * kSpanKeys];
  const Product dot = {tile.q + row * tile.head_dim,
                       tile.head_dim,
                       tile.key_span,
                       kSpanKeys,
                       scores,
                       kSpanKeys,
                       tile.head_dim,
                       nullptr};
  compute_product<Start::kZero>(dot, num_rows, (most_keys + kNumLanes - 1) / kNumLanes);

  float factors[kMaxTileRows];
  for (int r = 0; r < num_rows; ++r) {
    factors[r] = 1;
    if (num_keys[r] == 0) continue;
    factors[r] = weigh_row(scores + r * kSpanKeys, num_keys[r], tile.scale, state.maxima[row + r],
                           state.sums[row + r]);
  }

  Product weigh = {scores,
                   kSpanKeys,
                   tile.value_span,
                   width,
                   state.out + static_cast<std::int64_t>(row) * width,
                   width,
                   common_keys,
                   factors};
  compute_product<Start::kScale>(weigh, num_rows, width / kNumLanes);
  // Near the diagonal later rows see a few keys more. A weight of zero would not do for the
  // others: it makes NaN of an infinite value that the row must not know of.
  for (int r = 1; r < num_rows; ++r) {
    if (num_keys[r] == common_keys) continue;
    const Product rest = {scores + r * kSpanKeys + common_keys,
                          kSpanKeys,
                          tile.value_span + common_keys * width,
                          width,
                          weigh.c + r * width,
                          width,
                          num_keys[r] - common_keys,
                          nullptr};
    compute_product<Start::kKeep>(rest, 1, width / kNumLanes);
  }
}

// State of every row over the keys [begin, begin + kChunkKeys) that it sees; a row that sees none
// of them is left at zero sums.
inline void attend_chunk(const AttentionTile& tile, int begin, const AttentionState& state) {
  const int width = padded_width(tile.value_dim);
  for (int r = 0; r < tile.num_rows; ++r) {
    state.maxima[r] = -HUGE_VALF;
    state.sums[r] = 0;
    for (int d = 0; d < width; d += kNumLanes) store(state.out + r * width + d, zero());
  }
  const int limit = row_limit(tile, tile.num_rows - 1);
  const int end = limit < begin + kChunkKeys ? limit : begin + kChunkKeys;
  for (int span = begin; span < end; span += kSpanKeys) {
    unpack_span(tile, span, end - span < kSpanKeys ? end - span : kSpanKeys);
    for (int row = 0; row < tile.num_rows; row += kMaxTileRows) {
      const int left = tile.num_rows - row;
      attend_rows(tile, span, row, left < kMaxTileRows ? left : kMaxTileRows, state);
    }
  }
}

// total = total and chunk together, for the rows that see keys from `begin` on.
inline void merge_chunk(const AttentionTile& tile, int begin, const AttentionState& chunk,
                        const AttentionState& total) {
  const int width = padded_width(tile.value_dim);
  for (int r = 0; r < tile.num_rows; ++r) {
    if (row_limit(tile, r) <= begin) continue;
    const float maximum = chunk.maxima[r] > total.maxima[r] ? chunk.maxima[r] : total.maxima[r];
    const Lanes total_factor = exp(broadcast(total.maxima[r] - maximum));
    const Lanes chunk_factor = exp(broadcast(chunk.maxima[r] - maximum));
    float factors[2][kNumLanes];
    store(factors[0], total_factor);
    store(factors[1], chunk_factor);
    total.maxima[r] = maximum;
    total.sums[r] = total.sums[r] * factors[0][0] + chunk.sums[r] * factors[1][0];
    for (int d = 0; d < width; d += kNumLanes) {
      float* to = total.out + r * width + d;
      const Lanes added = mul(load(chunk.out + r * width + d), chunk_factor);
      store(to, fma(load(to), total_factor, added));
    }
  }
}

}  // namespace KERNELS_SIMD
}  // namespace kernels
