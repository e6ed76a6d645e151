// The two loops of the linear layer in terms of simd.h, for a file that is compiled once per
// instruction set. Both do, for every output, the operations that linear.h states, in that order.
//
//   small   A word of packed weights becomes floats in registers, which meet every token at once.
//           Weights are read once, so that one token runs at the speed of memory.
//   large   kSlabLen k of two panels are unpacked to floats in first-level cache; tiles of
//           kTileTokens x kTilePanels partial sums stay in registers for a whole partial. Unpacking
//           is shared by all tokens of the task.
#pragma once

#include "kernels/linear_formats.h"
#include "kernels/linear_kernels.h"

#define KERNELS_INLINE inline __attribute__((always_inline))

namespace kernels {
namespace KERNELS_SIMD {

template <int kValue>
struct Index {
  static constexpr int value = kValue;
};

// body(Index<0>), ..., body(Index<kCount - 1>)
template <int kCount, int kFrom = 0, typename Body>
KERNELS_INLINE void unrolled(Body&& body) {
  if constexpr (kFrom < kCount) {
    body(Index<kFrom>());
    unrolled<kCount, kFrom + 1>(body);
  }
}

// Registers for partial sums: all but what the weights, an activation and a constant need.
inline constexpr int kTilePanels = kRegistersPerLanes == 1 ? 2 : 1;
inline constexpr int kTileTokens = (kNumRegisters - 4) / (kRegistersPerLanes * kTilePanels) > 12
                                       ? 12
                                       : (kNumRegisters - 4) / (kRegistersPerLanes * kTilePanels);
// Tokens that share one unpacking in `small`.
inline constexpr int kSmallTokens = kNumRegisters / (2 * kRegistersPerLanes);
// How far ahead of the arithmetic `small` asks for weights.
inline constexpr int kPrefetchBytes = 2048;

// ---- small -------------------------------------------------------------------------------------

// partials[p][t] += weights[p] * x[t][k]
template <int kPanels, int kTokens>
KERNELS_INLINE void multiply_add(const Lanes (&weights)[kPanels], const float* x,
                                 std::int64_t x_stride, Lanes (&partials)[kPanels][kTokens]) {
#pragma GCC unroll 16
  for (int t = 0; t < kTokens; ++t) {
    const Lanes activation = broadcast(x[t * x_stride]);
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) {
      partials[p][t] = fma(weights[p], activation, partials[p][t]);
    }
  }
}

template <int kPanels, int kTokens>
KERNELS_INLINE void clear(Lanes (&lanes)[kPanels][kTokens]) {
#pragma GCC unroll 4
  for (int p = 0; p < kPanels; ++p) {
#pragma GCC unroll 16
    for (int t = 0; t < kTokens; ++t) lanes[p][t] = zero();
  }
}

// totals[t] = scale * partials[t] + totals[t]
template <int kTokens>
KERNELS_INLINE void fold(Lanes scale, const Lanes (&partials)[kTokens], Lanes (&totals)[kTokens]) {
#pragma GCC unroll 16
  for (int t = 0; t < kTokens; ++t) totals[t] = fma(scale, partials[t], totals[t]);
}

// totals[t] = min * sums[t] + totals[t]
template <int kTokens>
KERNELS_INLINE void fold_min(Lanes min, const float* sums, std::int64_t sums_stride,
                             Lanes (&totals)[kTokens]) {
#pragma GCC unroll 16
  for (int t = 0; t < kTokens; ++t) {
    totals[t] = fma(min, broadcast(sums[t * sums_stride]), totals[t]);
  }
}

// The outputs of kPanels panels from `panel` on, for kTokens tokens from `token` on.
template <typename Format, int kPanels, int kTokens>
void small_tile(const LinearTask& task, int panel, int token) {
  const std::byte* panels[kPanels];
  for (int p = 0; p < kPanels; ++p) panels[p] = task.panels + (panel + p) * task.panel_stride;
  const float* x = task.x + token * task.x_stride;
  const float* sums = Format::kHasMin ? task.sums + token * task.sums_stride : nullptr;
  const int num_parts = task.in_features / Format::kPartialLen;

  Lanes totals[kPanels][kTokens];
  Lanes partials[kPanels][kTokens];
  clear(totals);
  for (int b = 0; b < num_parts; ++b) {
    typename Format::Part parts[kPanels];
    for (int p = 0; p < kPanels; ++p) {
      parts[p] = Format::part(panels[p], b);
      const std::byte* ahead = panels[p] + static_cast<std::size_t>(b) * Format::kPartBytes;
      for (int i = 0; i < Format::kPartBytes; i += 64) prefetch(ahead + kPrefetchBytes + i);
    }
    clear(partials);
    for (int g = 0; g < Format::kPartialLen / Format::kGroupLen; ++g) {
      typename Format::Group groups[kPanels];
      for (int p = 0; p < kPanels; ++p) groups[p] = Format::group(parts[p], g);
      const float* x_group = x + b * Format::kPartialLen + g * Format::kGroupLen;
      unrolled<Format::kGroupLen>([&](auto index) __attribute__((always_inline)) {
        constexpr int j = decltype(index)::value;
        Lanes weights[kPanels];
        for (int p = 0; p < kPanels; ++p) weights[p] = Format::template value<j>(groups[p]);
        multiply_add(weights, x_group + j, task.x_stride, partials);
      });
    }
    for (int p = 0; p < kPanels; ++p) {
      fold(Format::scale(parts[p]), partials[p], totals[p]);
      if constexpr (Format::kHasMin) {
        fold_min(Format::min(parts[p]), sums + b, task.sums_stride, totals[p]);
      }
    }
  }
  if constexpr (Format::kIsRagged) {
    if (int k = num_parts * Format::kPartialLen; k < task.in_features) {
      clear(partials);
      for (; k < task.in_features; ++k) {
        Lanes weights[kPanels];
        for (int p = 0; p < kPanels; ++p) {
          weights[p] = Format::single(panels[p], task.in_features, k);
        }
        multiply_add(weights, x + k, task.x_stride, partials);
      }
      for (int p = 0; p < kPanels; ++p) fold(broadcast(1), partials[p], totals[p]);
    }
  }
  for (int p = 0; p < kPanels; ++p) {
    for (int t = 0; t < kTokens; ++t) {
      store(task.totals + ((token + t) * task.num_panels + panel + p) * kPanelRows, totals[p][t]);
    }
  }
}

// The tokens from `token` on, of which there are at most kTokens.
template <typename Format, int kPanels, int kTokens>
void small_rest(const LinearTask& task, int panel, int token) {
  if (task.num_tokens - token == kTokens)
    return small_tile<Format, kPanels, kTokens>(task, panel, token);
  if constexpr (kTokens > 1) small_rest<Format, kPanels, kTokens - 1>(task, panel, token);
}

template <typename Format>
void small(const LinearTask& task) {
  int panel = 0;
  // With one or two tokens a panel alone has too few independent sums to hide their latency.
  if (task.num_tokens <= 2) {
    for (; panel + 2 <= task.num_panels; panel += 2) small_rest<Format, 2, 2>(task, panel, 0);
  }
  for (; panel < task.num_panels; ++panel) {
    int token = 0;
    for (; task.num_tokens - token > kSmallTokens; token += kSmallTokens) {
      small_tile<Format, 1, kSmallTokens>(task, panel, token);
    }
    small_rest<Format, 1, kSmallTokens>(task, panel, token);
  }
}

// ---- large -------------------------------------------------------------------------------------

// Some k of one panel as floats.
struct Slab {
  float* values;  // [num_k, kPanelRows]
  float* scales;  // [num_parts, kPanelRows]
  float* mins;    // the same, q4_1 only
};

KERNELS_INLINE Slab slab_at(std::byte* memory, int index) {
  constexpr int kNumScales = kSlabLen / 16 * kPanelRows;
  float* first = reinterpret_cast<float*>(memory);
  float* scales = first + 2 * kSlabLen * kPanelRows + index * 2 * kNumScales;
  return {first + index * kSlabLen * kPanelRows, scales, scales + kNumScales};
}

// Unpacks k in [from, to); `from` is a multiple of kSlabLen.
template <typename Format>
void unpack(const std::byte* panel, int in_features, int from, int to, const Slab& slab) {
  const int first_part = from / Format::kPartialLen;
  const int num_parts = (to - from) / Format::kPartialLen;
  float* values = slab.values;
  for (int b = 0; b < num_parts; ++b) {
    const typename Format::Part part = Format::part(panel, first_part + b);
    for (int g = 0; g < Format::kPartialLen / Format::kGroupLen; ++g) {
      const typename Format::Group group = Format::group(part, g);
      unrolled<Format::kGroupLen>([&](auto index) __attribute__((always_inline)) {
        constexpr int j = decltype(index)::value;
        store(values + j * kPanelRows, Format::template value<j>(group));
      });
      values += Format::kGroupLen * kPanelRows;
    }
    store(slab.scales + b * kPanelRows, Format::scale(part));
    if constexpr (Format::kHasMin) store(slab.mins + b * kPanelRows, Format::min(part));
  }
  if constexpr (Format::kIsRagged) {
    if (from + num_parts * Format::kPartialLen == to) return;
    store(slab.scales + num_parts * kPanelRows, broadcast(1));
    for (int k = from + num_parts * Format::kPartialLen; k < to; ++k) {
      store(values, Format::single(panel, in_features, k));
      values += kPanelRows;
    }
  }
}

// What a register tile works on: one slab of the weights, the same k of some tokens.
struct TileInput {
  Slab slabs[2];
  int num_k;
  int partial_len;
  const float* x;  // of the tile's first token, at the slab's first k
  std::int64_t x_stride;
  const float* sums;  // of the tile's first token, at the slab's first partial
  std::int64_t sums_stride;
  float* totals;  // of the tile's first token and first panel
  std::int64_t totals_stride;
};

// partials += values * x over `len` k.
template <int kPanels, int kTokens>
KERNELS_INLINE void add_products(const float* const (&values)[kPanels], int len, const float* x,
                                 std::int64_t x_stride, Lanes (&partials)[kPanels][kTokens]) {
  const auto add_k = [&](int k) __attribute__((always_inline)) {
    Lanes weights[kPanels];
    for (int p = 0; p < kPanels; ++p) weights[p] = load(values[p] + k * kPanelRows);
    multiply_add(weights, x + k, x_stride, partials);
  };
  int k = 0;
  for (; k + 4 <= len; k += 4) {
    add_k(k);
    add_k(k + 1);
    add_k(k + 2);
    add_k(k + 3);
  }
  for (; k < len; ++k) add_k(k);
}

template <int kPanels, int kTokens, bool kHasMin>
void large_tile(const TileInput& in) {
  for (int k = 0, b = 0; k < in.num_k; k += in.partial_len, ++b) {
    const float* values[kPanels];
    for (int p = 0; p < kPanels; ++p) values[p] = in.slabs[p].values + k * kPanelRows;
    Lanes partials[kPanels][kTokens];
    clear(partials);
    const int len = in.num_k - k < in.partial_len ? in.num_k - k : in.partial_len;
    add_products(values, len, in.x + k, in.x_stride, partials);
    for (int p = 0; p < kPanels; ++p) {
      const Lanes scale = load(in.slabs[p].scales + b * kPanelRows);
      Lanes min = zero();
      if constexpr (kHasMin) min = load(in.slabs[p].mins + b * kPanelRows);
#pragma GCC unroll 16
      for (int t = 0; t < kTokens; ++t) {
        float* at = in.totals + t * in.totals_stride + p * kPanelRows;
        Lanes total = fma(scale, partials[p][t], load(at));
        if constexpr (kHasMin) total = fma(min, broadcast(in.sums[t * in.sums_stride + b]), total);
        store(at, total);
      }
    }
  }
}

// The last tokens, of which there are at most kTokens.
template <int kPanels, int kTokens, bool kHasMin>
void large_rest(const TileInput& in, int num_tokens) {
  if (num_tokens == kTokens) return large_tile<kPanels, kTokens, kHasMin>(in);
  if constexpr (kTokens > 1) large_rest<kPanels, kTokens - 1, kHasMin>(in, num_tokens);
}

// One slab of kPanels panels times all tokens.
template <int kPanels, bool kHasMin>
void large_tokens(TileInput in, int num_tokens) {
  for (; num_tokens > kTileTokens; num_tokens -= kTileTokens) {
    large_tile<kPanels, kTileTokens, kHasMin>(in);
    in.x += kTileTokens * in.x_stride;
    if constexpr (kHasMin) in.sums += kTileTokens * in.sums_stride;
    in.totals += kTileTokens * in.totals_stride;
  }
  large_rest<kPanels, kTileTokens, kHasMin>(in, num_tokens);
}

template <typename Format>
void large(const LinearTask& task) {
  const std::int64_t totals_stride = static_cast<std::int64_t>(task.num_panels) * kPanelRows;
  for (std::int64_t i = 0; i < task.num_tokens * totals_stride; i += kPanelRows) {
    store(task.totals + i, zero());
  }
  for (int panel = 0; panel < task.num_panels; panel += kTilePanels) {
    const int num_panels = task.num_panels - panel < kTilePanels ? 1 : kTilePanels;
    for (int from = 0; from < task.in_features; from += kSlabLen) {
      const int to = task.in_features - from < kSlabLen ? task.in_features : from + kSlabLen;
      TileInput in = {{slab_at(task.slab, 0), slab_at(task.slab, 1)},
                      to - from,
                      Format::kPartialLen,
                      task.x + from,
                      task.x_stride,
                      Format::kHasMin ? task.sums + from / Format::kPartialLen : nullptr,
                      task.sums_stride,
                      task.totals + panel * kPanelRows,
                      totals_stride};
      for (int p = 0; p < num_panels; ++p) {
        unpack<Format>(task.panels + (panel + p) * task.panel_stride, task.in_features, from, to,
                       in.slabs[p]);
      }
      if (num_panels == kTilePanels) {
        large_tokens<kTilePanels, Format::kHasMin>(in, task.num_tokens);
      } else {
        large_tokens<1, Format::kHasMin>(in, task.num_tokens);
      }
    }
  }
}

// ---- table -------------------------------------------------------------------------------------

inline void sum_blocks(const float* x, int in_features, float* sums) {
  for (int b = 0; b < in_features / kPartialLen; ++b) {
    const float* block = x + b * kPartialLen;
    sums[b] = sum(add(load(block), load(block + 16)));
  }
}

inline LinearKernels make_linear_kernels(int max_small_tokens) {
  // In the order of DType.
  return {{small<F32Format>, small<F16Format>, small<BF16Format>, small<Q8_0Format>,
           small<Q4_0Format>, small<Q4_1Format>, small<Q6KFormat>},
          {large<F32Format>, large<F16Format>, large<BF16Format>, large<Q8_0Format>,
           large<Q4_0Format>, large<Q4_1Format>, large<Q6KFormat>},
          max_small_tokens,
          sum_blocks};
}

}  // namespace KERNELS_SIMD
}  // namespace kernels
