#include "kernels/argmax.h"

#include <cmath>

#include "kernels/plain_type.h"

namespace kernels {
namespace {

// One pass on one thread: a row of logits is read faster than a second thread wakes up, and the
// engine has many rows to spread instead (sample.h).
template <typename T>
std::int64_t index_of_max(const T* values, std::int64_t num_values, std::int64_t stride) {
  std::int64_t best = 0;
  float best_value = to_float(values[0]);
  for (std::int64_t i = 0; i < num_values; ++i) {
    const float value = to_float(values[i * stride]);
    if (std::isnan(value)) return i;
    if (value > best_value) {
      best = i;
      best_value = value;
    }
  }
  return best;
}

}  // namespace

void check_argmax(const Argmax& op) {
  CHECK(op.num_values >= 1, "argmax: num_values is " + std::to_string(op.num_values) +
                                ", but a maximum needs at least one value");
}

void argmax_cpu(const Argmax& op, ThreadPool&) {
  with_plain_type(op.type, "argmax", [&](auto zero) {
    using T = decltype(zero);
    check_argmax(op);
    const T* values = static_cast<const T*>(op.values);
    const std::int64_t best = index_of_max(values, op.num_values, op.stride);
    *op.max_index = best;
    if (op.max_value != nullptr) *static_cast<T*>(op.max_value) = values[best * op.stride];
  });
}

}  // namespace kernels
