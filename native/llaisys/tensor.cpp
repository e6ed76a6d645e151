#include "native/llaisys/tensor.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <utility>

#include "native/llaisys/guarded.h"
#include "native/llaisys/operators.h"

namespace llaisys {
namespace {

struct TypeInfo {
  const char* name;
  std::size_t num_bytes;
};

const TypeInfo& info_of(llaisysDataType_t dtype) {
  static constexpr TypeInfo kTypes[] = {
      {"INVALID", 0}, {"BYTE", 1}, {"BOOL", 1}, {"I8", 1},  {"I16", 2},   {"I32", 4}, {"I64", 8},
      {"U8", 1},      {"U16", 2},  {"U32", 4},  {"U64", 8}, {"F8", 1},    {"F16", 2}, {"F32", 4},
      {"F64", 8},     {"C16", 2},  {"C32", 4},  {"C64", 8}, {"C128", 16}, {"BF16", 2}};
  CHECK(dtype > LLAISYS_DTYPE_INVALID && dtype <= LLAISYS_DTYPE_BF16,
        "argument dtype is " + std::to_string(static_cast<int>(dtype)) + ", must be 1 to 19");
  return kTypes[dtype];
}

// Bytes of a row-major tensor. The product must not wrap round: an allocation that is too small
// would be written past its end.
std::size_t checked_bytes(const Tensor::Shape& shape, llaisysDataType_t dtype) {
  std::size_t num_bytes = bytes_of(dtype);
  if (std::find(shape.begin(), shape.end(), 0u) != shape.end()) return 0;
  for (const std::size_t size : shape) {
    CHECK(size <= static_cast<std::size_t>(PTRDIFF_MAX) / num_bytes,
          "argument shape is " + text_of(shape) + ": more bytes than there are addresses");
    num_bytes *= size;
  }
  return num_bytes;
}

Tensor::Strides row_major(const Tensor::Shape& shape) {
  Tensor::Strides strides(shape.size());
  std::ptrdiff_t stride = 1;
  for (std::size_t i = shape.size(); i-- > 0;) {
    strides[i] = stride;
    stride *= static_cast<std::ptrdiff_t>(std::max<std::size_t>(shape[i], 1));
  }
  return strides;
}

// Elements that lie evenly apart, whatever dimensions they are counted in.
struct Stretch {
  std::size_t size;
  std::ptrdiff_t stride;
};

// The tensor as the fewest such stretches, the innermost first.
std::vector<Stretch> stretches_of(const Tensor& tensor) {
  std::vector<Stretch> stretches;
  for (std::size_t i = tensor.num_dims(); i-- > 0;) {
    const std::size_t size = tensor.shape()[i];
    const std::ptrdiff_t stride = tensor.strides()[i];
    if (size == 1) continue;
    if (!stretches.empty() &&
        stride == stretches.back().stride * static_cast<std::ptrdiff_t>(stretches.back().size)) {
      stretches.back().size *= size;
    } else {
      stretches.push_back({size, stride});
    }
  }
  return stretches;
}

}  // namespace

std::size_t bytes_of(llaisysDataType_t dtype) { return info_of(dtype).num_bytes; }
std::string name_of(llaisysDataType_t dtype) { return info_of(dtype).name; }

std::string text_of(const std::vector<std::size_t>& shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  }
  return text + ")";
}

class Storage {
 public:
  Storage(std::size_t num_bytes, Device device) : device_(device) {
    make_current(device);
    data_ = static_cast<std::byte*>(runtime_of(device.type).malloc_device(num_bytes));
  }
  ~Storage() {
    try {
      runtime_of(device_.type).free_device(data_);
    } catch (const std::exception&) {
      // The runtime has printed it; the memory is lost, and nothing else.
    }
  }
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  std::byte* data() const { return data_; }
  Device device() const { return device_; }

 private:
  std::byte* data_;
  Device device_;
};

