// The threads that compute. One parallel_for at a time splits items among the caller and the
// workers; idle workers spin for at most kSpinMicroseconds and then sleep in the kernel, so a
// machine with fewer free cores than threads loses their help, not its time.
//
// A parallel_for ends when every item is done, not when every worker has come round: a worker
// that the system has not scheduled holds nothing up, for the caller takes its items.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

#include "kernels/cpu_features.h"

namespace kernels {

class ThreadPool {
 public:
  static constexpr int kSpinMicroseconds = 30;
  // Room every thread has for itself, and that one operator has for all threads together. Both are
  // 64-byte aligned, taken at construction, and undefined when an operator starts.
  static constexpr std::size_t kScratchBytes = 256 * 1024;
  static constexpr std::size_t kSharedScratchBytes = 1024 * 1024;

  // Starts num_threads - 1 workers; the thread that calls parallel_for is the last. 1 to 256.
  // Operators that run on this pool use the instruction set `isa`.
  explicit ThreadPool(int num_threads, Isa isa = best_isa());
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return num_threads_; }
  Isa isa() const { return isa_; }

  // Calls body(begin, end) or body(begin, end, thread) for ranges of at most `grain` items that
  // cover [0, num_items) once; thread is in [0, num_threads). Returns when all are done. Items must
  // not depend on each other or on the thread. The body must not throw and must not call
  // parallel_for of the same pool; only one thread at a time may call it. Allocates nothing.
  template <typename Body>
  void parallel_for(int num_items, int grain, Body&& body) {
    using Target = std::remove_reference_t<Body>;
    run(
        num_items, grain,
        [](void* context, int begin, int end, int thread) {
          Target& target = *static_cast<Target*>(context);
          if constexpr (std::is_invocable_v<Target&, int, int, int>) {
            target(begin, end, thread);
          } else {
            (void)thread;
            target(begin, end);
          }
        },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

  std::byte* scratch(int thread);
  std::byte* shared_scratch();

 private:
  using Call = void (*)(void* context, int begin, int end, int thread);

  void run(int num_items, int grain, Call call, void* context);
  void work(int thread);
  int take_items(std::uint32_t epoch, int thread);
  bool await_job(std::uint32_t seen);
  void await_done(std::int32_t num_items);

  struct Shared;
  int num_threads_;
  Isa isa_;
  std::unique_ptr<Shared> shared_;
  std::vector<std::thread> workers_;
};

}  // namespace kernels
