#include "kernels/rearrange.h"
#include "test/kernels/plain_cuda.cuh"
#include "test/kernels/rearrange_cases.h"
#include "test/reference/rearrange.h"

namespace {

using kernels::Stream;
using testing::DeviceBuffer;

// `misalignment` moves both buffers off the multiples of the element's size.
void test_case(tap::Report& report, Stream stream, const testing::RearrangeCase& test,
               int element_bytes, int misalignment) {
  const auto in = testing::random_bytes(
      testing::extent(test.shape, test.in_strides, test.in_first) * element_bytes + misalignment,
      1);
  const DeviceBuffer<std::uint8_t> device_in(in);
  const DeviceBuffer<std::uint8_t> out(
      testing::extent(test.shape, test.out_strides, test.out_first) * element_bytes + misalignment);
  std::vector<std::uint8_t> want(out.size(), 0xff);
  kernels::rearrange_cuda(testing::rearrange_of(test, out.data() + misalignment,
                                                device_in.data() + misalignment, element_bytes),
                          stream);
  reference::rearrange(testing::rearrange_of(test, want.data() + misalignment,
                                             in.data() + misalignment, element_bytes));
  report.same_bits(out.download().data(), want.data(), want.size(),
                   std::string(test.name) + ", " + std::to_string(element_bytes) + " bytes" +
                       (misalignment != 0 ? ", not aligned" : ""));
}

}  // namespace

int main(int argc, char** argv) {
  return testing::run_cuda_test(argc, argv, [](tap::Report& report, Stream stream, bool is_small) {
    for (const auto& test : testing::rearrange_cases()) {
      for (const int element_bytes : {1, 2, 4, 8, 16, 3, 12}) {
        test_case(report, stream, test, element_bytes, 0);
      }
      test_case(report, stream, test, 8, 1);
    }
    if (!is_small) {
      test_case(report, stream, {"a large one", {12, 2000, 128}, {256000, 128, 1}, {128, 1536, 1}},
                2, 0);
    }
    report.throws(
        [&] {
          kernels::rearrange_cuda({nullptr, nullptr, 1, 9, {}, {}, {}}, stream);
        },
        {"num_dims is 9", "0 to 8"}, "too many dimensions are refused");
  });
}
