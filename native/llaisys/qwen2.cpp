// Qwen2 from the plain operators, one sequence, keys and values kept between calls.
#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "native/llaisys/guarded.h"
#include "native/llaisys/operators.h"

namespace llaisys {
namespace {

// Tokens the cache has room for at first; it doubles from there, up to maxseq.
constexpr std::size_t kFirstCacheTokens = 128;
// The kernels' widest head.
constexpr std::size_t kMaxHeadDim = 256;

void check_meta(const LlaisysQwen2Meta& meta) {
  CHECK(meta.dtype == LLAISYS_DTYPE_F32 || meta.dtype == LLAISYS_DTYPE_F16 ||
            meta.dtype == LLAISYS_DTYPE_BF16,
        "argument meta: dtype is " + std::to_string(static_cast<int>(meta.dtype)) +
            ", must be F32 (13), F16 (12) or BF16 (19)");
  const std::pair<const char*, std::size_t> sizes[] = {
      {"nlayer", meta.nlayer}, {"hs", meta.hs}, {"nh", meta.nh},         {"nkvh", meta.nkvh},
      {"dh", meta.dh},         {"di", meta.di}, {"maxseq", meta.maxseq}, {"voc", meta.voc}};
  for (const auto& [name, size] : sizes) {
    CHECK(size >= 1 && size <= INT32_MAX, std::string("argument meta: ") + name + " is " +
                                              std::to_string(size) + ", must be 1 to 2147483647");
  }
  CHECK(meta.nh % meta.nkvh == 0, "argument meta: nh is " + std::to_string(meta.nh) +
                                      ", must be a multiple of nkvh, " + std::to_string(meta.nkvh));
  CHECK(meta.dh % 2 == 0 && meta.dh <= kMaxHeadDim,
        "argument meta: dh is " + std::to_string(meta.dh) + ", must be even and at most " +
            std::to_string(kMaxHeadDim));
}

// Activations of one call, made anew when the number of tokens changes.
struct Activations {
  Activations(const LlaisysQwen2Meta& meta, std::size_t num_tokens, Device device)
      : token_ids({num_tokens}, LLAISYS_DTYPE_I64, device),
        positions({num_tokens}, LLAISYS_DTYPE_I64, device),
        hidden({num_tokens, meta.hs}, meta.dtype, device),
        normed({num_tokens, meta.hs}, meta.dtype, device),
        projected({num_tokens, meta.hs}, meta.dtype, device),
        q({num_tokens, meta.nh * meta.dh}, meta.dtype, device),
        attended({num_tokens, meta.nh * meta.dh}, meta.dtype, device),
        gate({num_tokens, meta.di}, meta.dtype, device),
        up({num_tokens, meta.di}, meta.dtype, device),
        logits({1, meta.voc}, meta.dtype, device),
        max_value({1}, meta.dtype, device),
        max_index({1}, LLAISYS_DTYPE_I64, device) {}

  Tensor token_ids, positions, hidden, normed, projected, q, attended, gate, up;
  Tensor logits, max_value, max_index;
};

// Keys or values of one layer: [capacity, nkvh * dh], the first rows in use.
Tensor grown(const Tensor& cache, std::size_t num_used, std::size_t capacity) {
  const Tensor larger({capacity, cache.shape()[1]}, cache.dtype(), cache.device());
  if (num_used > 0) rearrange(larger.slice(0, 0, num_used), cache.slice(0, 0, num_used));
  return larger;
}

class Qwen2 {
 public:
  Qwen2(const LlaisysQwen2Meta& meta, Device device);

  LlaisysQwen2Weights* weights() { return &weights_; }
  std::int64_t infer(const std::int64_t* token_ids, std::size_t num_tokens);

 private:
  llaisysTensor_t own(Tensor::Shape shape);
  llaisysTensor_t* own_layers(const Tensor::Shape& shape);
  void check_tokens(const std::int64_t* token_ids, std::size_t num_tokens) const;
  void reserve(std::size_t num_tokens);
  void load_tokens(const std::int64_t* token_ids, std::size_t num_tokens);
  void attend(std::size_t layer, std::size_t num_tokens);
  void feed_forward(std::size_t layer);
  std::int64_t pick_next(std::size_t num_tokens);

