// Times one layer's attention at the shapes of the speed table, in microseconds, beside the bytes
// of K and V that must be read (decode) or the operations (prefill).
//
//   attention_cuda_bench [num_heads num_kv_heads head_dim [sequences past new]]
//
// 12 2 128 if not given; with the last three, that step alone.
// Layers rotate among caches that together exceed the L2 cache, as they do in a model. bf16, random
// values.
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "bench/kernels/cuda_timer.cuh"
#include "kernels/cuda_attention.h"
#include "kernels/types.h"
#include "test/kernels/device_buffer.cuh"

namespace {

using kernels::bf16;
using testing::DeviceBuffer;

constexpr std::size_t kCacheBytes = std::size_t(160) << 20;  // of all layers together, at least

struct Model {
  int num_heads;
  int num_kv_heads;
  int head_dim;
  int width() const { return (num_heads + 2 * num_kv_heads) * head_dim; }
};

struct Step {
  int num_sequences;
  int past;
  int num_new;
  bool is_batch_invariant;
};

std::vector<bf16> random_values(std::size_t count) {
  std::mt19937 random(7);
  std::vector<bf16> values(count);
  for (bf16& value : values) {
    value = kernels::to_bf16(static_cast<float>(random() >> 8) * 0x1p-23f - 1.0f);
  }
  return values;
}

// A cache of one layer, filled by copies of one random megabyte.
void fill(DeviceBuffer<bf16>& buffer, const DeviceBuffer<bf16>& random) {
  for (std::size_t at = 0; at < buffer.size(); at += random.size()) {
    const std::size_t count = std::min(random.size(), buffer.size() - at);
    CUDA_CHECK(cudaMemcpy(buffer.data() + at, random.data(), count * sizeof(bf16),
                          cudaMemcpyDeviceToDevice));
  }
}

double time_step(const Model& model, const Step& step) {
  const int context_len = step.past + step.num_new;
  const int blocks_each = (context_len + 15) / 16;
  const int num_blocks = blocks_each * step.num_sequences;
  const std::size_t cache_size = std::size_t(num_blocks) * model.num_kv_heads * 16 * model.head_dim;
  const int num_layers = static_cast<int>(
      std::min<std::size_t>(400, std::max<std::size_t>(2, kCacheBytes / (4 * cache_size) + 1)));
  const int num_tokens = step.num_sequences * step.num_new;

  const DeviceBuffer<bf16> random(random_values(1 << 19));
  std::vector<DeviceBuffer<bf16>> k, v, qkv, out;
  for (int i = 0; i < num_layers; ++i) {
    k.emplace_back(cache_size);
    v.emplace_back(cache_size);
    qkv.emplace_back(std::size_t(num_tokens) * model.width());
    out.emplace_back(std::size_t(num_tokens) * model.num_heads * model.head_dim);
    for (auto* buffer : {&k.back(), &v.back(), &qkv.back()}) fill(*buffer, random);
  }
  std::vector<float> table(std::size_t(context_len) * model.head_dim, 0.7071f);
  DeviceBuffer<float> rope_table(table);
  std::vector<std::int32_t> tables(num_blocks), starts, query_starts{0}, lens, positions, slots;
  for (int i = 0; i < num_blocks; ++i) tables[i] = int((std::int64_t(i) * 7919) % num_blocks);
  if (num_blocks % 7919 == 0) return 0;
  for (int s = 0; s < step.num_sequences; ++s) {
    starts.push_back(s * blocks_each);
    query_starts.push_back((s + 1) * step.num_new);
    lens.push_back(context_len);
    for (int i = 0; i < step.num_new; ++i) {
      const int position = step.past + i;
      positions.push_back(position);
      slots.push_back(tables[s * blocks_each + position / 16] * 16 + position % 16);
    }
  }
  DeviceBuffer<std::int32_t> d_tables(tables), d_starts(starts), d_query_starts(query_starts),
      d_lens(lens), d_positions(positions), d_slots(slots);
  DeviceBuffer<unsigned char> workspace(kernels::cuda_attention_workspace_bytes(
      num_tokens, step.num_sequences, context_len, model.num_heads, model.num_kv_heads,
      model.head_dim, step.is_batch_invariant));
  workspace.clear();

  kernels::CudaAttention op{};
  op.norm_epsilon = 1e-6f;
  op.rope_table = rope_table.data();
  op.positions = d_positions.data();
  op.slot_mapping = d_slots.data();
  op.block_tables = d_tables.data();
  op.block_table_starts = d_starts.data();
  op.query_starts = d_query_starts.data();
  op.context_lens = d_lens.data();
  op.type = kernels::DType::kBF16;
  op.numerics = kernels::Numerics::kFast;
  op.is_batch_invariant = step.is_batch_invariant;
  op.num_tokens = num_tokens;
  op.num_sequences = step.num_sequences;
  op.num_decodes = step.num_new == 1 ? step.num_sequences : 0;
  op.max_query_len = step.num_new;
  op.num_heads = model.num_heads;
  op.num_kv_heads = model.num_kv_heads;
  op.head_dim = model.head_dim;
  op.scale = 0.0884f;
  op.workspace = workspace.data();
  return bench::median_microseconds(std::max(28, num_layers), 9, [&](cudaStream_t stream, int i) {
    const int layer = i % num_layers;
    op.k_cache = k[layer].data();
    op.v_cache = v[layer].data();
    op.qkv = qkv[layer].data();
    op.out = out[layer].data();
    kernels::cuda_attention(op, stream);
  });
}

void decode_line(const Model& model, int batch, int context_len) {
  const double bytes = 4.0 * batch * context_len * model.num_kv_heads * model.head_dim;
  const double fast = time_step(model, {batch, context_len - 1, 1, false});
  const double invariant = time_step(model, {batch, context_len - 1, 1, true});
  std::printf("decode  B=%-4d ctx %-6d %8.2f us  invariant %8.2f us  %7.1f GB/s\n", batch,
              context_len, fast, invariant, bytes / fast * 1e-3);
}

void prefill_line(const Model& model, int batch, int past, int num_new) {
  const double visible = num_new * (past + (num_new + 1) / 2.0);
  const double operations = 4.0 * batch * visible * model.num_heads * model.head_dim;
  const double time = time_step(model, {batch, past, num_new, false});
  std::printf("prefill %3d x %-5d after %-6d %8.2f us  %6.1f TFLOP/s\n", batch, num_new, past, time,
              operations / time * 1e-6);
}

}  // namespace

