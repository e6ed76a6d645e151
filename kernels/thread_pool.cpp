#include "kernels/thread_pool.h"

#include <chrono>
#include <cstdlib>
#include <new>
#include <string>

#include "kernels/types.h"

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#else
#include <condition_variable>
#include <mutex>
#endif

namespace kernels {

namespace {

constexpr std::size_t kCacheLine = 64;
constexpr int kMaxThreads = 256;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// A 32-bit word that threads sleep on. wake_all() after a change; sleep_while() may return early.
class Event {
 public:
  std::atomic<std::uint32_t> value{0};

#if defined(__linux__)
  void sleep_while(std::uint32_t seen) { futex(FUTEX_WAIT_PRIVATE, seen); }
  void wake_all() { futex(FUTEX_WAKE_PRIVATE, INT32_MAX); }

 private:
  void futex(int operation, std::uint32_t argument) {
    static_assert(sizeof(value) == sizeof(std::uint32_t), "the kernel waits on the bare word");
    syscall(SYS_futex, &value, operation, argument, nullptr, nullptr, 0);
  }
#else
  void sleep_while(std::uint32_t seen) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return value.load() != seen; });
  }
  void wake_all() {
    { std::lock_guard<std::mutex> lock(mutex_); }
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
#endif
};

// Spins until ready() or until the spin time is over; the clock is read once every 64 turns.
template <typename Ready>
bool spin_until(Ready ready) {
  using Clock = std::chrono::steady_clock;
  const auto deadline = Clock::now() + std::chrono::microseconds(ThreadPool::kSpinMicroseconds);
  do {
    for (int i = 0; i < 64; ++i) {
      if (ready()) return true;
      relax();
    }
  } while (Clock::now() < deadline);
  return ready();
}

struct FreeDeleter {
  void operator()(void* pointer) const { std::free(pointer); }
};

}  // namespace

// Life of a job. `ticket` holds (epoch << 32 | next item). The epoch is even while a job may be
// joined and odd while the caller rewrites the fields; a thread takes items by compare-and-swap on
// the whole word, so one that slept through a job and wakes in the middle of a later one can
// neither take items under the old fields nor disturb the count of the new job.
struct ThreadPool::Shared {
  alignas(kCacheLine) std::atomic<std::uint64_t> ticket{1ull << 32};
  alignas(kCacheLine) Event epoch;  // the newest even epoch, or 1 to stop
  std::atomic<std::int32_t> num_sleeping{0};
  alignas(kCacheLine) Event num_done;  // items of this job that are finished
  std::atomic<bool> caller_sleeps{false};

  // Fields of the job: atomic because a late thread may read while the caller writes; what it then
  // read is thrown away, for its compare-and-swap fails.
  alignas(kCacheLine) std::atomic<Call> call{nullptr};
  std::atomic<void*> context{nullptr};
  std::atomic<std::int32_t> num_items{0};
  std::atomic<std::int32_t> grain{1};

  std::unique_ptr<std::byte, FreeDeleter> scratch;
};

ThreadPool::ThreadPool(int num_threads, Isa isa)
    : num_threads_(num_threads), isa_(isa), shared_(new Shared) {
  CHECK(num_threads >= 1 && num_threads <= kMaxThreads,
        "a thread pool of " + std::to_string(num_threads) + " threads; it takes 1 to " +
            std::to_string(kMaxThreads));
  const std::size_t num_bytes = kSharedScratchBytes + num_threads * kScratchBytes;
  shared_->scratch.reset(static_cast<std::byte*>(std::aligned_alloc(4096, num_bytes)));
  if (shared_->scratch == nullptr) throw std::bad_alloc();
  workers_.reserve(num_threads - 1);
  for (int thread = 1; thread < num_threads; ++thread) {
    workers_.emplace_back([this, thread] { work(thread); });
  }
}

ThreadPool::~ThreadPool() {
  shared_->epoch.value.store(1);
  shared_->epoch.wake_all();
  for (std::thread& worker : workers_) worker.join();
}

std::byte* ThreadPool::shared_scratch() { return shared_->scratch.get(); }

std::byte* ThreadPool::scratch(int thread) {
  return shared_->scratch.get() + kSharedScratchBytes + thread * kScratchBytes;
}

