// The two threads that run a model's steps, so that the event loop never waits for arithmetic and a
// device is given its next step while it still runs one:
//
//   submit ──► starting thread: job.start ──► finishing thread: job.finish, then job.done
//
// Both threads take jobs in the order of submit(). While the finishing thread waits for the device,
// the starting thread is free to start the next job; that is all there is to overlapping steps.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>

namespace kvasir {

class StepJob {
 public:
  virtual ~StepJob() = default;

  // On the starting thread. `is_void`: a job that this one relies on has failed, and whatever comes
  // of this one is thrown away. May throw.
  virtual void start(bool is_void) = 0;

  // On the finishing thread, unless start() threw. May throw.
  virtual void finish() = 0;

  // On the finishing thread, last of all: null, or what start() or finish() threw. The job may be
  // submitted again from then on, or end. Must not throw.
  virtual void done(std::exception_ptr failure) = 0;
};

class StepThread {
 public:
  static constexpr int kMaxJobs = 2;

  StepThread();
  // See stop().
  ~StepThread();

  StepThread(const StepThread&) = delete;
  StepThread& operator=(const StepThread&) = delete;

  // The job must live until done() or stop(). `relies_on_previous`: the results of the job before
  // were not known yet, so if that one fails, this one fails as well, even if it had started.
  // Throws kernels::Error when kMaxJobs have not come to done() yet.
  void submit(StepJob& job, bool relies_on_previous);

  // Waits for the jobs that were started, drops one that was not, and ends both threads; later
  // submits throw. May be called twice.
  void stop();

 private:
  struct Entry {
    StepJob* job;
    bool relies_on_previous;
    std::exception_ptr failure;  // of start()
  };

  void run_starts();
  void run_finishes();

  std::mutex mutex_;
  std::condition_variable submitted_;
  std::condition_variable started_;
  // Job i lies in entry i % kMaxJobs from submit() until it is finished.
  Entry entries_[kMaxJobs] = {};
  std::uint64_t num_submitted_ = 0;
  std::uint64_t num_started_ = 0;
  std::uint64_t num_finished_ = 0;
  bool is_stopping_ = false;
  bool has_starter_ended_ = false;
  // Last: they use everything above.
  std::thread starter_;
  std::thread finisher_;
};

}  // namespace kvasir