int main(int argc, char** argv) {
  if (!testing::has_device()) return 0;
  Model model{12, 2, 128};
  if (argc >= 4) model = {std::atoi(argv[1]), std::atoi(argv[2]), std::atoi(argv[3])};
  std::printf("attention of one layer, bf16, %d heads, %d KV heads, head_dim %d\n", model.num_heads,
              model.num_kv_heads, model.head_dim);
  if (argc == 7) {
    const int batch = std::atoi(argv[4]);
    const int past = std::atoi(argv[5]);
    const int num_new = std::atoi(argv[6]);
    if (num_new == 1) {
      decode_line(model, batch, past + 1);
    } else {
      prefill_line(model, batch, past, num_new);
    }
    return 0;
  }
  for (const int context_len : {128, 512, 2048, 8192, 32768}) decode_line(model, 1, context_len);
  for (const int context_len : {320, 2048, 8192}) decode_line(model, 8, context_len);
  for (const int context_len : {320, 2048}) decode_line(model, 32, context_len);
  for (const int context_len : {320, 2048}) decode_line(model, 64, context_len);
  for (const int context_len : {320, 2048}) decode_line(model, 128, context_len);
  for (const int context_len : {320, 2048}) decode_line(model, 256, context_len);
  prefill_line(model, 1, 0, 128);
  prefill_line(model, 1, 0, 512);
  prefill_line(model, 1, 0, 1024);
  prefill_line(model, 1, 0, 4096);
  prefill_line(model, 1, 4096, 512);
  prefill_line(model, 16, 0, 256);
  prefill_line(model, 4, 0, 1024);
  return 0;
}
