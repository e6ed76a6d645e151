// The two loops of the linear layer in terms of simd.h, for a file that is compiled once per
// instruction set. Both do, for every output, the operations that linear.h states, in that order.
//
//   small   A word of packed weights becomes floats in registers, which meet every token at once.
//           Weights are read once, so that one token runs at the speed of memory.
//   large   kSlabLen k of kTilePanels panels are unpacked to floats in first-level cache; tiles of
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

// The tile of `large`: its partial sums, a weight of each panel and an activation fill the
// registers. Wide registers take more panels rather than more tokens: a weight is a whole register
// a load, and few rows of activations need few pointers.
inline constexpr int kTilePanels = kRegistersPerLanes == 1 ? 4 : 1;
inline constexpr int kTileTokens = 6;
// k of those panels that make a slab; whole partials of every type.
inline constexpr int kSlabLen = kSlabVectors / kTilePanels;
// Tokens that share one unpacking in `small`.
inline constexpr int kSmallTokens = kNumRegisters / (2 * kRegistersPerLanes);
// How far ahead of the arithmetic `small` asks for weights.
inline constexpr int kPrefetchBytes = 4096;

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
    // Past its end a panel is followed by the one that this tile's successor reads in its place.
    std::size_t ahead = static_cast<std::size_t>(b) * Format::kPartBytes + kPrefetchBytes;
    if (ahead >= task.panel_stride) ahead += (kPanels - 1) * task.panel_stride;
    typename Format::Part parts[kPanels];
    for (int p = 0; p < kPanels; ++p) {
      parts[p] = Format::part(panels[p], b);
      for (int i = 0; i < Format::kPartBytes; i += 64) prefetch(panels[p] + ahead + i);
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

// Some k of a few panels as floats: row k (or partial b) of all panels, then the next.
struct Slab {
  float* values;  // [num_k, num_panels, kPanelRows]
  float* scales;  // [num_parts, num_panels, kPanelRows]
  float* mins;    // the same, q4_1 only
};

KERNELS_INLINE Slab slab_in(std::byte* memory) {
  float* values = reinterpret_cast<float*>(memory);
  float* scales = values + kSlabVectors * kPanelRows;
  return {values, scales, scales + kSlabVectors / 16 * kPanelRows};
}

// Unpacks k in [from, to) of a panel; `from` is a multiple of kSlabLen. `slab` is the panel's first
// place, `stride` the floats from one of its rows to the next.
template <typename Format>
void unpack(const std::byte* panel, int in_features, int from, int to, Slab slab, int stride) {
  const int first_part = from / Format::kPartialLen;
  const int num_parts = (to - from) / Format::kPartialLen;
  for (int b = 0; b < num_parts; ++b) {
    const typename Format::Part part = Format::part(panel, first_part + b);
    for (int g = 0; g < Format::kPartialLen / Format::kGroupLen; ++g) {
      const typename Format::Group group = Format::group(part, g);
      unrolled<Format::kGroupLen>([&](auto index) __attribute__((always_inline)) {
        constexpr int j = decltype(index)::value;
        store(slab.values + j * stride, Format::template value<j>(group));
      });
      slab.values += Format::kGroupLen * stride;
    }
    store(slab.scales + b * stride, Format::scale(part));
    if constexpr (Format::kHasMin) store(slab.mins + b * stride, Format::min(part));
  }
  if constexpr (Format::kIsRagged) {
    if (from + num_parts * Format::kPartialLen == to) return;
    store(slab.scales + num_parts * stride, broadcast(1));
    for (int k = from + num_parts * Format::kPartialLen; k < to; ++k) {
      store(slab.values, Format::single(panel, in_features, k));
      slab.values += stride;
    }
  }
}

// What a register tile works on: one slab of the weights, the same k of some tokens.
struct TileInput {
  Slab slab;
  int num_k;
  int partial_len;
  const float* x;  // of the tile's first token, at the slab's first k
  std::int64_t x_stride;
  const float* sums;  // of the tile's first token, at the slab's first partial
  std::int64_t sums_stride;
  float* totals;  // of the tile's first token and first panel
  std::int64_t totals_stride;
};

// Adds the slab's share to the totals of kPanels panels and kTokens tokens.
template <int kPanels, int kTokens, bool kHasMin>
void large_tile(const TileInput& in) {
  constexpr int kStride = kPanels * kPanelRows;
  const float* values = in.slab.values;
  const float* x = in.x;
  for (int left = in.num_k, b = 0; left > 0; left -= in.partial_len, ++b) {
    Lanes partials[kPanels][kTokens];
    clear(partials);
    // Not unrolled: the pointers of the tokens' rows are advanced beside the arithmetic.
    for (int k = left < in.partial_len ? left : in.partial_len; k > 0; --k) {
      Lanes weights[kPanels];
      for (int p = 0; p < kPanels; ++p) weights[p] = load(values + p * kPanelRows);
      multiply_add(weights, x, in.x_stride, partials);
      values += kStride;
      ++x;
    }
    // Unrolled, so that no index is left and the partials never leave their registers.
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) {
      const Lanes scale = load(in.slab.scales + b * kStride + p * kPanelRows);
      Lanes min = zero();
      if constexpr (kHasMin) min = load(in.slab.mins + b * kStride + p * kPanelRows);
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

// All tokens of a task times kPanels panels from `panel` on.
template <typename Format, int kPanels>
void large_panels(const LinearTask& task, int panel) {
  constexpr int kStride = kPanels * kPanelRows;
  const Slab slab = slab_in(task.slab);
  const std::int64_t totals_stride = static_cast<std::int64_t>(task.num_panels) * kPanelRows;
  for (int from = 0; from < task.in_features; from += kSlabLen) {
    const int to = task.in_features - from < kSlabLen ? task.in_features : from + kSlabLen;
    for (int p = 0; p < kPanels; ++p) {
      const Slab first = {slab.values + p * kPanelRows, slab.scales + p * kPanelRows,
                          slab.mins + p * kPanelRows};
      unpack<Format>(task.panels + (panel + p) * task.panel_stride, task.in_features, from, to,
                     first, kStride);
    }
    TileInput in = {slab,
                    to - from,
                    Format::kPartialLen,
                    task.x + from,
                    task.x_stride,
                    Format::kHasMin ? task.sums + from / Format::kPartialLen : nullptr,
                    task.sums_stride,
                    task.totals + panel * kPanelRows,
                    totals_stride};
    int num_left = task.num_tokens;
    for (; num_left > kTileTokens; num_left -= kTileTokens) {
      large_tile<kPanels, kTileTokens, Format::kHasMin>(in);
      in.x += kTileTokens * in.x_stride;
      if constexpr (Format::kHasMin) in.sums += kTileTokens * in.sums_stride;
      in.totals += kTileTokens * in.totals_stride;
    }
    large_rest<kPanels, kTileTokens, Format::kHasMin>(in, num_left);
  }
}

template <typename Format>
void large(const LinearTask& task) {
  const int num_totals = task.num_tokens * task.num_panels * kPanelRows;
  for (int i = 0; i < num_totals; i += kPanelRows) store(task.totals + i, zero());
  int panel = 0;
  for (; panel + kTilePanels <= task.num_panels; panel += kTilePanels) {
    large_panels<Format, kTilePanels>(task, panel);
  }
  if constexpr (kTilePanels > 1) {
    for (; panel < task.num_panels; ++panel) large_panels<Format, 1>(task, panel);
  }
}

// ---- table -------------------------------------------------------------------------------------

inline void sum_blocks(const float* x, int in_features, float* sums) {
  for (int b = 0; b < in_features / kPartialLen; ++b) {
    const float* block = x + b * kPartialLen;
    sums[b] = sum(add(load(block), load(block + 16)));
  }
}

inline LinearKernels make_linear_kernels() {
  // In the order of DType.
  return {{small<F32Format>, small<F16Format>, small<BF16Format>, small<Q8_0Format>,
           small<Q4_0Format>, small<Q4_1Format>, small<Q6KFormat>},
          {large<F32Format>, large<F16Format>, large<BF16Format>, large<Q8_0Format>,
           large<Q4_0Format>, large<Q4_1Format>, large<Q6KFormat>},
          sum_blocks};
}

}  // namespace KERNELS_SIMD
}  // namespace kernels
