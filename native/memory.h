// Anonymous memory for everything that lives as long as the model: weights, KV blocks, activations.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace kvasir {

// Adds or multiplies sizes that came out of a file or a request; throws kernels::Error when the
// result does not fit 64 bits. `what` names the quantity in the message.
std::uint64_t checked_add(std::uint64_t a, std::uint64_t b, const std::string& what);
std::uint64_t checked_multiply(std::uint64_t a, std::uint64_t b, const std::string& what);

// Rounds up to the 64 bytes of a cache line, which is also the widest vector.
constexpr std::size_t align_up(std::size_t num_bytes) { return (num_bytes + 63) / 64 * 64; }

// One mapping of zeroed pages that no file backs. Pages cost memory only once they are touched.
class AnonymousMemory {
 public:
  AnonymousMemory() = default;
  // Throws kernels::Error that names `purpose` when the kernel has no room. Large mappings ask for
  // huge pages: weights are read from end to end each step, and 4 KB pages would miss the TLB.
  AnonymousMemory(std::size_t num_bytes, const std::string& purpose);
  ~AnonymousMemory();

  AnonymousMemory(AnonymousMemory&& other) noexcept;
  AnonymousMemory& operator=(AnonymousMemory&& other) noexcept;

  std::byte* data() const { return data_; }
  std::size_t num_bytes() const { return num_bytes_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t num_bytes_ = 0;
};

// Hands out 64-byte aligned pieces of a mapping, first to last. The owner adds up what it will need
// beforehand; running out is a broken invariant and throws.
class Arena {
 public:
  Arena() = default;
  Arena(std::size_t num_bytes, const std::string& purpose);

  void* take(std::size_t num_bytes);

  template <class T>
  T* take_array(std::size_t count) {
    return static_cast<T*>(take(count * sizeof(T)));
  }

  std::size_t num_bytes() const { return memory_.num_bytes(); }

 private:
  AnonymousMemory memory_;
  std::size_t num_bytes_taken_ = 0;
};

}  // namespace kvasir
