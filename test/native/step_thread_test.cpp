#include "native/step_thread.h"

#include <atomic>
#include <chrono>
#include <thread>

#include "test/kernels/tap.h"

namespace {

void wait_until(const std::atomic<bool>& flag) {
  while (!flag) std::this_thread::yield();
}

void test_jobs_run_in_order_on_one_thread(tap::Report& report) {
  kvasir::StepThread thread;
  std::thread::id first;
  std::thread::id second;
  std::atomic<bool> is_done{false};
  thread.submit([&] {
    first = std::this_thread::get_id();
    is_done = true;
  });
  wait_until(is_done);
  is_done = false;
  thread.submit([&] {
    second = std::this_thread::get_id();
    is_done = true;
  });
  wait_until(is_done);
  report.ok(first == second && first != std::this_thread::get_id(), "one thread, not the caller's");
}

void test_stop_waits_for_the_running_job(tap::Report& report) {
  kvasir::StepThread thread;
  std::atomic<bool> has_begun{false};
  std::atomic<bool> is_done{false};
  std::atomic<bool> has_run_dropped{false};
  thread.submit([&] {
    has_begun = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    is_done = true;
  });
  wait_until(has_begun);
  thread.submit([&] { has_run_dropped = true; });
  report.throws([&] { thread.submit([] {}); }, {"while another waits"}, "only one job may wait");
  thread.stop();
  report.ok(is_done, "the running job was finished");
  report.ok(!has_run_dropped, "the waiting one was dropped");
  thread.stop();
  report.throws([&] { thread.submit([] {}); }, {"after stop()"}, "a stopped thread takes no job");
}

}  // namespace

int main() {
  tap::Report report;
  test_jobs_run_in_order_on_one_thread(report);
  test_stop_waits_for_the_running_job(report);
  return report.finish();
}
