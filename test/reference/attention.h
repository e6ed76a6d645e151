#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "test/reference/rounding.h"

namespace reference {

struct AttentionShape {
  int query_len;
  int kv_len;
  int num_heads;
  int num_kv_heads;
  int head_dim;
  int value_dim;
};

// Causal, grouped, diagonal bottom-right: q [query_len, num_heads, head_dim], k and v
// [kv_len, num_kv_heads, ..], out [query_len, num_heads, value_dim], all contiguous. The scores of
// a row are stored, its softmax is taken in two passes: slow and obviously right.
template <typename T>
std::vector<double> attention(const AttentionShape& shape, const std::vector<double>& q,
                              const std::vector<double>& k, const std::vector<double>& v,
                              double scale) {
  const int group = shape.num_heads / shape.num_kv_heads;
  std::vector<double> out(static_cast<std::size_t>(shape.query_len) * shape.num_heads *
                          shape.value_dim);
  for (int i = 0; i < shape.query_len; ++i) {
    const int num_keys = i + shape.kv_len - shape.query_len + 1;
    for (int h = 0; h < shape.num_heads; ++h) {
      const double* query = &q[(std::size_t(i) * shape.num_heads + h) * shape.head_dim];
      std::vector<double> weights(num_keys);
      double maximum = -HUGE_VAL;
      for (int j = 0; j < num_keys; ++j) {
        const double* key = &k[(std::size_t(j) * shape.num_kv_heads + h / group) * shape.head_dim];
        double dot = 0;
        for (int d = 0; d < shape.head_dim; ++d) dot += query[d] * key[d];
        weights[j] = dot * scale;
        maximum = std::max(maximum, weights[j]);
      }
      double sum = 0;
      for (double& weight : weights) sum += weight = std::exp(weight - maximum);
      for (int d = 0; d < shape.value_dim; ++d) {
        double total = 0;
        for (int j = 0; j < num_keys; ++j) {
          total += weights[j] *
                   v[(std::size_t(j) * shape.num_kv_heads + h / group) * shape.value_dim + d];
        }
        out[(std::size_t(i) * shape.num_heads + h) * shape.value_dim + d] = rounded<T>(total / sum);
      }
    }
  }
  return out;
}

}  // namespace reference