  LlaisysQwen2Meta meta_;
  Device device_;
  LlaisysQwen2Weights weights_ = {};
  std::vector<std::unique_ptr<LlaisysTensor>> owned_;
  std::vector<std::unique_ptr<llaisysTensor_t[]>> layer_arrays_;
  std::vector<Tensor> keys_;
  std::vector<Tensor> values_;
  std::size_t capacity_ = 0;    // tokens the caches have room for
  std::size_t num_cached_ = 0;  // tokens they hold
  std::optional<Activations> activations_;
};

Qwen2::Qwen2(const LlaisysQwen2Meta& meta, Device device) : meta_(meta), device_(device) {
  const std::size_t q_size = meta.nh * meta.dh;
  const std::size_t kv_size = meta.nkvh * meta.dh;
  weights_.in_embed = own({meta.voc, meta.hs});
  weights_.out_embed = own({meta.voc, meta.hs});
  weights_.out_norm_w = own({meta.hs});
  weights_.attn_norm_w = own_layers({meta.hs});
  weights_.attn_q_w = own_layers({q_size, meta.hs});
  weights_.attn_q_b = own_layers({q_size});
  weights_.attn_k_w = own_layers({kv_size, meta.hs});
  weights_.attn_k_b = own_layers({kv_size});
  weights_.attn_v_w = own_layers({kv_size, meta.hs});
  weights_.attn_v_b = own_layers({kv_size});
  weights_.attn_o_w = own_layers({meta.hs, q_size});
  weights_.mlp_norm_w = own_layers({meta.hs});
  weights_.mlp_gate_w = own_layers({meta.di, meta.hs});
  weights_.mlp_up_w = own_layers({meta.di, meta.hs});
  weights_.mlp_down_w = own_layers({meta.hs, meta.di});
  // A checkpoint without biases leaves these as they are.
  const std::vector<std::uint8_t> zeros(q_size * bytes_of(meta.dtype));
  for (std::size_t i = 0; i < meta.nlayer; ++i) {
    for (llaisysTensor_t* biases : {weights_.attn_q_b, weights_.attn_k_b, weights_.attn_v_b}) {
      biases[i]->tensor.load(zeros.data());
    }
    keys_.push_back(Tensor({0, kv_size}, meta.dtype, device));
    values_.push_back(Tensor({0, kv_size}, meta.dtype, device));
  }
}

llaisysTensor_t Qwen2::own(Tensor::Shape shape) {
  owned_.push_back(std::unique_ptr<LlaisysTensor>(
      new LlaisysTensor{Tensor(std::move(shape), meta_.dtype, device_)}));
  return owned_.back().get();
}

llaisysTensor_t* Qwen2::own_layers(const Tensor::Shape& shape) {
  layer_arrays_.push_back(std::make_unique<llaisysTensor_t[]>(meta_.nlayer));
  for (std::size_t i = 0; i < meta_.nlayer; ++i) layer_arrays_.back()[i] = own(shape);
  return layer_arrays_.back().get();
}

void Qwen2::check_tokens(const std::int64_t* token_ids, std::size_t num_tokens) const {
  CHECK(num_tokens >= 1 && token_ids != nullptr,
        "arguments token_ids and ntoken hold no token; a step needs at least one");
  CHECK(num_tokens <= meta_.maxseq - num_cached_,
        "argument ntoken is " + std::to_string(num_tokens) + " after " +
            std::to_string(num_cached_) + " tokens, but maxseq is " + std::to_string(meta_.maxseq));
  for (std::size_t t = 0; t < num_tokens; ++t) {
    CHECK(token_ids[t] >= 0 && static_cast<std::size_t>(token_ids[t]) < meta_.voc,
          "argument token_ids holds " + std::to_string(token_ids[t]) + " at position " +
              std::to_string(t) + ", outside the vocabulary of " + std::to_string(meta_.voc));
  }
}

void Qwen2::reserve(std::size_t num_tokens) {
  if (num_tokens <= capacity_) return;
  std::size_t capacity = std::max({num_tokens, 2 * capacity_, kFirstCacheTokens});
  capacity = std::min(capacity, meta_.maxseq);
  for (std::size_t i = 0; i < meta_.nlayer; ++i) {
    keys_[i] = grown(keys_[i], num_cached_, capacity);
    values_[i] = grown(values_[i], num_cached_, capacity);
  }
  capacity_ = capacity;
}

void Qwen2::load_tokens(const std::int64_t* token_ids, std::size_t num_tokens) {
  if (!activations_ || activations_->token_ids.num_elements() != num_tokens) {
    activations_.emplace(meta_, num_tokens, device_);
  }
  std::vector<std::int64_t> positions(num_tokens);
  std::iota(positions.begin(), positions.end(), static_cast<std::int64_t>(num_cached_));
  activations_->token_ids.load(token_ids);
  activations_->positions.load(positions.data());
  embedding(activations_->hidden, activations_->token_ids, checked(weights_.in_embed, "in_embed"));
}

// hidden += attention(norm(hidden)) of one layer, whose new keys and values go behind the old.
void Qwen2::attend(std::size_t layer, std::size_t num_tokens) {
  const auto weight = [&](llaisysTensor_t* handles, const char* name) -> const Tensor& {
    return checked(handles[layer], name);
  };
  const auto bias = [&](llaisysTensor_t* handles) {
    return handles[layer] != nullptr ? &handles[layer]->tensor : nullptr;
  };
  Activations& a = *activations_;
  const std::size_t end = num_cached_ + num_tokens;
  const Tensor new_keys = keys_[layer].slice(0, num_cached_, end);
  const Tensor new_values = values_[layer].slice(0, num_cached_, end);
  rms_norm(a.normed, a.hidden, weight(weights_.attn_norm_w, "attn_norm_w"), meta_.epsilon);
  linear(a.q, a.normed, weight(weights_.attn_q_w, "attn_q_w"), bias(weights_.attn_q_b));
  linear(new_keys, a.normed, weight(weights_.attn_k_w, "attn_k_w"), bias(weights_.attn_k_b));
  linear(new_values, a.normed, weight(weights_.attn_v_w, "attn_v_w"), bias(weights_.attn_v_b));
  const Tensor q = a.q.view({num_tokens, meta_.nh, meta_.dh});
  const Tensor k = new_keys.view({num_tokens, meta_.nkvh, meta_.dh});
  rope(q, q, a.positions, meta_.theta);
  rope(k, k, a.positions, meta_.theta);
  self_attention(a.attended.view({num_tokens, meta_.nh, meta_.dh}), q,
                 keys_[layer].slice(0, 0, end).view({end, meta_.nkvh, meta_.dh}),
                 values_[layer].slice(0, 0, end).view({end, meta_.nkvh, meta_.dh}),
                 1 / std::sqrt(static_cast<float>(meta_.dh)));
  linear(a.projected, a.attended, weight(weights_.attn_o_w, "attn_o_w"), nullptr);
  add(a.hidden, a.hidden, a.projected);
}

// hidden += down(silu(gate) * up) of the normed hidden.
void Qwen2::feed_forward(std::size_t layer) {
  const auto weight = [&](llaisysTensor_t* handles, const char* name) -> const Tensor& {
    return checked(handles[layer], name);
  };
  Activations& a = *activations_;
  rms_norm(a.normed, a.hidden, weight(weights_.mlp_norm_w, "mlp_norm_w"), meta_.epsilon);
  linear(a.gate, a.normed, weight(weights_.mlp_gate_w, "mlp_gate_w"), nullptr);
  linear(a.up, a.normed, weight(weights_.mlp_up_w, "mlp_up_w"), nullptr);
  swiglu(a.gate, a.gate, a.up);
  linear(a.projected, a.gate, weight(weights_.mlp_down_w, "mlp_down_w"), nullptr);
  add(a.hidden, a.hidden, a.projected);
}

// Only the last token's logits are wanted.
std::int64_t Qwen2::pick_next(std::size_t num_tokens) {
  Activations& a = *activations_;
  const Tensor last = a.hidden.slice(0, num_tokens - 1, num_tokens);
  const Tensor normed = a.normed.slice(0, 0, 1);
  rms_norm(normed, last, checked(weights_.out_norm_w, "out_norm_w"), meta_.epsilon);
  linear(a.logits, normed, checked(weights_.out_embed, "out_embed"), nullptr);
  argmax(a.max_index, a.max_value, a.logits.view({meta_.voc}));
  std::int64_t next = 0;
  a.max_index.store(&next);
  return next;
}

std::int64_t Qwen2::infer(const std::int64_t* token_ids, std::size_t num_tokens) {
  check_tokens(token_ids, num_tokens);
  reserve(num_cached_ + num_tokens);
  load_tokens(token_ids, num_tokens);
  for (std::size_t layer = 0; layer < meta_.nlayer; ++layer) {
    attend(layer, num_tokens);
    feed_forward(layer);
  }
  const std::int64_t next = pick_next(num_tokens);
  // Last, so that a call that fails leaves the sequence as it was.
  num_cached_ += num_tokens;
  return next;
}

}  // namespace
}  // namespace llaisys

