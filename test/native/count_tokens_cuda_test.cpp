// Sampler slots on the device against the ones of the CPU.
#include <cuda_runtime.h>

#include <random>
#include <vector>

#include "native/cuda/count_tokens.h"
#include "native/cuda/sampler_slots.h"
#include "native/sampler_slots.h"
#include "test/kernels/device_buffer.cuh"
#include "test/kernels/tap.h"

namespace {

// Odd, so that every other slot's counts begin within a 32-bit word.
constexpr int kVocab = 1003;
constexpr int kNumSlots = 3;
constexpr std::size_t kWords = (kVocab + 31) / 32;

void test_filling(tap::Report& report) {
  testing::DeviceBuffer<std::uint16_t> counts(kNumSlots * kVocab + 2);
  testing::DeviceBuffer<std::uint32_t> bits(kNumSlots * kWords);
  counts.clear();
  bits.clear();
  kvasir::ModelSpec spec{};
  spec.config.vocab_size = kVocab;
  spec.limits.max_sequences = kNumSlots;
  const kvasir::CudaStream stream;
  kvasir::CudaSamplerFiller filler({counts.data(), bits.data()}, spec);
  kvasir::SamplerSlots want(kNumSlots, kVocab);

  std::mt19937 random(3);
  // More than fits a piece, and one id so often that its count ends at the most there is.
  for (const int num_tokens : {200000, 70, 3, 0, 90000}) {
    std::vector<std::int32_t> ids;
    for (int i = 0; i < num_tokens; ++i) {
      ids.push_back(random() % 2 == 0 ? 7 : static_cast<std::int32_t>(random() % kVocab));
    }
    const int slot = num_tokens % kNumSlots;
    filler.fill(slot, ids.data(), num_tokens, num_tokens / 3, stream);
    want.fill(slot, ids.data(), num_tokens, num_tokens / 3);
  }
  stream.synchronize();
  const std::vector<std::uint16_t> got_counts = counts.download();
  const std::vector<std::uint32_t> got_bits = bits.download();
  for (int slot = 0; slot < kNumSlots; ++slot) {
    const std::string name = "slot " + std::to_string(slot);
    report.same_bits(got_counts.data() + slot * kVocab, want.slots()[slot].output_counts, kVocab,
                     name + " counts the output");
    report.same_bits(got_bits.data() + static_cast<std::size_t>(slot) * kWords,
                     want.slots()[slot].prompt_bits, kWords, name + " knows the prompt");
  }
  report.throws([&] { filler.fill(kNumSlots, nullptr, 0, 0, stream); }, {"slot is 3"},
                "there is no fourth slot");
}

}  // namespace

int main() {
  if (!testing::has_device()) return 0;
  tap::Report report;
  test_filling(report);
  return report.finish();
}
