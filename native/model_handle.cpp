#include "native/model_handle.h"

#include <napi.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cuda_stream.h"
#include "native/model.h"
#include "native/sampler_slots.h"
#include "native/step_thread.h"

namespace kvasir {

namespace {

constexpr std::chrono::milliseconds kProgressInterval{20};

class Session;

// One call of JavaScript that the step thread works on, until its promise has settled.
class Task : public StepJob {
 public:
  explicit Task(Session& session) : session_(session) {}
  void done(std::exception_ptr failure) override;

  std::optional<Napi::Promise::Deferred> deferred;  // on the event loop's thread
  // Written by the step thread; read by the event loop once the thread has said that it is done.
  std::string failure;  // empty: none
  bool has_cuda_failed = false;

 protected:
  Session& session_;
};

class LoadTask : public Task {
 public:
  LoadTask(Session& session, ModelSpec spec) : Task(session), spec_(std::move(spec)) {}
  void start(bool is_void) override;
  void finish() override {}

 private:
  const ModelSpec spec_;
};

struct SlotFill {
  int slot;
  std::vector<std::int32_t> token_ids;
  int num_prompt_tokens;
};

class StepTask : public Task {
 public:
  using Task::Task;
  void start(bool is_void) override;
  void finish() override;

  StepSize size{};
  std::vector<SlotFill> slot_fills;  // before the step
};

// A null task: there is progress to report.
void on_event(Napi::Env env, Napi::Function, Session* session, Task* task);
using EventChannel = Napi::TypedThreadSafeFunction<Session, Task, on_event>;

// A model, its threads and its channel to the event loop. JavaScript's functions share it; while
// the threads work it also keeps itself alive, so that collecting the object cannot pull memory
// away from a running step. Every member is used on the event loop's thread unless said otherwise.
class Session : public std::enable_shared_from_this<Session> {
 public:
  explicit Session(Napi::Env env) : env_(env), steps_{StepTask(*this), StepTask(*this)} {
    channel_ = EventChannel::New(env, "kvasir step", 0, 1, this);
    // An idle model must not keep the process from ending.
    channel_.Unref(env);
    // Runs before the channel's own hook (last in, first out): the thread must not call a channel
    // that the dying environment has already freed.
    napi_add_env_cleanup_hook(env, shut_down, this);
  }

  ~Session() {
    if (is_shut_down_) return;
    napi_remove_env_cleanup_hook(env_, shut_down, this);
    end_threads();
  }

  Napi::Value load(ModelSpec spec, Napi::Function on_progress) {
    on_progress_ = Napi::Persistent(on_progress);
    load_.emplace(*this, std::move(spec));
    return submit(*load_);
  }

  Napi::Value step(const StepSize& size) {
    check_open("step");
    if (num_in_flight_ == StepThread::kMaxJobs) {
      throw Napi::Error::New(env_, "step: two steps are running; await one first");
    }
    StepTask& task = steps_[num_steps_ % StepThread::kMaxJobs];
    task.size = size;
    task.slot_fills = std::exchange(slot_fills_, {});
    ++num_steps_;
    return submit(task);
  }

  // Holds from the next step on; running ones do not see it. A later fill of a slot replaces one
  // that has not been taken over yet, so that there are never more than there are slots.
  void fill_sampler_slot(SlotFill fill) {
    check_open("fillSamplerSlot");
    const ModelSpec& spec = model_->spec();
    check_slot_fill(fill.slot, fill.token_ids.data(), static_cast<int>(fill.token_ids.size()),
                    fill.num_prompt_tokens, spec.limits.max_sequences, spec.config.vocab_size);
    for (SlotFill& waiting : slot_fills_) {
      if (waiting.slot != fill.slot) continue;
      waiting = std::move(fill);
      return;
    }
    slot_fills_.push_back(std::move(fill));
  }

  void close() {
    if (is_closed_) return;
    if (num_in_flight_ > 0) {
      throw Napi::Error::New(env_, "close: a step is running; await it first");
    }
    is_closed_ = true;
    model_.reset();
    thread_.stop();
  }

  // Of the threads: the model, its loading and the channel.
  Model& model() { return *model_; }
  void load_here(const ModelSpec& spec) {
    model_ = load_model(spec, [this](std::uint64_t num_bytes_done) { report(num_bytes_done); });
  }
  void tell(Task* task) { channel_.NonBlockingCall(task); }

  void handle(Task* task);

 private:
  void check_open(const char* call) const {
    if (is_closed_) throw Napi::Error::New(env_, std::string(call) + ": the model is closed");
  }

