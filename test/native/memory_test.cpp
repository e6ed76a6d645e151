#include "native/memory.h"

#include <cstdint>
#include <limits>

#include "kernels/types.h"
#include "test/kernels/tap.h"

namespace {

constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();

void test_checked_sizes(tap::Report& report) {
  using kvasir::checked_add;
  using kvasir::checked_multiply;
  report.equal(checked_add(kMax - 1, 1, "sum"), kMax, "the largest sum is a sum");
  report.equal(checked_multiply(kMax / 3, 3, "area"), kMax, "the largest product is a product");
  report.throws([] { checked_add(kMax, 1, "offset"); }, {"offset", "18446744073709551615 + 1"},
                "a sum that wraps is refused by name");
  report.throws([] { checked_multiply(std::uint64_t{1} << 32, std::uint64_t{1} << 32, "area"); },
                {"area", "exceeds 64 bits"}, "a product that wraps is refused by name");
}

void test_anonymous_memory(tap::Report& report) {
  kvasir::AnonymousMemory memory(1 << 20, "test");
  bool is_zero = true;
  for (std::size_t i = 0; i < memory.num_bytes(); ++i) is_zero &= memory.data()[i] == std::byte{0};
  report.ok(is_zero, "pages begin as zeros");

  std::byte* const data = memory.data();
  kvasir::AnonymousMemory moved(std::move(memory));
  report.ok(moved.data() == data && memory.data() == nullptr, "moving hands the mapping over");
  report.throws([] { kvasir::AnonymousMemory(std::size_t{1} << 62, "KV cache"); },
                {"KV cache", "no room for 4611686018427387904 bytes"},
                "what the system cannot give is refused by purpose");
  const kvasir::AnonymousMemory none(0, "nothing");
  report.ok(none.data() == nullptr, "no bytes are no mapping");
}

void test_arena(tap::Report& report) {
  kvasir::Arena arena(256, "test");
  auto* const first = static_cast<std::byte*>(arena.take(1));
  auto* const second = static_cast<std::byte*>(arena.take(65));
  report.equal(second - first, std::ptrdiff_t{64}, "pieces begin at cache lines");
  report.ok(arena.take(64) != nullptr, "the last line is handed out");
  report.throws([&] { arena.take(1); }, {"64 bytes asked for, 0 left"}, "then there is no more");
}

}  // namespace

int main() {
  tap::Report report;
  test_checked_sizes(report);
  test_anonymous_memory(report);
  test_arena(report);
  return report.finish();
}
