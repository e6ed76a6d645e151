// A strided view of memory on a device. Copies of a Tensor share the memory, which goes with the
// last of them.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "native/llaisys/device.h"

namespace llaisys {

// Bytes of an element. Throws Error on a type that does not exist.
std::size_t bytes_of(llaisysDataType_t dtype);

// "BF16"
std::string name_of(llaisysDataType_t dtype);

// "(2, 3)"
std::string text_of(const std::vector<std::size_t>& shape);

class Storage;

class Tensor {
 public:
  using Shape = std::vector<std::size_t>;
  using Strides = std::vector<std::ptrdiff_t>;

  // New memory, row-major, contents undefined. Throws Error, naming the argument, on a type or a
  // device that does not exist and on more bytes than there are.
  Tensor(Shape shape, llaisysDataType_t dtype, Device device);

  void* data() const;
  const Shape& shape() const { return shape_; }
  const Strides& strides() const { return strides_; }  // elements
  std::size_t num_dims() const { return shape_.size(); }
  llaisysDataType_t dtype() const { return dtype_; }
  Device device() const;
  std::size_t num_elements() const;
  std::size_t num_bytes() const { return num_elements() * bytes_of(dtype_); }
  bool is_contiguous() const;

  // Views of the same memory; see llaisys.h.
  Tensor view(const Shape& shape) const;
  Tensor permute(const std::vector<std::size_t>& order) const;
  Tensor slice(std::size_t dim, std::size_t start, std::size_t end) const;

  // Fills a contiguous tensor from host memory, or host memory from one.
  void load(const void* host) const;
  void store(void* host) const;

 private:
  std::shared_ptr<Storage> storage_;
  std::size_t offset_bytes_ = 0;
  Shape shape_;
  Strides strides_;
  llaisysDataType_t dtype_;
};

// Prints what tensorDebug() prints: at most a thousand elements.
void print(const Tensor& tensor);

}  // namespace llaisys

// What a handle of the C interface points to.
struct LlaisysTensor {
  llaisys::Tensor tensor;
};

namespace llaisys {

// The tensor of a handle. Throws Error, naming the argument, if the handle is null.
const Tensor& checked(llaisysTensor_t handle, const char* argument);

}  // namespace llaisys
