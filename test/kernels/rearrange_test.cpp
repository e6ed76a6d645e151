#include "kernels/rearrange.h"

#include "test/kernels/rearrange_cases.h"
#include "test/kernels/tap.h"
#include "test/reference/rearrange.h"

namespace {

using kernels::ThreadPool;

// `misalignment` moves both buffers off the multiples of the element's size.
void test_case(tap::Report& report, const testing::RearrangeCase& test, int element_bytes,
               int misalignment, ThreadPool& pool) {
  const auto in = testing::random_bytes(
      testing::extent(test.shape, test.in_strides, test.in_first) * element_bytes + misalignment,
      1);
  std::vector<std::uint8_t> out(
      testing::extent(test.shape, test.out_strides, test.out_first) * element_bytes + misalignment,
      0xee);
  auto want = out;
  kernels::rearrange_cpu(testing::rearrange_of(test, out.data() + misalignment,
                                               in.data() + misalignment, element_bytes),
                         pool);
  reference::rearrange(testing::rearrange_of(test, want.data() + misalignment,
                                             in.data() + misalignment, element_bytes));
  report.same_bits(out.data(), want.data(), want.size(),
                   std::string(test.name) + ", " + std::to_string(element_bytes) + " bytes" +
                       (misalignment != 0 ? ", not aligned" : ""));
}

void test_plan(tap::Report& report) {
  alignas(16) char memory[64];
  kernels::Rearrange op = {memory, memory + 32, 2, 3, {2, 3, 4}, {12, 4, 1}, {12, 4, 1}};
  const kernels::RearrangePlan merged = kernels::plan_rearrange(op);
  report.ok(merged.num_dims == 1 && merged.shape[0] == 24 && merged.unit_bytes == 2,
            "one stretch becomes one dimension");
  op.in_strides[0] = 13;
  const kernels::RearrangePlan gap = kernels::plan_rearrange(op);
  report.ok(gap.num_dims == 2 && gap.shape[0] == 2 && gap.shape[1] == 12, "a gap splits it");
  op.element_bytes = 12;
  const kernels::RearrangePlan wide = kernels::plan_rearrange(op);
  report.ok(wide.unit_bytes == 4 && wide.shape[1] == 36 && wide.in_strides[0] == 39,
            "an element of 12 bytes is three of 4");
}

void test_refusals(tap::Report& report, ThreadPool& pool) {
  char out[8] = {}, in[8] = {};
  const auto refused = [&](kernels::Rearrange op, std::initializer_list<const char*> parts) {
    report.throws([&] { kernels::rearrange_cpu(op, pool); }, parts, *parts.begin());
  };
  refused({out, in, 0, 0, {}, {}, {}}, {"element_bytes is 0", "at least 1"});
  refused({out, in, 1, 9, {}, {}, {}}, {"num_dims is 9", "0 to 8"});
  refused({out, in, 1, 1, {-2}, {1}, {1}}, {"dimension 0 has size -2"});
  refused({out, in, 1, 2, {1, 2}, {0, 0}, {1, 1}}, {"dimension 1 of out has stride 0"});
}

}  // namespace

int main() {
  tap::Report report;
  ThreadPool pool(2);
  for (const auto& test : testing::rearrange_cases()) {
    for (const int element_bytes : {1, 2, 4, 8, 16, 3, 12}) {
      test_case(report, test, element_bytes, 0, pool);
    }
    test_case(report, test, 8, 1, pool);
  }
  test_plan(report);
  test_refusals(report, pool);
  return report.finish();
}
