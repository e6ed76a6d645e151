// Attention on CUDA against a double-precision reference, and against itself where bits must agree.
// With the argument "small" only steps of at most 2,048 tokens run, for compute-sanitizer.
#include <cmath>
#include <cstring>

#include "test/kernels/attention_world.cuh"
#include "test/kernels/tap.h"

namespace {

using kernels::bf16;
using kernels::f16;
using kernels::Numerics;
using testing::AttentionShape;
using testing::AttentionWorld;
using testing::PlainType;
using testing::WorldSequence;

bool is_small = false;

// A sequence of a step: what is in the cache, what is new.
struct Part {
  int past;
  int num_new;
};

template <typename T>
double rms_tolerance() {
  return PlainType<T>::kTolerance == 1e-5 ? 2e-6 : PlainType<T>::kTolerance * 0.6;
}

// No element outside the operators' tolerance, and the error as a whole well inside it: at long
// contexts single elements are so small that the first alone would let zeros pass.
template <typename T>
void check_output(tap::Report& report, const std::vector<T>& out,
                  const std::vector<double>& reference, std::size_t count,
                  const std::string& name) {
  double error = 0;
  double size = 0;
  std::size_t num_bad = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const double got = kernels::to_float(out[i]);
    const double off = std::fabs(got - reference[i]);
    error += off * off;
    size += reference[i] * reference[i];
    const double tolerance = PlainType<T>::kTolerance;
    if (!(off <= tolerance + tolerance * std::fabs(reference[i]))) ++num_bad;
  }
  const double relative = std::sqrt(error / size);
  if (!report.ok(num_bad == 0 && relative < rms_tolerance<T>(), name)) {
    report.note(std::to_string(num_bad) + " of " + std::to_string(count) +
                " elements outside the tolerance, relative error " + std::to_string(relative));
  }
}

template <typename T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

// Nearly all the same, the rest a rounding apart: the sum of squares has another order here.
template <typename T>
bool nearly_same(const std::vector<T>& a, const std::vector<T>& b) {
  const double rounding = sizeof(T) == 4 ? 1e-5 : PlainType<T>::kTolerance * 4;
  std::size_t num_same = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double x = kernels::to_float(a[i]);
    const double y = kernels::to_float(b[i]);
    if (!(std::fabs(x - y) <= rounding)) return false;
    if (std::memcmp(&a[i], &b[i], sizeof(T)) == 0) ++num_same;
  }
  return a.size() == b.size() && (sizeof(T) == 4 || num_same > a.size() * 98 / 100);
}

std::string name_of_parts(const std::vector<Part>& parts, int num_decodes) {
  std::string name;
  for (std::size_t i = 0; i < parts.size() && i < 4; ++i) {
    name += " " + std::to_string(parts[i].past) + "+" + std::to_string(parts[i].num_new);
  }
  if (parts.size() > 4) name += " ..";
  return name + " (" + std::to_string(parts.size()) + " sequences, " + std::to_string(num_decodes) +
         " decodes)";
}

std::string name_of_shape(const AttentionShape& shape, const char* type) {
  return std::string(type) + " " + std::to_string(shape.num_heads) + "/" +
         std::to_string(shape.num_kv_heads) + "x" + std::to_string(shape.head_dim) +
         (shape.has_norm ? " norm" : "") +
         (shape.numerics == Numerics::kReference ? " reference" : "") +
         (shape.is_batch_invariant ? " invariant" : "");
}

