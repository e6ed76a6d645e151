#include "kernels/embedding.h"
#include "test/kernels/plain_cuda.cuh"

namespace {

using kernels::Stream;
using testing::DeviceBuffer;
using testing::PlainType;

template <typename T>
void test_shape(tap::Report& report, Stream stream, int num_tokens, int vocab_size, int hidden_size,
                int gap) {
  const int stride = hidden_size + gap;
  const auto weight = testing::spiky_values<T>(static_cast<std::size_t>(vocab_size) * stride, 3);
  std::vector<std::int64_t> index(num_tokens);
  std::vector<T> want;
  for (int t = 0; t < num_tokens; ++t) {
    index[t] = (t * 37 + vocab_size - 1) % vocab_size;
    const auto row = weight.begin() + index[t] * stride;
    want.insert(want.end(), row, row + hidden_size);
  }
  const DeviceBuffer<T> device_weight(weight), out(want.size());
  const DeviceBuffer<std::int64_t> device_index(index);
  kernels::embedding_cuda(
      {out.data(), device_index.data(), device_weight.data(), PlainType<T>::kType, num_tokens,
       vocab_size, hidden_size, hidden_size, stride},
      stream);
  const auto got = out.download();
  report.same_bits(got.data(), want.data(), want.size(),
                   testing::name_of_shape<T>({num_tokens, vocab_size, hidden_size}));
}

void test_bad_index(tap::Report& report, Stream stream) {
  const DeviceBuffer<float> weight(std::vector<float>(6, 1)), out(4);
  for (const std::int64_t bad : {std::int64_t{3}, std::int64_t{-1}, std::int64_t{1} << 40}) {
    const DeviceBuffer<std::int64_t> index(std::vector<std::int64_t>{0, bad});
    report.throws(
        [&] {
          kernels::embedding_cuda(
              {out.data(), index.data(), weight.data(), kernels::DType::kF32, 2, 3, 2, 2, 2},
              stream);
        },
        {std::to_string(bad).c_str(), "position 1", "3 rows"},
        "index " + std::to_string(bad) + " is refused");
  }
  report.ok(testing::is_untouched_between(out.download(), 0, 1), "and nothing has been written");
}

}  // namespace

int main(int argc, char** argv) {
  return testing::run_cuda_test(argc, argv, [](tap::Report& report, Stream stream, bool is_small) {
    test_shape<float>(report, stream, 1, 2, 3, 0);
    test_shape<kernels::f16>(report, stream, 1, 2, 3, 0);
    test_shape<kernels::bf16>(report, stream, 7, 5, 577, 6);
    if (!is_small) {
      test_shape<float>(report, stream, 50, 512, 4096, 0);
      test_shape<kernels::f16>(report, stream, 50, 512, 4096, 0);
      test_shape<kernels::bf16>(report, stream, 50, 512, 4096, 0);
    }
    test_bad_index(report, stream);
    kernels::embedding_cuda({nullptr, nullptr, nullptr, kernels::DType::kF32, 0, 3, 2, 2, 2},
                            stream);
    report.ok(cudaDeviceSynchronize() == cudaSuccess, "no tokens do nothing");
  });
}
