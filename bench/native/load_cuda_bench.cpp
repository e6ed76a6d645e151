// Loading a model of DeepSeek-R1-Distill-Qwen-1.5B's shape from a file onto the GPU, whose pages
// are in the system's cache: GB/s of the file, by the type of its weights. The file, up to 7.1 GB,
// is written to the folder given, /tmp by default, and removed.
//
//   load_cuda_bench [folder]
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "bench/native/bench_models.h"
#include "native/cuda.h"
#include "native/model.h"

namespace {

class ModelFile {
 public:
  ModelFile(const std::string& folder, const kvasir::ModelConfig& config, kernels::DType type)
      : path_(folder + "/kvasir-load-bench-" + std::to_string(getpid())), type_(type) {
    file_ = std::fopen(path_.c_str(), "wb");
    CHECK(file_ != nullptr, path_ + ": cannot be written");
    // Bytes that are small numbers in every format.
    std::mt19937 random(1);
    for (std::uint32_t& word : pattern_) word = random() & 0x3c3f3c3fu;
    const std::int64_t hidden = config.hidden_size;
    add("token_embd.weight", {config.vocab_size, hidden});
    for (int layer = 0; layer < config.num_layers; ++layer) {
      add_layer("blk." + std::to_string(layer) + ".", config);
    }
    add("output_norm.weight", {hidden});
    add("output.weight", {config.vocab_size, hidden});
    CHECK(std::fclose(file_) == 0, path_ + ": was not written whole");
  }
  ~ModelFile() { unlink(path_.c_str()); }
  ModelFile(const ModelFile&) = delete;
  ModelFile& operator=(const ModelFile&) = delete;

  void describe(kvasir::ModelSpec& spec) const {
    spec.files = {{path_, num_bytes_}};
    spec.tensors = tensors_;
  }
  std::uint64_t num_bytes() const { return num_bytes_; }

 private:
  void add_layer(const std::string& prefix, const kvasir::ModelConfig& config) {
    const std::int64_t hidden = config.hidden_size;
    add(prefix + "attn_norm.weight", {hidden});
    add(prefix + "ffn_norm.weight", {hidden});
    for (const char* name : {"attn_q", "attn_k", "attn_v"}) {
      const std::int64_t size = name == std::string("attn_q") ? config.q_size() : config.kv_size();
      add(prefix + name + ".weight", {size, hidden});
      add(prefix + name + ".bias", {size});
    }
    add(prefix + "attn_output.weight", {hidden, config.q_size()});
    add(prefix + "ffn_gate.weight", {config.intermediate_size, hidden});
    add(prefix + "ffn_up.weight", {config.intermediate_size, hidden});
    add(prefix + "ffn_down.weight", {hidden, config.intermediate_size});
  }

  void add(const std::string& name, const std::vector<std::int64_t>& shape) {
    const kernels::DType type = shape.size() == 1 ? kernels::DType::kF32 : type_;
    const std::int64_t num_rows = shape.size() == 1 ? 1 : shape[0];
    const std::uint64_t byte_length =
        static_cast<std::uint64_t>(num_rows) * kernels::row_bytes(type, shape.back());
    for (std::uint64_t done = 0; done < byte_length; done += sizeof pattern_) {
      const std::uint64_t num_now = std::min<std::uint64_t>(sizeof pattern_, byte_length - done);
      std::fwrite(pattern_, 1, num_now, file_);
    }
    tensors_.push_back({name, type, shape, 0, num_bytes_, byte_length, 0});
    num_bytes_ += byte_length;
  }

  const std::string path_;
  const kernels::DType type_;
  FILE* file_;
  std::uint64_t num_bytes_ = 0;
  std::vector<kvasir::TensorRef> tensors_;
  std::uint32_t pattern_[1 << 18];
};

void measure(const std::string& folder, kernels::DType type) {
  kvasir::ModelSpec spec{};
  spec.config = bench::config_of("dsr1");
  const auto file = std::make_unique<ModelFile>(folder, spec.config, type);
  file->describe(spec);
  spec.limits = {1000, 16, 2048, 8, 300, 64};
  spec.device = kvasir::Device::kCuda;
  spec.dtype = kernels::DType::kBF16;
  spec.kv_cache_type = kernels::DType::kF16;
  spec.num_threads = 8;
  for (const char* when : {"first", "again"}) {
    const auto begin = std::chrono::steady_clock::now();
    const auto seconds = [&] {
      return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    };
    double weights_seconds = 0;
    const auto model =
        kvasir::load_model(spec, [&](std::uint64_t) { weights_seconds = seconds(); });
    const double gigabytes = 1e-9 * static_cast<double>(file->num_bytes());
    std::printf("%-5s to bf16, %s: %.2f GB in %.2f s, %.1f GB/s; loaded after %.2f s\n",
                kernels::name_of(type), when, gigabytes, weights_seconds,
                gigabytes / weights_seconds, seconds());
  }
}

}  // namespace

int main(int argc, char** argv) {
  const kvasir::CudaStatus status = kvasir::cuda_status();
  if (!status.fault.empty()) {
    std::printf("# skipped: %s\n", status.fault.c_str());
    return 0;
  }
  try {
    for (const auto type : {kernels::DType::kBF16, kernels::DType::kF32, kernels::DType::kF16,
                            kernels::DType::kQ8_0, kernels::DType::kQ4_0}) {
      measure(argc > 1 ? argv[1] : "/tmp", type);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "load_cuda_bench: %s\n", error.what());
    return 1;
  }
  return 0;
}
