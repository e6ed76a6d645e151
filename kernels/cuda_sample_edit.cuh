// Penalties, adjustments and masks. Each block edits its own tiles of a row: while it looks at
// them, writing back what it changed, or in place before. Adjustments are sparse and are always
// made in place; they add to the penalised logits.
#pragma once

#include "kernels/cuda_sample_row.cuh"

namespace kernels {
namespace cuda_sample_detail {

__device__ __forceinline__ bool has_adjustments(const RowPlan& plan) {
  return plan.bias_begin < plan.bias_end;
}

__device__ __forceinline__ bool has_dense_edits(const RowPlan& plan) {
  return plan.has_penalties || plan.mask_row >= 0;
}

struct Penalties {
  float repetition;
  float frequency;
  float presence;

  __device__ float applied(float logit, unsigned count) const {
    logit = logit > 0 ? __fdiv_rn(logit, repetition) : __fmul_rn(logit, repetition);
    if (count == 0) return logit;
    const float minus_frequency = __fsub_rn(logit, __fmul_rn(frequency, static_cast<float>(count)));
    return __fsub_rn(minus_frequency, presence);
  }
};

// Counts of four tokens; 0 behind the end of the row.
__device__ __forceinline__ ushort4 load_counts(const std::uint16_t* counts, int token,
                                               int vocab_size) {
  if (token + 4 <= vocab_size && reinterpret_cast<std::uintptr_t>(counts + token) % 8 == 0) {
    return *reinterpret_cast<const ushort4*>(counts + token);
  }
  const auto at = [&](int i) { return i < vocab_size ? counts[i] : std::uint16_t{0}; };
  return make_ushort4(at(token), at(token + 1), at(token + 2), at(token + 3));
}

// Bits of four tokens; 0 behind the end of the row, where the last word may hold anything.
__device__ __forceinline__ std::uint32_t load_bits(const std::uint32_t* bits, int token,
                                                   int vocab_size) {
  if (token >= vocab_size) return 0;
  const std::uint32_t four = bits[token / 32] >> token % 32 & 15u;
  return token + 4 <= vocab_size ? four : four & ((1u << (vocab_size - token)) - 1);
}

// Whether it changed any of the tile's tokens of this thread.
__device__ __forceinline__ bool apply_penalties(const CudaSample& op, const RowPlan& plan, int tile,
                                                Tile& values) {
  const std::int64_t slot = op.sampler_slots[plan.sequence];
  const std::uint16_t* const counts = op.output_counts + slot * op.vocab_size;
  const std::uint32_t* const bits = op.prompt_bits + slot * divide_up(op.vocab_size, 32);
  ushort4 count[kQuadsPerThread];
  std::uint32_t in_prompt[kQuadsPerThread];
  std::uint32_t any = 0;
#pragma unroll
  for (int j = 0; j < kQuadsPerThread; ++j) {
    count[j] = load_counts(counts, first_token_of(tile, j), op.vocab_size);
    in_prompt[j] = load_bits(bits, first_token_of(tile, j), op.vocab_size);
  }
#pragma unroll
  for (int j = 0; j < kQuadsPerThread; ++j) {
    any |= in_prompt[j] | count[j].x | count[j].y | count[j].z | count[j].w;
  }
  if (any == 0) return false;
  const Penalties penalties = {op.repetition_penalties[plan.sequence],
                               op.frequency_penalties[plan.sequence],
                               op.presence_penalties[plan.sequence]};
#pragma unroll
  for (int j = 0; j < kQuadsPerThread; ++j) {
    const auto apply = [&](float& logit, int i, unsigned times) {
      if (times == 0 && (in_prompt[j] >> i & 1u) == 0) return;
      logit = penalties.applied(logit, times);
    };
    apply(values.quads[j].x, 0, count[j].x);
    apply(values.quads[j].y, 1, count[j].y);
    apply(values.quads[j].z, 2, count[j].z);
    apply(values.quads[j].w, 3, count[j].w);
  }
  return true;
}

__device__ __forceinline__ bool apply_mask(const CudaSample& op, const RowPlan& plan, int tile,
                                           Tile& values) {
  const std::uint32_t* const mask =
      op.token_masks + plan.mask_row * static_cast<std::int64_t>(divide_up(op.vocab_size, 32));
  std::uint32_t allowed[kQuadsPerThread];
  std::uint32_t all = ~0u;
#pragma unroll
  for (int j = 0; j < kQuadsPerThread; ++j) {
    allowed[j] = load_bits(mask, first_token_of(tile, j), op.vocab_size);
    all &= allowed[j];
  }
  if (all == 15u) return false;
#pragma unroll
  for (int j = 0; j < kQuadsPerThread; ++j) {
    // Adding keeps a NaN visible.
    if ((allowed[j] & 1u) == 0) values.quads[j].x += -INFINITY;
    if ((allowed[j] & 2u) == 0) values.quads[j].y += -INFINITY;
    if ((allowed[j] & 4u) == 0) values.quads[j].z += -INFINITY;
    if ((allowed[j] & 8u) == 0) values.quads[j].w += -INFINITY;
  }
  return true;
}

__device__ __forceinline__ void store_tile(const LogitView& view, int tile, const Tile& values) {
#pragma unroll
  for (int j = 0; j < kQuadsPerThread; ++j) {
    view.store(first_token_of(tile, j), values.quads[j]);
  }
}

// Penalties and mask of a tile.
__device__ __forceinline__ void edit_tile(const CudaSample& op, const RowPlan& plan,
                                          const LogitView& view, int tile, Tile& values) {
  bool has_changed = false;
  if (plan.has_penalties) has_changed = apply_penalties(op, plan, tile, values);
  if (plan.mask_row >= 0) has_changed |= apply_mask(op, plan, tile, values);
  if (has_changed) store_tile(view, tile, values);
}

// The sparse adjustments of the tokens in this block's tiles. The thread of a token's first
// adjustment applies all of that token's, in order. Returns true if any id is outside the row.
__device__ inline bool apply_adjustments(const CudaSample& op, const RowPlan& plan,
                                         const LogitView& view) {
  const auto is_first = [&](int i) {
    for (int j = plan.bias_begin; j < i; ++j) {
      if (op.bias_token_ids[j] == op.bias_token_ids[i]) return false;
    }
    return true;
  };
  bool is_bad = false;
  for (int i = plan.bias_begin + static_cast<int>(threadIdx.x); i < plan.bias_end;
       i += kNumThreads) {
    const int token = op.bias_token_ids[i];
    if (token < 0 || token >= op.vocab_size) {
      is_bad = true;
      continue;
    }
    const unsigned tile = static_cast<unsigned>(token) / kTokensPerTile;
    if (tile % gridDim.x != blockIdx.x || !is_first(i)) continue;
    float logit = view.logits[token];
    for (int j = i; j < plan.bias_end; ++j) {
      if (op.bias_token_ids[j] == token) logit += op.bias_values[j];
    }
    view.logits[token] = logit;
  }
  return is_bad;
}

// Edits this block's tiles in place. Returns true if an adjustment's id is outside the row. A
// function of its own, because few rows need it and it would take registers from the others.
__device__ __noinline__ bool edit_in_place(const CudaSample& op, const RowPlan& plan, int row) {
  const LogitView view(op, row);
  const int num_tiles = divide_up(op.vocab_size, kTokensPerTile);
  for (int tile = static_cast<int>(blockIdx.x); has_dense_edits(plan) && tile < num_tiles;
       tile += static_cast<int>(gridDim.x)) {
    Tile values = load_tile(view, tile);
    edit_tile(op, plan, view, tile, values);
  }
  __syncthreads();
  const bool is_bad = apply_adjustments(op, plan, view);
  __syncthreads();
  return is_bad;
}

}  // namespace cuda_sample_detail
}  // namespace kernels
