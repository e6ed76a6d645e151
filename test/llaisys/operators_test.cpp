// The operators of the C interface: that each passes its tensors on as the kernels expect them, for
// dense tensors, for strided ones, and without a bias; and that it refuses what it must. How exact
// the kernels are is the business of test/kernels.
#include <cmath>
#include <cstdint>

#include "test/kernels/plain_values.h"
#include "test/llaisys/library.h"
#include "test/reference/attention.h"
#include "test/reference/linear.h"
#include "test/reference/rms_norm.h"
#include "test/reference/rope.h"
#include "test/reference/swiglu.h"

namespace {

using testing::Handle;
using testing::Library;
using testing::PlainType;
using testing::refused;
using testing::Sizes;

template <typename T>
llaisysDataType_t dtype_of() {
  if (PlainType<T>::kType == kernels::DType::kF32) return LLAISYS_DTYPE_F32;
  return PlainType<T>::kType == kernels::DType::kF16 ? LLAISYS_DTYPE_F16 : LLAISYS_DTYPE_BF16;
}

// A tensor that lies in memory in one of three ways: dense, as a slice of a wider one, or with its
// first two dimensions exchanged.
enum class Layout { kDense, kSlice, kPermuted };

Handle make(const Library& library, Sizes shape, llaisysDataType_t dtype,
            llaisysDeviceType_t device, Layout layout) {
  if (layout == Layout::kSlice) {
    const std::size_t size = shape.back();
    shape.back() += 3;
    return Handle(library, shape, dtype, device).slice(shape.size() - 1, 2, 2 + size);
  }
  if (layout == Layout::kPermuted && shape.size() >= 2) {
    std::swap(shape[0], shape[1]);
    const Handle turned(library, shape, dtype, device);
    return shape.size() == 2 ? turned.permute({1, 0}) : turned.permute({1, 0, 2});
  }
  return Handle(library, shape, dtype, device);
}

// One operator's test on one device, in one type and layout.
template <typename T>
class Case {
 public:
  Case(tap::Report& report, const Library& library, llaisysDeviceType_t device, Layout layout)
      : report_(report), library_(library), device_(device), layout_(layout) {}

  // A tensor with seeded values, which stay in `values` as doubles.
  Handle input(const Sizes& shape, std::vector<double>& values) {
    std::size_t count = 1;
    for (const std::size_t size : shape) count *= size;
    const auto narrow = testing::uniform_values<T>(count, -1, 1, ++seed_);
    values = testing::widened(narrow);
    Handle tensor = make(library_, shape, dtype_of<T>(), device_, layout_);
    library_.tensorLoad(tensor, narrow.data());
    return tensor;
  }

  Handle indices(std::vector<std::int64_t> values) {
    Handle tensor = make(library_, {values.size()}, LLAISYS_DTYPE_I64, device_, layout_);
    library_.tensorLoad(tensor, values.data());
    return tensor;
  }

  Handle output(const Sizes& shape) {
    return make(library_, shape, dtype_of<T>(), device_, layout_);
  }

  void expect(const Handle& got, const std::vector<double>& want, const std::string& name) {
    const Handle dense(library_, got.shape(), dtype_of<T>(), device_);
    library_.llaisysRearrange(dense, got);
    const auto values = testing::widened(dense.memory<T>(want.size()));
    const char* layouts[] = {"dense", "sliced", "permuted"};
    report_.close(values.data(), want.data(), want.size(), PlainType<T>::kTolerance,
                  std::string(device_ == LLAISYS_DEVICE_CPU ? "CPU " : "NVIDIA ") +
                      PlainType<T>::kName + " " + layouts[static_cast<int>(layout_)] + " " + name);
  }

  const Library& library() const { return library_; }

