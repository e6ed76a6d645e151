// The seam between the plain forward pass and the operators it is made of.
//
// A backend is a table: one entry for each operator, taking the operator's contract from kernels/.
// The forward pass is a column of calls that reads like the paper and never asks what they run on.
// CUDA has a column of its own (native/cuda/llama_family.cpp), because its operators are fused
// ones: the seam between the two devices is Model in native/model.h.
#pragma once

#include "kernels/embedding.h"
#include "kernels/linear.h"
#include "kernels/paged_attention.h"
#include "kernels/rms_norm.h"
#include "kernels/rope.h"
#include "kernels/sample.h"
#include "kernels/swiglu.h"
#include "kernels/thread_pool.h"
#include "kernels/write_kv.h"

namespace kvasir {

// One operator of a device: a function and what it runs on (a thread pool here, a stream there).
template <class Contract>
struct Operator {
  void (*function)(const Contract& op, void* device);
  void* device;

  void operator()(const Contract& op) const { function(op, device); }
};

struct Backend {
  Operator<kernels::TokenEmbedding> token_embedding;
  Operator<kernels::RmsNorm> rms_norm;
  Operator<kernels::Linear> linear;
  Operator<kernels::RopeFromTable> rope;
  Operator<kernels::WriteKv> write_kv;
  Operator<kernels::PagedAttention> paged_attention;
  Operator<kernels::SwiGlu> swiglu;
  Operator<kernels::Sample> sample;
};

// Operators on the CPU, split over `pool`, which must outlive the table.
Backend cpu_backend(kernels::ThreadPool& pool);

}  // namespace kvasir
