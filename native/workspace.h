// Activations of one step, sized at start for the largest step there can be. All of it is float.
#pragma once

#include "native/backend.h"
#include "native/memory.h"
#include "native/model_spec.h"

namespace kvasir {

// Rows of logits that exist at once. Logits are by far the widest activation (vocab_size floats a
// row), so a step that samples more rows computes and samples them in groups. Sampled ids do not
// depend on the grouping, because no output of a linear layer depends on its neighbours.
inline constexpr int kMaxLogitRows = 16;

// Tokens whose MLP is computed at once. gate_up is the widest activation after the logits; in
// pieces of this size it also stays in the core's own cache between its two linear layers.
inline constexpr int kMaxFeedForwardTokens = 128;

struct Workspace {
  explicit Workspace(const ModelSpec& spec);

  std::size_t num_bytes() const { return arena.num_bytes(); }

  Arena arena;
  float* rope_table;   // [max_context_len, head_dim]: cosines, then sines
  float* residual;     // [max_tokens, hidden_size]
  float* normed;       // [max_tokens, hidden_size]
  float* attention;    // [max_tokens, q_size], in normed's place: q, k and v were computed by then
  float* qkv;          // [max_tokens, q_size + 2 * kv_size]: q, then k, then v
  float* gate_up;      // [min(max_tokens, kMaxFeedForwardTokens), 2 * intermediate_size]: gate, up
  float* last_normed;  // [max_sequences, hidden_size], rows that are sampled
  float* logits;       // [min(max_sequences, kMaxLogitRows), vocab_size]
  std::int32_t* row_sequences;  // [max_sequences], whose row of last_normed it is
  void* attention_scratch;
  void* sample_scratch;
};

}  // namespace kvasir
