// Speed of the operators around the linears in the shape of a small model (SmolLM2-135M: 30 layers,
// hidden 576, 9 heads over 3 KV heads of 64, MLP 1536, vocabulary 49,152). Prints microseconds of
// one call, best of several rounds, and milliseconds of a whole step where the operator runs once a
// layer.
//
//   operators_bench [threads = 2] [rounds = 10]
//
// KVASIR_ISA chooses the instruction set.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <random>
#include <vector>

#include "kernels/paged_attention.h"
#include "kernels/rms_norm.h"
#include "kernels/rope.h"
#include "kernels/sample.h"
#include "kernels/swiglu.h"
#include "kernels/write_kv.h"

namespace {

using kernels::DType;
using kernels::ThreadPool;

constexpr int kNumLayers = 30, kHidden = 576, kHeads = 9, kKvHeads = 3, kHeadDim = 64, kMlp = 1536;

struct Cost {
  double wall_us;
  double cpu_us;  // of all threads; on a busy machine the only one that means something
};

double cpu_us() { return 1e6 * static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

// Runs body until it has taken some 20 ms, `rounds` times; the least of each cost.
template <typename Body>
Cost best_of(int rounds, Body&& body) {
  using Clock = std::chrono::steady_clock;
  Cost best = {1e30, 1e30};
  int num_calls = 1;
  for (int i = 0; i < rounds; ++i) {
    const auto start = Clock::now();
    const double cpu_start = cpu_us();
    for (int call = 0; call < num_calls; ++call) body();
    const double cpu = (cpu_us() - cpu_start) / num_calls;
    const double wall =
        std::chrono::duration<double, std::micro>(Clock::now() - start).count() / num_calls;
    best.wall_us = std::min(best.wall_us, wall);
    if (i > 0) best.cpu_us = std::min(best.cpu_us, cpu);
    if (i == 0) num_calls = static_cast<int>(20000 / wall) + 1;
  }
  return best;
}

std::vector<float> normal_values(std::size_t count, float sigma) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0, sigma);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

template <typename T>
T* aligned(std::vector<T>& memory) {
  const auto address = reinterpret_cast<std::uintptr_t>(memory.data());
  return memory.data() + (64 - address % 64) % 64 / sizeof(T);
}

void print(const char* name, int num_tokens, Cost cost, int per_step) {
  std::printf("%-24s %5d tokens %10.1f us %10.1f us CPU", name, num_tokens, cost.wall_us,
              cost.cpu_us);
  if (per_step > 0) std::printf("  %8.2f ms a step", cost.wall_us * per_step / 1000);
  std::printf("\n");
}

void bench_rows(int num_tokens, int rounds, ThreadPool& pool) {
  auto x = normal_values(static_cast<std::size_t>(num_tokens) * 2 * kMlp, 1);
  std::vector<float> out(x.size());
  const auto weight = normal_values(kHidden, 1);
  print("rms_norm 576", num_tokens,
        best_of(rounds,
                [&] {
                  kernels::rms_norm_cpu({out.data(), x.data(), weight.data(), DType::kF32,
                                         num_tokens, kHidden, kHidden, kHidden, 1e-5f},
                                        pool);
                }),
        2 * kNumLayers + 1);
  print("swiglu 1536", num_tokens,
        best_of(rounds,
                [&] {
                  kernels::swiglu_cpu({out.data(), x.data(), x.data() + kMlp, DType::kF32,
                                       num_tokens, kMlp, kMlp, 2 * kMlp, 2 * kMlp},
                                      pool);
                }),
        kNumLayers);
  std::vector<float> table(static_cast<std::size_t>(num_tokens) * kHeadDim);
  kernels::fill_rope_table(table.data(), num_tokens, kHeadDim, 1e5f, nullptr, pool);
  std::vector<std::int32_t> positions(num_tokens);
  for (int t = 0; t < num_tokens; ++t) positions[t] = t;
  print("rope 12 heads", num_tokens,
        best_of(rounds,
                [&] {
                  kernels::rope_from_table_cpu({x.data(), positions.data(), table.data(),
                                                num_tokens, kHeads + kKvHeads, kHeadDim, 960},
                                               pool);
                }),
        kNumLayers);
  const int num_blocks = (num_tokens + 15) / 16;
  std::vector<std::uint16_t> cache(static_cast<std::size_t>(num_blocks) * 16 * kKvHeads * kHeadDim);
  print("write_kv f16", num_tokens,
        best_of(rounds,
                [&] {
                  kernels::write_kv_cpu(
                      {cache.data(), cache.data(), DType::kF16, x.data(), x.data(),
                       positions.data(), num_tokens, num_blocks, kKvHeads, kHeadDim, 16, 960, 960},
                      pool);
                }),
        kNumLayers);
}

void bench_attention(const char* name, int num_sequences, int num_new, int context_len, DType type,
                     int rounds, ThreadPool& pool) {
  const int num_blocks = (context_len + 15) / 16;
  const std::size_t elements =
      static_cast<std::size_t>(num_sequences) * num_blocks * 16 * kKvHeads * kHeadDim;
  const auto values = normal_values(elements, 1);
  std::vector<std::uint16_t> halves;
  if (type == DType::kF16) {
    for (const float value : values) halves.push_back(kernels::to_f16(value).bits);
  }
  const void* cache = type == DType::kF16 ? static_cast<const void*>(halves.data()) : values.data();
  std::vector<std::int32_t> tables(static_cast<std::size_t>(num_sequences) * num_blocks);
  for (std::size_t i = 0; i < tables.size(); ++i) tables[i] = static_cast<int>(i);
  std::shuffle(tables.begin(), tables.end(), std::mt19937(3));
  std::vector<std::int32_t> starts = {0}, lens;
  for (int s = 0; s < num_sequences; ++s) {
    starts.push_back(starts.back() + num_new);
    lens.push_back(context_len);
  }
  const auto q = normal_values(static_cast<std::size_t>(starts.back()) * kHidden, 1);
  std::vector<float> out(q.size());
  std::vector<float> scratch(kernels::paged_attention_scratch_bytes(
                                 kHeads, kKvHeads, kHeadDim, context_len, pool.num_threads()) /
                                 sizeof(float) +
                             16);
  print(name, starts.back(),
        best_of(rounds,
                [&] {
                  kernels::paged_attention_cpu(
                      {out.data(), q.data(), cache, cache, type, tables.data(), num_blocks,
                       starts.data(), lens.data(), num_sequences, kHeads, kKvHeads, kHeadDim, 16,
                       0.125f, kHidden, kHidden, aligned(scratch)},
                      pool);
                }),
        kNumLayers);
}

void bench_sample(const char* name, int vocab_size, int top_k, float top_p, float min_p,
                  float temperature, float penalty, int rounds, ThreadPool& pool) {
  const auto values = normal_values(vocab_size, 3);
  std::vector<float> logits(vocab_size);
  std::vector<std::uint16_t> counts(vocab_size);
  std::vector<std::uint32_t> bits(vocab_size / 32 + 1);
  for (int i = 0; i < vocab_size; i += 97) counts[i] = 1;
  std::vector<double> scratch(
      kernels::sample_scratch_bytes(vocab_size, pool.num_threads()) / sizeof(double) + 8);
  kernels::SamplerSlot slot = {counts.data(), bits.data()};
  const float zero = 0;
  const std::int32_t no_choice = 0;
  const std::uint32_t seed = 5;
  std::int32_t token = 0, position = 0;
  kernels::Sample op{&token,       logits.data(), vocab_size, 1,        vocab_size,      &no_choice,
                     &temperature, &top_p,        &min_p,     &penalty, &zero,           &zero,
                     &top_k,       &no_choice,    &seed,      &seed,    &position,       &no_choice,
                     &slot,        nullptr,       nullptr,    nullptr,  aligned(scratch)};
  const Cost copy = best_of(rounds, [&] { logits = values; });
  const Cost both = best_of(rounds, [&] {
    logits = values;
    ++position;
    kernels::sample_cpu(op, pool);
  });
  print(name, 1, {both.wall_us - copy.wall_us, both.cpu_us - copy.cpu_us}, 0);
}

}  // namespace

