// The C interface of LLAISYS as its test programs use it: runtime, tensors, and each operator
// against the references, on the CPU and on a GPU where there is one.
#include <cstdint>

#include "test/kernels/plain_values.h"
#include "test/llaisys/library.h"

namespace {

using testing::Handle;
using testing::Library;
using testing::refused;
using testing::Sizes;
using Strides = std::vector<std::ptrdiff_t>;

void test_runtime(tap::Report& report, const Library& library, llaisysDeviceType_t device) {
  const std::string name = device == LLAISYS_DEVICE_CPU ? "CPU" : "NVIDIA";
  const LlaisysRuntimeAPI& runtime = *library.llaisysGetRuntimeAPI(device);
  library.llaisysSetContextRuntime(device, 0);
  runtime.set_device(0);
  const std::size_t num_bytes = 1000003;
  std::vector<unsigned char> from(num_bytes), back(num_bytes, 0);
  for (std::size_t i = 0; i < num_bytes; ++i) from[i] = static_cast<unsigned char>(i * 31 >> 3);
  void* first = runtime.malloc_device(num_bytes);
  void* second = runtime.malloc_device(num_bytes);
  runtime.memcpy_sync(first, from.data(), num_bytes, LLAISYS_MEMCPY_H2D);
  runtime.memcpy_sync(second, first, num_bytes, LLAISYS_MEMCPY_D2D);
  runtime.memcpy_sync(back.data(), second, num_bytes, LLAISYS_MEMCPY_D2H);
  report.ok(back == from, name + ": there, across and back");

  llaisysStream_t stream = runtime.create_stream();
  void* pinned = runtime.malloc_host(num_bytes);
  runtime.memcpy_sync(pinned, from.data(), num_bytes, LLAISYS_MEMCPY_H2H);
  std::memset(back.data(), 0, num_bytes);
  runtime.memcpy_async(second, pinned, num_bytes, LLAISYS_MEMCPY_H2D, stream);
  runtime.memcpy_async(pinned, second, num_bytes, LLAISYS_MEMCPY_D2H, stream);
  runtime.stream_synchronize(stream);
  report.ok(std::memcmp(pinned, from.data(), num_bytes) == 0, name + ": on a stream");
  runtime.device_synchronize();
  runtime.destroy_stream(stream);
  runtime.free_host(pinned);
  runtime.free_device(first);
  runtime.free_device(second);

  const std::string count = std::to_string(runtime.get_device_count());
  refused(report, "set_device", [&] { runtime.set_device(99); }, {"99", "device"});
  refused(report, "llaisysSetContextRuntime", [&] { library.llaisysSetContextRuntime(device, 99); },
          {name + " 99", count});
  refused(report, "memcpy_sync",
          [&] {
            runtime.memcpy_sync(back.data(), from.data(), 1, static_cast<llaisysMemcpyKind_t>(7));
          },
          {"kind is 7", "0 to 3"});
}

void test_tensors(tap::Report& report, const Library& library, llaisysDeviceType_t device) {
  const Handle tensor(library, {3, 4, 5}, LLAISYS_DTYPE_I64, device);
  std::vector<std::int64_t> values(60);
  for (int i = 0; i < 60; ++i) values[i] = i;
  library.tensorLoad(tensor, values.data());
  report.ok(tensor.memory<std::int64_t>(60) == values, "load");
  report.ok(tensor.shape() == Sizes{3, 4, 5} && tensor.strides() == Strides{20, 5, 1} &&
                library.tensorIsContiguous(tensor) == 1,
            "a new tensor is row-major");
  report.ok(library.tensorGetDataType(tensor) == LLAISYS_DTYPE_I64 &&
                library.tensorGetDeviceType(tensor) == device &&
                library.tensorGetDeviceId(tensor) == 0,
            "type and device");

  const Handle view = tensor.view({6, 10});
  report.ok(view.shape() == Sizes{6, 10} && view.strides() == Strides{10, 1} &&
                library.tensorGetData(view) == library.tensorGetData(tensor),
            "a view");
  const Handle permuted = tensor.permute({2, 0, 1});
  report.ok(permuted.shape() == Sizes{5, 3, 4} && permuted.strides() == Strides{1, 20, 5} &&
                library.tensorIsContiguous(permuted) == 0,
            "permuted");
  const Handle slice = tensor.slice(2, 1, 4);
  report.ok(slice.shape() == Sizes{3, 4, 3} && slice.strides() == Strides{20, 5, 1} &&
                slice.memory<std::int64_t>(1)[0] == 1 && library.tensorIsContiguous(slice) == 0,
            "a slice");
  const Handle rows = tensor.slice(0, 1, 3);
  report.ok(library.tensorIsContiguous(rows) == 1 && rows.memory<std::int64_t>(1)[0] == 20,
            "a slice of rows is contiguous");
  const Handle split = slice.view({3, 2, 1, 2, 3});
  report.ok(
      split.strides() == Strides{20, 10, 10, 5, 1} && slice.view({12, 3}).shape() == Sizes{12, 3},
      "a view that cuts and joins the dimensions of a slice");
  refused(report, "tensorView", [&] { slice.view({36}); }, {"(36)", "(3, 4, 3)", "copy"});
  refused(report, "tensorView", [&] { permuted.view({15, 4}); }, {"(15, 4)", "(5, 3, 4)"});

  const Handle dense(library, {5, 3, 4}, LLAISYS_DTYPE_I64, device);
  library.llaisysRearrange(dense, permuted);
  const auto turned = dense.memory<std::int64_t>(60);
  bool is_right = true;
  for (int i = 0; i < 60; ++i) is_right = is_right && turned[i] == i % 12 * 5 + i / 12;
  report.ok(is_right, "rearranged");
  library.tensorLoad(permuted, turned.data());
  report.ok(tensor.memory<std::int64_t>(60) == values, "load into a permuted tensor");

  const std::string printed = testing::output_of(1, [&] { library.tensorDebug(slice); });
  report.ok(printed.find("(3, 4, 3)") != std::string::npos &&
                printed.find("(20, 5, 1)") != std::string::npos &&
                printed.find("I64") != std::string::npos &&
                printed.find("56 57 58\n") != std::string::npos,
            "debug prints what is in the slice");
  report.ok(Handle(library, {0, 7}, LLAISYS_DTYPE_C128, device).view({7, 0}).shape() == Sizes{7, 0},
            "a tensor of nothing");
  library.tensorDestroy(nullptr);
}

void test_tensor_refusals(tap::Report& report, const Library& library) {
  const Handle tensor(library, {3, 4}, LLAISYS_DTYPE_F32, LLAISYS_DEVICE_CPU);
  const auto create = [&](Sizes shape, int dtype, int device, int id) {
    return [&library, shape, dtype, device, id]() mutable {
      library.tensorCreate(shape.data(), shape.size(), static_cast<llaisysDataType_t>(dtype),
                           static_cast<llaisysDeviceType_t>(device), id);
    };
  };
  refused(report, "tensorCreate", create({2}, 0, 0, 0), {"dtype is 0", "1 to 19"});
  refused(report, "tensorCreate", create({2}, 20, 0, 0), {"dtype is 20"});
  refused(report, "tensorCreate", create({2}, 13, 5, 0), {"device is 5", "NVIDIA"});
  refused(report, "tensorCreate", create({2}, 13, 0, 1), {"CPU 1", "counted from 0"});
  refused(report, "tensorCreate", create({SIZE_MAX / 2, 4}, 13, 0, 0), {"shape", "addresses"});
  refused(report, "tensorCreate", create({std::size_t{1} << 60}, 1, 0, 0), {"bytes of memory"});
  refused(report, "tensorGetData", [&] { library.tensorGetData(nullptr); }, {"tensor is null"});
  refused(report, "tensorView", [&] { tensor.view({5}); }, {"(5)", "(3, 4)", "number of elements"});
  refused(report, "tensorPermute", [&] { tensor.permute({0, 0}); }, {"(0, 0)", "once"});
  refused(report, "tensorPermute", [&] { tensor.permute({0, 2}); }, {"(0, 2)"});
  refused(report, "tensorSlice", [&] { tensor.slice(2, 0, 1); }, {"dim is 2", "2 dimensions"});
  refused(report, "tensorSlice", [&] { tensor.slice(1, 2, 5); }, {"2 and 5", "4 elements"});
  refused(report, "tensorSlice", [&] { tensor.slice(1, 3, 2); }, {"3 and 2", "ascending"});
  refused(report, "tensorLoad", [&] { library.tensorLoad(tensor, nullptr); }, {"data is null"});
}

void test_without_gpu(tap::Report& report, const Library& library) {
  refused(report, "tensorCreate",
          [&] {
            std::size_t one = 1;
            library.tensorCreate(&one, 1, LLAISYS_DTYPE_F32, LLAISYS_DEVICE_NVIDIA, 0);
          },
          {"NVIDIA 0", "there are 0"});
}

}  // namespace

int main(int argc, char** argv) {
  tap::Report report;
  const Library library(argc > 1 ? argv[1] : LLAISYS_LIBRARY);
  test_runtime(report, library, LLAISYS_DEVICE_CPU);
  test_tensors(report, library, LLAISYS_DEVICE_CPU);
  test_tensor_refusals(report, library);
  refused(report, "llaisysGetRuntimeAPI",
          [&] { library.llaisysGetRuntimeAPI(static_cast<llaisysDeviceType_t>(2)); },
          {"device is 2"});
  if (library.llaisysGetRuntimeAPI(LLAISYS_DEVICE_NVIDIA)->get_device_count() > 0) {
    test_runtime(report, library, LLAISYS_DEVICE_NVIDIA);
    test_tensors(report, library, LLAISYS_DEVICE_NVIDIA);
  } else {
    test_without_gpu(report, library);
  }
  return report.finish();
}
