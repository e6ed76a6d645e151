// The thread that runs the model, so that the event loop never waits for arithmetic.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace kvasir {

// Runs one job at a time, in the order given. The kernels' thread pool counts this thread as its
// thread 0, which is why loading and stepping happen here and nowhere else.
class StepThread {
 public:
  StepThread();
  // Waits for the job that runs; a job that waits behind it is dropped.
  ~StepThread();

  StepThread(const StepThread&) = delete;
  StepThread& operator=(const StepThread&) = delete;

  // Jobs must not throw. Throws kernels::Error when another job still waits to be picked up.
  void submit(std::function<void()> job);

  // Ends the thread as the destructor does; later submits throw. May be called twice.
  void stop();

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::function<void()> next_job_;
  bool is_stopping_ = false;
  std::thread thread_;
};

}  // namespace kvasir
