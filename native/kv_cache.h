// The pool of KV blocks: [layer][K | V][block][kvHead][blockSize][headDim].
#pragma once

#include "native/memory.h"
#include "native/model_spec.h"

namespace kvasir {

class KvCache {
 public:
  explicit KvCache(const ModelSpec& spec);

  kernels::DType type() const { return type_; }
  std::size_t num_bytes() const { return memory_.num_bytes(); }

  // [num_blocks, num_kv_heads, block_size, head_dim] of one layer.
  void* keys(int layer) const { return memory_.data() + 2 * layer * plane_bytes_; }
  void* values(int layer) const { return memory_.data() + (2 * layer + 1) * plane_bytes_; }

  // Copies K and V of whole blocks in all layers. block_copies: [num_copies, 2], source and
  // destination; no destination takes part in another copy.
  void copy_blocks(const std::int32_t* block_copies, int num_copies) const;

 private:
  kernels::DType type_;
  int num_planes_;           // K and V of each layer
  std::size_t block_bytes_;  // K or V of one block in one layer
  std::size_t plane_bytes_;  // K or V of one layer
  AnonymousMemory memory_;
};

}  // namespace kvasir
