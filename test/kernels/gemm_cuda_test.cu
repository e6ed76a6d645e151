// The tensor-core linear layer against sums in double, which a plain kernel computes on the device:
// every output, type and rounding, ragged sizes, strides, every tile, split sums and the promises
// about bits. `small` as an argument runs a few shapes only, for the memory and race checkers.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <string>
#include <vector>

#include "kernels/cuda_gemm.cuh"
#include "test/kernels/device_buffer.cuh"
#include "test/kernels/tap.h"

using kernels::CudaLinear;
using kernels::DType;
using kernels::GemmPlan;
using kernels::LinearOutput;
using kernels::Numerics;
using testing::DeviceBuffer;

namespace {

template <class T>
struct Type;
template <>
struct Type<__half> {
  static constexpr DType kType = DType::kF16;
  static constexpr const char* kName = "f16";
  static constexpr double kTolerance = 1e-3;
};
template <>
struct Type<__nv_bfloat16> {
  static constexpr DType kType = DType::kBF16;
  static constexpr const char* kName = "bf16";
  static constexpr double kTolerance = 1e-2;
};

__device__ double rounded_once(double value, __half) { return __half2float(__double2half(value)); }
__device__ double rounded_once(double value, __nv_bfloat16) {
  return __bfloat162float(__double2bfloat16(value));
}

// About normal with standard deviation `scale`; every `spike`-th value twenty times as large.
template <class T>
__global__ void fill_kernel(T* values, int rows, int columns, std::int64_t stride, float scale,
                            unsigned seed, int spike) {
  const std::int64_t count = static_cast<std::int64_t>(rows) * columns;
  for (std::int64_t i = blockIdx.x * 256 + threadIdx.x; i < count; i += gridDim.x * 256) {
    std::uint64_t state = (static_cast<std::uint64_t>(seed) << 40) + i;
    float sum = 0;
    for (int draw = 0; draw < 4; ++draw) {  // splitmix64
      state += 0x9e3779b97f4a7c15u;
      std::uint64_t bits = state;
      bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9u;
      bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebu;
      sum += static_cast<float>((bits ^ (bits >> 31)) >> 40) / (1 << 24) - 0.5f;
    }
    const float value = sum * 1.7320508f * scale * (spike > 0 && i % spike == 5 ? 20 : 1);
    values[i / columns * stride + i % columns] = kernels::narrow<T>(value);
  }
}

// y[t, n] = sum_k x[t, k] w[n, k] + bias[n] in double.
template <class T>
__global__ void reference_kernel(double* y, const T* x, std::int64_t x_stride, const T* w,
                                 const T* bias, int num_tokens, int n, int k) {
  constexpr int kTile = 16;
  __shared__ double xs[kTile][kTile + 1];
  __shared__ double ws[kTile][kTile + 1];
  const int token = blockIdx.y * kTile + threadIdx.y;
  const int row = blockIdx.x * kTile + threadIdx.x;
  const int w_row = blockIdx.x * kTile + threadIdx.y;
  double sum = 0;
  for (int first = 0; first < k; first += kTile) {
    const int column = first + threadIdx.x;
    xs[threadIdx.y][threadIdx.x] =
        token < num_tokens && column < k ? kernels::as_float(x[token * x_stride + column]) : 0;
    ws[threadIdx.y][threadIdx.x] =
        w_row < n && column < k
            ? kernels::as_float(w[static_cast<std::int64_t>(w_row) * k + column])
            : 0;
    __syncthreads();
    for (int i = 0; i < kTile; ++i) sum += xs[threadIdx.y][i] * ws[threadIdx.x][i];
    __syncthreads();
  }
  if (token >= num_tokens || row >= n) return;
  y[static_cast<std::int64_t>(token) * n + row] =
      sum + (bias != nullptr ? kernels::as_float(bias[row]) : 0);
}

// What an operator left in memory, counted.
struct Verdict {
  unsigned long long num_bad;      // outside the tolerance, or NaN
  unsigned long long num_inexact;  // not the reference's bits
  unsigned long long num_touched;  // written where nothing may be written
  int first_bad_token;
  int first_bad_column;
  float got;
  float want;
};

struct Comparison {
  const double* y;  // [.., y_columns]
  int y_columns;
  int num_tokens;
  int out_columns;
  int num_rows;  // of out in memory, more than num_tokens
  std::int64_t out_stride;
  LinearOutput output;
  bool is_reference;
  double tolerance;
};

template <class T>
__device__ double expected(const Comparison& c, const T* residual, int token, int column) {
  const double* y = c.y + static_cast<std::int64_t>(token) * c.y_columns;
  const auto maybe = [&](double value) {
    return c.is_reference ? rounded_once(value, T()) : value;
  };
  if (c.output == LinearOutput::kLogits) return maybe(y[column]);
  if (c.output == LinearOutput::kStore) return rounded_once(y[column], T());
  if (c.output == LinearOutput::kAddResidual) {
    const double old = kernels::as_float(residual[token * c.out_stride + column]);
    return rounded_once(old + maybe(y[column]), T());
  }
  const int row = column / 16 * 32 + column % 16;
  const double gate = maybe(y[row]);
  const double up = maybe(y[row + 16]);
  return rounded_once(maybe(gate / (1 + exp(-gate))) * up, T());
}

template <class T, class Out>
__global__ void compare_kernel(Comparison c, const Out* out, const T* residual, Verdict* verdict) {
  const std::int64_t count = c.num_rows * c.out_stride;
  for (std::int64_t i = blockIdx.x * 256 + threadIdx.x; i < count; i += gridDim.x * 256) {
    const int token = static_cast<int>(i / c.out_stride);
    const int column = static_cast<int>(i % c.out_stride);
    const double got = kernels::as_float(out[i]);
    if (token >= c.num_tokens || column >= c.out_columns) {
      if (!isnan(got)) atomicAdd(&verdict->num_touched, 1ull);
      continue;
    }
    const double want = expected(c, residual, token, column);
    if (got != want) atomicAdd(&verdict->num_inexact, 1ull);
    // What cancels against the residual was rounded at its own size.
    const double size =
        c.output == LinearOutput::kAddResidual
            ? fmax(fabs(want), fabs(c.y[token * static_cast<std::int64_t>(c.y_columns) + column]))
            : fabs(want);
    if (!(fabs(got - want) <= c.tolerance * (1 + size))) {
      if (atomicAdd(&verdict->num_bad, 1ull) == 0) {
        verdict->first_bad_token = token;
        verdict->first_bad_column = column;
        verdict->got = static_cast<float>(got);
        verdict->want = static_cast<float>(want);
      }
    }
  }
}

__global__ void count_nonzero_kernel(const unsigned* values, int count, unsigned long long* total) {
  for (int i = threadIdx.x; i < count; i += blockDim.x) {
    if (values[i] != 0) atomicAdd(total, 1ull);
  }
}

const char* name_of(LinearOutput output) {
  switch (output) {
    case LinearOutput::kStore:
      return "store";
    case LinearOutput::kAddResidual:
      return "add_residual";
    case LinearOutput::kSwiGlu:
      return "swiglu";
    default:
      return "logits";
  }
}

struct Case {
  LinearOutput output;
  Numerics numerics;
  bool has_bias;
  bool is_batch_invariant;
  int num_tokens;
  int out_pad;  // columns of memory between rows of out
};

std::string text_of(const Case& c) {
  return std::string(name_of(c.output)) + " M=" + std::to_string(c.num_tokens) +
         (c.numerics == Numerics::kReference ? " reference" : " fast") +
         (c.has_bias ? " bias" : "") + (c.is_batch_invariant ? " invariant" : "") + " pad " +
         std::to_string(c.out_pad);
}

// x, W, bias, the sums and the output of one weight shape in one type.
template <class T>
class Layer {
 public:
  Layer(int n, int k, int x_pad, int most_tokens)
      : n_(n),
        k_(k),
        x_stride_(k + x_pad),
        most_tokens_(most_tokens),
        x_(static_cast<std::size_t>(most_tokens) * x_stride_),
        w_(static_cast<std::size_t>(n) * k),
        bias_(n),
        residual_(static_cast<std::size_t>(most_tokens + 3) * (n + kMostPad)),
        out_(static_cast<std::size_t>(most_tokens + 3) * (n + kMostPad)),
        y_{DeviceBuffer<double>(static_cast<std::size_t>(most_tokens) * n),
           DeviceBuffer<double>(static_cast<std::size_t>(most_tokens) * n)},
        workspace_(kernels::cuda_gemm_workspace_bytes(most_tokens, k, n)),
        verdict_(1),
        num_counters_set_(1) {
    fill_kernel<<<512, 256>>>(x_.data(), most_tokens, k, x_stride_, 1.0f, 1u, 97);
    fill_kernel<<<512, 256>>>(w_.data(), n, k, k, 1.0f / std::sqrt(static_cast<float>(k)), 2u, 0);
    fill_kernel<<<512, 256>>>(bias_.data(), 1, n, n, 1.0f, 3u, 0);
    const dim3 grid((n + 15) / 16, (most_tokens + 15) / 16);
    const T* biases[2] = {nullptr, bias_.data()};
    for (int i = 0; i < 2; ++i) {
      reference_kernel<T><<<grid, dim3(16, 16)>>>(y_[i].data(), x_.data(), x_stride_, w_.data(),
                                                  biases[i], most_tokens, n, k);
    }
    CUDA_CHECK(cudaGetLastError());
    poison_workspace();
  }

