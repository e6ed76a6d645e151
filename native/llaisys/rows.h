// Tensors as the kernels take them: rows of adjacent elements, one constant stride apart.
#pragma once

#include <cstdint>

#include "native/llaisys/tensor.h"

namespace llaisys {

// A size that a kernel counts in int. Throws Error, naming the argument, above 2^30.
int checked_int(std::size_t size, const char* argument);

// The last `num_inner` dimensions of a tensor are its rows, the ones before count them.
struct Rows {
  Tensor tensor;
  int num_rows;
  int width;            // elements of a row
  std::int64_t stride;  // elements from one row to the next
};

// An input: the tensor itself, or a copy if its elements do not lie like that.
Rows input_rows(const Tensor& tensor, std::size_t num_inner, const char* argument);

// An output: the tensor itself or, if its elements do not lie like that, rows that finish() copies
// to it.
class OutputRows {
 public:
  OutputRows(const Tensor& target, std::size_t num_inner, const char* argument);
  const Rows& rows() const { return rows_; }
  void finish() const;

 private:
  Tensor target_;
  bool is_target_;
  Rows rows_;
};

}  // namespace llaisys