Tensor::Tensor(Shape shape, llaisysDataType_t dtype, Device device)
    : storage_(std::make_shared<Storage>(checked_bytes(shape, dtype), device)),
      shape_(std::move(shape)),
      strides_(row_major(shape_)),
      dtype_(dtype) {}

void* Tensor::data() const { return storage_->data() + offset_bytes_; }
Device Tensor::device() const { return storage_->device(); }

std::size_t Tensor::num_elements() const {
  return std::accumulate(shape_.begin(), shape_.end(), std::size_t{1}, std::multiplies<>());
}

bool Tensor::is_contiguous() const {
  if (num_elements() == 0) return true;
  const auto stretches = stretches_of(*this);
  return stretches.empty() || (stretches.size() == 1 && stretches[0].stride == 1);
}

// Each new dimension, the innermost first, is cut from the stretch at hand, which it has to divide.
Tensor Tensor::view(const Shape& shape) const {
  const std::string refusal =
      "argument shape is " + text_of(shape) + ", but the tensor is " + text_of(shape_);
  CHECK(checked_bytes(shape, dtype_) == num_bytes(),
        refusal + " and has another number of elements");
  Tensor result = *this;
  result.shape_ = shape;
  result.strides_ = row_major(shape);
  if (num_elements() == 0) return result;

  const auto stretches = stretches_of(*this);
  std::size_t at = 0;
  Stretch rest = stretches.empty() ? Stretch{1, 1} : stretches[0];
  for (std::size_t i = shape.size(); i-- > 0;) {
    result.strides_[i] = rest.stride;
    if (shape[i] == 1) continue;
    if (rest.size == 1) rest = stretches[++at];
    CHECK(rest.size % shape[i] == 0,
          refusal + " with strides that would need a copy; use llaisysRearrange");
    result.strides_[i] = rest.stride;
    rest.size /= shape[i];
    rest.stride *= static_cast<std::ptrdiff_t>(shape[i]);
  }
  return result;
}

Tensor Tensor::permute(const std::vector<std::size_t>& order) const {
  std::vector<bool> is_used(num_dims(), false);
  Tensor result = *this;
  for (std::size_t i = 0; i < order.size(); ++i) {
    CHECK(order[i] < num_dims() && !is_used[order[i]],
          "argument order is " + text_of(order) + ", must hold each dimension of " +
              text_of(shape_) + " once, counted from 0");
    is_used[order[i]] = true;
    result.shape_[i] = shape_[order[i]];
    result.strides_[i] = strides_[order[i]];
  }
  return result;
}

Tensor Tensor::slice(std::size_t dim, std::size_t start, std::size_t end) const {
  CHECK(dim < num_dims(), "argument dim is " + std::to_string(dim) + ", but the tensor " +
                              text_of(shape_) + " has " + std::to_string(num_dims()) +
                              " dimensions, counted from 0");
  CHECK(start <= end && end <= shape_[dim],
        "arguments start and end are " + std::to_string(start) + " and " + std::to_string(end) +
            ", must be ascending and within the " + std::to_string(shape_[dim]) +
            " elements of dimension " + std::to_string(dim));
  Tensor result = *this;
  result.shape_[dim] = end - start;
  // An empty slice at the end points to no element, and so to nowhere.
  if (result.num_elements() > 0) {
    result.offset_bytes_ += start * static_cast<std::size_t>(strides_[dim]) * bytes_of(dtype_);
  }
  return result;
}

void Tensor::load(const void* host) const {
  make_current(device());
  runtime_of(device().type).memcpy_sync(data(), host, num_bytes(), LLAISYS_MEMCPY_H2D);
}

void Tensor::store(void* host) const {
  make_current(device());
  runtime_of(device().type).memcpy_sync(host, data(), num_bytes(), LLAISYS_MEMCPY_D2H);
}

