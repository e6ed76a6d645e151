// Speed of the linear layers of a small model (SmolLM2-135M: 30 layers of 576 x 1536, vocabulary
// 49,152), of one type, alone. Prints microseconds, GB/s of packed weights, GFLOP/s and the share
// of this machine's own peak, all best of several rounds, and the tokens per second that follow.
//
//   linear_bench [type = q4_1] [threads = 2] [rounds = 5] [tokens = 512]
//
// KVASIR_ISA chooses the instruction set.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/linear.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

using kernels::DType;
using kernels::Isa;
using kernels::ThreadPool;

// With one thread its own processor time, which other programs disturb less; else the wall's.
double now_us(int num_threads) {
  timespec now;
  clock_gettime(num_threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

// Least time of `rounds` calls, in microseconds.
template <typename Body>
double best_us(int num_threads, int rounds, Body&& body) {
  double best = 1e30;
  for (int i = 0; i < rounds; ++i) {
    const double start = now_us(num_threads);
    body();
    best = std::min(best, now_us(num_threads) - start);
  }
  return best;
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) float spin_fma_avx512(int count) {
  __m512 sums[16];
  for (auto& sum : sums) sum = _mm512_set1_ps(1);
  const __m512 a = _mm512_set1_ps(0.999f);
  for (int i = 0; i < count; ++i) {
#pragma GCC unroll 16
    for (auto& sum : sums) sum = _mm512_fmadd_ps(sum, a, a);
  }
  float out = 0;
  for (auto& sum : sums) out += _mm512_cvtss_f32(sum);
  return out;
}

__attribute__((target("avx2,fma"))) float spin_fma_avx2(int count) {
  __m256 sums[12];
  for (auto& sum : sums) sum = _mm256_set1_ps(1);
  const __m256 a = _mm256_set1_ps(0.999f);
  for (int i = 0; i < count; ++i) {
#pragma GCC unroll 12
    for (auto& sum : sums) sum = _mm256_fmadd_ps(sum, a, a);
  }
  float out = 0;
  for (auto& sum : sums) out += _mm256_cvtss_f32(sum);
  return out;
}
#endif

// GFLOP/s of independent fused multiply-adds on all threads; 0 where it is not known.
double peak_gflops(ThreadPool& pool, int rounds) {
#if defined(__x86_64__)
  if (pool.isa() == Isa::kPortable) return 0;
  constexpr int kCount = 1000000;
  const bool wide = pool.isa() == Isa::kAvx512;
  volatile float sink = 0;
  const double us = best_us(pool.num_threads(), rounds, [&] {
    pool.parallel_for(pool.num_threads(), 1, [&](int, int) {
      sink = wide ? spin_fma_avx512(kCount) : spin_fma_avx2(kCount);
    });
  });
  return pool.num_threads() * (wide ? 16.0 * 16 : 12.0 * 8) * 2 * kCount / us / 1e3;
#else
  (void)pool;
  (void)rounds;
  return 0;
#endif
}

// GB/s at which all threads together read a buffer that no cache of their own holds.
double peak_gbytes(ThreadPool& pool, int rounds) {
  constexpr int kNumPages = 100 * 256;
  std::vector<std::uint64_t> memory(kNumPages * 512, 1);
  volatile std::uint64_t sink = 0;
  const double us = best_us(pool.num_threads(), rounds, [&] {
    pool.parallel_for(kNumPages, 64, [&](int begin, int end) {
      // One word of each line: the line is what has to come.
      std::uint64_t sums[4] = {};
      for (std::size_t i = begin * 512; i < static_cast<std::size_t>(end) * 512; i += 32) {
        __builtin_prefetch(&memory[i] + 512);
        for (int j = 0; j < 4; ++j) sums[j] += memory[i + 8 * j];
      }
      for (const std::uint64_t sum : sums) sink = sink + sum;
    });
  });
  return memory.size() * 8 / us / 1e3;
}

struct Layer {
  const char* name;
  int out_features;
  int in_features;
  int count;  // a model
  DType type;
};

// Random bytes are valid weights of every type once their scales are finite.
std::vector<std::uint8_t> random_rows(DType type, std::size_t num_bytes, std::mt19937& random) {
  std::vector<std::uint8_t> rows(num_bytes);
  for (std::uint8_t& byte : rows) byte = static_cast<std::uint8_t>(random());
  const auto small = static_cast<std::uint16_t>(0x2000);  // 0.0078 as a half
  const std::size_t block = kernels::bytes_per_block(type);
  for (std::size_t at = 0; at < num_bytes; at += block) {
    if (type == DType::kF32) std::memset(&rows[at + 3], 0x3c, 1);
    if (type == DType::kF16 || type == DType::kBF16) std::memset(&rows[at + 1], 0x3c, 1);
    if (type == DType::kQ6_K) std::memcpy(&rows[at + 208], &small, 2);
    if (type >= DType::kQ8_0 && type <= DType::kQ4_1) std::memcpy(&rows[at], &small, 2);
    if (type == DType::kQ4_1) std::memcpy(&rows[at + 2], &small, 2);
  }
  return rows;
}

struct FreeDeleter {
  void operator()(void* pointer) const { std::free(pointer); }
};

// The layer's weights, `count` different copies, as in a model.
class Weights {
 public:
  Weights(const Layer& layer, std::mt19937& random)
      : layer_(layer),
        bytes_(kernels::packed_bytes(layer.type, layer.out_features, layer.in_features)),
        stride_((bytes_ + 4095) / 4096 * 4096),
        memory_(static_cast<std::uint8_t*>(std::aligned_alloc(4096, stride_ * layer.count))) {
    const std::size_t row = kernels::row_bytes(layer.type, layer.in_features);
    const auto rows = random_rows(layer.type, row * layer.out_features, random);
    for (int i = 0; i < layer.count; ++i) {
      kernels::pack_weight(layer.type, rows.data(), layer.out_features, layer.in_features,
                           memory_.get() + i * stride_);
    }
  }

  kernels::PackedWeight operator[](int i) const {
    return {memory_.get() + i * stride_, layer_.type, layer_.out_features, layer_.in_features};
  }
  const Layer& layer() const { return layer_; }
  std::size_t bytes() const { return bytes_; }

 private:
  Layer layer_;
  std::size_t bytes_;
  std::size_t stride_;
  std::unique_ptr<std::uint8_t, FreeDeleter> memory_;
};

struct Peaks {
  double gflops;
  double gbytes;
};

// Prints a line for each layer; returns the time of one pass over the model in microseconds.
double bench_model(const std::vector<std::unique_ptr<Weights>>& model, int num_tokens, int rounds,
                   const Peaks& peaks, ThreadPool& pool) {
  std::vector<float> x(static_cast<std::size_t>(num_tokens) * 1536, 0.25f);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 29) * 0.01f - 0.1f;
  std::vector<float> out(static_cast<std::size_t>(num_tokens) * 49152);
  double total_us = 0;
  for (const auto& weights : model) {
    const Layer& layer = weights->layer();
    // Only the last token of a prompt goes through the head.
    const int tokens = std::strcmp(layer.name, "head") == 0 && num_tokens > 64 ? 1 : num_tokens;
    const double us = best_us(pool.num_threads(), rounds,
                              [&] {
                                for (int i = 0; i < layer.count; ++i) {
                                  kernels::linear_packed_cpu(
                                      {out.data(), x.data(), (*weights)[i], nullptr, tokens,
                                       layer.out_features, layer.in_features, false},
                                      pool);
                                }
                              }) /
                      layer.count;
    const double flops = 2.0 * tokens * layer.out_features * layer.in_features;
    std::printf(
        "%-8s %5d x %4d  M %3d  %9.1f us  %6.1f GB/s (%3.0f %%)  %7.1f GFLOP/s (%3.0f %%)\n",
        layer.name, layer.out_features, layer.in_features, tokens, us, weights->bytes() / us / 1e3,
        weights->bytes() / us / 1e1 / peaks.gbytes, flops / us / 1e3,
        flops / us / 1e1 / peaks.gflops);
    total_us += us * layer.count;
  }
  std::printf("model    M %d: %.2f ms, %.1f tok/s\n\n", num_tokens, total_us / 1e3,
              num_tokens * 1e6 / total_us);
  return total_us;
}

DType type_named(const std::string& name) {
  for (int i = 0; i < kernels::kNumDTypes; ++i) {
    if (name == kernels::name_of(static_cast<DType>(i))) return static_cast<DType>(i);
  }
  throw kernels::Error("'" + name + "' is not a weight type");
}

}  // namespace

