// Philox4x32-10, the counter-based generator of Salmon et al. (SC 2011): four random words from a
// 128-bit counter and a 64-bit key, without any state. A draw is therefore a function of what it is
// for (seed, position, choice, token) and not of what else was drawn.
#pragma once

#include <cstdint>

#include "kernels/host_device.h"

namespace kernels {

struct PhiloxKey {
  std::uint32_t low;
  std::uint32_t high;
};

struct PhiloxCounter {
  std::uint32_t words[4];

  KERNELS_HOST_DEVICE constexpr std::uint32_t operator[](std::uint32_t i) const { return words[i]; }
};

constexpr bool operator==(const PhiloxCounter& a, const PhiloxCounter& b) {
  return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3];
}

constexpr std::uint32_t kPhiloxMultiplier0 = 0xD2511F53u;
constexpr std::uint32_t kPhiloxMultiplier1 = 0xCD9E8D57u;
constexpr std::uint32_t kPhiloxWeyl0 = 0x9E3779B9u;  // golden ratio
constexpr std::uint32_t kPhiloxWeyl1 = 0xBB67AE85u;  // sqrt(3) - 1
constexpr int kPhiloxRounds = 10;

// Four words for one counter.
KERNELS_HOST_DEVICE constexpr PhiloxCounter philox4x32(PhiloxCounter counter, PhiloxKey key) {
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const std::uint64_t product0 = std::uint64_t{kPhiloxMultiplier0} * counter[0];
    const std::uint64_t product1 = std::uint64_t{kPhiloxMultiplier1} * counter[2];
    counter = {{static_cast<std::uint32_t>(product1 >> 32) ^ counter[1] ^ key.low,
                static_cast<std::uint32_t>(product1),
                static_cast<std::uint32_t>(product0 >> 32) ^ counter[3] ^ key.high,
                static_cast<std::uint32_t>(product0)}};
    key.low += kPhiloxWeyl0;
    key.high += kPhiloxWeyl1;
  }
  return counter;
}

}  // namespace kernels