template <typename T>
void check_step(tap::Report& report, const AttentionShape& shape, const std::vector<Part>& parts,
                int num_decodes, int num_padding = 0) {
  int num_blocks = 7;
  int longest = 0;
  int num_tokens = 0;
  for (const Part& part : parts) {
    num_blocks += (part.past + part.num_new + 15) / 16;
    longest = std::max(longest, part.past + part.num_new);
    num_tokens += part.num_new;
  }
  AttentionWorld<T> world(shape, num_blocks, longest, 1000 + longest);
  world.poison_workspace_beyond(8192);
  std::vector<WorldSequence<T>> sequences;
  std::vector<WorldSequence<T>*> pointers;
  std::vector<int> num_new;
  for (const Part& part : parts) {
    sequences.push_back(world.add_sequence(part.past + part.num_new));
    world.fill_past(sequences.back(), part.past);
    num_new.push_back(part.num_new);
  }
  for (auto& sequence : sequences) pointers.push_back(&sequence);
  const auto first = world.run(pointers, num_new, num_decodes, num_padding, true);

  const std::string name =
      name_of_shape(shape, PlainType<T>::kName) + name_of_parts(parts, num_decodes);
  std::vector<T> out = first.out;
  std::vector<double> reference = first.reference;
  // Padding rows stand between decodes and prefills, or last; they must still be poison.
  const std::size_t begin = std::size_t(num_decodes) * world.out_width();
  const std::size_t end = begin + std::size_t(num_padding) * world.out_width();
  if (num_padding > 0) {
    const std::vector<unsigned char> nan((end - begin) * sizeof(T), 0xff);
    report.ok(std::memcmp(out.data() + begin, nan.data(), nan.size()) == 0,
              name + ": padding rows are left alone");
  }
  out.erase(out.begin() + begin, out.begin() + end);
  reference.erase(reference.begin() + begin, reference.begin() + end);
  check_output(report, out, reference, out.size(), name);

  bool caches_agree = true;
  for (std::size_t s = 0; s < sequences.size(); s += 1 + sequences.size() / 8) {
    const int count = std::min(parts[s].num_new, 40);
    const int from = sequences[s].num_past - count;
    const auto got = world.cached(sequences[s], from, count);
    const auto want = world.expected_cache(sequences[s], from, count);
    caches_agree = caches_agree && (shape.has_norm ? nearly_same(got, want) : same_bits(got, want));
  }
  report.ok(caches_agree && world.unused_blocks_untouched(), name + ": cache");

  for (std::size_t s = 0; s < sequences.size(); ++s) sequences[s].num_past = parts[s].past;
  const auto second = world.run(pointers, num_new, num_decodes, num_padding);
  report.ok(same_bits(first.out, second.out), name + ": the same bits again");
}

// Every way to compute the same tokens must give the same bits.
template <typename T>
void check_invariance(tap::Report& report, AttentionShape shape, int length,
                      const std::vector<std::vector<int>>& cuts, int num_others) {
  shape.is_batch_invariant = true;
  const std::string name = name_of_shape(shape, PlainType<T>::kName) + " " + std::to_string(length);
  AttentionWorld<T> world(shape, (length + 15) / 16 + num_others * 40 + 8, length + 1, 77);
  WorldSequence<T> sequence = world.add_sequence(length);
  const auto whole = world.run({&sequence}, {length}, 0).out;
  const auto cache = world.cached(sequence, 0, length);

  for (const std::vector<int>& cut : cuts) {
    sequence.num_past = 0;
    std::vector<T> out;
    std::string pieces;
    for (const int piece : cut) {
      const int count = std::min(piece, length - sequence.num_past);
      if (count == 0) break;
      const auto part = world.run({&sequence}, {count}, count == 1 ? 1 : 0).out;
      out.insert(out.end(), part.begin(), part.end());
      pieces += " " + std::to_string(count);
    }
    report.ok(same_bits(out, whole), name + " cut into" + pieces);
    report.ok(same_bits(world.cached(sequence, 0, length), cache), name + ": cache of" + pieces);
  }

  const std::vector<T> last(whole.end() - world.out_width(), whole.end());
  sequence.num_past = length - 1;
  const auto as_prefill = world.run({&sequence}, {1}, 0).out;
  report.ok(same_bits(as_prefill, last), name + ": a chunk of one token");
  sequence.num_past = length - 1;
  const auto as_decode = world.run({&sequence}, {1}, 1, 3).out;
  report.ok(
      same_bits(std::vector<T>(as_decode.begin(), as_decode.begin() + world.out_width()), last),
      name + ": decode beside padding");

  std::vector<WorldSequence<T>> others;
  std::vector<WorldSequence<T>*> pointers;
  for (int i = 0; i < num_others; ++i) {
    others.push_back(world.add_sequence(1 + (i * 97) % 600));
    world.fill_past(others.back(), (i * 97) % 600);
  }
  for (auto& other : others) pointers.push_back(&other);
  pointers.insert(pointers.begin() + num_others / 2, &sequence);
  sequence.num_past = length - 1;
  const auto batch =
      world.run(pointers, std::vector<int>(pointers.size(), 1), int(pointers.size())).out;
  const auto at = batch.begin() + std::size_t(num_others / 2) * world.out_width();
  report.ok(same_bits(std::vector<T>(at, at + world.out_width()), last),
            name + ": decode among " + std::to_string(num_others));

  // Half of the others decode, then this sequence's last 70 tokens, then the rest as chunks of one.
  const int count = std::min(70, length);
  std::vector<WorldSequence<T>*> mixed;
  for (int i = 0; i < num_others / 2; ++i) mixed.push_back(&others[i]);
  mixed.push_back(&sequence);
  for (int i = num_others / 2; i < num_others; ++i) mixed.push_back(&others[i]);
  for (auto& other : others) --other.num_past;
  sequence.num_past = length - count;
  std::vector<int> num_new(mixed.size(), 1);
  num_new[num_others / 2] = count;
  const auto step = world.run(mixed, num_new, num_others / 2).out;
  const auto from = step.begin() + std::size_t(num_others / 2) * world.out_width();
  const std::size_t size = std::size_t(count) * world.out_width();
  report.ok(
      same_bits(std::vector<T>(from, from + size), std::vector<T>(whole.end() - size, whole.end())),
      name + ": a chunk in a mixed step of " + std::to_string(num_others));
}

