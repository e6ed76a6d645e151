#include "kernels/linear.h"

#include <algorithm>
#include <string>

#include "kernels/linear_kernels.h"
#include "kernels/linear_pack.h"

namespace kernels {

const LinearKernels& linear_kernels_of(Isa isa) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::kAvx2:
      return linear_kernels_avx2();
    case Isa::kAvx512:
      return linear_kernels_avx512();
#elif defined(__aarch64__)
    case Isa::kNeon:
      return linear_kernels_neon();
#endif
    default:
      return linear_kernels_portable();
  }
}

namespace {

// A thread's scratch: totals of one task, then the slab.
constexpr std::size_t kTotalsBytes = sizeof(float) * kMaxTaskTokens * kMaxTaskPanels * kPanelRows;
static_assert(kTotalsBytes + kSlabBytes <= ThreadPool::kScratchBytes, "a task fits the scratch");

void check(const Linear& op) {
  const PackedWeight& weight = op.weight;
  CHECK(weight.out_features > 0 && weight.in_features > 0 &&
            weight.in_features % block_size(weight.type) == 0,
        "linear: a weight of " + std::to_string(weight.out_features) + " x " +
            std::to_string(weight.in_features) + " is not whole blocks of " + name_of(weight.type));
  CHECK(op.num_tokens >= 0, "linear: " + std::to_string(op.num_tokens) + " tokens");
  CHECK(op.x_stride >= weight.in_features && op.out_stride >= weight.out_features,
        "linear: strides " + std::to_string(op.x_stride) + " and " + std::to_string(op.out_stride) +
            " are shorter than rows of " + std::to_string(weight.in_features) + " and " +
            std::to_string(weight.out_features));
}

// Bias, residual, and the cut of the last panel's padding.
void write_out(const Linear& op, int first_token, int num_tokens, int first_panel, int num_panels,
               const float* totals) {
  const int first_row = first_panel * kPanelRows;
  const int num_rows = std::min(num_panels * kPanelRows, op.weight.out_features - first_row);
  for (int t = 0; t < num_tokens; ++t) {
    float* out = op.out + (first_token + t) * op.out_stride + first_row;
    const float* total = totals + static_cast<std::int64_t>(t) * num_panels * kPanelRows;
    const float* bias = op.bias == nullptr ? nullptr : op.bias + first_row;
    if (bias == nullptr && !op.accumulate) {
      std::copy(total, total + num_rows, out);
    } else if (bias == nullptr) {
      for (int i = 0; i < num_rows; ++i) out[i] += total[i];
    } else if (!op.accumulate) {
      for (int i = 0; i < num_rows; ++i) out[i] = total[i] + bias[i];
    } else {
      for (int i = 0; i < num_rows; ++i) out[i] += total[i] + bias[i];
    }
  }
}

// Some tokens of the layer, few enough for their sums to fit the shared scratch.
struct Round {
  const Linear& op;
  const LinearKernels& kernels;
  ThreadPool& pool;
  int first_token;
  int num_tokens;
};

// q4_1 adds min * sum(x) for each block: the sums are the same for every row of W.
void sum_activations(const Round& round) {
  const int in_features = round.op.weight.in_features;
  auto* sums = reinterpret_cast<float*>(round.pool.shared_scratch());
  // A few rows are summed sooner than another thread is woken for them.
  constexpr int kTokensPerItem = 16;
  round.pool.parallel_for(round.num_tokens, kTokensPerItem, [&](int begin, int end) {
    for (int t = begin; t < end; ++t) {
      round.kernels.sum_blocks(round.op.x + (round.first_token + t) * round.op.x_stride,
                               in_features,
                               sums + static_cast<std::int64_t>(t) * (in_features / kPartialLen));
    }
  });
}

// One thread's piece: some panels times some tokens of the round.
void run_task(const Round& round, LinearFunction function, int token, int num_tokens, int panel,
              int num_panels, int thread) {
  const Linear& op = round.op;
  const std::int64_t sums_stride = op.weight.in_features / kPartialLen;
  std::byte* scratch = round.pool.scratch(thread);
  LinearTask task;
  task.panel_stride = panel_bytes(op.weight.type, op.weight.in_features);
  task.panels = static_cast<const std::byte*>(op.weight.data) + panel * task.panel_stride;
  task.num_panels = num_panels;
  task.in_features = op.weight.in_features;
  task.x = op.x + (round.first_token + token) * op.x_stride;
  task.x_stride = op.x_stride;
  task.sums = reinterpret_cast<const float*>(round.pool.shared_scratch()) + token * sums_stride;
  task.sums_stride = sums_stride;
  task.num_tokens = num_tokens;
  task.totals = reinterpret_cast<float*>(scratch);
  task.slab = scratch + kTotalsBytes;
  function(task);
  write_out(op, round.first_token + token, num_tokens, panel, num_panels, task.totals);
}

void run_small(const Round& round) {
  const int num_panels = num_panels_of(round.op.weight.out_features);
  // Small enough to even out the threads' ends, large enough to be a stream; pairs of panels.
  const int share = num_panels / (4 * round.pool.num_threads()) / 2 * 2;
  const int grain = std::max(2, std::min(kMaxTaskPanels, share));
  const auto function = round.kernels.small[static_cast<int>(round.op.weight.type)];
  round.pool.parallel_for(num_panels, grain, [&](int begin, int end, int thread) {
    for (int panel = begin; panel < end; panel += kMaxTaskPanels) {
      run_task(round, function, 0, round.num_tokens, panel, std::min(kMaxTaskPanels, end - panel),
               thread);
    }
  });
}

void run_large(const Round& round) {
  constexpr int kTaskPanels = 4;
  constexpr int kTileTokens = 6;
  const int num_panels = num_panels_of(round.op.weight.out_features);
  const int num_groups = (num_panels + kTaskPanels - 1) / kTaskPanels;
  const int num_blocks = (round.num_tokens + kMaxTaskTokens - 1) / kMaxTaskTokens;
  const int even_share = (round.num_tokens + num_blocks - 1) / num_blocks;
  const int block_tokens = (even_share + kTileTokens - 1) / kTileTokens * kTileTokens;
  const auto function = round.kernels.large[static_cast<int>(round.op.weight.type)];
  // Neighbouring items share their activations, which stay in second-level cache.
  round.pool.parallel_for(num_blocks * num_groups, 1, [&](int item, int, int thread) {
    const int token = item / num_groups * block_tokens;
    const int panel = item % num_groups * kTaskPanels;
    const int num_tokens = std::min(block_tokens, round.num_tokens - token);
    if (num_tokens <= 0) return;
    run_task(round, function, token, num_tokens, panel, std::min(kTaskPanels, num_panels - panel),
             thread);
  });
}

}  // namespace

void linear_packed_cpu(const Linear& op, ThreadPool& pool) {
  check(op);
  const LinearKernels& kernels = linear_kernels_of(pool.isa());
  const bool needs_sums = op.weight.type == DType::kQ4_1;
  int max_tokens = op.num_tokens;
  if (needs_sums) {
    const std::size_t sums_bytes = sizeof(float) * (op.weight.in_features / kPartialLen);
    CHECK(sums_bytes <= ThreadPool::kSharedScratchBytes,
          "linear: rows of " + std::to_string(op.weight.in_features) + " are too long for q4_1");
    const auto fitting = static_cast<int>(ThreadPool::kSharedScratchBytes / sums_bytes);
    max_tokens = std::min(max_tokens, fitting);
  }
  for (int first = 0; first < op.num_tokens; first += max_tokens) {
    const Round round = {op, kernels, pool, first, std::min(max_tokens, op.num_tokens - first)};
    if (needs_sums) sum_activations(round);
    if (round.num_tokens <= kMaxSmallTokens) {
      run_small(round);
    } else {
      run_large(round);
    }
  }
}

}  // namespace kernels
