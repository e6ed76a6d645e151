#include "native/backend.h"

namespace kvasir {

namespace {

template <class Contract, void (*kFunction)(const Contract&, kernels::ThreadPool&)>
Operator<Contract> on_pool(kernels::ThreadPool& pool) {
  return {[](const Contract& op, void* device) {
            kFunction(op, *static_cast<kernels::ThreadPool*>(device));
          },
          &pool};
}

}  // namespace

Backend cpu_backend(kernels::ThreadPool& pool) {
  return {
      on_pool<kernels::TokenEmbedding, kernels::token_embedding_cpu>(pool),
      on_pool<kernels::RmsNorm, kernels::rms_norm_cpu>(pool),
      on_pool<kernels::Linear, kernels::linear_packed_cpu>(pool),
      on_pool<kernels::RopeFromTable, kernels::rope_from_table_cpu>(pool),
      on_pool<kernels::WriteKv, kernels::write_kv_cpu>(pool),
      on_pool<kernels::PagedAttention, kernels::paged_attention_cpu>(pool),
      on_pool<kernels::SwiGlu, kernels::swiglu_cpu>(pool),
      on_pool<kernels::Sample, kernels::sample_cpu>(pool),
  };
}

}  // namespace kvasir