  CudaLinear operator_of(const Case& c, int first_token = 0) const {
    CudaLinear op{};
    op.out = out_.data();
    op.x = x_.data() + first_token * x_stride_;
    op.weight = w_.data();
    op.bias = c.has_bias ? bias_.data() : nullptr;
    op.type = Type<T>::kType;
    op.output = c.output;
    op.numerics = c.numerics;
    op.is_batch_invariant = c.is_batch_invariant;
    op.num_tokens = c.num_tokens;
    op.in_features = k_;
    op.out_features = n_;
    op.x_stride = x_stride_;
    op.out_stride = columns_of(c) + c.out_pad;
    op.workspace = workspace_.data();
    return op;
  }

  // Runs the case with the usual plan or the given one; returns what is wrong, or nothing.
  std::string fault_of(const Case& c, const GemmPlan* plan = nullptr) {
    const CudaLinear op = operator_of(c);
    prepare(op);
    try {
      if (plan != nullptr) {
        kernels::cuda_gemm_as_planned(op, *plan, nullptr);
      } else {
        kernels::cuda_gemm(op, nullptr);
      }
    } catch (const std::exception& error) {
      return text_of(c) + ": " + error.what();
    }
    return judged(c, op);
  }

  // The output's rows in memory after running the case on the tokens from first_token on.
  std::vector<std::uint16_t> bits_of(const Case& c, int first_token) {
    const CudaLinear op = operator_of(c, first_token);
    prepare(op);
    kernels::cuda_gemm(op, nullptr);
    std::vector<std::uint16_t> bits(c.num_tokens * op.out_stride * element_bytes(c) / 2);
    CUDA_CHECK(cudaMemcpy(bits.data(), op.out, bits.size() * 2, cudaMemcpyDeviceToHost));
    return bits;
  }

