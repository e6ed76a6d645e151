#include "kernels/sample_filters.h"

#include <cmath>
#include <cstring>

#include "kernels/types.h"

namespace kernels {
namespace {

// Larger logits have larger keys. Adding zero makes one of the two zeros, which are equal.
std::uint32_t key_of(float logit) {
  const std::uint32_t bits = bits_of(logit + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

float logit_of(std::uint32_t key) {
  return float_from_bits(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

struct CountOne {
  std::uint64_t operator()(int) const { return 1; }
};

struct Mass {
  const float* weights;
  // Rounded to a whole number of 2^-40; 2^18 tokens of weight 1 still fit.
  std::uint64_t operator()(int i) const {
    return static_cast<std::uint64_t>(static_cast<std::int64_t>(weights[i] * 0x1p40f + 0.5f));
  }
};

// The prefix "logit above `logit`, or equal to it and index up to `last_index`".
struct Cut {
  float logit;
  int last_index;
};

constexpr int kNumBins = 2048;

// Walks down from the largest bin until `remaining` is used up; leaves in it what the bin where
// that happens still has to give. The caller's target is at most the whole, so there is such a bin.
std::uint32_t find_bin(const std::uint64_t* sums, std::uint64_t& remaining) {
  std::uint32_t bin = kNumBins - 1;
  while (bin > 0 && sums[bin] < remaining) remaining -= sums[bin--];
  return bin;
}

template <typename Measure>
Cut find_cut(const Candidates& from, Measure measure, std::uint64_t target,
             std::uint32_t* members) {
  std::uint64_t sums[kNumBins] = {};
  for (int i = 0; i < from.size; ++i) sums[key_of(from.logits[i]) >> 21] += measure(i);
  const std::uint32_t top = find_bin(sums, target);

  // Only the members of that bin matter from here on.
  std::memset(sums, 0, sizeof sums);
  int num_members = 0;
  for (int i = 0; i < from.size; ++i) {
    const std::uint32_t key = key_of(from.logits[i]);
    members[num_members] = static_cast<std::uint32_t>(i);
    if (key >> 21 != top) continue;
    ++num_members;
    sums[key >> 10 & 2047u] += measure(i);
  }
  const std::uint32_t middle = top << 11 | find_bin(sums, target);

  std::memset(sums, 0, sizeof sums);
  for (int m = 0; m < num_members; ++m) {
    const int i = static_cast<int>(members[m]);
    const std::uint32_t key = key_of(from.logits[i]);
    if (key >> 10 == middle) sums[key & 1023u] += measure(i);
  }
  const std::uint32_t key = middle << 10 | find_bin(sums, target);

  // Equal logits from here on: the lowest ids, until the target is reached.
  int last_index = -1;
  for (int m = 0; m < num_members && target > 0; ++m) {
    const int i = static_cast<int>(members[m]);
    if (key_of(from.logits[i]) != key) continue;
    last_index = i;
    const std::uint64_t amount = measure(i);
    target = amount < target ? target - amount : 0;
  }
  return {logit_of(key), last_index};
}

template <typename Keep>
Candidates compact(const Candidates& from, Keep keep, const CandidateStore& store) {
  int size = 0;
  for (int i = 0; i < from.size; ++i) {
    if (!keep(i)) continue;
    store.ids[size] = from.ids == nullptr ? static_cast<std::uint32_t>(i) : from.ids[i];
    store.logits[size] = from.logits[i];
    if (from.weights != nullptr) store.weights[size] = from.weights[i];
    ++size;
  }
  return {store.logits, store.ids, from.weights == nullptr ? nullptr : store.weights, size};
}

Candidates keep_prefix(const Candidates& from, Cut cut, const CandidateStore& store) {
  return compact(
      from,
      [&](int i) {
        return from.logits[i] > cut.logit || (from.logits[i] == cut.logit && i <= cut.last_index);
      },
      store);
}

}  // namespace

CandidateStore cut_candidate_store(void* memory, int vocab_size) {
  const std::size_t size = vocab_size;
  std::uint32_t* words = static_cast<std::uint32_t*>(memory);
  float* floats = reinterpret_cast<float*>(words + 2 * size);
  return {words, floats, floats + size, words + size};
}

Candidates keep_top_k(const Candidates& from, int k, const CandidateStore& store) {
  const Cut cut = find_cut(from, CountOne{}, static_cast<std::uint64_t>(k), store.members);
  return keep_prefix(from, cut, store);
}

Candidates keep_top_p(const Candidates& from, float top_p, const CandidateStore& store) {
  const Mass mass = {from.weights};
  std::uint64_t total = 0;
  for (int i = 0; i < from.size; ++i) total += mass(i);
  // 0.3 arrives as a float slightly above 0.3; three equal tokens of ten must still reach it.
  constexpr double kHalfFloatUlp = 0x1p-24;
  const double wanted = std::ceil(static_cast<double>(total) * top_p * (1 - kHalfFloatUlp));
  const std::uint64_t target = wanted < 1 ? 1 : static_cast<std::uint64_t>(wanted);
  return keep_prefix(from, find_cut(from, mass, target, store.members), store);
}

Candidates keep_min_p(const Candidates& from, float min_p, const CandidateStore& store) {
  return compact(
      from, [&](int i) { return from.weights[i] >= min_p; }, store);
}

}  // namespace kernels
