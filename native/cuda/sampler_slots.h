// Filling sampler slots on the device, in the order of the steps around it.
#pragma once

#include <array>
#include <cstdint>

#include "native/cuda/device.h"
#include "native/cuda/layout.h"

namespace kvasir {

class CudaSamplerFiller {
 public:
  CudaSamplerFiller(const CudaSamplerSlots& slots, const ModelSpec& spec);

  // Enqueues on `stream`: the slot forgets what it knew, then holds these tokens. The ids are
  // copied. Throws kernels::Error as check_slot_fill() does, kernels::CudaError.
  void fill(int slot, const std::int32_t* token_ids, int num_tokens, int num_prompt_tokens,
            const CudaStream& stream);

 private:
  struct Piece {
    PinnedMemory token_ids;  // read by the device where it lies
    CudaEvent is_free;
  };

  const CudaSamplerSlots slots_;
  const int num_slots_;
  const int vocab_size_;
  std::array<Piece, 2> pieces_;
  std::size_t next_piece_ = 0;
};

}  // namespace kvasir
