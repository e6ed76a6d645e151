#include "kernels/rearrange.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace kernels {
namespace {

constexpr int kMaxUnitBytes = 16;
// Fewer bytes than this are not worth waking a thread for.
constexpr std::int64_t kBytesPerTask = 32 * 1024;
// Tasks are counted in int.
constexpr std::int64_t kMaxTasks = 1 << 20;

void check(const Rearrange& op) {
  CHECK(op.element_bytes >= 1,
        "rearrange: element_bytes is " + std::to_string(op.element_bytes) + ", must be at least 1");
  CHECK(op.num_dims >= 0 && op.num_dims <= kMaxRearrangeDims,
        "rearrange: num_dims is " + std::to_string(op.num_dims) + ", must be 0 to " +
            std::to_string(kMaxRearrangeDims) + "; view neighbouring dimensions as one");
  for (int i = 0; i < op.num_dims; ++i) {
    const std::string dimension = "rearrange: dimension " + std::to_string(i);
    CHECK(op.shape[i] >= 0, dimension + " has size " + std::to_string(op.shape[i]));
    CHECK(op.shape[i] <= 1 || op.out_strides[i] != 0,
          dimension + " of out has stride 0 and size " + std::to_string(op.shape[i]) +
              ": several elements would be written to one place");
  }
}

// The largest register size that divides the elements and the addresses.
int unit_bytes_of(const Rearrange& op) {
  const std::uintptr_t bits = reinterpret_cast<std::uintptr_t>(op.out) |
                              reinterpret_cast<std::uintptr_t>(op.in) |
                              static_cast<std::uintptr_t>(op.element_bytes);
  int unit_bytes = kMaxUnitBytes;
  while (bits % unit_bytes != 0) unit_bytes /= 2;
  return unit_bytes;
}

// Appends an inner dimension, or widens the last one if the two are one stretch.
void append(RearrangePlan& plan, std::int64_t size, std::int64_t out_stride,
            std::int64_t in_stride) {
  plan.num_units *= size;
  if (size == 1) return;
  if (plan.num_dims > 0) {
    const int last = plan.num_dims - 1;
    if (plan.out_strides[last] == size * out_stride && plan.in_strides[last] == size * in_stride) {
      plan.shape[last] *= size;
      plan.out_strides[last] = out_stride;
      plan.in_strides[last] = in_stride;
      return;
    }
  }
  plan.shape[plan.num_dims] = size;
  plan.out_strides[plan.num_dims] = out_stride;
  plan.in_strides[plan.num_dims] = in_stride;
  ++plan.num_dims;
}

struct Offsets {
  std::int64_t out;
  std::int64_t in;
};

// Where row `row` begins; a row is the innermost dimension.
Offsets offsets_of_row(const RearrangePlan& plan, std::int64_t row) {
  Offsets offsets = {0, 0};
  for (int i = plan.num_dims - 2; i >= 0; --i) {
    const std::int64_t index = row % plan.shape[i];
    row /= plan.shape[i];
    offsets.out += index * plan.out_strides[i];
    offsets.in += index * plan.in_strides[i];
  }
  return offsets;
}

template <int kBytes>
void copy_units(char* out, const char* in, std::int64_t count, std::int64_t out_stride,
                std::int64_t in_stride) {
  for (std::int64_t i = 0; i < count; ++i) {
    std::memcpy(out + i * out_stride * kBytes, in + i * in_stride * kBytes, kBytes);
  }
}

// Units [begin, end) of a row that starts at the two addresses.
void copy_part_of_row(const RearrangePlan& plan, char* out, const char* in, std::int64_t begin,
                      std::int64_t end) {
  const std::int64_t out_stride = plan.out_strides[plan.num_dims - 1];
  const std::int64_t in_stride = plan.in_strides[plan.num_dims - 1];
  out += begin * out_stride * plan.unit_bytes;
  in += begin * in_stride * plan.unit_bytes;
  const std::int64_t count = end - begin;
  if (out_stride == 1 && in_stride == 1) {
    std::memcpy(out, in, static_cast<std::size_t>(count) * plan.unit_bytes);
    return;
  }
  switch (plan.unit_bytes) {
    case 1:
      return copy_units<1>(out, in, count, out_stride, in_stride);
    case 2:
      return copy_units<2>(out, in, count, out_stride, in_stride);
    case 4:
      return copy_units<4>(out, in, count, out_stride, in_stride);
    case 8:
      return copy_units<8>(out, in, count, out_stride, in_stride);
    default:
      return copy_units<16>(out, in, count, out_stride, in_stride);
  }
}

// Units [begin, end) of the whole copy, counted along the rows.
void copy_range(const RearrangePlan& plan, char* out, const char* in, std::int64_t begin,
                std::int64_t end) {
  const std::int64_t row_units = plan.shape[plan.num_dims - 1];
  while (begin < end) {
    const std::int64_t row = begin / row_units;
    const std::int64_t first = begin - row * row_units;
    const std::int64_t last = std::min(row_units, first + end - begin);
    const Offsets offsets = offsets_of_row(plan, row);
    copy_part_of_row(plan, out + offsets.out * plan.unit_bytes, in + offsets.in * plan.unit_bytes,
                     first, last);
    begin += last - first;
  }
}

}  // namespace

RearrangePlan plan_rearrange(const Rearrange& op) {
  check(op);
  RearrangePlan plan = {};
  plan.unit_bytes = unit_bytes_of(op);
  plan.num_units = 1;
  const std::int64_t element_units = op.element_bytes / plan.unit_bytes;
  for (int i = 0; i < op.num_dims; ++i) {
    append(plan, op.shape[i], op.out_strides[i] * element_units, op.in_strides[i] * element_units);
  }
  append(plan, element_units, 1, 1);
  if (plan.num_dims == 0) {
    plan.num_dims = 1;
    plan.shape[0] = plan.out_strides[0] = plan.in_strides[0] = 1;
  }
  return plan;
}

void rearrange_cpu(const Rearrange& op, ThreadPool& pool) {
  const RearrangePlan plan = plan_rearrange(op);
  const std::int64_t num_units = plan.num_units;
  if (num_units == 0) return;
  const std::int64_t task_units =
      std::max(kBytesPerTask / plan.unit_bytes, (num_units - 1) / kMaxTasks + 1);
  const int num_tasks = static_cast<int>((num_units - 1) / task_units + 1);
  pool.parallel_for(num_tasks, 1, [&](int begin, int end) {
    copy_range(plan, static_cast<char*>(op.out), static_cast<const char*>(op.in),
               begin * task_units, std::min(num_units, end * task_units));
  });
}

}  // namespace kernels
