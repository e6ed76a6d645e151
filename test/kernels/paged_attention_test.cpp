#include "kernels/paged_attention.h"

#include <algorithm>
#include <numeric>

#include "kernels/write_kv.h"
#include "test/kernels/plain_values.h"
#include "test/kernels/tap.h"
#include "test/reference/attention.h"

namespace {

using kernels::DType;
using kernels::ThreadPool;

constexpr int kBlockSize = 16;

struct Heads {
  int num_heads;
  int num_kv_heads;
  int head_dim;
};

// A paged cache and sequences with random block tables in it. What no token has written is NaN.
struct Cache {
  Cache(const Heads& heads, DType type, std::vector<int> context_lens, ThreadPool& pool)
      : heads(heads), type(type), context_lens(std::move(context_lens)) {
    int num_blocks = 3;
    for (const int len : this->context_lens) {
      max_blocks = std::max(max_blocks, (len + kBlockSize - 1) / kBlockSize);
      num_blocks += (len + kBlockSize - 1) / kBlockSize;
    }
    std::vector<std::int32_t> blocks(num_blocks);
    std::iota(blocks.begin(), blocks.end(), 0);
    std::shuffle(blocks.begin(), blocks.end(), std::mt19937(61));
    const std::size_t count =
        static_cast<std::size_t>(num_blocks) * heads.num_kv_heads * kBlockSize * heads.head_dim;
    k_cache.assign(count, NAN);
    v_cache.assign(count, NAN);
    tables.assign(this->context_lens.size() * max_blocks, -1);
    for (std::size_t s = 0; s < this->context_lens.size(); ++s) {
      const int len = this->context_lens[s];
      const std::size_t row = heads.num_kv_heads * heads.head_dim;
      q.push_back(testing::uniform_values<float>(
          static_cast<std::size_t>(len) * heads.num_heads * heads.head_dim, -1, 1, 100 + s));
      k.push_back(testing::uniform_values<float>(len * row, -1, 1, 200 + s));
      v.push_back(testing::uniform_values<float>(len * row, -1, 1, 300 + s));
      std::vector<std::int32_t> slots(len);
      for (int t = 0; t < len; ++t) {
        if (t % kBlockSize == 0) {
          tables[s * max_blocks + t / kBlockSize] = blocks.back();
          blocks.pop_back();
        }
        slots[t] = tables[s * max_blocks + t / kBlockSize] * kBlockSize + t % kBlockSize;
      }
      // As halves the cache takes half of the memory; the rest stays unused.
      kernels::write_kv_cpu(
          {k_cache.data(), v_cache.data(), type, k[s].data(), v[s].data(), slots.data(), len,
           num_blocks, heads.num_kv_heads, heads.head_dim, kBlockSize,
           static_cast<std::int64_t>(row), static_cast<std::int64_t>(row)},
          pool);
    }
  }

