#include "native/models/rope_table.h"

#include <algorithm>
#include <cmath>

#include "kernels/rope.h"

namespace kvasir {

// Long contexts stretch the low frequencies: GGUF files bring the divisors as a tensor, others the
// rule they come from.
void fill_rope_table(const ModelSpec& spec, const float* divisors_of_file, int num_positions,
                     float* table, kernels::ThreadPool& pool) {
  const ModelConfig& config = spec.config;
  std::vector<float> divisors(static_cast<std::size_t>(config.head_dim / 2), 1.0f);
  if (divisors_of_file != nullptr) {
    std::copy_n(divisors_of_file, divisors.size(), divisors.begin());
  } else if (config.rope_scaling) {
    const RopeScaling& scaling = *config.rope_scaling;
    kernels::llama3_frequency_divisors(
        divisors.data(), config.head_dim, config.rope_theta,
        {scaling.factor, scaling.low_frequency_factor, scaling.high_frequency_factor,
         scaling.original_max_context_len});
  }
  for (const float divisor : divisors) {
    CHECK(std::isfinite(divisor) && divisor > 0,
          "rope_freqs.weight: holds " + std::to_string(divisor) + "; each must be above 0");
  }
  kernels::fill_rope_table(table, num_positions, config.head_dim, config.rope_theta,
                           divisors.data(), pool);
}

}  // namespace kvasir