struct LlaisysQwen2Model {
  llaisys::Qwen2 model;
};

extern "C" {

using llaisys::guarded;

LlaisysQwen2Model* llaisysQwen2ModelCreate(const LlaisysQwen2Meta* meta, llaisysDeviceType_t device,
                                           int* device_ids, int ndevice) {
  return guarded(__func__, [&] {
    CHECK(meta != nullptr, "argument meta is null");
    CHECK(ndevice == 1 && device_ids != nullptr, "argument ndevice is " + std::to_string(ndevice) +
                                                     ", must be 1, with device_ids pointing to it");
    llaisys::check_meta(*meta);
    return new LlaisysQwen2Model{llaisys::Qwen2(*meta, {device, device_ids[0]})};
  });
}

void llaisysQwen2ModelDestroy(LlaisysQwen2Model* model) { delete model; }

LlaisysQwen2Weights* llaisysQwen2ModelWeights(LlaisysQwen2Model* model) {
  return guarded(__func__, [&] {
    CHECK(model != nullptr, "argument model is null");
    return model->model.weights();
  });
}

std::int64_t llaisysQwen2ModelInfer(LlaisysQwen2Model* model, std::int64_t* token_ids,
                                    std::size_t ntoken) {
  return guarded(__func__, [&] {
    CHECK(model != nullptr, "argument model is null");
    return model->model.infer(token_ids, ntoken);
  });
}

}  // extern "C"