template <typename T>
void check_shapes(tap::Report& report) {
  const std::vector<Part> decodes = {{0, 1},  {1, 1},   {15, 1},  {16, 1},  {62, 1},  {63, 1},
                                     {64, 1}, {127, 1}, {128, 1}, {200, 1}, {511, 1}, {700, 1}};
  const std::vector<Part> mixed = {{3, 1},   {100, 1}, {63, 1},  {0, 1},  {0, 17},
                                   {64, 64}, {50, 33}, {0, 130}, {127, 2}};
  const std::vector<AttentionShape> shapes = {{12, 2, 128}, {9, 3, 64}, {14, 2, 64}, {8, 8, 128},
                                              {16, 2, 80},  {6, 1, 96}, {8, 4, 256}, {4, 2, 16},
                                              {20, 1, 64},  {6, 2, 40}};
  for (AttentionShape shape : shapes) {
    for (const Numerics numerics : {Numerics::kReference, Numerics::kFast}) {
      if (numerics == Numerics::kFast && PlainType<T>::kType != kernels::DType::kBF16) continue;
      shape.numerics = numerics;
      shape.is_batch_invariant = numerics == Numerics::kReference;
      shape.has_norm = numerics == Numerics::kReference && shape.num_heads != 12;
      check_step<T>(report, shape, decodes, int(decodes.size()), 3);
      check_step<T>(report, shape, mixed, 4, 2);
    }
  }
  check_step<T>(report, {16, 8, 128, true, Numerics::kFast}, mixed, 4);
}

// Every number of splits a decode can have, and enough rows that prefill takes its widest tiles.
template <typename T>
void check_grids(tap::Report& report) {
  AttentionShape shape{12, 2, 128};
  for (const bool is_batch_invariant : {false, true}) {
    shape.is_batch_invariant = is_batch_invariant;
    for (const int batch : {2, 5, 9, 18, 33, 44, 65}) {
      std::vector<Part> parts;
      for (int i = 0; i < batch; ++i) parts.push_back({(i * 211) % 900, 1});
      check_step<T>(report, shape, parts, batch, batch % 3);
    }
  }
  for (const int head_dim : {64, 80, 96, 128, 256}) {
    check_step<T>(report, {32, 8, head_dim}, {{0, 800}, {90, 300}}, 0);
  }
}

