#include "native/llaisys/operators.h"

#include <string>

#include "native/llaisys/guarded.h"
#include "native/llaisys/rows.h"

namespace llaisys {
namespace {

using Shape = Tensor::Shape;

// A tensor under the name of its argument, for messages.
struct Argument {
  const char* name;
  const Tensor& tensor;
};

std::string of(const Argument& argument) { return "argument " + std::string(argument.name); }

void require_dims(const Argument& argument, std::size_t num_dims) {
  CHECK(argument.tensor.num_dims() == num_dims,
        of(argument) + " has shape " + text_of(argument.tensor.shape()) + ", must have " +
            std::to_string(num_dims) + " dimensions");
}

void require_shape(const Argument& argument, const Shape& shape) {
  CHECK(argument.tensor.shape() == shape,
        of(argument) + " has shape " + text_of(argument.tensor.shape()) +
            "; to go with the other arguments it must be " + text_of(shape));
}

void require_device(const Argument& argument, const Argument& first) {
  CHECK(argument.tensor.device() == first.tensor.device(),
        of(argument) + " is on " + name_of(argument.tensor.device()) + ", " + of(first) + " on " +
            name_of(first.tensor.device()) + "; copy one to the other's device");
}

void require_type(const Argument& argument, llaisysDataType_t dtype) {
  CHECK(argument.tensor.dtype() == dtype, of(argument) + " has type " +
                                              name_of(argument.tensor.dtype()) + ", must be " +
                                              name_of(dtype));
}

// On one device and of one type.
void require_alike(const Argument& argument, const Argument& first) {
  require_device(argument, first);
  require_type(argument, first.tensor.dtype());
}

kernels::DType kernel_type(const Argument& argument) {
  switch (argument.tensor.dtype()) {
    case LLAISYS_DTYPE_F32:
      return kernels::DType::kF32;
    case LLAISYS_DTYPE_F16:
      return kernels::DType::kF16;
    case LLAISYS_DTYPE_BF16:
      return kernels::DType::kBF16;
    default:
      CHECK(false, of(argument) + " has type " + name_of(argument.tensor.dtype()) +
                       ", must be F32, F16 or BF16");
  }
}

std::int64_t* as_i64(const Tensor& tensor) { return static_cast<std::int64_t*>(tensor.data()); }

// Rows of single elements where there is no dimension to be a row.
std::size_t last_dim(const Tensor& tensor) { return tensor.num_dims() > 0 ? 1 : 0; }

}  // namespace

void add(const Tensor& c, const Tensor& a, const Tensor& b) {
  const kernels::DType type = kernel_type({"c", c});
  require_alike({"a", a}, {"c", c});
  require_alike({"b", b}, {"c", c});
  require_shape({"a", a}, c.shape());
  require_shape({"b", b}, c.shape());
  if (c.num_elements() == 0) return;
  const Rows a_rows = input_rows(a, last_dim(a), "a");
  const Rows b_rows = input_rows(b, last_dim(b), "b");
  const OutputRows out(c, last_dim(c), "c");
  operators_of(c.device())
      .add({out.rows().tensor.data(), a_rows.tensor.data(), b_rows.tensor.data(), type,
            out.rows().num_rows, out.rows().width, out.rows().stride, a_rows.stride,
            b_rows.stride});
  out.finish();
}

void argmax(const Tensor& max_idx, const Tensor& max_val, const Tensor& vals) {
  const kernels::DType type = kernel_type({"vals", vals});
  require_dims({"vals", vals}, 1);
  require_device({"max_idx", max_idx}, {"vals", vals});
  require_type({"max_idx", max_idx}, LLAISYS_DTYPE_I64);
  require_alike({"max_val", max_val}, {"vals", vals});
  for (const Argument& result : {Argument{"max_idx", max_idx}, Argument{"max_val", max_val}}) {
    CHECK(result.tensor.num_elements() == 1,
          of(result) + " has shape " + text_of(result.tensor.shape()) + ", must hold one element");
  }
  operators_of(vals.device())
      .argmax({as_i64(max_idx), max_val.data(), vals.data(), type,
               static_cast<std::int64_t>(vals.num_elements()), vals.strides()[0]});
}

void embedding(const Tensor& out, const Tensor& index, const Tensor& weight) {
  const kernels::DType type = kernel_type({"out", out});
  require_dims({"index", index}, 1);
  require_dims({"weight", weight}, 2);
  require_type({"index", index}, LLAISYS_DTYPE_I64);
  require_device({"index", index}, {"out", out});
  require_alike({"weight", weight}, {"out", out});
  require_shape({"out", out}, {index.shape()[0], weight.shape()[1]});
  if (out.num_elements() == 0) return;
  const Tensor indices = contiguous(index);
  const Rows table = input_rows(weight, 1, "weight");
  const OutputRows rows(out, 1, "out");
  operators_of(out.device())
      .embedding({rows.rows().tensor.data(), as_i64(indices), table.tensor.data(), type,
                  rows.rows().num_rows, table.num_rows, table.width, rows.rows().stride,
                  table.stride});
  rows.finish();
}

void linear(const Tensor& out, const Tensor& in, const Tensor& weight, const Tensor* bias) {
  const kernels::DType type = kernel_type({"out", out});
  require_dims({"in", in}, 2);
  require_dims({"weight", weight}, 2);
  require_alike({"in", in}, {"out", out});
  require_alike({"weight", weight}, {"out", out});
  require_shape({"weight", weight}, {weight.shape()[0], in.shape()[1]});
  require_shape({"out", out}, {in.shape()[0], weight.shape()[0]});
  if (bias != nullptr) {
    require_alike({"bias", *bias}, {"out", out});
    require_shape({"bias", *bias}, {weight.shape()[0]});
  }
  if (out.num_elements() == 0) return;
  const Tensor x = contiguous(in);
  const Tensor w = contiguous(weight);
  const Tensor b = bias != nullptr ? contiguous(*bias) : x;
  const Tensor y = out.is_contiguous() ? out : Tensor(out.shape(), out.dtype(), out.device());
  operators_of(out.device())
      .linear({y.data(), x.data(), w.data(), bias != nullptr ? b.data() : nullptr, type,
               checked_int(x.shape()[0], "in"), checked_int(x.shape()[1], "in"),
               checked_int(w.shape()[0], "weight")});
  if (!out.is_contiguous()) rearrange(out, y);
}

void rearrange(const Tensor& out, const Tensor& in) {
  require_alike({"in", in}, {"out", out});
  require_shape({"in", in}, out.shape());
  CHECK(out.num_dims() <= kernels::kMaxRearrangeDims,
        "argument out has shape " + text_of(out.shape()) + ", must have at most " +
            std::to_string(kernels::kMaxRearrangeDims) + " dimensions");
  kernels::Rearrange op = {};
  op.out = out.data();
  op.in = in.data();
  op.element_bytes = static_cast<int>(bytes_of(out.dtype()));
  op.num_dims = static_cast<int>(out.num_dims());
  for (int i = 0; i < op.num_dims; ++i) {
    op.shape[i] = static_cast<std::int64_t>(out.shape()[i]);
    op.out_strides[i] = out.strides()[i];
    op.in_strides[i] = in.strides()[i];
  }
  operators_of(out.device()).rearrange(op);
}

void rms_norm(const Tensor& out, const Tensor& in, const Tensor& weight, float epsilon) {
  const kernels::DType type = kernel_type({"out", out});
  require_dims({"weight", weight}, 1);
  require_alike({"in", in}, {"out", out});
  require_alike({"weight", weight}, {"out", out});
  require_shape({"in", in}, out.shape());
  CHECK(out.num_dims() > 0, "argument out has no dimension, must have at least one");
  require_shape({"weight", weight}, {out.shape().back()});
  if (out.num_elements() == 0) return;
  const Rows x = input_rows(in, 1, "in");
  const Tensor w = contiguous(weight);
  const OutputRows rows(out, 1, "out");
  operators_of(out.device())
      .rms_norm({rows.rows().tensor.data(), x.tensor.data(), w.data(), type, x.num_rows, x.width,
                 rows.rows().stride, x.stride, epsilon});
  rows.finish();
}

void rope(const Tensor& out, const Tensor& in, const Tensor& pos_ids, float theta) {
  const kernels::DType type = kernel_type({"out", out});
  require_dims({"out", out}, 3);
  require_alike({"in", in}, {"out", out});
  require_shape({"in", in}, out.shape());
  require_type({"pos_ids", pos_ids}, LLAISYS_DTYPE_I64);
  require_device({"pos_ids", pos_ids}, {"out", out});
  require_shape({"pos_ids", pos_ids}, {out.shape()[0]});
  if (out.num_elements() == 0) return;
  const Tensor positions = contiguous(pos_ids);
  const Rows x = input_rows(in, 2, "in");
  const OutputRows rows(out, 2, "out");
  operators_of(out.device())
      .rope({rows.rows().tensor.data(), x.tensor.data(), as_i64(positions), type, x.num_rows,
             checked_int(in.shape()[1], "in"), checked_int(in.shape()[2], "in"), theta,
             rows.rows().stride, x.stride});
  rows.finish();
}

void self_attention(const Tensor& attn_val, const Tensor& q, const Tensor& k, const Tensor& v,
                    float scale) {
  const kernels::DType type = kernel_type({"attn_val", attn_val});
  for (const Argument& input : {Argument{"q", q}, Argument{"k", k}, Argument{"v", v}}) {
    require_dims(input, 3);
    require_alike(input, {"attn_val", attn_val});
  }
  require_shape({"k", k}, {k.shape()[0], k.shape()[1], q.shape()[2]});
  require_shape({"v", v}, {k.shape()[0], k.shape()[1], v.shape()[2]});
  require_shape({"attn_val", attn_val}, {q.shape()[0], q.shape()[1], v.shape()[2]});
  const Rows queries = input_rows(q, 2, "q");
  const Rows keys = input_rows(k, 2, "k");
  const Rows values = input_rows(v, 2, "v");
  const OutputRows rows(attn_val, 2, "attn_val");
  kernels::SelfAttention op = {};
  op.out = rows.rows().tensor.data();
  op.q = queries.tensor.data();
  op.k = keys.tensor.data();
  op.v = values.tensor.data();
  op.type = type;
  op.query_len = queries.num_rows;
  op.kv_len = keys.num_rows;
  op.num_heads = checked_int(q.shape()[1], "q");
  op.num_kv_heads = checked_int(k.shape()[1], "k");
  op.head_dim = checked_int(q.shape()[2], "q");
  op.value_dim = checked_int(v.shape()[2], "v");
  op.scale = scale;
  op.out_stride = rows.rows().stride;
  op.q_stride = queries.stride;
  op.k_stride = keys.stride;
  op.v_stride = values.stride;
  operators_of(attn_val.device()).self_attention(op);
  rows.finish();
}

void swiglu(const Tensor& out, const Tensor& gate, const Tensor& up) {
  const kernels::DType type = kernel_type({"out", out});
  require_alike({"gate", gate}, {"out", out});
  require_alike({"up", up}, {"out", out});
  require_shape({"gate", gate}, out.shape());
  require_shape({"up", up}, out.shape());
  if (out.num_elements() == 0) return;
  const Rows gates = input_rows(gate, last_dim(gate), "gate");
  const Rows ups = input_rows(up, last_dim(up), "up");
  const OutputRows rows(out, last_dim(out), "out");
  operators_of(out.device())
      .swiglu({rows.rows().tensor.data(), gates.tensor.data(), ups.tensor.data(), type,
               rows.rows().num_rows, rows.rows().width, rows.rows().stride, gates.stride,
               ups.stride});
  rows.finish();
}

}  // namespace llaisys

