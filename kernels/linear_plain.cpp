#include "kernels/linear_plain.h"

#include <algorithm>
#include <string>

#include "kernels/linear.h"
#include "kernels/linear_kernels.h"
#include "kernels/linear_pack.h"
#include "kernels/plain_type.h"

// A panel's rows are transposed to floats a slab at a time and run through the loops of the packed
// form (linear.h); activations are widened once for a round of tokens.
namespace kernels {
namespace {

// k that are transposed at a time.
constexpr int kChunkLen = 512;

// A thread's scratch: a slab of a panel, sums over all slabs, totals of one slab, the loops' own.
struct PlainScratch {
  float panel[kChunkLen * kPanelRows];
  float sums[kMaxTaskTokens * kPanelRows];
  float totals[kMaxTaskTokens * kPanelRows];
  alignas(64) std::byte slab[kSlabBytes];
};

static_assert(sizeof(PlainScratch) <= ThreadPool::kScratchBytes, "a task fits the scratch");

// panel[k, lane] = weight[first_row + lane, from + k]; rows past the last are zero.
template <typename T>
void transpose(const PlainLinear& op, int first_row, int from, int num_k, float* panel) {
  for (int lane = 0; lane < kPanelRows; ++lane) {
    const int row = first_row + lane;
    if (row >= op.out_features) {
      for (int k = 0; k < num_k; ++k) panel[k * kPanelRows + lane] = 0;
      continue;
    }
    const T* weights =
        static_cast<const T*>(op.weight) + static_cast<std::int64_t>(row) * op.in_features + from;
    for (int k = 0; k < num_k; ++k) panel[k * kPanelRows + lane] = to_float(weights[k]);
  }
}

template <typename T>
void write_out(const PlainLinear& op, int first_token, int num_tokens, int first_row,
               const float* sums) {
  const int num_rows = std::min(kPanelRows, op.out_features - first_row);
  for (int t = 0; t < num_tokens; ++t) {
    T* out = static_cast<T*>(op.out) +
             static_cast<std::int64_t>(first_token + t) * op.out_features + first_row;
    for (int i = 0; i < num_rows; ++i) {
      float value = sums[t * kPanelRows + i];
      if (op.bias != nullptr) value += to_float(static_cast<const T*>(op.bias)[first_row + i]);
      out[i] = from_float<T>(value);
    }
  }
}

// One panel times the round's tokens, x [num_tokens, in_features] already widened.
template <typename T>
void run_panel(const PlainLinear& op, LinearFunction function, const float* x, int first_token,
               int num_tokens, int panel, PlainScratch& scratch) {
  const int num_sums = num_tokens * kPanelRows;
  std::fill(scratch.sums, scratch.sums + num_sums, 0.0f);
  for (int from = 0; from < op.in_features; from += kChunkLen) {
    const int num_k = std::min(kChunkLen, op.in_features - from);
    transpose<T>(op, panel * kPanelRows, from, num_k, scratch.panel);
    LinearTask task = {};
    task.panels = reinterpret_cast<const std::byte*>(scratch.panel);
    task.num_panels = 1;
    task.in_features = num_k;
    task.x = x + from;
    task.x_stride = op.in_features;
    task.num_tokens = num_tokens;
    task.totals = scratch.totals;
    task.slab = scratch.slab;
    function(task);
    for (int i = 0; i < num_sums; ++i) scratch.sums[i] += scratch.totals[i];
  }
  write_out<T>(op, first_token, num_tokens, panel * kPanelRows, scratch.sums);
}

template <typename T>
void run(const PlainLinear& op, ThreadPool& pool) {
  const LinearFunction function =
      linear_kernels_of(pool.isa()).large[static_cast<int>(DType::kF32)];
  auto* x = reinterpret_cast<float*>(pool.shared_scratch());
  const auto fitting =
      static_cast<int>(ThreadPool::kSharedScratchBytes / sizeof(float) / op.in_features);
  CHECK(fitting > 0, "linear: rows of " + std::to_string(op.in_features) + " are longer than " +
                         std::to_string(ThreadPool::kSharedScratchBytes / sizeof(float)));
  const int round_tokens = std::min(fitting, kMaxTaskTokens);
  for (int first = 0; first < op.num_tokens; first += round_tokens) {
    const int num_tokens = std::min(round_tokens, op.num_tokens - first);
    const T* source =
        static_cast<const T*>(op.x) + static_cast<std::int64_t>(first) * op.in_features;
    pool.parallel_for(num_tokens, 8, [&](int begin, int end) {
      const std::int64_t stop = static_cast<std::int64_t>(end) * op.in_features;
      for (std::int64_t i = static_cast<std::int64_t>(begin) * op.in_features; i < stop; ++i) {
        x[i] = to_float(source[i]);
      }
    });
    pool.parallel_for(num_panels_of(op.out_features), 1, [&](int panel, int, int thread) {
      auto& scratch = *reinterpret_cast<PlainScratch*>(pool.scratch(thread));
      run_panel<T>(op, function, x, first, num_tokens, panel, scratch);
    });
  }
}

}  // namespace

void check_linear_plain(const PlainLinear& op) {
  CHECK(op.num_tokens >= 0 && op.in_features > 0 && op.out_features > 0,
        "linear: " + std::to_string(op.num_tokens) + " tokens, weight " +
            std::to_string(op.out_features) + " x " + std::to_string(op.in_features) +
            "; sizes must be positive");
}

void linear_plain_cpu(const PlainLinear& op, ThreadPool& pool) {
  check_linear_plain(op);
  with_plain_type(op.type, "linear", [&](auto element) { run<decltype(element)>(op, pool); });
}

}  // namespace kernels
