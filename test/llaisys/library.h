// libllaisys.so as its users get it: loaded at run time, reached by the names of its functions.
#pragma once

#include <dlfcn.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <exception>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "native/llaisys/llaisys.h"
#include "test/kernels/tap.h"

namespace testing {

// One member for each function, of the same name and type.
struct Library {
  explicit Library(const char* path) : handle(dlopen(path, RTLD_NOW | RTLD_LOCAL)) {
    if (handle == nullptr) throw std::runtime_error(dlerror());
  }

  void* handle;

#define LLAISYS_FUNCTION(name) decltype(&::name) name = find<decltype(&::name)>(#name)
  template <typename Function>
  Function find(const char* name) const {
    void* address = dlsym(handle, name);
    if (address == nullptr) throw std::runtime_error(dlerror());
    return reinterpret_cast<Function>(address);
  }

  LLAISYS_FUNCTION(llaisysGetRuntimeAPI);
  LLAISYS_FUNCTION(llaisysSetContextRuntime);
  LLAISYS_FUNCTION(tensorCreate);
  LLAISYS_FUNCTION(tensorDestroy);
  LLAISYS_FUNCTION(tensorGetData);
  LLAISYS_FUNCTION(tensorGetNdim);
  LLAISYS_FUNCTION(tensorGetShape);
  LLAISYS_FUNCTION(tensorGetStrides);
  LLAISYS_FUNCTION(tensorGetDataType);
  LLAISYS_FUNCTION(tensorGetDeviceType);
  LLAISYS_FUNCTION(tensorGetDeviceId);
  LLAISYS_FUNCTION(tensorIsContiguous);
  LLAISYS_FUNCTION(tensorDebug);
  LLAISYS_FUNCTION(tensorLoad);
  LLAISYS_FUNCTION(tensorView);
  LLAISYS_FUNCTION(tensorPermute);
  LLAISYS_FUNCTION(tensorSlice);
  LLAISYS_FUNCTION(llaisysAdd);
  LLAISYS_FUNCTION(llaisysArgmax);
  LLAISYS_FUNCTION(llaisysEmbedding);
  LLAISYS_FUNCTION(llaisysLinear);
  LLAISYS_FUNCTION(llaisysRearrange);
  LLAISYS_FUNCTION(llaisysRmsNorm);
  LLAISYS_FUNCTION(llaisysROPE);
  LLAISYS_FUNCTION(llaisysSelfAttention);
  LLAISYS_FUNCTION(llaisysSwiGLU);
  LLAISYS_FUNCTION(llaisysQwen2ModelCreate);
  LLAISYS_FUNCTION(llaisysQwen2ModelDestroy);
  LLAISYS_FUNCTION(llaisysQwen2ModelWeights);
  LLAISYS_FUNCTION(llaisysQwen2ModelInfer);
#undef LLAISYS_FUNCTION
};

using Sizes = std::vector<std::size_t>;

// A handle that is destroyed with its scope.
class Handle {
 public:
  Handle(const Library& library, llaisysTensor_t tensor) : library_(&library), tensor_(tensor) {}
  Handle(const Library& library, Sizes shape, llaisysDataType_t dtype, llaisysDeviceType_t device)
      : Handle(library, library.tensorCreate(shape.data(), shape.size(), dtype, device, 0)) {}
  ~Handle() { library_->tensorDestroy(tensor_); }
  Handle(Handle&& other) noexcept
      : library_(other.library_), tensor_(std::exchange(other.tensor_, nullptr)) {}
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  operator llaisysTensor_t() const { return tensor_; }

  Handle view(Sizes shape) const {
    return {*library_, library_->tensorView(tensor_, shape.data(), shape.size())};
  }
  Handle permute(Sizes order) const {
    return {*library_, library_->tensorPermute(tensor_, order.data())};
  }
  Handle slice(std::size_t dim, std::size_t start, std::size_t end) const {
    return {*library_, library_->tensorSlice(tensor_, dim, start, end)};
  }
  Sizes shape() const {
    Sizes shape(library_->tensorGetNdim(tensor_));
    library_->tensorGetShape(tensor_, shape.data());
    return shape;
  }
  std::vector<std::ptrdiff_t> strides() const {
    std::vector<std::ptrdiff_t> strides(library_->tensorGetNdim(tensor_));
    library_->tensorGetStrides(tensor_, strides.data());
    return strides;
  }

  // The first `count` elements of the memory, whatever the strides.
  template <typename T>
  std::vector<T> memory(std::size_t count) const {
    std::vector<T> values(count);
    const auto type = library_->tensorGetDeviceType(tensor_);
    library_->llaisysGetRuntimeAPI(type)->memcpy_sync(
        values.data(), library_->tensorGetData(tensor_), count * sizeof(T), LLAISYS_MEMCPY_D2H);
    return values;
  }

 private:
  const Library* library_;
  llaisysTensor_t tensor_;
};

// What body() writes to the file descriptor (1 or 2).
template <typename Body>
std::string output_of(int descriptor, Body&& body) {
  std::fflush(stdout);
  std::FILE* file = std::tmpfile();
  const int saved = dup(descriptor);
  dup2(fileno(file), descriptor);
  body();
  std::fflush(descriptor == 1 ? stdout : stderr);
  dup2(saved, descriptor);
  close(saved);
  std::rewind(file);
  std::string text;
  for (int c = std::fgetc(file); c != EOF; c = std::fgetc(file)) text += static_cast<char>(c);
  std::fclose(file);
  return text;
}

// Holds if body() throws, and has printed a line that begins with the function's name and holds
// every part.
template <typename Body>
void refused(tap::Report& report, const char* function, Body&& body,
             std::initializer_list<std::string> parts) {
  bool has_thrown = false;
  const std::string printed = output_of(2, [&] {
    try {
      body();
    } catch (const std::exception&) {
      has_thrown = true;
    }
  });
  bool is_right = has_thrown && printed.find(std::string(function) + ": ") != std::string::npos;
  for (const std::string& part : parts) {
    is_right = is_right && printed.find(part) != std::string::npos;
  }
  report.ok(is_right, std::string(function) + " refuses: " + *parts.begin());
  if (!is_right)
    report.note((has_thrown ? "threw, and printed: " : "no throw, printed: ") + printed);
}

}  // namespace testing