template <typename T>
void check_long(tap::Report& report, bool is_batch_invariant) {
  AttentionShape shape{12, 2, 128};
  shape.is_batch_invariant = is_batch_invariant;
  check_step<T>(report, shape, {{2047, 1}}, 1);
  check_step<T>(report, shape, {{32767, 1}}, 1, 1);
  check_step<T>(report, shape, std::vector<Part>(64, {319, 1}), 64);
  check_step<T>(report, shape, std::vector<Part>(256, {100, 1}), 256);
  check_step<T>(report, shape, {{20000, 1}, {5, 1}, {30000, 70}}, 2);
  if (is_batch_invariant) return;
  check_step<T>(report, shape, {{0, 2048}}, 0);
  check_step<T>(report, shape, std::vector<Part>(16, {0, 256}), 0);
  check_step<T>(report, {9, 3, 64}, {{1000, 3000}}, 0);
  std::vector<Part> ragged;
  for (int i = 0; i < 40; ++i) ragged.push_back({(i * 37) % 300, i < 12 ? 1 : 1 + (i * 53) % 400});
  check_step<T>(report, shape, ragged, 12, 4);
}

void check_refusals(tap::Report& report) {
  kernels::CudaAttention op{};
  op.type = kernels::DType::kBF16;
  op.num_heads = 12;
  op.num_kv_heads = 2;
  op.head_dim = 100;
  op.num_tokens = op.num_sequences = op.num_decodes = op.max_query_len = 1;
  op.scale = 0.1f;
  report.throws([&] { kernels::cuda_attention(op, nullptr); }, {"head_dim is 100", "multiple of 8"},
                "a head size that is no multiple of 8 is refused");
  op.head_dim = 128;
  op.num_kv_heads = 5;
  report.throws([&] { kernels::cuda_attention(op, nullptr); }, {"12 heads", "5 KV heads"},
                "heads that do not divide are refused");
  op.num_kv_heads = 2;
  op.type = kernels::DType::kQ8_0;
  report.throws([&] { kernels::cuda_attention(op, nullptr); }, {"type is q8_0"},
                "a quantised cache is refused");
}

void run_small(tap::Report& report) {
  const std::vector<Part> decodes = {{0, 1}, {63, 1}, {64, 1}, {300, 1}};
  const std::vector<Part> mixed = {{70, 1}, {0, 1}, {0, 40}, {60, 9}};
  for (const bool is_batch_invariant : {false, true}) {
    AttentionShape shape{12, 2, 128};
    shape.is_batch_invariant = is_batch_invariant;
    check_step<bf16>(report, shape, decodes, 4, 1);
    check_step<bf16>(report, shape, mixed, 2, 1);
  }
  check_step<f16>(report, {9, 3, 64, true, Numerics::kReference}, mixed, 2);
  check_step<f16>(report, {4, 2, 256}, mixed, 2);
  check_step<bf16>(report, {4, 2, 80}, mixed, 2);
  check_step<float>(report, {4, 2, 16, true}, mixed, 2);
  check_step<bf16>(report, {12, 2, 128}, {{100, 200}}, 0);
}

}  // namespace

int main(int argc, char** argv) {
  if (!testing::has_device()) return 0;
  is_small = argc > 1 && std::strcmp(argv[1], "small") == 0;
  tap::Report report;
  if (is_small) {
    run_small(report);
    return report.finish();
  }
  check_refusals(report);
  check_shapes<bf16>(report);
  check_shapes<f16>(report);
  check_shapes<float>(report);
  check_grids<bf16>(report);
  check_long<bf16>(report, false);
  check_long<bf16>(report, true);
  check_long<f16>(report, true);
  const std::vector<std::vector<int>> cuts = {
      {512, 512}, {1, 64, 63, 400, 200}, {300, 1, 1, 1, 37, 500}, {128, 16, 600}};
  check_invariance<bf16>(report, {12, 2, 128}, 700, cuts, 63);
  check_invariance<bf16>(report, {16, 8, 128, true}, 333, cuts, 63);
  check_invariance<f16>(report, {9, 3, 64, false, Numerics::kReference}, 700, cuts, 63);
  check_invariance<bf16>(report, {14, 2, 64}, 257, cuts, 255);
  check_invariance<f16>(report, {16, 2, 80}, 200, cuts, 9);
  check_invariance<bf16>(report, {4, 2, 256}, 200, cuts, 9);
  check_invariance<float>(report, {4, 2, 16, true}, 200, cuts, 9);
  check_invariance<bf16>(report, {12, 2, 128}, 5000, {{2000, 2999, 1}}, 3);
  return report.finish();
}