  // The promise settles when the task comes back. What was submitted while another was in flight
  // was made without knowing whether that one would succeed.
  Napi::Value submit(Task& task) {
    task.failure.clear();
    task.deferred.emplace(env_);
    Napi::Value promise = task.deferred->Promise();
    thread_.submit(task, num_in_flight_ > 0);
    ++num_in_flight_;
    self_ = shared_from_this();
    channel_.Ref(env_);
    return promise;
  }

  // On the starting thread, after each tensor.
  void report(std::uint64_t num_bytes_done) {
    num_bytes_done_.store(num_bytes_done, std::memory_order_relaxed);
    const auto now = std::chrono::steady_clock::now();
    if (now - last_report_ < kProgressInterval) return;
    last_report_ = now;
    tell(nullptr);
  }

  void call_on_progress();
  Napi::Value make_object();

  static void shut_down(void* session) {
    auto* const self = static_cast<Session*>(session);
    // Held here: clearing the self-reference may be what ends this object.
    const std::shared_ptr<Session> held = std::move(self->self_);
    self->is_shut_down_ = true;
    self->end_threads();
  }

  void end_threads() {
    thread_.stop();
    channel_.Release();
  }

  Napi::Env env_;
  EventChannel channel_;
  Napi::FunctionReference on_progress_;
  std::optional<Napi::Error> progress_error_;
  std::shared_ptr<Session> self_;
  std::optional<LoadTask> load_;
  StepTask steps_[StepThread::kMaxJobs];  // step n, counted over the calls: n % 2
  std::vector<SlotFill> slot_fills_;      // for the next step
  std::uint64_t num_steps_ = 0;
  int num_in_flight_ = 0;
  bool is_closed_ = false;
  bool is_shut_down_ = false;

  // Written by the starting thread; read by the event loop once that has said that it is done.
  std::unique_ptr<Model> model_;
  std::chrono::steady_clock::time_point last_report_{};
  std::atomic<std::uint64_t> num_bytes_done_{0};

  // Last, so that it ends before anything it uses does.
  StepThread thread_;
};

void Task::done(std::exception_ptr error) {
  try {
    if (error != nullptr) std::rethrow_exception(error);
  } catch (const kernels::CudaError& cuda_error) {
    failure = cuda_error.what();
    has_cuda_failed = true;
  } catch (const std::exception& other) {
    failure = other.what();
  } catch (...) {
    failure = "unknown exception in native code";
  }
  session_.tell(this);
}

void LoadTask::start(bool) { session_.load_here(spec_); }

void StepTask::start(bool is_void) {
  for (const SlotFill& fill : slot_fills) {
    session_.model().fill_sampler_slot(fill.slot, fill.token_ids.data(),
                                       static_cast<int>(fill.token_ids.size()),
                                       fill.num_prompt_tokens);
  }
  CHECK(!is_void, "step: was not run, because the step before it failed");
  session_.model().start_step(size);
}

void StepTask::finish() { session_.model().finish_step(); }

void on_event(Napi::Env env, Napi::Function, Session* session, Task* task) {
  // Without an environment the loop is being torn down and nothing may be called.
  if (env == nullptr) return;
  try {
    session->handle(task);
  } catch (const Napi::Error&) {
    // A worker thread that is being terminated runs no more JavaScript: no promise can settle, and
    // there is nobody left to tell. Everything else of the session was put in order before.
  }
}

void Session::handle(Task* task) {
  const Napi::HandleScope scope(env_);
  call_on_progress();
  if (task == nullptr) return;

  std::shared_ptr<Session> held;
  if (--num_in_flight_ == 0) {
    held = std::move(self_);
    channel_.Unref(env_);
  }
  const Napi::Promise::Deferred deferred = *task->deferred;
  task->deferred.reset();
  if (load_) on_progress_.Reset();
  if (progress_error_) {
    is_closed_ = true;
    model_.reset();
    deferred.Reject(progress_error_->Value());
    progress_error_.reset();
  } else if (!task->failure.empty()) {
    const Napi::Error error = Napi::Error::New(env_, task->failure);
    if (task->has_cuda_failed) error.Set("code", Napi::String::New(env_, "ERR_CUDA"));
    deferred.Reject(error.Value());
  } else {
    deferred.Resolve(load_ ? make_object() : env_.Undefined());
  }
  load_.reset();
}

// An exception of the caller's function rejects the load instead of ending the process.
void Session::call_on_progress() {
  if (on_progress_.IsEmpty() || progress_error_) return;
  try {
    const auto num_bytes = num_bytes_done_.load(std::memory_order_relaxed);
    on_progress_.Call({Napi::Number::New(env_, static_cast<double>(num_bytes))});
  } catch (const Napi::Error& error) {
    progress_error_ = error;
  }
}

int read_int(const Napi::CallbackInfo& info, std::size_t index, const char* name) {
  const Napi::Value value = info[index];
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : NAN;
  // The cast is defined only within the range of int, and a fraction would be dropped silently.
  if (!(std::fabs(number) <= 2147483647.0 && number == std::trunc(number))) {
    throw Napi::TypeError::New(info.Env(), std::string(name) + " must be a 32-bit integer");
  }
  return static_cast<int>(number);
}

// kernels::Error and its like become JavaScript exceptions; nothing else may leave a callback.
template <class Body>
Napi::Value guarded(Napi::Env env, Body body) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::exception& error) {
    throw Napi::Error::New(env, error.what());
  }
}