  Heads heads;
  DType type;
  std::vector<int> context_lens;
  int max_blocks = 0;
  std::vector<float> k_cache, v_cache;
  std::vector<std::int32_t> tables;
  std::vector<std::vector<float>> q, k, v;  // of every token, by sequence
};

// Part of a step: `num_tokens` new ones, after which the sequence has `context_len`.
struct Part {
  int sequence;
  int num_tokens;
  int context_len;
};

// The rows of the parts, one after the other.
std::vector<float> attend(const Cache& cache, const std::vector<Part>& parts, ThreadPool& pool) {
  const Heads& heads = cache.heads;
  const std::size_t row = static_cast<std::size_t>(heads.num_heads) * heads.head_dim;
  std::vector<std::int32_t> starts = {0}, lens, tables;
  std::vector<float> q;
  for (const Part& part : parts) {
    starts.push_back(starts.back() + part.num_tokens);
    lens.push_back(part.context_len);
    const auto table = cache.tables.begin() + part.sequence * cache.max_blocks;
    tables.insert(tables.end(), table, table + cache.max_blocks);
    const auto first = cache.q[part.sequence].begin() + (part.context_len - part.num_tokens) * row;
    q.insert(q.end(), first, first + part.num_tokens * row);
  }
  const std::size_t bytes =
      kernels::paged_attention_scratch_bytes(heads.num_heads, heads.num_kv_heads, heads.head_dim,
                                             cache.max_blocks * kBlockSize, pool.num_threads());
  std::vector<float> scratch(bytes / sizeof(float) + 16, NAN);
  const auto address = reinterpret_cast<std::uintptr_t>(scratch.data());
  auto out = testing::poisoned<float>(q.size());
  const auto stride = static_cast<std::int64_t>(row);
  kernels::paged_attention_cpu(
      {out.data(), q.data(), cache.k_cache.data(), cache.v_cache.data(), cache.type, tables.data(),
       cache.max_blocks, starts.data(), lens.data(), static_cast<int>(parts.size()),
       heads.num_heads, heads.num_kv_heads, heads.head_dim, kBlockSize,
       1 / std::sqrt(static_cast<float>(heads.head_dim)), stride, stride,
       scratch.data() + (64 - address % 64) % 64 / sizeof(float)},
      pool);
  return out;
}

std::vector<double> as_stored(const std::vector<float>& values, DType type) {
  std::vector<double> out;
  for (const float value : values) {
    out.push_back(type == DType::kF16 ? kernels::to_float(kernels::to_f16(value)) : value);
  }
  return out;
}

std::string describe(const Heads& heads, DType type) {
  return std::string(kernels::name_of(type)) + ", heads " + std::to_string(heads.num_heads) + "/" +
         std::to_string(heads.num_kv_heads) + ", dim " + std::to_string(heads.head_dim);
}

void test_against_reference(tap::Report& report, const std::string& isa, const Cache& cache,
                            ThreadPool& pool) {
  // The whole of the first sequence, the end of the second, one token of the third.
  const std::vector<Part> parts = {{0, cache.context_lens[0], cache.context_lens[0]},
                                   {1, 19, cache.context_lens[1]},
                                   {2, 1, cache.context_lens[2]}};
  const auto got = attend(cache, parts, pool);
  const Heads& heads = cache.heads;
  const std::size_t row = static_cast<std::size_t>(heads.num_heads) * heads.head_dim;
  std::vector<double> want;
  for (const Part& part : parts) {
    const auto& all_q = cache.q[part.sequence];
    const std::vector<double> q(all_q.end() - part.num_tokens * row, all_q.end());
    const auto rows = reference::attention<float>(
        {part.num_tokens, part.context_len, heads.num_heads, heads.num_kv_heads, heads.head_dim,
         heads.head_dim},
        q, as_stored(cache.k[part.sequence], cache.type),
        as_stored(cache.v[part.sequence], cache.type), 1 / std::sqrt(1.0 * heads.head_dim));
    want.insert(want.end(), rows.begin(), rows.end());
  }
  report.close(got.data(), want.data(), want.size(), 1e-5,
               isa + " " + describe(heads, cache.type) + ": against the reference");
}

// Bit for bit: whole prompt, odd chunks, token by token, in a crowd, other numbers of threads.
void test_invariance(tap::Report& report, const std::string& isa, const Cache& cache,
                     ThreadPool& pool, std::vector<float>& first) {
  const std::string name = isa + " " + describe(cache.heads, cache.type) + ": ";
  const int len = cache.context_lens[1];
  const auto whole = attend(cache, {{1, len, len}}, pool);
  std::vector<float> in_chunks;
  int done = 0;
  for (int size = 1; done < len; size = size * 5 % 203 + 1) {
    const int num_tokens = std::min(size, len - done);
    done += num_tokens;
    const auto rows = attend(cache, {{1, num_tokens, done}}, pool);
    in_chunks.insert(in_chunks.end(), rows.begin(), rows.end());
  }
  report.same_bits(in_chunks.data(), whole.data(), whole.size(), name + "chunks as the whole");

  const std::size_t row = static_cast<std::size_t>(cache.heads.num_heads) * cache.heads.head_dim;
  ThreadPool alone(1, pool.isa()), three(3, pool.isa());
  bool same = true;
  for (const int position : {0, 1, 15, 16, 63, 64, 511, 512, len - 2, len - 1}) {
    for (ThreadPool* threads : {&alone, &pool, &three}) {
      const auto token = attend(cache, {{1, 1, position + 1}}, *threads);
      same = same && std::memcmp(token.data(), &whole[position * row], row * sizeof(float)) == 0;
    }
  }
  report.ok(same, name + "one token at a time as the whole, on 1 to 3 threads");

  std::vector<Part> crowd(11, {2, 1, cache.context_lens[2]});
  crowd.push_back({1, 40, len});
  crowd.push_back({0, cache.context_lens[0], cache.context_lens[0]});
  const auto rows = attend(cache, crowd, pool);
  report.same_bits(&rows[11 * row], &whole[(len - 40) * row], 40 * row,
                   name + "in a crowd as alone");
  if (first.empty()) first = whole;
  report.same_bits(whole.data(), first.data(), first.size(), name + "same bits as portable");
}

void test_refusals(tap::Report& report, ThreadPool& pool) {
  kernels::PagedAttention op{};
  op.num_heads = op.num_kv_heads = 1;
  op.head_dim = 64;
  op.block_size = 16;
  op.cache_type = DType::kF16;
  const auto refused = [&](kernels::PagedAttention bad, std::initializer_list<const char*> parts) {
    report.throws([&] { kernels::paged_attention_cpu(bad, pool); }, parts,
                  std::string("refused: ") + *parts.begin());
  };
  kernels::paged_attention_cpu(op, pool);
  report.ok(true, "no sequence is no work");
  auto bad = op;
  bad.head_dim = 60;
  refused(bad, {"head_dim is 60", "multiple of 8"});
  bad = op;
  bad.block_size = 32;
  refused(bad, {"block_size is 32", "16"});
  bad = op;
  bad.num_heads = 3;
  bad.num_kv_heads = 2;
  refused(bad, {"num_heads 3", "num_kv_heads 2"});
  bad = op;
  bad.cache_type = DType::kBF16;
  refused(bad, {"bf16", "f16 or f32"});
}

}  // namespace

int main() {
  tap::Report report;
  ThreadPool pool(2);
  const Heads all_heads[] = {{9, 3, 64}, {12, 2, 128}, {2, 2, 80},
                             {4, 4, 96}, {5, 1, 256},  {7, 1, 8}};
  for (const Heads& heads : all_heads) {
    for (const DType type : {DType::kF16, DType::kF32}) {
      const Cache cache(heads, type, {37, 640, 1100}, pool);
      std::vector<float> first;
      testing::for_each_isa([&](const std::string& isa, ThreadPool& pool) {
        // The portable version is some fifty times slower; the small heads are all cases it has.
        if (isa == "portable" && heads.head_dim > 80) return;
        test_against_reference(report, isa, cache, pool);
        test_invariance(report, isa, cache, pool, first);
      });
    }
  }
  test_refusals(report, pool);
  return report.finish();
}
