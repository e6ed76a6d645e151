// What the penalties know of each running sequence: which ids its prompt holds and how often its
// output has each. Kept natively because with overlapping steps the newest token is not known in
// TypeScript when the next step is packed.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/sample.h"
#include "native/memory.h"

namespace kvasir {

// Throws kernels::Error that names the argument, its value and the limit unless a slot may be
// filled with these tokens.
void check_slot_fill(int slot, const std::int32_t* token_ids, int num_tokens, int num_prompt_tokens,
                     int num_slots, int vocab_size);

class SamplerSlots {
 public:
  SamplerSlots(int num_slots, int vocab_size);

  kernels::SamplerSlot* slots() { return slots_.data(); }
  int num_slots() const { return static_cast<int>(slots_.size()); }
  std::size_t num_bytes() const { return arena_.num_bytes(); }

  // Forgets what the slot knew; then token_ids[0, num_prompt_tokens) are the prompt and the rest is
  // the output. Throws, having changed nothing, on a slot, a count or an id out of range.
  void fill(int slot, const std::int32_t* token_ids, int num_tokens, int num_prompt_tokens);

 private:
  int vocab_size_;
  Arena arena_;
  std::vector<kernels::SamplerSlot> slots_;
};

}  // namespace kvasir