int main(int argc, char** argv) {
  const DType type = type_named(argc > 1 ? argv[1] : "q4_1");
  ThreadPool pool(argc > 2 ? std::atoi(argv[2]) : 2);
  const int rounds = argc > 3 ? std::atoi(argv[3]) : 5;
  const int num_tokens = argc > 4 ? std::atoi(argv[4]) : 512;
  const Peaks peaks = {peak_gflops(pool, rounds), peak_gbytes(pool, rounds)};
  std::printf("%s, %s, %d threads; peaks %.0f GFLOP/s, %.1f GB/s\n", kernels::name_of(type),
              kernels::name_of(pool.isa()), pool.num_threads(), peaks.gflops, peaks.gbytes);

  std::mt19937 random(1);
  // Whole blocks of 256 for q6_k: the nearest sizes it allows.
  const int hidden = type == DType::kQ6_K ? 512 : 576;
  const DType head = type == DType::kQ4_1 || type == DType::kQ4_0 ? DType::kQ8_0 : type;
  std::vector<std::unique_ptr<Weights>> model;
  for (const Layer& layer :
       {Layer{"qkv", 960, hidden, 30, type}, Layer{"o", 576, hidden, 30, type},
        Layer{"gate_up", 3072, hidden, 30, type}, Layer{"down", 576, 1536, 30, type},
        Layer{"head", 49152, hidden, 1, head}}) {
    model.push_back(std::make_unique<Weights>(layer, random));
  }
  for (const int tokens : {1, 2, 4, 8, 16, num_tokens}) {
    bench_model(model, tokens, tokens > 64 ? 5 * rounds : rounds, peaks, pool);
  }
}