  int columns_of(const Case& c) const { return c.output == LinearOutput::kSwiGlu ? n_ / 2 : n_; }
  static int element_bytes(const Case& c) { return c.output == LinearOutput::kLogits ? 4 : 2; }

 private:
  static constexpr int kMostPad = 24;

  void poison_workspace() {
    workspace_.poison();
    CUDA_CHECK(cudaMemset(workspace_.data(), 0, kernels::kMaxSplitTiles * sizeof(unsigned)));
  }

  void prepare(const CudaLinear& op) {
    out_.poison();
    if (op.output != LinearOutput::kAddResidual) return;
    // The same values in both buffers, and poison around them.
    residual_.poison();
    fill_kernel<<<512, 256>>>(residual_.data(), op.num_tokens, n_, op.out_stride, 2.0f, 4u, 0);
    CUDA_CHECK(
        cudaMemcpy(out_.data(), residual_.data(), residual_.num_bytes(), cudaMemcpyDeviceToDevice));
  }

  std::string judged(const Case& c, const CudaLinear& op) {
    Comparison comparison{};
    comparison.y = y_[c.has_bias ? 1 : 0].data();
    comparison.y_columns = n_;
    comparison.num_tokens = c.num_tokens;
    comparison.out_columns = columns_of(c);
    comparison.num_rows = c.num_tokens + 3;
    comparison.out_stride = op.out_stride;
    comparison.output = c.output;
    comparison.is_reference = c.numerics == Numerics::kReference;
    comparison.tolerance = tolerance_of(c);
    verdict_.clear();
    num_counters_set_.clear();
    if (c.output == LinearOutput::kLogits) {
      compare_kernel<T, float><<<512, 256>>>(comparison, static_cast<const float*>(op.out),
                                             residual_.data(), verdict_.data());
    } else {
      compare_kernel<T, T><<<512, 256>>>(comparison, static_cast<const T*>(op.out),
                                         residual_.data(), verdict_.data());
    }
    count_nonzero_kernel<<<1, 1024>>>(reinterpret_cast<const unsigned*>(workspace_.data()),
                                      kernels::kMaxSplitTiles, num_counters_set_.data());
    CUDA_CHECK(cudaGetLastError());
    const Verdict verdict = verdict_.download()[0];
    const auto num_counters_set = num_counters_set_.download()[0];
    const double count = static_cast<double>(c.num_tokens) * columns_of(c);
    std::string fault;
    if (verdict.num_bad > 0) {
      fault += " " + std::to_string(verdict.num_bad) + " bad, one at token " +
               std::to_string(verdict.first_bad_token) + " column " +
               std::to_string(verdict.first_bad_column) + ": got " + std::to_string(verdict.got) +
               ", want " + std::to_string(verdict.want) + ";";
    }
    // A float sum of thousands of products rounds to a neighbour of the exact sum more often.
    const double share = k_ > 4096 ? 0.06 : 0.03;
    if (rounds_to_type(c) && count > 1000 && verdict.num_inexact > share * count) {
      fault += " " + std::to_string(100 * verdict.num_inexact / count) + "% not rounded once;";
    }
    if (verdict.num_touched > 0) {
      fault += " " + std::to_string(verdict.num_touched) + " written outside the output;";
    }
    if (num_counters_set > 0) {
      fault += " " + std::to_string(num_counters_set) + " counters left set;";
    }
    return fault.empty() ? fault : text_of(c) + ":" + fault;
  }

