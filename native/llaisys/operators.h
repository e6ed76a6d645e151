// The operators on tensors: what llaisys.h exports, for code within the library. All throw Error,
// naming the argument and its value, having touched nothing.
#pragma once

#include "native/llaisys/tensor.h"

namespace llaisys {

void add(const Tensor& c, const Tensor& a, const Tensor& b);
void argmax(const Tensor& max_idx, const Tensor& max_val, const Tensor& vals);
void embedding(const Tensor& out, const Tensor& index, const Tensor& weight);
void linear(const Tensor& out, const Tensor& in, const Tensor& weight, const Tensor* bias);
void rearrange(const Tensor& out, const Tensor& in);
void rms_norm(const Tensor& out, const Tensor& in, const Tensor& weight, float epsilon);
void rope(const Tensor& out, const Tensor& in, const Tensor& pos_ids, float theta);
void self_attention(const Tensor& attn_val, const Tensor& q, const Tensor& k, const Tensor& v,
                    float scale);
void swiglu(const Tensor& out, const Tensor& gate, const Tensor& up);

// The tensor itself if it is contiguous, otherwise a copy.
Tensor contiguous(const Tensor& tensor);

}  // namespace llaisys
