#include "native/cuda/sampler_slots.h"

#include <algorithm>

#include "native/cuda/count_tokens.h"
#include "native/sampler_slots.h"

namespace kvasir {

namespace {

// Longer sequences are filled in pieces of so many tokens.
constexpr int kPieceTokens = 1 << 16;

}  // namespace

CudaSamplerFiller::CudaSamplerFiller(const CudaSamplerSlots& slots, const ModelSpec& spec)
    : slots_(slots), num_slots_(spec.limits.max_sequences), vocab_size_(spec.config.vocab_size) {
  for (Piece& piece : pieces_) piece.token_ids = PinnedMemory(kPieceTokens * sizeof(std::int32_t));
}

void CudaSamplerFiller::fill(int slot, const std::int32_t* token_ids, int num_tokens,
                             int num_prompt_tokens, const CudaStream& stream) {
  check_slot_fill(slot, token_ids, num_tokens, num_prompt_tokens, num_slots_, vocab_size_);
  const auto vocab_size = static_cast<std::size_t>(vocab_size_);
  const std::size_t num_bit_words = (vocab_size + 31) / 32;
  std::uint16_t* const counts = slots_.output_counts + static_cast<std::size_t>(slot) * vocab_size;
  std::uint32_t* const bits = slots_.prompt_bits + static_cast<std::size_t>(slot) * num_bit_words;
  CUDA_CHECK(cudaMemsetAsync(counts, 0, vocab_size * sizeof *counts, stream.get()));
  CUDA_CHECK(cudaMemsetAsync(bits, 0, num_bit_words * sizeof *bits, stream.get()));
  for (int done = 0; done < num_tokens; done += kPieceTokens) {
    Piece& piece = pieces_[next_piece_];
    next_piece_ = 1 - next_piece_;
    piece.is_free.synchronize();
    const int num_now = std::min(kPieceTokens, num_tokens - done);
    auto* const copied = reinterpret_cast<std::int32_t*>(piece.token_ids.data());
    std::copy_n(token_ids + done, num_now, copied);
    count_tokens({counts, bits, copied, num_now, std::max(0, num_prompt_tokens - done)},
                 stream.get());
    piece.is_free.record(stream);
  }
}

}  // namespace kvasir
