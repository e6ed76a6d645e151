// How a panel of kPanelRows rows lies in memory. Where the source repeats a pattern along k, the
// panel repeats it for all rows before it goes on, so that one thread reads one forward stream:
//
//   f32   each k: float x 16
//   f16   each k: half x 16
//   bf16  each pair of k: word x 16, the even k in the low half; an odd last k: bfloat16 x 16
//   q8_0  each block: scale (half) x 16, then each k: int8 x 16
//   q4_0  each block: scale x 16, then each 8 k: word x 16
//   q4_1  each block: scale x 16, min x 16, then each 8 k: word x 16
//   q6_k  each block of 256: scale x 16, 16 sub-block scales (int8) x 16, then each 8 k: word of
//         low nibbles x 16, then each 16 k: word of high bit pairs x 16
//
// Nibble j of a word is k = 8 g + j, bit pair j is k = 16 g + j: nibbles are taken from a register
// by shifts alone. Rows past the last are zero.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/linear.h"

namespace kernels {

inline constexpr int kScaleBytes = 2 * kPanelRows;  // a half a row
inline constexpr int kWordBytes = 4 * kPanelRows;   // a 32-bit word a row
inline constexpr int kQ8BlockBytes = kScaleBytes + 32 * kPanelRows;
inline constexpr int kQ40BlockBytes = kScaleBytes + 4 * kWordBytes;
inline constexpr int kQ41BlockBytes = 2 * kScaleBytes + 4 * kWordBytes;
inline constexpr int kQ6SubScales = kScaleBytes;
inline constexpr int kQ6Low = kQ6SubScales + 16 * kPanelRows;
inline constexpr int kQ6High = kQ6Low + 32 * kWordBytes;
inline constexpr int kQ6BlockBytes = kQ6High + 16 * kWordBytes;

// Bytes of one panel.
inline std::size_t panel_bytes(DType type, int in_features) {
  return kPanelRows * row_bytes(type, in_features);
}

inline int num_panels_of(int out_features) { return (out_features + kPanelRows - 1) / kPanelRows; }

// The k of a partial sum, see linear.h. min * sum(x) only exists for blocks of 32.
inline constexpr int kPartialLen = 32;
inline int partial_len(DType type) { return type == DType::kQ6_K ? 16 : kPartialLen; }

}  // namespace kernels