void ThreadPool::run(int num_items, int grain, Call call, void* context) {
  if (num_items <= 0) return;
  if (grain < 1) grain = 1;
  if (num_threads_ == 1 || num_items <= grain) {
    for (int begin = 0; begin < num_items; begin += grain) {
      call(context, begin, num_items - begin < grain ? num_items : begin + grain, 0);
    }
    return;
  }

  // The ticket is at an odd epoch here: nobody can take items while the fields change.
  Shared& shared = *shared_;
  shared.call.store(call, std::memory_order_relaxed);
  shared.context.store(context, std::memory_order_relaxed);
  shared.num_items.store(num_items, std::memory_order_relaxed);
  shared.grain.store(grain, std::memory_order_relaxed);
  shared.num_done.value.store(0, std::memory_order_relaxed);
  const auto closed = static_cast<std::uint32_t>(shared.ticket.load() >> 32);
  const std::uint32_t epoch = closed + 1;
  shared.ticket.store(static_cast<std::uint64_t>(epoch) << 32);
  shared.epoch.value.store(epoch);
  // Sequentially consistent on both sides: either this sees the sleeper or it sees the epoch.
  if (shared.num_sleeping.load() > 0) shared.epoch.wake_all();

  const int num_taken = take_items(epoch, 0);
  shared.ticket.store(static_cast<std::uint64_t>(epoch + 1) << 32);
  shared.num_done.value.fetch_add(num_taken);
  await_done(num_items);
}

// Takes ranges of the job of `epoch` until none are left; returns how many items it did.
int ThreadPool::take_items(std::uint32_t epoch, int thread) {
  Shared& shared = *shared_;
  int num_taken = 0;
  std::uint64_t ticket = shared.ticket.load();
  for (;;) {
    const Call call = shared.call.load(std::memory_order_relaxed);
    void* const context = shared.context.load(std::memory_order_relaxed);
    const std::int32_t num_items = shared.num_items.load(std::memory_order_relaxed);
    const std::int32_t grain = shared.grain.load(std::memory_order_relaxed);
    const auto begin = static_cast<std::int32_t>(ticket & 0xffffffffu);
    if (ticket >> 32 != epoch || begin >= num_items) return num_taken;
    const std::int32_t end = num_items - begin < grain ? num_items : begin + grain;
    const std::uint64_t next = (static_cast<std::uint64_t>(epoch) << 32) | end;
    if (!shared.ticket.compare_exchange_weak(ticket, next)) continue;
    call(context, begin, end, thread);
    num_taken += end - begin;
    ticket = shared.ticket.load();
  }
}

void ThreadPool::work(int thread) {
  Shared& shared = *shared_;
  std::uint32_t seen = 0;
  while (await_job(seen)) {
    seen = shared.epoch.value.load();
    if (seen == 1) return;
    const int num_taken = take_items(seen, thread);
    if (num_taken == 0) continue;
    // The job may be over, and the next one begun, as soon as these items are counted.
    const std::int32_t num_items = shared.num_items.load(std::memory_order_relaxed);
    const auto num_done = static_cast<std::int32_t>(shared.num_done.value.fetch_add(num_taken));
    if (num_done + num_taken == num_items && shared.caller_sleeps.load()) {
      shared.num_done.wake_all();
    }
  }
}

// Returns true when the epoch differs from `seen`, false when the pool stops.
bool ThreadPool::await_job(std::uint32_t seen) {
  std::atomic<std::uint32_t>& epoch = shared_->epoch.value;
  const auto is_new = [&] { return epoch.load(std::memory_order_acquire) != seen; };
  if (!spin_until(is_new)) {
    shared_->num_sleeping.fetch_add(1);
    while (epoch.load() == seen) shared_->epoch.sleep_while(seen);
    shared_->num_sleeping.fetch_sub(1);
  }
  return epoch.load() != 1;
}

void ThreadPool::await_done(std::int32_t num_items) {
  Event& num_done = shared_->num_done;
  const auto all_done = [&] {
    return static_cast<std::int32_t>(num_done.value.load(std::memory_order_acquire)) == num_items;
  };
  if (spin_until(all_done)) return;
  shared_->caller_sleeps.store(true);
  for (std::uint32_t seen = num_done.value.load(); static_cast<std::int32_t>(seen) != num_items;
       seen = num_done.value.load()) {
    num_done.sleep_while(seen);
  }
  shared_->caller_sleeps.store(false);
}

}  // namespace kernels
