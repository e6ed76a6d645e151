#include "native/step_thread.h"

#include <utility>

#include "kernels/types.h"

namespace kvasir {

StepThread::StepThread() : thread_([this] { run(); }) {}

StepThread::~StepThread() { stop(); }

void StepThread::submit(std::function<void()> job) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    CHECK(!is_stopping_, "step thread: a job was submitted after stop()");
    CHECK(!next_job_, "step thread: a job was submitted while another waits");
    next_job_ = std::move(job);
  }
  wake_.notify_one();
}

void StepThread::stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_stopping_ = true;
    next_job_ = nullptr;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void StepThread::run() {
  for (;;) {
    std::function<void()> job;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [this] { return is_stopping_ || next_job_ != nullptr; });
      if (is_stopping_) return;
      job = std::exchange(next_job_, nullptr);
    }
    job();
  }
}

}  // namespace kvasir
