#include <cstdio>
#include <cstring>

#include "native/llaisys/operators.h"
#include "native/llaisys/tensor.h"

namespace llaisys {
namespace {

constexpr std::size_t kMaxPrinted = 1000;

template <typename T>
T read(const unsigned char* element) {
  T value;
  std::memcpy(&value, element, sizeof value);
  return value;
}

std::string text_of_element(llaisysDataType_t dtype, const unsigned char* element) {
  char text[40];
  switch (dtype) {
    case LLAISYS_DTYPE_BOOL:
      return element[0] != 0 ? "true" : "false";
    case LLAISYS_DTYPE_I8:
      return std::to_string(read<std::int8_t>(element));
    case LLAISYS_DTYPE_I16:
      return std::to_string(read<std::int16_t>(element));
    case LLAISYS_DTYPE_I32:
      return std::to_string(read<std::int32_t>(element));
    case LLAISYS_DTYPE_I64:
      return std::to_string(read<std::int64_t>(element));
    case LLAISYS_DTYPE_U8:
      return std::to_string(element[0]);
    case LLAISYS_DTYPE_U16:
      return std::to_string(read<std::uint16_t>(element));
    case LLAISYS_DTYPE_U32:
      return std::to_string(read<std::uint32_t>(element));
    case LLAISYS_DTYPE_U64:
      return std::to_string(read<std::uint64_t>(element));
    case LLAISYS_DTYPE_F16:
      std::snprintf(text, sizeof text, "%g", kernels::to_float(read<kernels::f16>(element)));
      return text;
    case LLAISYS_DTYPE_BF16:
      std::snprintf(text, sizeof text, "%g", kernels::to_float(read<kernels::bf16>(element)));
      return text;
    case LLAISYS_DTYPE_F32:
      std::snprintf(text, sizeof text, "%g", read<float>(element));
      return text;
    case LLAISYS_DTYPE_F64:
      std::snprintf(text, sizeof text, "%g", read<double>(element));
      return text;
    default: {
      // Bytes, 8-bit floats and complex numbers: as they are in memory.
      std::string bytes = "0x";
      for (std::size_t i = 0; i < bytes_of(dtype); ++i) {
        std::snprintf(text, sizeof text, "%02x", element[i]);
        bytes += text;
      }
      return bytes;
    }
  }
}

std::string text_of(const Tensor::Strides& strides) {
  std::string text = "(";
  for (std::size_t i = 0; i < strides.size(); ++i) {
    text += (i > 0 ? ", " : "") + std::to_string(strides[i]);
  }
  return text + ")";
}

}  // namespace

void print(const Tensor& tensor) {
  std::printf("Tensor: shape %s, strides %s, type %s, on %s\n", text_of(tensor.shape()).c_str(),
              text_of(tensor.strides()).c_str(), name_of(tensor.dtype()).c_str(),
              name_of(tensor.device()).c_str());
  const Tensor dense = contiguous(tensor);
  std::vector<unsigned char> bytes(dense.num_bytes());
  dense.store(bytes.data());
  const std::size_t count = tensor.num_elements();
  const std::size_t width = tensor.num_dims() > 0 ? tensor.shape().back() : 1;
  for (std::size_t i = 0; i < count && i < kMaxPrinted; ++i) {
    const std::string element =
        text_of_element(tensor.dtype(), &bytes[i * bytes_of(tensor.dtype())]);
    std::printf("%s%c", element.c_str(), (i + 1) % width == 0 ? '\n' : ' ');
  }
  if (count > kMaxPrinted) std::printf("\n... %zu more\n", count - kMaxPrinted);
  std::fflush(stdout);
}

}  // namespace llaisys
