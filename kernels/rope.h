// Rotary position embedding. A head of d elements is two halves a and b; the pair j turns by the
// angle of its position:
//
//   angle = position / theta^(2j/d)
//   a'[j] = a[j] * cos(angle) - b[j] * sin(angle)
//   b'[j] = b[j] * cos(angle) + a[j] * sin(angle)
//
// `Rope` computes its angles from theta: the power is rounded to float, then divided in float, as
// the common reference does, because at positions near 1,000 one ulp of the angle is 6e-5 and any
// other order is visible. `RopeFromTable` is what the engine calls: cosines and sines come from a
// table made once at load, where long-context scaling of the frequencies has its place too.
#pragma once

#include <cstdint>

#include "kernels/cuda_stream.h"
#include "kernels/thread_pool.h"
#include "kernels/types.h"

namespace kernels {

struct Rope {
  void* out;                      // [num_tokens, num_heads, head_dim] of `type`; may be x itself
  const void* x;                  // [num_tokens, num_heads, head_dim]
  const std::int64_t* positions;  // [num_tokens], each at least 0
  DType type;                     // kF32, kF16 or kBF16
  int num_tokens;                 // 0 does nothing
  int num_heads;
  int head_dim;  // even
  float theta;
  std::int64_t out_stride;  // elements from one token to the next; heads are side by side
  std::int64_t x_stride;
};

// Throws Error on an odd head_dim or a type other than the three.
void rope_cpu(const Rope& op, ThreadPool& pool);

// The same on device memory; throws CudaError too, when the launch fails.
void rope_cuda(const Rope& op, Stream stream);

// Throws Error, naming the operator, unless head_dim is a positive even number.
void check_rope_head_dim(const char* operator_name, int head_dim);

// How a model stretches its frequencies. `none` leaves them; `llama3` is Llama-3.1's rule.
struct Llama3RopeScaling {
  float factor;
  float low_freq_factor;
  float high_freq_factor;
  float original_max_position;  // tokens
};

// Fills divisors[j], j < head_dim / 2, with what Llama-3.1's rule divides frequency j by (1 or
// more).
void llama3_frequency_divisors(float* divisors, int head_dim, float theta,
                               const Llama3RopeScaling& scaling);

// Fills `table`, [num_positions, head_dim]: each row holds head_dim / 2 cosines, then as many
// sines. `frequency_divisors` [head_dim / 2] divides the frequencies (from the function above, or
// the tensor rope_freqs of a GGUF file); null means 1. Throws Error on an odd head_dim.
void fill_rope_table(float* table, int num_positions, int head_dim, float theta,
                     const float* frequency_divisors, ThreadPool& pool);

struct RopeFromTable {
  float* x;                       // [num_tokens, num_heads, head_dim], turned in place
  const std::int32_t* positions;  // [num_tokens], each in [0, the table's rows)
  const float* table;             // [.., head_dim], from fill_rope_table
  int num_tokens;                 // 0 does nothing
  int num_heads;
  int head_dim;           // even
  std::int64_t x_stride;  // elements from one token to the next; heads are side by side
};

void rope_from_table_cpu(const RopeFromTable& op, ThreadPool& pool);

}  // namespace kernels