 private:
  tap::Report& report_;
  const Library& library_;
  llaisysDeviceType_t device_;
  Layout layout_;
  std::uint32_t seed_ = 0;
};

template <typename T>
void test_element_wise(Case<T> test) {
  std::vector<double> a_values, b_values, weights;
  const Handle a = test.input({5, 3, 14}, a_values);
  const Handle b = test.input({5, 3, 14}, b_values);
  const Handle weight = test.input({14}, weights);
  const Handle out = test.output({5, 3, 14});
  std::vector<double> sums, gated, normed;
  for (std::size_t i = 0; i < a_values.size(); ++i) {
    sums.push_back(reference::rounded<T>(a_values[i] + b_values[i]));
    gated.push_back(reference::swiglu<T>(a_values[i], b_values[i]));
  }
  for (std::size_t i = 0; i < a_values.size(); i += 14) {
    const auto row = reference::rms_norm<T>(&a_values[i], weights.data(), 14, 1e-5f);
    normed.insert(normed.end(), row.begin(), row.end());
  }
  test.library().llaisysAdd(out, a, b);
  test.expect(out, sums, "add");
  test.library().llaisysSwiGLU(out, a, b);
  test.expect(out, gated, "swiglu");
  test.library().llaisysRmsNorm(out, a, weight, 1e-5f);
  test.expect(out, normed, "rms_norm");
  test.library().llaisysAdd(a, a, b);
  test.expect(a, sums, "add in place");
}

template <typename T>
void test_linear(Case<T> test) {
  std::vector<double> x, weights, biases;
  const Handle in = test.input({13, 37}, x);
  const Handle weight = test.input({21, 37}, weights);
  const Handle bias = test.input({21}, biases);
  const Handle out = test.output({13, 21});
  const auto rounded = [](std::vector<double> values) {
    for (double& value : values) value = reference::rounded<T>(value);
    return values;
  };
  test.library().llaisysLinear(out, in, weight, bias);
  test.expect(out, rounded(reference::linear(x.data(), weights.data(), biases.data(), 13, 37, 21)),
              "linear");
  test.library().llaisysLinear(out, in, weight, nullptr);
  test.expect(out, rounded(reference::linear(x.data(), weights.data(), nullptr, 13, 37, 21)),
              "linear without a bias");
}

template <typename T>
void test_lookups(Case<T> test) {
  std::vector<double> table, wanted;
  const Handle weight = test.input({9, 6}, table);
  for (const int row : {8, 0, 3, 3}) {
    wanted.insert(wanted.end(), table.begin() + row * 6, table.begin() + row * 6 + 6);
  }
  const Handle out = test.output({4, 6});
  test.library().llaisysEmbedding(out, test.indices({8, 0, 3, 3}), weight);
  test.expect(out, wanted, "embedding");

  const auto best = std::max_element(table.begin(), table.end()) - table.begin();
  const Handle column = weight.slice(1, best % 6, best % 6 + 1);
  const Handle flat = column.view({9});
  const Handle index = test.indices({-1});
  const Handle value = test.output({1});
  test.library().llaisysArgmax(index, value, flat);
  test.expect(value, {table[best]}, "argmax of a column: value");
  test.expect(weight.slice(0, index.template memory<std::int64_t>(1)[0], 9),
              std::vector<double>(table.begin() + best / 6 * 6, table.end()),
              "argmax of a column: index");
}

template <typename T>
void test_attention(Case<T> test) {
  const reference::AttentionShape shape = {5, 11, 6, 2, 8, 12};
  std::vector<double> q_values, k_values, v_values;
  const Handle q = test.input({5, 6, 8}, q_values);
  const Handle k = test.input({11, 2, 8}, k_values);
  const Handle v = test.input({11, 2, 12}, v_values);
  const Handle attended = test.output({5, 6, 12});
  test.library().llaisysSelfAttention(attended, q, k, v, 0.35f);
  test.expect(attended, reference::attention<T>(shape, q_values, k_values, v_values, 0.35f),
              "self_attention");

  std::vector<double> turned;
  for (int t = 0; t < 5; ++t) {
    for (int h = 0; h < 6; ++h) {
      const auto head = reference::rope<T>(&q_values[(t * 6 + h) * 8], 8, 40 + 3 * t, 1e4f);
      turned.insert(turned.end(), head.begin(), head.end());
    }
  }
  const Handle out = test.output({5, 6, 8});
  test.library().llaisysROPE(out, q, test.indices({40, 43, 46, 49, 52}), 1e4f);
  test.expect(out, turned, "rope");
}

template <typename T>
void test_type(tap::Report& report, const Library& library, llaisysDeviceType_t device) {
  for (const Layout layout : {Layout::kDense, Layout::kSlice, Layout::kPermuted}) {
    const Case<T> test(report, library, device, layout);
    test_element_wise(test);
    test_linear(test);
    test_lookups(test);
    test_attention(test);
  }
}

void test_refusals(tap::Report& report, const Library& l, llaisysDeviceType_t device) {
  const auto floats = [&](Sizes shape) { return Handle(l, shape, LLAISYS_DTYPE_F32, device); };
  const auto ids = [&](Sizes shape) { return Handle(l, shape, LLAISYS_DTYPE_I64, device); };
  const Handle a = floats({2, 3}), b = floats({2, 4}), half(l, {2, 3}, LLAISYS_DTYPE_F16, device);
  const Handle vector = floats({4}), cube = floats({2, 3, 4}), index = ids({2}), one = floats({1});

  refused(report, "llaisysAdd", [&] { l.llaisysAdd(a, a, b); }, {"argument b", "(2, 4)", "(2, 3)"});
  refused(report, "llaisysAdd", [&] { l.llaisysAdd(a, half, a); }, {"argument a", "F16", "F32"});
  refused(report, "llaisysAdd", [&] { l.llaisysAdd(index, index, index); }, {"argument c", "I64"});
  refused(report, "llaisysAdd", [&] { l.llaisysAdd(a, nullptr, a); }, {"argument a is null"});
  refused(report, "llaisysSwiGLU", [&] { l.llaisysSwiGLU(a, b, a); }, {"argument gate", "(2, 4)"});
  refused(report, "llaisysArgmax", [&] { l.llaisysArgmax(index, one, vector); },
          {"argument max_idx", "(2)", "one element"});
  refused(report, "llaisysArgmax", [&] { l.llaisysArgmax(one, one, vector); },
          {"argument max_idx", "F32", "I64"});
  refused(report, "llaisysArgmax", [&] { l.llaisysArgmax(ids({1}), one, floats({0})); },
          {"num_values is 0"});
  refused(report, "llaisysEmbedding", [&] { l.llaisysEmbedding(a, index, b); },
          {"argument out", "(2, 3)", "(2, 4)"});
  refused(report, "llaisysEmbedding", [&] { l.llaisysEmbedding(a, vector, a); },
          {"argument index", "F32", "I64"});
  refused(report, "llaisysLinear",
          [&] {
            l.llaisysLinear(floats({2, 2}), a, b, nullptr);
          },
          {"argument weight", "(2, 4)", "(2, 3)"});
  refused(report, "llaisysLinear",
          [&] {
            l.llaisysLinear(floats({2, 2}), a, a, vector);
          },
          {"argument bias", "(4)", "(2)"});
  refused(report, "llaisysRmsNorm", [&] { l.llaisysRmsNorm(a, a, vector, 1e-5f); },
          {"argument weight", "(4)", "(3)"});
  refused(report, "llaisysROPE", [&] { l.llaisysROPE(a, a, index, 1e4f); },
          {"argument out", "3 dimensions"});
  refused(report, "llaisysROPE",
          [&] {
            l.llaisysROPE(floats({2, 2, 3}), floats({2, 2, 3}), index, 1e4f);
          },
          {"head_dim is 3", "even"});
  refused(report, "llaisysROPE", [&] { l.llaisysROPE(cube, cube, ids({3}), 1e4f); },
          {"argument pos_ids", "(3)", "(2)"});
  refused(report, "llaisysSelfAttention",
          [&] {
            l.llaisysSelfAttention(cube, cube, floats({1, 3, 4}), floats({1, 3, 4}), 1);
          },
          {"kv_len 1", "query_len 2"});
  refused(report, "llaisysSelfAttention",
          [&] {
            l.llaisysSelfAttention(cube, cube, cube, floats({2, 1, 4}), 1);
          },
          {"argument v", "(2, 1, 4)", "(2, 3, 4)"});
  refused(report, "llaisysRearrange", [&] { l.llaisysRearrange(a, b); }, {"argument in", "(2, 4)"});

  const std::int64_t outside[] = {1, 2};
  l.tensorLoad(index, outside);
  refused(report, "llaisysEmbedding", [&] { l.llaisysEmbedding(a, index, a.slice(0, 0, 2)); },
          {"index 2", "position 1", "2 rows"});
}

}  // namespace

int main(int argc, char** argv) {
  tap::Report report;
  const Library library(argc > 1 ? argv[1] : LLAISYS_LIBRARY);
  for (const auto device : {LLAISYS_DEVICE_CPU, LLAISYS_DEVICE_NVIDIA}) {
    if (library.llaisysGetRuntimeAPI(device)->get_device_count() == 0) continue;
    test_type<float>(report, library, device);
    test_type<kernels::f16>(report, library, device);
    test_type<kernels::bf16>(report, library, device);
    test_refusals(report, library, device);
  }
  if (library.llaisysGetRuntimeAPI(LLAISYS_DEVICE_NVIDIA)->get_device_count() > 0) {
    const Handle here(library, {2}, LLAISYS_DTYPE_F32, LLAISYS_DEVICE_CPU);
    const Handle there(library, {2}, LLAISYS_DTYPE_F32, LLAISYS_DEVICE_NVIDIA);
    refused(report, "llaisysAdd", [&] { library.llaisysAdd(there, there, here); },
            {"argument b", "CPU 0", "NVIDIA 0"});
  }
  return report.finish();
}
