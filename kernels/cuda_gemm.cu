// Which kernel, which tile and how many parts of k: everything about the tensor-core linear layer
// that is decided on the host.
#include <algorithm>
#include <string>

#include "kernels/cuda_gemm.cuh"
#include "kernels/cuda_launch.cuh"

namespace kernels {
namespace {

// Row tiles whose blocks run together when there are several token tiles too.
constexpr int kRowsAbreast = 8;

// Steps of k below which another split costs more than it brings.
constexpr int kMinStepsPerSplit = 4;

// The largest tile of any kernel: bounds what padding adds to the workspace.
constexpr int kMaxTileSize = 256;

int tiles_of(int size, int tile) { return (size + tile - 1) / tile; }

int steps_of(int in_features) { return tiles_of(in_features, kGemmStep); }

// Parts of k that let about `wanted_blocks` blocks run.
int splits_for(int num_tiles, int wanted_blocks, int in_features) {
  const int most = std::min(kMaxSplits, steps_of(in_features) / kMinStepsPerSplit);
  return std::max(1, std::min(wanted_blocks / num_tiles, most));
}

// With is_batch_invariant the cut of k is this, whatever the tiles are and whoever runs it.
int invariant_splits(int in_features, int out_features) {
  constexpr int kRows = 64;
  constexpr int kWantedBlocks = 256;
  return splits_for(tiles_of(out_features, kRows), kWantedBlocks, in_features);
}

// The tile for a number of tokens: that of the first row whose `most_tokens` is not below it.
struct TileRule {
  int most_tokens;
  int tile;
};
constexpr TileRule kMmaRules[] = {{8, 0}, {16, 1}, {32, 2}, {64, 3}, {256, 6}, {1 << 30, 7}};
// On 9.0: where W has few rows blocks are short of tiles, and a long k makes the few tiles worth
// being larger; where it has very many, larger tiles fill the device too. All as measured on an
// H200.
constexpr TileRule kWarpgroupRules[] = {{8, 0}, {16, 1}, {32, 2}, {64, 3}, {1 << 30, 10}};
constexpr TileRule kFewRowsRules[] = {{8, 0},   {16, 1},  {32, 2},      {64, 2},
                                      {128, 3}, {512, 9}, {1 << 30, 10}};
constexpr TileRule kFewLongRowsRules[] = {{8, 0},   {16, 1},    {32, 2},      {64, 4},
                                          {256, 9}, {1024, 11}, {1 << 30, 10}};
constexpr TileRule kManyRowsRules[] = {{8, 0}, {16, 1}, {32, 2}, {64, 4}, {128, 9}, {1 << 30, 12}};
constexpr int kFewRows = 4096;
constexpr int kManyRows = 65536;
constexpr int kLongRow = 4096;

const TileRule* warpgroup_rules(int in_features, int out_features) {
  if (out_features >= kManyRows) return kManyRowsRules;
  if (out_features >= kFewRows) return kWarpgroupRules;
  return in_features >= kLongRow ? kFewLongRowsRules : kFewRowsRules;
}

int tile_for(int num_tokens, const TileRule* rules) {
  while (num_tokens > rules->most_tokens) ++rules;
  return rules->tile;
}

int tiles_in(int rows, int tokens, int num_tokens, int out_features) {
  return tiles_of(out_features, rows) * tiles_of(num_tokens, tokens);
}

void check(const CudaLinear& op) {
  const auto text = [](auto value) { return std::to_string(value); };
  CHECK(op.type == DType::kF16 || op.type == DType::kBF16,
        std::string("linear on tensor cores takes f16 and bf16, not ") + name_of(op.type));
  CHECK(op.norm_weight == nullptr, "linear on tensor cores takes x as it is: apply the norm first");
  CHECK(op.in_features > 0 && op.in_features % 8 == 0,
        "linear: in_features " + text(op.in_features) + " is not a positive multiple of 8");
  CHECK(op.x_stride >= op.in_features && op.x_stride % 8 == 0,
        "linear: x_stride " + text(op.x_stride) + " is not a multiple of 8 from in_features " +
            text(op.in_features) + " on");
  CHECK(op.num_tokens >= 0 && op.out_features >= 0, "linear: " + text(op.num_tokens) +
                                                        " tokens and " + text(op.out_features) +
                                                        " out_features; both must be 0 or more");
  if (op.output != LinearOutput::kSwiGlu) return;
  CHECK(op.out_features % (2 * kGateUpGroup) == 0, "linear: out_features " + text(op.out_features) +
                                                       " of a gated layer is not a multiple of " +
                                                       text(2 * kGateUpGroup));
}

bool has_wide_rows(const CudaLinear& op) {
  const std::int64_t element_bytes = op.output == LinearOutput::kLogits ? 4 : 2;
  return op.out_stride * element_bytes % 16 == 0;
}

void launch_planned(const CudaLinear& op, const GemmPlan& plan, Stream stream) {
  const int rows =
      plan.uses_warpgroups ? kWarpgroupTiles[plan.tile].rows : kMmaTiles[plan.tile].rows;
  const int tokens =
      plan.uses_warpgroups ? kWarpgroupTiles[plan.tile].tokens : kMmaTiles[plan.tile].tokens;
  GemmArguments args{};
  args.out = op.out;
  args.x = op.x;
  args.weight = op.weight;
  args.bias = op.bias;
  args.output = op.output;
  args.numerics = op.numerics;
  args.has_wide_rows = has_wide_rows(op);
  args.num_tokens = op.num_tokens;
  args.in_features = op.in_features;
  args.out_features = op.out_features;
  args.x_stride = op.x_stride;
  args.out_stride = op.out_stride;
  args.num_row_tiles = tiles_of(op.out_features, rows);
  args.num_token_tiles = tiles_of(op.num_tokens, tokens);
  args.is_weight_shared = args.num_token_tiles > 1;
  args.num_splits = plan.num_splits;
  args.num_rows_abreast = kRowsAbreast;
  args.arrivals = static_cast<unsigned*>(op.workspace);
  args.partials = reinterpret_cast<float*>(args.arrivals + kMaxSplitTiles);
  if (plan.uses_warpgroups) {
    launch_gemm_sm90a(args, plan.tile, op.type, stream);
  } else {
    launch_gemm_mma(args, plan.tile, op.type, stream);
  }
}

// Tokens a launch may have so that the sums of all splits fit the workspace; whole tiles. Clusters
// need none.
int tokens_per_launch(const GemmPlan& plan, int out_features) {
  if (plan.num_splits == 1 || plan.uses_warpgroups) return 1 << 30;
  const MmaTile& tile = kMmaTiles[plan.tile];
  const std::int64_t num_row_tiles = tiles_of(out_features, tile.rows);
  const std::int64_t partials = num_row_tiles * plan.num_splits * tile.rows * tile.tokens;
  const std::int64_t most = std::min(kMaxPartials / partials, kMaxSplitTiles / num_row_tiles);
  CHECK(most > 0, "linear: " + std::to_string(plan.num_splits) + " splits of " +
                      std::to_string(out_features) +
                      " out_features do not fit the workspace; use fewer");
  return static_cast<int>(most) * tile.tokens;
}

}  // namespace

std::size_t cuda_gemm_workspace_bytes(int max_tokens, int, int max_out_features) {
  const std::int64_t tokens = tiles_of(max_tokens, kMaxTileSize) * std::int64_t{kMaxTileSize};
  const std::int64_t rows = tiles_of(max_out_features, kMaxTileSize) * std::int64_t{kMaxTileSize};
  const std::int64_t partials = std::min(kMaxPartials, kMaxSplits * tokens * rows);
  return kMaxSplitTiles * sizeof(unsigned) + static_cast<std::size_t>(partials) * sizeof(float);
}

bool has_warpgroups() { return device_traits().compute_capability == 90; }

GemmPlan plan_gemm(int num_tokens, int in_features, int out_features, bool is_batch_invariant) {
  GemmPlan plan{};
  plan.uses_warpgroups = has_warpgroups();
  plan.tile = tile_for(
      num_tokens, plan.uses_warpgroups ? warpgroup_rules(in_features, out_features) : kMmaRules);
  if (is_batch_invariant) {
    plan.num_splits = invariant_splits(in_features, out_features);
    return plan;
  }
  const int num_blocks = device_traits().num_multiprocessors * (plan.uses_warpgroups ? 1 : 2);
  if (plan.uses_warpgroups) {
    const WarpgroupTile& tile = kWarpgroupTiles[plan.tile];
    const int num_tiles = tiles_in(tile.rows, tile.tokens, num_tokens, out_features);
    plan.num_splits = tile.is_paired ? 1 : splits_for(num_tiles, num_blocks, in_features);
  } else {
    const MmaTile& tile = kMmaTiles[plan.tile];
    const int num_tiles = tiles_in(tile.rows, tile.tokens, num_tokens, out_features);
    plan.num_splits = splits_for(num_tiles, num_blocks, in_features);
  }
  return plan;
}

void cuda_gemm_as_planned(const CudaLinear& op, const GemmPlan& plan, Stream stream) {
  check(op);
  CHECK(plan.num_splits <= kMaxSplits && plan.num_splits <= steps_of(op.in_features),
        "linear: " + std::to_string(plan.num_splits) + " splits of " +
            std::to_string(op.in_features) + " in_features; at most one for every " +
            std::to_string(kGemmStep) + " and " + std::to_string(kMaxSplits) + " in all");
  if (op.num_tokens == 0 || op.out_features == 0) return;
  const int step = std::min(op.num_tokens, tokens_per_launch(plan, op.out_features));
  const std::int64_t out_bytes = op.output == LinearOutput::kLogits ? 4 : 2;
  for (int first = 0; first < op.num_tokens; first += step) {
    CudaLinear part = op;
    part.num_tokens = std::min(step, op.num_tokens - first);
    part.x = static_cast<const char*>(op.x) + first * op.x_stride * 2;
    part.out = static_cast<char*>(op.out) + first * op.out_stride * out_bytes;
    launch_planned(part, plan, stream);
  }
}

void cuda_gemm(const CudaLinear& op, Stream stream) {
  check(op);
  if (op.num_tokens == 0 || op.out_features == 0) return;
  cuda_gemm_as_planned(
      op, plan_gemm(op.num_tokens, op.in_features, op.out_features, op.is_batch_invariant), stream);
}

}  // namespace kernels
