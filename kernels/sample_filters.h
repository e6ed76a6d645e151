// Top-k, top-p and min-p without sorting (sample.h).
//
// The tokens kept are always the first ones in the order "larger logit first, lower id first among
// equals". Where that prefix ends is found by three histograms over the bits of the logits, 11, 11
// and 10 bits from the top, each refining the bin in which the running count (top-k) or mass
// (top-p) reaches its target. Masses are integers, multiples of 2^-40 of the likeliest token's, so
// a sum does not depend on its order.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kernels {

struct VectorKernels;

// Tokens of a row, ids ascending.
struct Candidates {
  const float* logits;       // [size]
  const std::uint32_t* ids;  // [size], or null while nothing has been dropped: id i is token i
  const float* weights;      // [size] relative to the likeliest, or null while not needed
  int size;
};

// Where the kept candidates are put; each [vocab_size]. `ids` and `logits` of the candidates may
// be these very arrays.
struct CandidateStore {
  std::uint32_t* ids;
  float* logits;
  float* weights;
  std::uint32_t* members;  // indices of some candidates
};

inline constexpr std::size_t kCandidateStoreBytesPerToken = 16;

CandidateStore cut_candidate_store(void* memory, int vocab_size);

// The k likeliest; 0 < k < size.
Candidates keep_top_k(const Candidates& from, int k, const VectorKernels& vector,
                      const CandidateStore& store);

// The shortest prefix whose share of the mass of `from` reaches top_p < 1, up to the rounding of
// top_p itself to float; at least one token. `weights` must be there.
Candidates keep_top_p(const Candidates& from, float top_p, const VectorKernels& vector,
                      const CandidateStore& store);

// Those with weight >= min_p, min_p <= 1. `weights` must be there.
Candidates keep_min_p(const Candidates& from, float min_p, const VectorKernels& vector,
                      const CandidateStore& store);

}  // namespace kernels
