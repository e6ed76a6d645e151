// Which tensors a model must have, and of what shape: the config's word against the file's.
#pragma once

#include <string>
#include <unordered_map>

#include "native/model_spec.h"

namespace kvasir {

// The tensors of a model by name.
class TensorTable {
 public:
  // Throws kernels::Error unless `spec.tensors` are exactly the ones its config calls for, each
  // once, with the shape that follows from the config. Call check_model_spec first.
  explicit TensorTable(const ModelSpec& spec);

  const TensorRef& at(const std::string& name) const;
  bool has(const std::string& name) const { return by_name_.count(name) != 0; }

 private:
  std::unordered_map<std::string, const TensorRef*> by_name_;
};

// Where row r of a tensor with interleaved heads is stored: the halves a and b of such a head lie
// as a0 b0 a1 b1 ...
int stored_row(int r, int head_dim);

}  // namespace kvasir
