// Linear layers on CUDA against the double reference that rounds where cuda_linear.h says: a layer
// with its data on host and device, run with any number of tokens, output and numerics.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "kernels/cuda_linear.h"
#include "test/kernels/device_buffer.cuh"
#include "test/kernels/plain_values.h"
#include "test/reference/linear.h"
#include "test/reference/rounding.h"

namespace testing {

// How a layer is called.
struct LinearCall {
  kernels::LinearOutput output;
  kernels::Numerics numerics;
  int num_tokens;
  bool has_bias;
  bool has_norm;
  bool is_batch_invariant;
};

inline constexpr float kNormEpsilon = 1e-3f;  // large, so that a test notices when it is missing
inline constexpr int kXPadding = 24;
inline constexpr int kOutPadding = 5;

// Cheap uniform values: the largest weight has 233 million of them.
template <class T>
std::vector<T> quick_values(std::size_t count, float low, float high, std::uint32_t seed) {
  std::vector<T> values(count);
  std::uint64_t state = seed * 0x9e3779b97f4a7c15ull + 1;
  for (T& value : values) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    const float unit = static_cast<float>(state >> 40) * 0x1p-24f;
    value = kernels::from_float<T>(low + (high - low) * unit);
  }
  return values;
}

template <class T>
struct LinearLayer {
  int in_features;
  int out_features;
  int max_tokens;
  std::int64_t x_stride;
  std::vector<T> weight, x, bias, norm_weight, residual;
  DeviceBuffer<T> device_weight, device_x, device_bias, device_norm_weight;
  DeviceBuffer<unsigned char> workspace;

  // Sums come out near one in size. With `is_integer` all of them are exact in float.
  LinearLayer(int in, int out, int tokens, std::uint32_t seed, bool is_integer = false)
      : in_features(in),
        out_features(out),
        max_tokens(tokens),
        x_stride(in + kXPadding),
        weight(quick_values<T>(std::size_t(in) * out, -span(in), span(in), seed)),
        x(quick_values<T>(tokens * x_stride, -1.5f, 1.5f, seed + 1)),
        bias(quick_values<T>(out, -1, 1, seed + 2)),
        norm_weight(quick_values<T>(in, 0.5f, 1.5f, seed + 3)),
        residual(quick_values<T>(std::size_t(tokens) * out, -2, 2, seed + 4)),
        device_weight(is_integer ? rounded_up(weight, 2 / span(in)) : weight),
        device_x(is_integer ? rounded_up(x, 2) : x),
        device_bias(is_integer ? rounded_up(bias, 4) : bias),
        device_norm_weight(norm_weight),
        workspace(kernels::cuda_linear_workspace_bytes(tokens, in, out)) {
    workspace.clear();
  }

  int out_columns(kernels::LinearOutput output) const {
    return output == kernels::LinearOutput::kSwiGlu ? out_features / 2 : out_features;
  }

  // The result as doubles, [num_tokens, out_columns]; NaN where nothing was written, and everywhere
  // if something beside the rows was.
  std::vector<double> run(const LinearCall& call) {
    return call.output == kernels::LinearOutput::kLogits ? run_into<float>(call)
                                                         : run_into<T>(call);
  }

  // What is multiplied by W for a token.
  std::vector<double> normalised(const LinearCall& call, int token) const {
    std::vector<double> n(in_features);
    double squares = 0;
    for (int k = 0; k < in_features; ++k) {
      n[k] = kernels::to_float(x[token * x_stride + k]);
      squares += n[k] * n[k];
    }
    if (!call.has_norm) return n;
    const double scale = 1 / std::sqrt(squares / in_features + kNormEpsilon);
    for (int k = 0; k < in_features; ++k) {
      n[k] = reference::rounded<T>(step(call, n[k] * scale) * kernels::to_float(norm_weight[k]));
    }
    return n;
  }

  // One result, rounded where the contract says; `n` is normalised(call, token).
  double expected(const LinearCall& call, const std::vector<double>& n, int token,
                  int column) const {
    const bool is_pair = call.output == kernels::LinearOutput::kSwiGlu;
    const int row = is_pair ? column / 16 * 32 + column % 16 : column;
    const double y = linear(call, n, row);
    switch (call.output) {
      case kernels::LinearOutput::kStore:
        return reference::rounded<T>(y);
      case kernels::LinearOutput::kAddResidual:
        return reference::rounded<T>(y + residual_at(token, column));
      case kernels::LinearOutput::kLogits:
        return y;
      case kernels::LinearOutput::kSwiGlu:
        return reference::rounded<T>(step(call, y / (1 + std::exp(-y))) *
                                     linear(call, n, row + 16));
    }
    return NAN;
  }

 private:
  static float span(int in) { return 1.7f / std::sqrt(static_cast<float>(in)); }

  // Whole numbers, at most 2 in size after scaling.
  static std::vector<T>& rounded_up(std::vector<T>& values, float scale) {
    for (T& value : values) {
      value = kernels::from_float<T>(std::nearbyint(kernels::to_float(value) * scale));
    }
    return values;
  }

