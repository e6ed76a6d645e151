// Which kernels a step's attention is made of.
#include <string>

#include "kernels/cuda_attention_kernels.h"
#include "kernels/cuda_rope_write.h"

namespace kernels {
namespace {

std::int64_t element_bytes(DType type) { return type == DType::kF32 ? 4 : 2; }

void check(const CudaAttention& op) {
  const auto text = [](int number) { return std::to_string(number); };
  CHECK(
      op.type == DType::kF32 || op.type == DType::kF16 || op.type == DType::kBF16,
      std::string("cuda_attention: type is ") + name_of(op.type) + "; it must be f32, f16 or bf16");
  CHECK(op.head_dim > 0 && op.head_dim <= 256 && op.head_dim % 8 == 0,
        "cuda_attention: head_dim is " + text(op.head_dim) +
            "; it must be a multiple of 8 and at most 256");
  CHECK(op.num_kv_heads > 0 && op.num_heads > 0 && op.num_heads % op.num_kv_heads == 0,
        "cuda_attention: " + text(op.num_heads) + " heads are not a multiple of " +
            text(op.num_kv_heads) + " KV heads");
  CHECK(op.num_decodes >= 0 && op.num_decodes <= op.num_sequences &&
            op.num_sequences - op.num_decodes <= op.num_tokens - op.num_decodes,
        "cuda_attention: " + text(op.num_sequences) + " sequences, " + text(op.num_decodes) +
            " of them decodes, do not fit " + text(op.num_tokens) +
            " tokens; each sequence has at least one and a decode exactly one");
  CHECK(op.max_query_len >= 1,
        "cuda_attention: max_query_len is " + text(op.max_query_len) + "; it must be at least 1");
  CHECK(op.scale > 0,
        "cuda_attention: scale is " + std::to_string(op.scale) + "; it must be above zero");
}

// The tokens from `first` on.
CudaRopeWrite rope_write_of(const CudaAttention& op, int first) {
  const bool is_reference = op.numerics == Numerics::kReference;
  const std::int64_t row =
      static_cast<std::int64_t>(op.num_heads + 2 * op.num_kv_heads) * op.head_dim;
  CudaRopeWrite write{};
  write.qkv = static_cast<unsigned char*>(op.qkv) + first * row * element_bytes(op.type);
  write.q_treatment = {op.q_norm, op.norm_epsilon, is_reference, op.head_dim};
  write.k_treatment = {op.k_norm, op.norm_epsilon, is_reference, op.head_dim};
  write.rope_table = op.rope_table;
  write.k_cache = op.k_cache;
  write.v_cache = op.v_cache;
  write.positions = op.positions + first;
  write.slot_mapping = op.slot_mapping + first;
  write.context_lens = op.context_lens;
  write.type = op.type;
  write.num_tokens = op.num_tokens - first;
  write.num_decodes = op.num_decodes - first;
  write.num_heads = op.num_heads;
  write.num_kv_heads = op.num_kv_heads;
  write.head_dim = op.head_dim;
  return write;
}

}  // namespace

std::size_t cuda_attention_workspace_bytes(int /*max_tokens*/, int max_sequences,
                                           int /*max_context_len*/, int num_heads, int num_kv_heads,
                                           int head_dim, bool is_batch_invariant) {
  return attention_decode_workspace_bytes(max_sequences, num_heads, num_kv_heads, head_dim,
                                          is_batch_invariant);
}

void cuda_attention(const CudaAttention& op, Stream stream) {
  check(op);
  if (op.num_tokens == 0) return;
  if (!is_tensor_core_head(op.type, op.head_dim)) {
    cuda_rope_write(rope_write_of(op, 0), stream);
    launch_attention_plain(op, stream);
    return;
  }
  if (op.num_decodes > 0) launch_attention_decode(op, stream);
  if (op.num_decodes == op.num_sequences) return;
  cuda_rope_write(rope_write_of(op, op.num_decodes), stream);
  launch_attention_prefill(op, stream);
}

}  // namespace kernels
