#include <map>
#include <string>
#include <utility>

#include "native/llaisys/device.h"
#include "native/llaisys/guarded.h"

namespace llaisys {

std::string name_of(const Device& device) {
  return (device.type == LLAISYS_DEVICE_CPU ? "CPU " : "NVIDIA ") + std::to_string(device.id);
}

const LlaisysRuntimeAPI& runtime_of(llaisysDeviceType_t type) {
  CHECK(type == LLAISYS_DEVICE_CPU || type == LLAISYS_DEVICE_NVIDIA,
        "argument device is " + std::to_string(static_cast<int>(type)) +
            ", must be 0 (CPU) or 1 (NVIDIA)");
  return type == LLAISYS_DEVICE_CPU ? cpu_runtime() : cuda_runtime();
}

void make_current(const Device& device) {
  const LlaisysRuntimeAPI& runtime = runtime_of(device.type);
  const int count = runtime.get_device_count();
  CHECK(device.id >= 0 && device.id < count, "device " + name_of(device) +
                                                 " does not exist: of that kind there are " +
                                                 std::to_string(count) + ", counted from 0");
  runtime.set_device(device.id);
}

Operators& operators_of(const Device& device) {
  // A CPU's workers take orders from one thread, and streams of different threads do not wait for
  // each other: so each thread has its own. They end with it.
  thread_local std::map<std::pair<int, int>, std::unique_ptr<Operators>> operators;
  make_current(device);
  auto& entry = operators[{device.type, device.id}];
  if (entry == nullptr) {
    entry =
        device.type == LLAISYS_DEVICE_CPU ? make_cpu_operators() : make_cuda_operators(device.id);
  }
  return *entry;
}

}  // namespace llaisys

extern "C" {

const LlaisysRuntimeAPI* llaisysGetRuntimeAPI(llaisysDeviceType_t device) {
  return llaisys::guarded(__func__, [&] { return &llaisys::runtime_of(device); });
}

void llaisysSetContextRuntime(llaisysDeviceType_t device, int id) {
  llaisys::guarded(__func__, [&] { llaisys::make_current({device, id}); });
}

}  // extern "C"
