#include "native/step_thread.h"

#include <atomic>
#include <chrono>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "test/kernels/tap.h"

namespace {

// Opens once; waiting for it before that blocks.
class Gate {
 public:
  void open() { is_open_ = true; }
  void wait() const {
    while (!is_open_) std::this_thread::yield();
  }

 private:
  std::atomic<bool> is_open_{false};
};

// What happened, in order, on all threads.
class Log {
 public:
  void add(const std::string& event) {
    const std::lock_guard<std::mutex> lock(mutex_);
    text_ += (text_.empty() ? "" : " ") + event;
  }
  std::string text() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return text_;
  }

 private:
  mutable std::mutex mutex_;
  std::string text_;
};

enum class Fault { kNone, kStart, kFinish };

// A job that logs its phases and stops where the test wants it to.
class Job : public kvasir::StepJob {
 public:
  Job(Log& log, std::string name, Fault fault = Fault::kNone)
      : log_(log), name_(std::move(name)), fault_(fault) {}

  void start(bool is_void) override {
    log_.add(name_ + (is_void ? ".void" : ".start"));
    starting_thread = std::this_thread::get_id();
    has_started.open();
    may_start.wait();
    if (is_void) throw std::runtime_error("void");
    if (fault_ == Fault::kStart) throw std::runtime_error(name_ + " cannot start");
  }
  void finish() override {
    may_finish.wait();
    log_.add(name_ + ".finish");
    finishing_thread = std::this_thread::get_id();
    if (fault_ == Fault::kFinish) throw std::runtime_error(name_ + " cannot finish");
  }
  void done(std::exception_ptr error) override {
    try {
      if (error != nullptr) std::rethrow_exception(error);
    } catch (const std::exception& thrown) {
      failure = thrown.what();
    }
    log_.add(name_ + (failure.empty() ? ".done" : ".failed"));
    is_done.open();
  }

  // Runs through without stopping.
  Job& released() {
    may_start.open();
    may_finish.open();
    return *this;
  }

  Gate may_start, may_finish, has_started, is_done;
  std::thread::id starting_thread, finishing_thread;
  std::string failure;

 private:
  Log& log_;
  const std::string name_;
  const Fault fault_;
};

void test_the_next_starts_while_one_is_finished(tap::Report& report) {
  kvasir::StepThread thread;
  Log log;
  Job a(log, "a");
  Job b(log, "b");
  Job c(log, "c");
  a.may_start.open();
  thread.submit(a, false);
  a.has_started.wait();
  b.may_start.open();
  thread.submit(b, true);
  b.has_started.wait();
  report.ok(log.text() == "a.start b.start", "b starts while a is not finished");
  report.throws([&] { thread.submit(c, true); }, {"while 2 were not done"}, "there is no third");
  b.may_finish.open();
  a.may_finish.open();
  b.is_done.wait();
  report.ok(log.text() == "a.start b.start a.finish a.done b.finish b.done", "done in order");
  report.ok(a.starting_thread == b.starting_thread && a.finishing_thread == b.finishing_thread,
            "one thread for each phase");
  report.ok(a.starting_thread != a.finishing_thread &&
                a.starting_thread != std::this_thread::get_id() &&
                a.finishing_thread != std::this_thread::get_id(),
            "neither is the other or the caller's");
  thread.submit(c.released(), false);
  c.is_done.wait();
  report.ok(c.failure.empty(), "then there is room again");
}

// The results of a job that relies on a failed one must not be taken for good.
void test_failures(tap::Report& report) {
  for (const Fault fault : {Fault::kStart, Fault::kFinish}) {
    const bool cannot_start = fault == Fault::kStart;
    const std::string phase = cannot_start ? "a start that fails: " : "a finish that fails: ";
    for (const bool relies_on_previous : {true, false}) {
      kvasir::StepThread thread;
      Log log;
      Job a(log, "a", fault);
      Job b(log, "b");
      thread.submit(a, false);
      thread.submit(b.released(), relies_on_previous);
      if (!cannot_start) a.may_start.open();
      if (!cannot_start) b.has_started.wait();
      a.released();
      b.is_done.wait();
      report.ok(a.failure == (cannot_start ? "a cannot start" : "a cannot finish"),
                phase + "it is told");
      if (!relies_on_previous) {
        report.ok(b.failure.empty(), phase + "the next is unharmed if it does not rely on it");
        continue;
      }
      report.ok(!b.failure.empty(), phase + "the next fails with it");
      const std::string expected = cannot_start
                                       ? "a.start a.failed b.void b.failed"
                                       : "a.start b.start a.finish a.failed b.finish b.failed";
      const std::string other = "a.start b.void a.failed b.failed";
      report.ok(log.text() == expected || (cannot_start && log.text() == other),
                phase + "the next is not run, or is finished and thrown away");
      Job c(log, "c");
      Job d(log, "d");
      thread.submit(c.released(), true);
      c.is_done.wait();
      report.ok(!c.failure.empty(), phase + "nor does the one that relies on that");
      thread.submit(d.released(), false);
      d.is_done.wait();
      report.ok(d.failure.empty(), phase + "the first that relies on nothing runs");
    }
  }
}

void test_stop_finishes_what_was_started(tap::Report& report) {
  kvasir::StepThread thread;
  Log log;
  Job a(log, "a");
  Job b(log, "b");
  thread.submit(a, false);
  a.has_started.wait();
  thread.submit(b.released(), true);
  std::thread opener([&] {
    // Until stop() waits, or a little longer: b must not be picked up after it.
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    a.released();
  });
  thread.stop();
  opener.join();
  report.ok(log.text() == "a.start a.finish a.done",
            "what was started is finished, the rest dropped");
  thread.stop();
  report.throws([&] { thread.submit(b, false); }, {"after stop()"},
                "a stopped thread takes no job");
}

}  // namespace

int main() {
  tap::Report report;
  test_the_next_starts_while_one_is_finished(report);
  test_failures(report);
  test_stop_finishes_what_was_started(report);
  return report.finish();
}
