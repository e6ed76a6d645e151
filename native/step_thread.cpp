#include "native/step_thread.h"

#include "kernels/types.h"

namespace kvasir {

namespace {

template <class Body>
std::exception_ptr failure_of(Body body) {
  try {
    body();
    return nullptr;
  } catch (...) {
    return std::current_exception();
  }
}

}  // namespace

StepThread::StepThread()
    : starter_([this] { run_starts(); }), finisher_([this] { run_finishes(); }) {}

StepThread::~StepThread() { stop(); }

void StepThread::submit(StepJob& job, bool relies_on_previous) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    CHECK(!is_stopping_, "step thread: a job was submitted after stop()");
    CHECK(num_submitted_ - num_finished_ < kMaxJobs,
          "step thread: a job was submitted while " + std::to_string(kMaxJobs) +
              " were not done; that is the most there may be");
    entries_[num_submitted_ % kMaxJobs] = {&job, relies_on_previous, nullptr};
    ++num_submitted_;
  }
  submitted_.notify_one();
}

void StepThread::stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_stopping_ = true;
  }
  submitted_.notify_one();
  if (starter_.joinable()) starter_.join();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    has_starter_ended_ = true;
  }
  started_.notify_one();
  if (finisher_.joinable()) finisher_.join();
}

void StepThread::run_starts() {
  bool has_last_failed = false;
  for (;;) {
    Entry* entry = nullptr;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      submitted_.wait(lock, [this] { return is_stopping_ || num_started_ < num_submitted_; });
      if (is_stopping_) return;
      entry = &entries_[num_started_ % kMaxJobs];
    }
    const bool is_void = entry->relies_on_previous && has_last_failed;
    entry->failure = failure_of([&] { entry->job->start(is_void); });
    has_last_failed = entry->failure != nullptr;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      ++num_started_;
    }
    started_.notify_one();
  }
}

void StepThread::run_finishes() {
  bool has_last_failed = false;
  for (;;) {
    Entry entry{};
    {
      std::unique_lock<std::mutex> lock(mutex_);
      started_.wait(lock, [this] { return has_starter_ended_ || num_finished_ < num_started_; });
      if (num_finished_ == num_started_) return;
      entry = entries_[num_finished_ % kMaxJobs];
    }
    std::exception_ptr failure = entry.failure;
    // What was started is finished whatever happened before it, so that both are called in pairs.
    if (failure == nullptr) failure = failure_of([&] { entry.job->finish(); });
    if (failure == nullptr && entry.relies_on_previous && has_last_failed) {
      failure = std::make_exception_ptr(
          kernels::Error("step: its result is void, because the step before it failed"));
    }
    has_last_failed = failure != nullptr;
    {
      // Before done(), which may lead to the next submit() at once.
      const std::lock_guard<std::mutex> lock(mutex_);
      ++num_finished_;
    }
    entry.job->done(failure);
  }
}

}  // namespace kvasir