extern "C" {

using llaisys::checked;
using llaisys::guarded;

void llaisysAdd(llaisysTensor_t c, llaisysTensor_t a, llaisysTensor_t b) {
  guarded(__func__, [&] { llaisys::add(checked(c, "c"), checked(a, "a"), checked(b, "b")); });
}

void llaisysArgmax(llaisysTensor_t max_idx, llaisysTensor_t max_val, llaisysTensor_t vals) {
  guarded(__func__, [&] {
    llaisys::argmax(checked(max_idx, "max_idx"), checked(max_val, "max_val"),
                    checked(vals, "vals"));
  });
}

void llaisysEmbedding(llaisysTensor_t out, llaisysTensor_t index, llaisysTensor_t weight) {
  guarded(__func__, [&] {
    llaisys::embedding(checked(out, "out"), checked(index, "index"), checked(weight, "weight"));
  });
}

void llaisysLinear(llaisysTensor_t out, llaisysTensor_t in, llaisysTensor_t weight,
                   llaisysTensor_t bias) {
  guarded(__func__, [&] {
    llaisys::linear(checked(out, "out"), checked(in, "in"), checked(weight, "weight"),
                    bias != nullptr ? &bias->tensor : nullptr);
  });
}

void llaisysRearrange(llaisysTensor_t out, llaisysTensor_t in) {
  guarded(__func__, [&] { llaisys::rearrange(checked(out, "out"), checked(in, "in")); });
}

void llaisysRmsNorm(llaisysTensor_t out, llaisysTensor_t in, llaisysTensor_t weight, float eps) {
  guarded(__func__, [&] {
    llaisys::rms_norm(checked(out, "out"), checked(in, "in"), checked(weight, "weight"), eps);
  });
}

void llaisysROPE(llaisysTensor_t out, llaisysTensor_t in, llaisysTensor_t pos_ids, float theta) {
  guarded(__func__, [&] {
    llaisys::rope(checked(out, "out"), checked(in, "in"), checked(pos_ids, "pos_ids"), theta);
  });
}

void llaisysSelfAttention(llaisysTensor_t attn_val, llaisysTensor_t q, llaisysTensor_t k,
                          llaisysTensor_t v, float scale) {
  guarded(__func__, [&] {
    llaisys::self_attention(checked(attn_val, "attn_val"), checked(q, "q"), checked(k, "k"),
                            checked(v, "v"), scale);
  });
}

void llaisysSwiGLU(llaisysTensor_t out, llaisysTensor_t gate, llaisysTensor_t up) {
  guarded(__func__,
          [&] { llaisys::swiglu(checked(out, "out"), checked(gate, "gate"), checked(up, "up")); });
}

}  // extern "C"
