// How each weight type is unpacked from a panel (layouts in linear_pack.h) into 16 floats a k, in
// terms of simd.h. For a file that is compiled once per instruction set.
//
// A format names its partial sums' length (kPartialLen), how many k it unpacks at a time
// (kGroupLen), and gives
//   part(panel, b)      where partial b lies
//   group(part, g)      the registers from which group g is unpacked
//   value<j>(group)     weight j of the group without its scale
//   scale(part), min(part)
// kPartBytes is the share of a panel that a partial takes.
// Formats with kIsRagged allow a last partial of any length, read by single(panel, length, k).
#pragma once

#include "kernels/linear_pack.h"
#include "kernels/simd.h"

namespace kernels {
namespace KERNELS_SIMD {

// f32 and f16: a vector for each k.
template <int kElementBytes>
struct PlainFormat {
  static constexpr int kPartialLen = 32;
  static constexpr int kGroupLen = 8;
  static constexpr int kPartBytes = kPartialLen * kElementBytes * kPanelRows;
  static constexpr bool kHasMin = false;
  static constexpr bool kIsRagged = true;
  using Part = const std::byte*;
  using Group = const std::byte*;

  static Lanes element(const std::byte* at) {
    if constexpr (kElementBytes == 4) {
      return load(reinterpret_cast<const float*>(at));
    } else {
      return load_f16(at);
    }
  }
  static Part part(const std::byte* panel, int b) {
    return panel + static_cast<std::size_t>(b) * kPartBytes;
  }
  static Group group(Part part, int g) { return part + g * kGroupLen * kElementBytes * kPanelRows; }
  template <int j>
  static Lanes value(Group group) {
    return element(group + j * kElementBytes * kPanelRows);
  }
  static Lanes scale(Part) { return broadcast(1); }
  static Lanes single(const std::byte* panel, int, int k) {
    return element(panel + static_cast<std::size_t>(k) * kElementBytes * kPanelRows);
  }
};

using F32Format = PlainFormat<4>;
using F16Format = PlainFormat<2>;

struct BF16Format {
  static constexpr int kPartialLen = 32;
  static constexpr int kGroupLen = 8;
  static constexpr int kPartBytes = kPartialLen / 2 * kWordBytes;
  static constexpr bool kHasMin = false;
  static constexpr bool kIsRagged = true;
  using Part = const std::byte*;
  using Group = const std::byte*;

  static Part part(const std::byte* panel, int b) {
    return panel + static_cast<std::size_t>(b) * kPartBytes;
  }
  static Group group(Part part, int g) { return part + g * (kGroupLen / 2) * kWordBytes; }
  template <int j>
  static Lanes value(Group group) {
    const Words pair = load_words(group + j / 2 * kWordBytes);
    return j % 2 == 0 ? low_bf16(pair) : high_bf16(pair);
  }
  static Lanes scale(Part) { return broadcast(1); }
  static Lanes single(const std::byte* panel, int in_features, int k) {
    const std::byte* pair = panel + static_cast<std::size_t>(k / 2) * kWordBytes;
    if ((k | 1) >= in_features) return load_bf16(pair);
    return k % 2 == 0 ? low_bf16(load_words(pair)) : high_bf16(load_words(pair));
  }
};

struct Q8_0Format {
  static constexpr int kPartialLen = 32;
  static constexpr int kGroupLen = 8;
  static constexpr int kPartBytes = kQ8BlockBytes;
  static constexpr bool kHasMin = false;
  static constexpr bool kIsRagged = false;
  using Part = const std::byte*;
  using Group = const std::byte*;

  static Part part(const std::byte* panel, int b) {
    return panel + static_cast<std::size_t>(b) * kPartBytes;
  }
  static Group group(Part part, int g) { return part + kScaleBytes + g * kGroupLen * kPanelRows; }
  template <int j>
  static Lanes value(Group group) {
    return load_i8(group + j * kPanelRows);
  }
  static Lanes scale(Part part) { return load_f16(part); }
};

// q4_0 and q4_1.
template <bool kWithMin>
struct NibbleFormat {
  static constexpr int kPartialLen = 32;
  static constexpr int kGroupLen = 8;
  static constexpr bool kHasMin = kWithMin;
  static constexpr bool kIsRagged = false;
  static constexpr int kPartBytes = kWithMin ? kQ41BlockBytes : kQ40BlockBytes;
  using Part = const std::byte*;
  using Group = Words;

  static Part part(const std::byte* panel, int b) {
    return panel + static_cast<std::size_t>(b) * kPartBytes;
  }
  static Group group(Part part, int g) {
    return load_words(part + (kWithMin ? 2 : 1) * kScaleBytes + g * kWordBytes);
  }
  template <int j>
  static Lanes value(Group group) {
    if constexpr (kWithMin) {
      return nibble<j>(group);
    } else {
      return centred_nibble<j>(group);
    }
  }
  static Lanes scale(Part part) { return load_f16(part); }
  static Lanes min(Part part) { return load_f16(part + kScaleBytes); }
};

using Q4_0Format = NibbleFormat<false>;
using Q4_1Format = NibbleFormat<true>;

struct Q6KFormat {
  static constexpr int kPartialLen = 16;
  static constexpr int kGroupLen = 16;
  static constexpr int kPartBytes = kQ6BlockBytes / 16;
  static constexpr bool kHasMin = false;
  static constexpr bool kIsRagged = false;
  struct Part {
    const std::byte* block;
    int sub;
  };
  struct Group {
    Words low[2];
    Words high;
  };

  static Part part(const std::byte* panel, int b) {
    return {panel + static_cast<std::size_t>(b / 16) * kQ6BlockBytes, b % 16};
  }
  static Group group(Part part, int) {
    const std::byte* low = part.block + kQ6Low + 2 * part.sub * kWordBytes;
    return {{load_words(low), load_words(low + kWordBytes)},
            load_words(part.block + kQ6High + part.sub * kWordBytes)};
  }
  template <int j>
  static Lanes value(const Group& group) {
    return centred_six_bits<j % 8, j>(group.low[j / 8], group.high);
  }
  static Lanes scale(Part part) {
    // Exact: 11 bits times 8.
    return mul(load_f16(part.block), load_i8(part.block + kQ6SubScales + part.sub * kPanelRows));
  }
};

}  // namespace KERNELS_SIMD
}  // namespace kernels
