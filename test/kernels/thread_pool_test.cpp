// Every item once, whatever the number of threads, items and sleeping workers.
#include "kernels/thread_pool.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "kernels/types.h"
#include "test/kernels/tap.h"

namespace {

using kernels::ThreadPool;

double seconds() {
  using Clock = std::chrono::steady_clock;
  return std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
}

double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

void test_coverage(tap::Report& report) {
  for (const int num_threads : {1, 2, 3, 8}) {
    ThreadPool pool(num_threads);
    bool once = true;
    bool within_grain = true;
    bool valid_thread = true;
    for (const int num_items : {0, 1, 2, 7, 64, 1000}) {
      for (const int grain : {1, 3, 64, 5000}) {
        std::vector<std::atomic<int>> counts(num_items);
        pool.parallel_for(num_items, grain, [&](int begin, int end, int thread) {
          if (end - begin > grain || begin >= end) within_grain = false;
          if (thread < 0 || thread >= num_threads) valid_thread = false;
          for (int i = begin; i < end; ++i) ++counts[i];
        });
        for (const auto& count : counts) once = once && count == 1;
      }
    }
    const std::string suffix = ", " + std::to_string(num_threads) + " threads";
    report.ok(once, "every item once" + suffix);
    report.ok(within_grain, "ranges are at most the grain" + suffix);
    report.ok(valid_thread, "threads are numbered" + suffix);
  }
}

// Jobs of different sizes right behind one another, with pauses in which the workers fall asleep:
// a worker that is late must not touch the items of a later job.
void test_many_jobs(tap::Report& report) {
  for (const int num_threads : {2, 5}) {
    ThreadPool pool(num_threads);
    std::int64_t num_wrong = 0;
    std::vector<int> values(97);
    for (int job = 0; job < 30000; ++job) {
      const int num_items = 1 + job % 97;
      pool.parallel_for(num_items, 1 + job % 3, [&](int begin, int end) {
        for (int i = begin; i < end; ++i) values[i] = job + i;
      });
      for (int i = 0; i < num_items; ++i) num_wrong += values[i] != job + i;
      if (job % 1000 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    report.equal(num_wrong, std::int64_t{0},
                 "30,000 jobs in a row, " + std::to_string(num_threads) + " threads");
  }
}

void test_threads_help(tap::Report& report) {
  ThreadPool pool(2);
  // The first item waits for the second: one thread alone would never end.
  std::atomic<bool> second_ran{false};
  std::atomic<bool> gave_up{false};
  pool.parallel_for(2, 1, [&](int begin, int) {
    if (begin == 1) {
      second_ran = true;
      return;
    }
    const double deadline = seconds() + 10;
    while (!second_ran && !gave_up) gave_up = seconds() > deadline;
  });
  report.ok(second_ran && !gave_up, "a sleeping worker wakes and takes an item");
}

void test_scratch(tap::Report& report) {
  ThreadPool pool(3);
  bool aligned = reinterpret_cast<std::uintptr_t>(pool.shared_scratch()) % 64 == 0;
  for (int thread = 0; thread < 3; ++thread) {
    aligned = aligned && reinterpret_cast<std::uintptr_t>(pool.scratch(thread)) % 64 == 0;
    for (std::size_t i = 0; i < ThreadPool::kScratchBytes; ++i) {
      pool.scratch(thread)[i] = static_cast<std::byte>(thread);
    }
  }
  for (std::size_t i = 0; i < ThreadPool::kSharedScratchBytes; ++i) {
    pool.shared_scratch()[i] = std::byte{9};
  }
  bool apart = true;
  for (int thread = 0; thread < 3; ++thread) {
    for (std::size_t i = 0; i < ThreadPool::kScratchBytes; ++i) {
      apart = apart && pool.scratch(thread)[i] == static_cast<std::byte>(thread);
    }
  }
  report.ok(aligned, "scratch is aligned");
  report.ok(apart, "every thread has its own");
}

// Idle workers and a caller that waits for a slow worker sleep instead of burning the processor.
void test_sleep(tap::Report& report) {
  ThreadPool pool(4);
  pool.parallel_for(4, 1, [](int, int) {});
  const double idle_start = cpu_seconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  report.ok(cpu_seconds() - idle_start < 0.05, "idle workers sleep");

  const double wait_start = cpu_seconds();
  pool.parallel_for(2, 1, [](int, int, int thread) {
    if (thread != 0) std::this_thread::sleep_for(std::chrono::milliseconds(200));
  });
  report.ok(cpu_seconds() - wait_start < 0.05, "a waiting caller sleeps");
}

// With far more threads than processors, many small jobs still make progress: nobody spins on a
// partner that the system has not scheduled.
void test_oversubscription(tap::Report& report) {
  ThreadPool pool(16);
  std::atomic<std::int64_t> sum{0};
  const double start = seconds();
  for (int job = 0; job < 500; ++job) {
    pool.parallel_for(64, 1, [&](int begin, int end) {
      for (int i = begin; i < end; ++i) sum += i;
    });
  }
  const double took = seconds() - start;
  report.equal(sum.load(), std::int64_t{500} * 64 * 63 / 2, "16 threads, 500 jobs: right");
  report.ok(took < 5, "and in time");
  report.note(std::to_string(took * 1e6 / 500) + " us a job");
}

void test_refusals(tap::Report& report) {
  report.throws([] { ThreadPool pool(0); }, {"0 threads", "1 to 256"}, "no threads");
  report.throws([] { ThreadPool pool(257); }, {"257", "256"}, "too many threads");
}

}  // namespace

int main() {
  tap::Report report;
  test_coverage(report);
  test_many_jobs(report);
  test_threads_help(report);
  test_scratch(report);
  test_sleep(report);
  test_oversubscription(report);
  test_refusals(report);
  return report.finish();
}
