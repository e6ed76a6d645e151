#include "native/memory.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "kernels/types.h"

namespace kvasir {

namespace {

constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

}  // namespace

std::uint64_t checked_add(std::uint64_t a, std::uint64_t b, const std::string& what) {
  std::uint64_t sum = 0;
  CHECK(!__builtin_add_overflow(a, b, &sum),
        what + ": " + std::to_string(a) + " + " + std::to_string(b) + " exceeds 64 bits");
  return sum;
}

std::uint64_t checked_multiply(std::uint64_t a, std::uint64_t b, const std::string& what) {
  std::uint64_t product = 0;
  CHECK(!__builtin_mul_overflow(a, b, &product),
        what + ": " + std::to_string(a) + " * " + std::to_string(b) + " exceeds 64 bits");
  return product;
}

AnonymousMemory::AnonymousMemory(std::size_t num_bytes, const std::string& purpose) {
  if (num_bytes == 0) return;
  void* data = mmap(nullptr, num_bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CHECK(data != MAP_FAILED, purpose + ": no room for " + std::to_string(num_bytes) +
                                " bytes: " + std::strerror(errno) +
                                "; choose a smaller model or fewer KV blocks");
  data_ = static_cast<std::byte*>(data);
  num_bytes_ = num_bytes;
#ifdef MADV_HUGEPAGE
  // Advice only: a machine without huge pages serves the same bytes, a little slower.
  if (num_bytes >= 8 * kHugePageBytes) madvise(data, num_bytes, MADV_HUGEPAGE);
#endif
}

AnonymousMemory::~AnonymousMemory() {
  if (data_ != nullptr) munmap(data_, num_bytes_);
}

AnonymousMemory::AnonymousMemory(AnonymousMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), num_bytes_(std::exchange(other.num_bytes_, 0)) {}

AnonymousMemory& AnonymousMemory::operator=(AnonymousMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(num_bytes_, other.num_bytes_);
  return *this;
}

Arena::Arena(std::size_t num_bytes, const std::string& purpose) : memory_(num_bytes, purpose) {}

void* Arena::take(std::size_t num_bytes) {
  const std::size_t num_bytes_aligned = align_up(num_bytes);
  CHECK(num_bytes_aligned <= memory_.num_bytes() - num_bytes_taken_,
        "arena: " + std::to_string(num_bytes_aligned) + " bytes asked for, " +
            std::to_string(memory_.num_bytes() - num_bytes_taken_) + " left");
  void* piece = memory_.data() + num_bytes_taken_;
  num_bytes_taken_ += num_bytes_aligned;
  return piece;
}

}  // namespace kvasir
