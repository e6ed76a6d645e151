#include "native/sampler_slots.h"

#include <algorithm>
#include <limits>

namespace kvasir {

namespace {

std::size_t num_bit_words(int vocab_size) {
  return (static_cast<std::size_t>(vocab_size) + 31) / 32;
}

std::size_t slot_bytes(int vocab_size) {
  return align_up(static_cast<std::size_t>(vocab_size) * sizeof(std::uint16_t)) +
         align_up(num_bit_words(vocab_size) * sizeof(std::uint32_t));
}

}  // namespace

void check_slot_fill(int slot, const std::int32_t* token_ids, int num_tokens, int num_prompt_tokens,
                     int num_slots, int vocab_size) {
  CHECK(slot >= 0 && slot < num_slots, "fillSamplerSlot: slot is " + std::to_string(slot) +
                                           "; there are " + std::to_string(num_slots) +
                                           " slots, counted from 0");
  CHECK(num_prompt_tokens >= 0 && num_prompt_tokens <= num_tokens,
        "fillSamplerSlot: numPromptTokens is " + std::to_string(num_prompt_tokens) +
            "; there are " + std::to_string(num_tokens) + " tokens");
  for (int i = 0; i < num_tokens; ++i) {
    CHECK(token_ids[i] >= 0 && token_ids[i] < vocab_size,
          "fillSamplerSlot: tokenIds[" + std::to_string(i) + "] is " +
              std::to_string(token_ids[i]) + "; the vocabulary has " + std::to_string(vocab_size) +
              " tokens");
  }
}

SamplerSlots::SamplerSlots(int num_slots, int vocab_size)
    : vocab_size_(vocab_size),
      arena_(static_cast<std::size_t>(num_slots) * slot_bytes(vocab_size), "sampler slots"),
      slots_(static_cast<std::size_t>(num_slots)) {
  for (kernels::SamplerSlot& slot : slots_) {
    slot.output_counts = arena_.take_array<std::uint16_t>(static_cast<std::size_t>(vocab_size));
    slot.prompt_bits = arena_.take_array<std::uint32_t>(num_bit_words(vocab_size));
  }
}

void SamplerSlots::fill(int slot, const std::int32_t* token_ids, int num_tokens,
                        int num_prompt_tokens) {
  check_slot_fill(slot, token_ids, num_tokens, num_prompt_tokens, num_slots(), vocab_size_);
  const kernels::SamplerSlot& target = slots_[static_cast<std::size_t>(slot)];
  std::fill_n(target.output_counts, vocab_size_, std::uint16_t{0});
  std::fill_n(target.prompt_bits, num_bit_words(vocab_size_), std::uint32_t{0});
  for (int i = 0; i < num_prompt_tokens; ++i) {
    target.prompt_bits[token_ids[i] / 32] |= std::uint32_t{1} << (token_ids[i] % 32);
  }
  for (int i = num_prompt_tokens; i < num_tokens; ++i) {
    std::uint16_t& count = target.output_counts[token_ids[i]];
    if (count < std::numeric_limits<std::uint16_t>::max()) ++count;
  }
}

}  // namespace kvasir
