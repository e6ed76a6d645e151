#include "native/llaisys/rows.h"

#include <string>

#include "native/llaisys/operators.h"

namespace llaisys {
namespace {

constexpr std::size_t kMaxSize = std::size_t{1} << 30;

struct Layout {
  bool is_regular;
  std::size_t num_rows;
  std::size_t width;
  std::ptrdiff_t stride;
};

Layout layout_of(const Tensor& tensor, std::size_t num_inner) {
  const std::size_t num_outer = tensor.num_dims() - num_inner;
  Layout layout = {true, 1, 1, 0};
  for (std::size_t i = tensor.num_dims(); i-- > num_outer;) {
    const std::size_t size = tensor.shape()[i];
    const bool is_next = tensor.strides()[i] == static_cast<std::ptrdiff_t>(layout.width);
    layout.is_regular = layout.is_regular && (size == 1 || is_next);
    layout.width *= size;
  }
  layout.stride = static_cast<std::ptrdiff_t>(layout.width);
  bool is_first = true;
  for (std::size_t i = num_outer; i-- > 0;) {
    const std::size_t size = tensor.shape()[i];
    if (size == 1) continue;
    if (is_first) layout.stride = tensor.strides()[i];
    is_first = false;
    const auto next = layout.stride * static_cast<std::ptrdiff_t>(layout.num_rows);
    layout.is_regular = layout.is_regular && tensor.strides()[i] == next;
    layout.num_rows *= size;
  }
  return layout;
}

Rows rows_of(const Tensor& tensor, const Layout& layout, const char* argument) {
  return {tensor, checked_int(layout.num_rows, argument), checked_int(layout.width, argument),
          layout.stride};
}

Tensor like(const Tensor& tensor) {
  return Tensor(tensor.shape(), tensor.dtype(), tensor.device());
}

}  // namespace

int checked_int(std::size_t size, const char* argument) {
  CHECK(size <= kMaxSize, "argument " + std::string(argument) + " has " + std::to_string(size) +
                              " elements or rows side by side, the limit is " +
                              std::to_string(kMaxSize));
  return static_cast<int>(size);
}

Rows input_rows(const Tensor& tensor, std::size_t num_inner, const char* argument) {
  const Layout layout = layout_of(tensor, num_inner);
  if (layout.is_regular) return rows_of(tensor, layout, argument);
  const Tensor copy = contiguous(tensor);
  return rows_of(copy, layout_of(copy, num_inner), argument);
}

OutputRows::OutputRows(const Tensor& target, std::size_t num_inner, const char* argument)
    : target_(target),
      is_target_(layout_of(target, num_inner).is_regular),
      rows_(rows_of(is_target_ ? target : like(target), layout_of(target, num_inner), argument)) {
  if (!is_target_) rows_.stride = rows_.width;
}

void OutputRows::finish() const {
  if (!is_target_) rearrange(target_, rows_.tensor);
}

Tensor contiguous(const Tensor& tensor) {
  if (tensor.is_contiguous()) return tensor;
  const Tensor copy = like(tensor);
  rearrange(copy, tensor);
  return copy;
}

}  // namespace llaisys
