// What the test programs of the contract forms on CUDA share.
#pragma once

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "kernels/cuda_launch.cuh"
#include "test/kernels/device_buffer.cuh"
#include "test/kernels/plain_values.h"
#include "test/kernels/tap.h"

namespace testing {

// A stream that waits for copies on the default one, as DeviceBuffer makes them.
class TestStream {
 public:
  TestStream() { CUDA_CHECK(cudaStreamCreate(&stream_)); }
  ~TestStream() { cudaStreamDestroy(stream_); }
  TestStream(const TestStream&) = delete;
  TestStream& operator=(const TestStream&) = delete;
  operator kernels::Stream() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

// Runs body(report, stream, is_small) unless there is no device. `small` as the program's argument
// leaves the large shapes out, so that compute-sanitizer ends within seconds.
inline int run_cuda_test(int argc, char** argv,
                         const std::function<void(tap::Report&, kernels::Stream, bool)>& body) {
  if (!has_device()) return 0;
  tap::Report report;
  {
    const TestStream stream;
    body(report, stream, argc > 1 && std::strcmp(argv[1], "small") == 0);
  }
  return report.finish();
}

// "bf16 (2, 3)", the name of most tests.
template <typename T>
std::string name_of_shape(std::initializer_list<long long> sizes) {
  std::string name = std::string(PlainType<T>::kName) + " (";
  for (const long long size : sizes) name += std::to_string(size) + ", ";
  return name.substr(0, name.size() - 2) + ")";
}

// Holds if every element between the rows of `out` still is what poison() left: rows of `width`,
// `stride` apart.
template <typename T>
bool is_untouched_between(const std::vector<T>& out, std::size_t width, std::size_t stride) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (i % stride < width) continue;
    unsigned char bytes[sizeof(T)];
    std::memcpy(bytes, &out[i], sizeof(T));
    for (const unsigned char byte : bytes) {
      if (byte != 0xff) return false;
    }
  }
  return true;
}

// The rows alone, widened.
template <typename T>
std::vector<double> rows_of(const std::vector<T>& values, std::size_t width, std::size_t stride) {
  std::vector<double> rows;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i % stride < width) rows.push_back(kernels::to_float(values[i]));
  }
  return rows;
}

}  // namespace testing