const Tensor& checked(llaisysTensor_t handle, const char* argument) {
  CHECK(handle != nullptr, "argument " + std::string(argument) + " is null, must be a tensor");
  return handle->tensor;
}

}  // namespace llaisys

extern "C" {

using llaisys::checked;
using llaisys::guarded;
using llaisys::Tensor;

llaisysTensor_t tensorCreate(size_t* shape, size_t ndim, llaisysDataType_t dtype,
                             llaisysDeviceType_t device, int id) {
  return guarded(__func__, [&] {
    CHECK(shape != nullptr || ndim == 0,
          "argument shape is null with ndim " + std::to_string(ndim));
    return new LlaisysTensor{Tensor(Tensor::Shape(shape, shape + ndim), dtype, {device, id})};
  });
}

void tensorDestroy(llaisysTensor_t tensor) { delete tensor; }

void* tensorGetData(llaisysTensor_t tensor) {
  return guarded(__func__, [&] { return checked(tensor, "tensor").data(); });
}

size_t tensorGetNdim(llaisysTensor_t tensor) {
  return guarded(__func__, [&] { return checked(tensor, "tensor").num_dims(); });
}

void tensorGetShape(llaisysTensor_t tensor, size_t* shape) {
  guarded(__func__, [&] {
    const auto& from = checked(tensor, "tensor").shape();
    std::copy(from.begin(), from.end(), shape);
  });
}

void tensorGetStrides(llaisysTensor_t tensor, ptrdiff_t* strides) {
  guarded(__func__, [&] {
    const auto& from = checked(tensor, "tensor").strides();
    std::copy(from.begin(), from.end(), strides);
  });
}

llaisysDataType_t tensorGetDataType(llaisysTensor_t tensor) {
  return guarded(__func__, [&] { return checked(tensor, "tensor").dtype(); });
}

llaisysDeviceType_t tensorGetDeviceType(llaisysTensor_t tensor) {
  return guarded(__func__, [&] { return checked(tensor, "tensor").device().type; });
}

int tensorGetDeviceId(llaisysTensor_t tensor) {
  return guarded(__func__, [&] { return checked(tensor, "tensor").device().id; });
}

uint8_t tensorIsContiguous(llaisysTensor_t tensor) {
  return guarded(__func__, [&] { return uint8_t{checked(tensor, "tensor").is_contiguous()}; });
}

void tensorDebug(llaisysTensor_t tensor) {
  guarded(__func__, [&] { llaisys::print(checked(tensor, "tensor")); });
}

void tensorLoad(llaisysTensor_t tensor, const void* data) {
  guarded(__func__, [&] {
    const Tensor& target = checked(tensor, "tensor");
    CHECK(data != nullptr || target.num_elements() == 0, "argument data is null");
    if (target.is_contiguous()) return target.load(data);
    const Tensor dense(target.shape(), target.dtype(), target.device());
    dense.load(data);
    llaisys::rearrange(target, dense);
  });
}

llaisysTensor_t tensorView(llaisysTensor_t tensor, size_t* shape, size_t ndim) {
  return guarded(__func__, [&] {
    CHECK(shape != nullptr || ndim == 0,
          "argument shape is null with ndim " + std::to_string(ndim));
    return new LlaisysTensor{checked(tensor, "tensor").view(Tensor::Shape(shape, shape + ndim))};
  });
}

llaisysTensor_t tensorPermute(llaisysTensor_t tensor, size_t* order) {
  return guarded(__func__, [&] {
    const Tensor& from = checked(tensor, "tensor");
    CHECK(order != nullptr || from.num_dims() == 0, "argument order is null");
    return new LlaisysTensor{from.permute(Tensor::Shape(order, order + from.num_dims()))};
  });
}

llaisysTensor_t tensorSlice(llaisysTensor_t tensor, size_t dim, size_t start, size_t end) {
  return guarded(__func__, [&] {
    return new LlaisysTensor{checked(tensor, "tensor").slice(dim, start, end)};
  });
}

}  // extern "C"
