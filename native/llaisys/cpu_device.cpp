#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>

#include "kernels/thread_pool.h"
#include "native/cpu_count.h"
#include "native/llaisys/device.h"
#include "native/llaisys/guarded.h"

namespace llaisys {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr int kMaxThreads = 256;  // the pool's limit

void* allocate(std::size_t num_bytes) {
  const std::size_t rounded = (std::max<std::size_t>(num_bytes, 1) + kAlignment - 1) & -kAlignment;
  void* memory = rounded >= num_bytes ? std::aligned_alloc(kAlignment, rounded) : nullptr;
  CHECK(memory != nullptr, "the system has no " + std::to_string(num_bytes) + " bytes of memory");
  return memory;
}

void copy(void* dst, const void* src, std::size_t num_bytes, llaisysMemcpyKind_t kind) {
  CHECK(kind >= LLAISYS_MEMCPY_H2H && kind <= LLAISYS_MEMCPY_D2D,
        "argument kind is " + std::to_string(static_cast<int>(kind)) + ", must be 0 to 3");
  if (num_bytes == 0) return;
  CHECK(dst != nullptr && src != nullptr,
        "argument " + std::string(dst == nullptr ? "dst" : "src") + " is null with " +
            std::to_string(num_bytes) + " bytes to copy");
  std::memmove(dst, src, num_bytes);
}

// ---- the runtime's functions, in the order of the table ----

int get_device_count() { return 1; }

void set_device(int id) {
  guarded("set_device", [&] {
    CHECK(id == 0, "argument id is " + std::to_string(id) + ", but the only CPU device is 0");
  });
}

void device_synchronize() {}
llaisysStream_t create_stream() { return nullptr; }
void destroy_stream(llaisysStream_t) {}
void stream_synchronize(llaisysStream_t) {}

void* malloc_device(std::size_t num_bytes) {
  return guarded("malloc_device", [&] { return allocate(num_bytes); });
}

void* malloc_host(std::size_t num_bytes) {
  return guarded("malloc_host", [&] { return allocate(num_bytes); });
}

void memcpy_sync(void* dst, const void* src, std::size_t num_bytes, llaisysMemcpyKind_t kind) {
  guarded("memcpy_sync", [&] { copy(dst, src, num_bytes, kind); });
}

void memcpy_async(void* dst, const void* src, std::size_t num_bytes, llaisysMemcpyKind_t kind,
                  llaisysStream_t) {
  guarded("memcpy_async", [&] { copy(dst, src, num_bytes, kind); });
}

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

class CpuOperators : public Operators {
 public:
  CpuOperators() : pool_(std::min(kvasir::num_usable_cores(), kMaxThreads)) {}

  void add(const kernels::Add& op) override { kernels::add_cpu(op, pool_); }
  void argmax(const kernels::Argmax& op) override { kernels::argmax_cpu(op, pool_); }
  void embedding(const kernels::Embedding& op) override { kernels::embedding_cpu(op, pool_); }
  void linear(const kernels::PlainLinear& op) override { kernels::linear_plain_cpu(op, pool_); }
  void rearrange(const kernels::Rearrange& op) override { kernels::rearrange_cpu(op, pool_); }
  void rms_norm(const kernels::RmsNorm& op) override { kernels::rms_norm_cpu(op, pool_); }
  void rope(const kernels::Rope& op) override { kernels::rope_cpu(op, pool_); }
  void swiglu(const kernels::SwiGlu& op) override { kernels::swiglu_cpu(op, pool_); }

  void self_attention(const kernels::SelfAttention& op) override {
    const std::size_t num_bytes = kernels::self_attention_scratch_bytes(op, pool_.num_threads());
    if (num_bytes > scratch_bytes_) {
      scratch_.reset(allocate(num_bytes));
      scratch_bytes_ = num_bytes;
    }
    kernels::SelfAttention with_scratch = op;
    with_scratch.scratch = scratch_.get();
    kernels::self_attention_cpu(with_scratch, pool_);
  }

 private:
  kernels::ThreadPool pool_;
  std::unique_ptr<void, Free> scratch_;
  std::size_t scratch_bytes_ = 0;
};

}  // namespace

const LlaisysRuntimeAPI& cpu_runtime() {
  static const LlaisysRuntimeAPI runtime = {get_device_count, set_device,     device_synchronize,
                                            create_stream,    destroy_stream, stream_synchronize,
                                            malloc_device,    std::free,      malloc_host,
                                            std::free,        memcpy_sync,    memcpy_async};
  return runtime;
}

std::unique_ptr<Operators> make_cpu_operators() { return std::make_unique<CpuOperators>(); }

}  // namespace llaisys
