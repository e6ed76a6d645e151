// Where a model's weights come from: its files, or a bench that makes them up.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "native/mapped_file.h"
#include "native/model_spec.h"
#include "native/tensor_table.h"

namespace kvasir {

// Tensors by name, row by row. A vector is a matrix of one column.
class WeightSource {
 public:
  virtual ~WeightSource() = default;

  virtual bool has(const std::string& name) const = 0;

  // A number for read_row(). Throws kernels::Error when the tensor's bytes are not there.
  virtual int open(const std::string& name) = 0;
  virtual int num_rows(int tensor) const = 0;

  // Writes row `row`, in the order of the model and not of the file, as `type`. `scratch` holds a
  // row of floats. Called from several threads at once; does not throw.
  virtual void read_row(int tensor, int row, kernels::DType type, void* out, float* scratch) = 0;

  // Bytes of the source that a row takes, for progress.
  virtual std::uint64_t row_bytes(int tensor) const = 0;

  // Nothing of the tensor will be read again.
  virtual void close(int tensor) = 0;

  // Called at the end. Throws kernels::Error when what was read may not belong together.
  virtual void check_unchanged() const = 0;
};

// The files of a spec, mapped. Throws kernels::Error that names file or tensor, value and limit
// unless the files are as the spec says and hold exactly the tensors its config calls for.
std::unique_ptr<WeightSource> open_weight_files(const ModelSpec& spec);

}  // namespace kvasir