int main(int argc, char** argv) {
  const int num_threads = argc > 1 ? std::atoi(argv[1]) : 2;
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 10;
  ThreadPool pool(num_threads);
  std::printf("%d threads, %s\n", num_threads, kernels::name_of(pool.isa()));
  for (const int num_tokens : {1, 512}) bench_rows(num_tokens, rounds, pool);
  bench_attention("attention prefill f16", 1, 512, 512, DType::kF16, rounds, pool);
  bench_attention("attention prefill f32", 1, 512, 512, DType::kF32, rounds, pool);
  bench_attention("attention chunk at 2k", 1, 512, 2048, DType::kF16, rounds, pool);
  bench_attention("attention decode 512", 1, 1, 512, DType::kF16, rounds, pool);
  bench_attention("attention decode 2k", 1, 1, 2048, DType::kF16, rounds, pool);
  bench_attention("attention decode 2k f32", 1, 1, 2048, DType::kF32, rounds, pool);
  bench_attention("attention decode 8 x 1k", 8, 1, 1024, DType::kF16, rounds, pool);
  for (const int vocab_size : {49152, 151936}) {
    std::printf("vocabulary %d\n", vocab_size);
    bench_sample("greedy", vocab_size, 0, 1, 0, 0, 1, rounds, pool);
    bench_sample("temperature 1", vocab_size, 0, 1, 0, 1, 1, rounds, pool);
    bench_sample("with penalties", vocab_size, 0, 1, 0, 1, 1.1f, rounds, pool);
    bench_sample("top-k 50", vocab_size, 50, 1, 0, 1, 1, rounds, pool);
    bench_sample("top-p 0.95", vocab_size, 0, 0.95f, 0, 1, 1, rounds, pool);
    bench_sample("top-k 50, top-p 0.95", vocab_size, 50, 0.95f, 0, 1, 1, rounds, pool);
    bench_sample("min-p 0.05", vocab_size, 0, 1, 0.05f, 1, 1, rounds, pool);
  }
}
