// The two kinds of device. What differs between them is their runtime, a table of the C interface,
// and the operators, which a thread has for each device it uses.
#pragma once

#include <memory>
#include <string>

#include "kernels/add.h"
#include "kernels/argmax.h"
#include "kernels/embedding.h"
#include "kernels/linear_plain.h"
#include "kernels/rearrange.h"
#include "kernels/rms_norm.h"
#include "kernels/rope.h"
#include "kernels/self_attention.h"
#include "kernels/swiglu.h"
#include "native/llaisys/llaisys.h"

namespace llaisys {

struct Device {
  llaisysDeviceType_t type;
  int id;
};

inline bool operator==(const Device& a, const Device& b) {
  return a.type == b.type && a.id == b.id;
}

// "CPU 0"
std::string name_of(const Device& device);

// The contract forms on one device; pointers are to its memory.
class Operators {
 public:
  virtual ~Operators() = default;
  virtual void add(const kernels::Add& op) = 0;
  virtual void argmax(const kernels::Argmax& op) = 0;
  virtual void embedding(const kernels::Embedding& op) = 0;
  virtual void linear(const kernels::PlainLinear& op) = 0;
  virtual void rearrange(const kernels::Rearrange& op) = 0;
  virtual void rms_norm(const kernels::RmsNorm& op) = 0;
  virtual void rope(const kernels::Rope& op) = 0;
  // op.scratch is not read: the device brings its own.
  virtual void self_attention(const kernels::SelfAttention& op) = 0;
  virtual void swiglu(const kernels::SwiGlu& op) = 0;
};

const LlaisysRuntimeAPI& cpu_runtime();
std::unique_ptr<Operators> make_cpu_operators();

// Defined by cuda_device.cpp, or by no_cuda_device.cpp, whose functions say that there is no CUDA.
const LlaisysRuntimeAPI& cuda_runtime();
std::unique_ptr<Operators> make_cuda_operators(int id);

// Throws Error on a type that does not exist.
const LlaisysRuntimeAPI& runtime_of(llaisysDeviceType_t type);

// Makes the device the calling thread's current one. Throws Error if the machine does not have it.
void make_current(const Device& device);

// The calling thread's operators on a device, made on first use; makes it the current one.
Operators& operators_of(const Device& device);

}  // namespace llaisys