  static bool rounds_to_type(const Case& c) {
    return c.output != LinearOutput::kLogits || c.numerics == Numerics::kReference;
  }

  // Of two roundings in a row, both may go the other way at a tie.
  static double tolerance_of(const Case& c) {
    if (!rounds_to_type(c)) return 1e-4;
    const bool rounds_twice =
        c.output == LinearOutput::kSwiGlu || c.output == LinearOutput::kAddResidual;
    return (rounds_twice ? 2 : 1) * Type<T>::kTolerance;
  }

  int n_;
  int k_;
  std::int64_t x_stride_;
  int most_tokens_;
  DeviceBuffer<T> x_;
  DeviceBuffer<T> w_;
  DeviceBuffer<T> bias_;
  DeviceBuffer<T> residual_;
  DeviceBuffer<float> out_;
  DeviceBuffer<double> y_[2];
  DeviceBuffer<unsigned char> workspace_;
  DeviceBuffer<Verdict> verdict_;
  DeviceBuffer<unsigned long long> num_counters_set_;
};

constexpr LinearOutput kOutputs[] = {LinearOutput::kStore, LinearOutput::kAddResidual,
                                     LinearOutput::kSwiGlu, LinearOutput::kLogits};

// Collects faults and reports them as one assertion.
class Faults {
 public:
  void add(const std::string& fault) {
    if (!fault.empty() && ++count_ <= 5) text_ += (text_.empty() ? "" : "\n# ") + fault;
  }
  void report(tap::Report& report, const std::string& name) {
    if (!report.ok(count_ == 0, name)) {
      report.note(std::to_string(count_) + " cases wrong; the first:\n# " + text_);
    }
  }