template <class Element>
Napi::Value typed_array(Napi::Env env, const Napi::ArrayBuffer& buffer, std::size_t offset,
                        std::size_t length, const Element*) {
  return Napi::TypedArrayOf<Element>::New(env, length, buffer, offset);
}

Napi::Value make_step_batches(Napi::Env env, const std::shared_ptr<StepBatches>& batches,
                              const StepLimits& limits) {
  // The finalizer owns a share: views outlive the model without dangling.
  const Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(
      env, batches->data(), batches->num_bytes(), [batches](Napi::Env, void*) {});
  Napi::Array pair = Napi::Array::New(env, 2);
  for (std::uint32_t i = 0; i < 2; ++i) {
    Napi::Object views = Napi::Object::New(env);
    visit_views(
        batches->batch(static_cast<int>(i)), limits,
        [&](const char* name, auto* view, std::size_t length) {
          const auto offset = reinterpret_cast<std::byte*>(view) - batches->data();
          views.Set(name, typed_array(env, buffer, static_cast<std::size_t>(offset), length, view));
        });
    pair[i] = views;
  }
  return pair;
}

Napi::Object make_memory(Napi::Env env, const MemoryUse& use) {
  Napi::Object memory = Napi::Object::New(env);
  memory.Set("weights", static_cast<double>(use.weights));
  memory.Set("kvCache", static_cast<double>(use.kv_cache));
  memory.Set("workspace", static_cast<double>(use.workspace));
  memory.Set("sampler", static_cast<double>(use.sampler));
  return memory;
}

Napi::Value call_step(Session& session, const Napi::CallbackInfo& info) {
  const StepSize size{read_int(info, 0, "step: numSequences"), read_int(info, 1, "step: numTokens"),
                      read_int(info, 2, "step: numDecodes")};
  return session.step(size);
}

Napi::Value call_fill_sampler_slot(Session& session, const Napi::CallbackInfo& info) {
  const int slot = read_int(info, 0, "fillSamplerSlot: slot");
  if (!info[1].IsTypedArray() ||
      info[1].As<Napi::TypedArray>().TypedArrayType() != napi_int32_array) {
    throw Napi::TypeError::New(info.Env(), "fillSamplerSlot: tokenIds must be an Int32Array");
  }
  const auto token_ids = info[1].As<Napi::Int32Array>();
  const int num_prompt_tokens = read_int(info, 2, "fillSamplerSlot: numPromptTokens");
  if (token_ids.ElementLength() > 2147483647) {
    throw Napi::RangeError::New(info.Env(), "fillSamplerSlot: tokenIds has over 2^31 - 1 tokens");
  }
  session.fill_sampler_slot(
      {slot, {token_ids.Data(), token_ids.Data() + token_ids.ElementLength()}, num_prompt_tokens});
  return info.Env().Undefined();
}

Napi::Value call_close(Session& session, const Napi::CallbackInfo& info) {
  session.close();
  return info.Env().Undefined();
}

// A plain object whose functions share the session: there is no `this` to get wrong.
Napi::Value Session::make_object() {
  const std::shared_ptr<Session> session = shared_from_this();
  Napi::Object object = Napi::Object::New(env_);
  object.Set("stepBatches", make_step_batches(env_, model_->step_batches(), model_->spec().limits));
  object.Set("memory", make_memory(env_, model_->memory()));
  using Call = Napi::Value (*)(Session&, const Napi::CallbackInfo&);
  const auto set = [&](const char* name, Call call) {
    const auto callback = [session, call](const Napi::CallbackInfo& info) {
      return guarded(info.Env(), [&] { return call(*session, info); });
    };
    object.Set(name, Napi::Function::New(env_, callback, name));
  };
  set("step", call_step);
  set("fillSamplerSlot", call_fill_sampler_slot);
  set("close", call_close);
  return object;
}

}  // namespace

Napi::Value start_loading(Napi::Env env, ModelSpec spec, Napi::Function on_progress) {
  return std::make_shared<Session>(env)->load(std::move(spec), on_progress);
}

}  // namespace kvasir
