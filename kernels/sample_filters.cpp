#include "kernels/sample_filters.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "kernels/types.h"
#include "kernels/vector_kernels.h"

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

// Indices of the logits in a bin of the first histogram. Its ends may be bits of NaN, where the
// infinities take over, or of -0, which is no key.
int collect_bin(const Candidates& from, std::uint32_t bin, const VectorKernels& vector,
                std::uint32_t* members) {
  float low = logit_of(bin << 21);
  float high = logit_of(bin << 21 | 0x1fffffu);
  if (std::isnan(low)) low = -HUGE_VALF;
  if (std::isnan(high)) high = HUGE_VALF;
  if (high == 0) high = -std::numeric_limits<float>::denorm_min();
  return vector.collect_between(from.logits, from.size, low, high, members);
}

// The cut where the measure, summed from the largest logit down, reaches target_of(its total).
template <typename Measure, typename TargetOf>
Cut find_cut(const Candidates& from, Measure measure, TargetOf target_of,
             const VectorKernels& vector, std::uint32_t* members) {
  std::uint64_t sums[kNumBins] = {};
  for (int i = 0; i < from.size; ++i) sums[key_of(from.logits[i]) >> 21] += measure(i);
  std::uint64_t target = target_of(std::accumulate(sums, sums + kNumBins, std::uint64_t{0}));
  const std::uint32_t top = find_bin(sums, target);

  // Only the members of that bin matter from here on.
  const int num_members = collect_bin(from, top, vector, members);
  std::memset(sums, 0, sizeof sums);
  for (int m = 0; m < num_members; ++m) {
    const int i = static_cast<int>(members[m]);
    sums[key_of(from.logits[i]) >> 10 & 2047u] += measure(i);
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

// The candidates at `indices`, ascending. In place nothing is overwritten that is still to be read.
Candidates gather(const Candidates& from, const std::uint32_t* indices, int size,
                  const CandidateStore& store) {
  for (int i = 0; i < size; ++i) {
    const std::uint32_t index = indices[i];
    store.ids[i] = from.ids == nullptr ? index : from.ids[index];
    store.logits[i] = from.logits[index];
    if (from.weights != nullptr) store.weights[i] = from.weights[index];
  }
  return {store.logits, store.ids, from.weights == nullptr ? nullptr : store.weights, size};
}

Candidates keep_prefix(const Candidates& from, Cut cut, const VectorKernels& vector,
                       const CandidateStore& store) {
  const int num_at_least =
      vector.collect_between(from.logits, from.size, cut.logit, HUGE_VALF, store.members);
  int size = 0;
  for (int m = 0; m < num_at_least; ++m) {
    const std::uint32_t i = store.members[m];
    if (from.logits[i] == cut.logit && static_cast<int>(i) > cut.last_index) continue;
    store.members[size++] = i;
  }
  return gather(from, store.members, size, store);
}

}  // namespace

CandidateStore cut_candidate_store(void* memory, int vocab_size) {
  const std::size_t size = vocab_size;
  std::uint32_t* words = static_cast<std::uint32_t*>(memory);
  float* floats = reinterpret_cast<float*>(words + 2 * size);
  return {words, floats, floats + size, words + size};
}

Candidates keep_top_k(const Candidates& from, int k, const VectorKernels& vector,
                      const CandidateStore& store) {
  const auto target_of = [=](std::uint64_t) { return static_cast<std::uint64_t>(k); };
  const Cut cut = find_cut(from, CountOne{}, target_of, vector, store.members);
  return keep_prefix(from, cut, vector, store);
}

Candidates keep_top_p(const Candidates& from, float top_p, const VectorKernels& vector,
                      const CandidateStore& store) {
  // 0.3 arrives as a float slightly above 0.3; three equal tokens of ten must still reach it.
  constexpr double kHalfFloatUlp = 0x1p-24;
  const auto target_of = [=](std::uint64_t total) {
    const double wanted = std::ceil(static_cast<double>(total) * top_p * (1 - kHalfFloatUlp));
    return wanted < 1 ? std::uint64_t{1} : static_cast<std::uint64_t>(wanted);
  };
  const Cut cut = find_cut(from, Mass{from.weights}, target_of, vector, store.members);
  return keep_prefix(from, cut, vector, store);
}

Candidates keep_min_p(const Candidates& from, float min_p, const VectorKernels& vector,
                      const CandidateStore& store) {
  const int size = vector.collect_between(from.weights, from.size, min_p, HUGE_VALF, store.members);
  return gather(from, store.members, size, store);
}

}  // namespace kernels
