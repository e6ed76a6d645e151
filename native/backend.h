// The seam between a model and the device it runs on.
//
// A backend is a table: one entry for each operator of the forward pass, taking the operator's
// contract from kernels/. The forward pass is written once against this table and never asks which
// device it is on. CUDA comes in here: a second table whose entries call the *_cuda versions of the
// same contracts, with a stream where the CPU has its thread pool, and no #ifdef anywhere else.
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