 private:
  int count_ = 0;
  std::string text_;
};

template <class T>
void test_shape(tap::Report& report, int n, int k, int x_pad, const std::vector<int>& tokens) {
  Layer<T> layer(n, k, x_pad, tokens.back());
  Faults faults;
  int turn = 0;
  for (const int num_tokens : tokens) {
    for (const LinearOutput output : kOutputs) {
      if (output == LinearOutput::kSwiGlu && n % 32 != 0) continue;
      // Every mixture comes up over the shapes and numbers of tokens; both roundings each time.
      ++turn;
      const bool has_bias = turn % 3 == 0;
      const bool is_invariant = turn % 5 == 0;
      const int pads[] = {0, 8, 3};
      const int pad = pads[turn % 7 % 3];
      faults.add(
          layer.fault_of({output, Numerics::kReference, has_bias, is_invariant, num_tokens, pad}));
      faults.add(
          layer.fault_of({output, Numerics::kFast, !has_bias, is_invariant, num_tokens, pad}));
    }
  }
  faults.report(report, std::string(Type<T>::kName) + " N=" + std::to_string(n) +
                            " K=" + std::to_string(k) + " equals the sums in double");
}

// A tile with every cut of k, also where the usual plan takes another for the shape.
template <class T>
void test_plan(tap::Report& report, Layer<T>& layer, GemmPlan plan, int most_splits,
               const std::vector<int>& tokens, const std::string& name) {
  Faults faults;
  for (const int num_splits : {1, 2, 5, 8}) {
    if (num_splits > most_splits) continue;
    plan.num_splits = num_splits;
    for (const int num_tokens : tokens) {
      for (const LinearOutput output : kOutputs) {
        const Case c{output, Numerics::kReference, true, false, num_tokens, 0};
        const std::string fault = layer.fault_of(c, &plan);
        if (!fault.empty()) faults.add(std::to_string(num_splits) + " splits, " + fault);
      }
    }
  }
  faults.report(report, name);
}

template <class T>
void test_plans(tap::Report& report, int n, int k, const std::vector<int>& tokens) {
  Layer<T> layer(n, k, 8, tokens.back());
  const std::string shape = " N=" + std::to_string(n) + " K=" + std::to_string(k);
  const int num_steps = (k + kernels::kGemmStep - 1) / kernels::kGemmStep;
  for (int tile = 0; tile < kernels::kNumMmaTiles; ++tile) {
    test_plan(report, layer, {false, tile, 1}, num_steps, tokens,
              std::string(Type<T>::kName) + " tile " + std::to_string(tile) + shape);
  }
  for (int tile = 0; tile < kernels::kNumWarpgroupTiles && kernels::has_warpgroups(); ++tile) {
    test_plan(report, layer, {true, tile, 1},
              kernels::kWarpgroupTiles[tile].is_paired ? 1 : num_steps, tokens,
              std::string(Type<T>::kName) + " warpgroup tile " + std::to_string(tile) + shape);
  }
}

// The same call twice, and a token alone and in batches.
template <class T>
void test_bits(tap::Report& report, int n, int k, int most_tokens) {
  Layer<T> layer(n, k, 0, most_tokens);
  const std::string name =
      std::string(Type<T>::kName) + " N=" + std::to_string(n) + " K=" + std::to_string(k);
  for (const LinearOutput output : kOutputs) {
    Case c{output, Numerics::kFast, true, false, most_tokens, 0};
    bool is_same = true;
    for (const int num_tokens : {5, 64, most_tokens}) {
      c.num_tokens = num_tokens;
      is_same = is_same && layer.bits_of(c, 0) == layer.bits_of(c, 0);
    }
    report.ok(is_same, name + " " + name_of(output) + ": two runs have the same bits");
    if (output == LinearOutput::kAddResidual) continue;  // its rows differ by what was there before

    c.is_batch_invariant = true;
    c.num_tokens = most_tokens;
    const std::vector<std::uint16_t> whole = layer.bits_of(c, 0);
    const std::size_t row_size = whole.size() / most_tokens;
    bool is_invariant = true;
    for (const int num_tokens : {1, 2, 17, 64, 65, 130}) {
      for (const int first : {0, 3, 77, most_tokens - num_tokens}) {
        if (first < 0 || first + num_tokens > most_tokens) continue;
        c.num_tokens = num_tokens;
        const std::vector<std::uint16_t> part = layer.bits_of(c, first);
        is_invariant =
            is_invariant && std::equal(part.begin(), part.end(), whole.begin() + first * row_size);
      }
    }
    report.ok(is_invariant,
              name + " " + name_of(output) + ": a token's bits do not depend on others");
  }
}

template <class T>
void test_type(tap::Report& report, bool is_small) {
  if (is_small) {
    test_shape<T>(report, 96, 200, 8, {1, 9, 65, 130});
    test_plans<T>(report, 160, 392, {5, 131});
    test_bits<T>(report, 64, 576, 80);
    return;
  }
  const std::vector<int> tokens = {1,  3,  5,   8,   9,   16,  17,  31,  33,  63,
                                   64, 65, 127, 129, 255, 256, 257, 512, 1000};
  int pad = 0;
  for (const int n : {40, 576, 1000, 1536, 2048}) {
    for (const int k : {8, 72, 576, 1536, 8960}) {
      test_shape<T>(report, n, k, pad, tokens);
      pad = (pad + 8) % 24;
    }
  }
  test_shape<T>(report, 3, 64, 0, {1, 2, 70});
  test_shape<T>(report, 17920, 1536, 0, {1, 40, 300});
  test_plans<T>(report, 1568, 712, {7, 200});
  test_bits<T>(report, 1536, 8960, 300);
  test_bits<T>(report, 2048, 1536, 300);
  test_bits<T>(report, 96, 72, 300);
}

void test_refusals(tap::Report& report) {
  Layer<__half> layer(64, 64, 0, 8);
  const CudaLinear good =
      layer.operator_of({LinearOutput::kStore, Numerics::kFast, false, false, 8, 0});
  const auto refuses = [&](void (*spoil)(CudaLinear&), std::initializer_list<const char*> parts,
                           const char* name) {
    CudaLinear op = good;
    spoil(op);
    report.throws([&] { kernels::cuda_gemm(op, nullptr); }, parts, name);
  };
  refuses([](CudaLinear& op) { op.type = DType::kF32; }, {"f32"}, "refuses float");
  refuses([](CudaLinear& op) { op.norm_weight = op.x; }, {"norm"}, "refuses a norm");
  refuses([](CudaLinear& op) { op.in_features = 63; }, {"in_features 63", "8"},
          "refuses odd in_features");
  refuses([](CudaLinear& op) { op.x_stride = 56; }, {"x_stride 56", "64"},
          "refuses tokens that overlap");
  refuses(
      [](CudaLinear& op) {
        op.output = LinearOutput::kSwiGlu;
        op.out_features = 48;
      },
      {"out_features 48", "32"}, "refuses half a group of a gated layer");
  CudaLinear empty = good;
  empty.num_tokens = 0;
  kernels::cuda_gemm(empty, nullptr);
  report.ok(cudaDeviceSynchronize() == cudaSuccess, "no tokens: nothing happens");
}

}  // namespace

int main(int argc, char** argv) {
  if (!testing::has_device()) return 0;
  const bool is_small = argc > 1 && std::string(argv[1]) == "small";
  tap::Report report;
  test_type<__nv_bfloat16>(report, is_small);
  test_type<__half>(report, is_small);
  test_refusals(report);
  return report.finish();
}
