#include "kernels/rope.h"

#include <cmath>
#include <string>

#include "kernels/plain_type.h"
#include "kernels/vector_kernels.h"

namespace kernels {
namespace {

constexpr int kTokensPerTask = 16;
constexpr float kTwoPi = 6.28318530717958648f;

// theta^(2j / head_dim) in double, rounded once.
float wavelength_factor(float theta, int j, int head_dim) {
  return static_cast<float>(std::pow(static_cast<double>(theta), 2.0 * j / head_dim));
}

float cosine_of(float angle) { return static_cast<float>(std::cos(static_cast<double>(angle))); }
float sine_of(float angle) { return static_cast<float>(std::sin(static_cast<double>(angle))); }

template <typename T>
void turn_tokens(const Rope& op, int begin, int end) {
  const int half = op.head_dim / 2;
  for (int j = 0; j < half; ++j) {
    const float divisor = wavelength_factor(op.theta, j, op.head_dim);
    for (int t = begin; t < end; ++t) {
      const float angle = static_cast<float>(op.positions[t]) / divisor;
      const float cosine = cosine_of(angle);
      const float sine = sine_of(angle);
      const T* x = static_cast<const T*>(op.x) + t * op.x_stride + j;
      T* out = static_cast<T*>(op.out) + t * op.out_stride + j;
      for (int h = 0; h < op.num_heads; ++h, x += op.head_dim, out += op.head_dim) {
        const float a = to_float(x[0]);
        const float b = to_float(x[half]);
        out[0] = from_float<T>(a * cosine - b * sine);
        out[half] = from_float<T>(b * cosine + a * sine);
      }
    }
  }
}

}  // namespace

void check_rope_head_dim(const char* operator_name, int head_dim) {
  CHECK(head_dim > 0 && head_dim % 2 == 0,
        std::string(operator_name) + ": head_dim is " + std::to_string(head_dim) +
            ", but the halves of a head need a positive even number");
}

void rope_cpu(const Rope& op, ThreadPool& pool) {
  check_rope_head_dim("rope", op.head_dim);
  with_plain_type(op.type, "rope", [&](auto zero) {
    using T = decltype(zero);
    pool.parallel_for(op.num_tokens, kTokensPerTask,
                      [&](int begin, int end) { turn_tokens<T>(op, begin, end); });
  });
}

void llama3_frequency_divisors(float* divisors, int head_dim, float theta,
                               const Llama3RopeScaling& scaling) {
  check_rope_head_dim("rope scaling", head_dim);
  const float low_wavelength = scaling.original_max_position / scaling.low_freq_factor;
  const float high_wavelength = scaling.original_max_position / scaling.high_freq_factor;
  for (int j = 0; j < head_dim / 2; ++j) {
    // Short waves stay, long ones are stretched by the factor, those between by a blend.
    const float frequency = 1 / wavelength_factor(theta, j, head_dim);
    const float wavelength = kTwoPi / frequency;
    if (wavelength < high_wavelength) {
      divisors[j] = 1;
    } else if (wavelength > low_wavelength) {
      divisors[j] = scaling.factor;
    } else {
      const float smooth = (scaling.original_max_position / wavelength - scaling.low_freq_factor) /
                           (scaling.high_freq_factor - scaling.low_freq_factor);
      const float blended = (1 - smooth) * (frequency / scaling.factor) + smooth * frequency;
      divisors[j] = frequency / blended;
    }
  }
}

void fill_rope_table(float* table, int num_positions, int head_dim, float theta,
                     const float* frequency_divisors, ThreadPool& pool) {
  check_rope_head_dim("rope table", head_dim);
  const int half = head_dim / 2;
  pool.parallel_for(num_positions, 64, [&](int begin, int end) {
    for (int j = 0; j < half; ++j) {
      // Inverse frequency and angle are rounded to float one after the other, as the models'
      // reference implementation does.
      float frequency = 1 / wavelength_factor(theta, j, head_dim);
      if (frequency_divisors != nullptr) frequency /= frequency_divisors[j];
      for (int position = begin; position < end; ++position) {
        const float angle = static_cast<float>(position) * frequency;
        float* row = table + static_cast<std::int64_t>(position) * head_dim;
        row[j] = cosine_of(angle);
        row[half + j] = sine_of(angle);
      }
    }
  });
}

void rope_from_table_cpu(const RopeFromTable& op, ThreadPool& pool) {
  check_rope_head_dim("rope", op.head_dim);
  const VectorKernels& vector = vector_kernels(pool.isa());
  const int half = op.head_dim / 2;
  pool.parallel_for(op.num_tokens, kTokensPerTask, [&](int begin, int end) {
    for (int t = begin; t < end; ++t) {
      const float* row = op.table + static_cast<std::int64_t>(op.positions[t]) * op.head_dim;
      float* head = op.x + t * op.x_stride;
      for (int h = 0; h < op.num_heads; ++h, head += op.head_dim) {
        vector.rope_head(head, row, row + half, half);
      }
    }
  });
}

}  // namespace kernels
