// The rotation of every position, with whatever a model does to stretch its frequencies.
#pragma once

#include "kernels/thread_pool.h"
#include "native/model_spec.h"

namespace kvasir {

// Fills `table`, [num_positions, head_dim]: cosines, then sines. `divisors_of_file` [head_dim / 2]
// divides the frequencies; null: the file brings none, and the config's own scaling holds, if it
// has one. Throws kernels::Error when a divisor is not a positive number.
void fill_rope_table(const ModelSpec& spec, const float* divisors_of_file, int num_positions,
                     float* table, kernels::ThreadPool& pool);

}  // namespace kvasir