  static double step(const LinearCall& call, double value) {
    return call.numerics == kernels::Numerics::kReference ? reference::rounded<T>(value) : value;
  }

  double residual_at(int token, int column) const {
    return kernels::to_float(residual[std::size_t(token) * out_features + column]);
  }

  double linear(const LinearCall& call, const std::vector<double>& n, int row) const {
    double sum = call.has_bias ? kernels::to_float(bias[row]) : 0;
    const T* weights = weight.data() + std::size_t(row) * in_features;
    for (int k = 0; k < in_features; ++k) sum += n[k] * kernels::to_float(weights[k]);
    return step(call, sum);
  }

  template <class Out>
  std::vector<double> run_into(const LinearCall& call) {
    const int columns = out_columns(call.output);
    const std::int64_t stride = columns + kOutPadding;
    DeviceBuffer<Out> out(call.num_tokens * stride);
    if (call.output == kernels::LinearOutput::kAddResidual) fill_residual(out, call, stride);
    kernels::CudaLinear op{};
    op.out = out.data();
    op.x = device_x.data();
    op.weight = device_weight.data();
    op.bias = call.has_bias ? device_bias.data() : nullptr;
    op.norm_weight = call.has_norm ? device_norm_weight.data() : nullptr;
    op.norm_epsilon = kNormEpsilon;
    op.type = PlainType<T>::kType;
    op.output = call.output;
    op.numerics = call.numerics;
    op.is_batch_invariant = call.is_batch_invariant;
    op.num_tokens = call.num_tokens;
    op.in_features = in_features;
    op.out_features = out_features;
    op.x_stride = x_stride;
    op.out_stride = stride;
    op.workspace = workspace.data();
    kernels::cuda_linear(op, nullptr);
    return rows_of(out.download(), call.num_tokens, columns, stride);
  }

  template <class Out>
  void fill_residual(DeviceBuffer<Out>& out, const LinearCall& call, std::int64_t stride) const {
    if constexpr (sizeof(Out) == sizeof(T)) {
      for (int t = 0; t < call.num_tokens; ++t) {
        CUDA_CHECK(cudaMemcpy(out.data() + t * stride,
                              residual.data() + std::size_t(t) * out_features,
                              out_features * sizeof(T), cudaMemcpyHostToDevice));
      }
    }
  }

  template <class Out>
  static std::vector<double> rows_of(const std::vector<Out>& out, int num_tokens, int columns,
                                     std::int64_t stride) {
    std::vector<double> rows(std::size_t(num_tokens) * columns);
    for (int t = 0; t < num_tokens; ++t) {
      for (int c = 0; c < columns; ++c) {
        rows[std::size_t(t) * columns + c] = kernels::to_float(out[t * stride + c]);
      }
      for (std::int64_t c = columns; c < stride; ++c) {
        if (!std::isnan(kernels::to_float(out[t * stride + c]))) {
          return std::vector<double>(rows.size(), NAN);
        }
      }
    }
    return rows;
  }
};

// Gathers what is wrong over many calls, so that one assertion covers all shapes.
class Mismatches {
 public:
  // Compares all columns of small results and 137 or more of large ones; every one must be a
  // number.
  template <class T>
  void compare(LinearLayer<T>& layer, const LinearCall& call, double tolerance) {
    const std::vector<double> got = layer.run(call);
    const int columns = layer.out_columns(call.output);
    for (const double value : got) {
      if (!std::isfinite(value)) return add(layer, call, "a value that is no number");
    }
    const int stride = columns > 200 ? columns / 97 : 1;
    for (int t = 0; t<call.num_tokens; t += call.num_tokens> 8 ? 7 : 1) {
      const std::vector<double> n = layer.normalised(call, t);
      for (int c = 0; c < columns; c += c < 40 || c + stride > columns ? 1 : stride) {
        const double g = got[std::size_t(t) * columns + c];
        const double w = layer.expected(call, n, t, c);
        if (std::fabs(g - w) <= tolerance * (1 + std::fabs(w))) continue;
        char text[120];
        std::snprintf(text, sizeof text, "token %d column %d: got %.7g, want %.7g", t, c, g, w);
        return add(layer, call, text);
      }
    }
  }

  bool empty() const { return count_ == 0; }
  std::string text() const { return std::to_string(count_) + " calls differ; first: " + first_; }

 private:
  template <class T>
  void add(const LinearLayer<T>& layer, const LinearCall& call, const std::string& what) {
    if (count_++ > 0) return;
    first_ = "N " + std::to_string(layer.out_features) + ", K " +
             std::to_string(layer.in_features) + ", M " + std::to_string(call.num_tokens) +
             (call.has_norm ? ", norm" : "") + (call.has_bias ? ", bias" : "") + ": " + what;
  }

  int count_ = 0;
  std::string first_;
};

}  // namespace testing
