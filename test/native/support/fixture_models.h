// The tiny models of test/fixtures/models and their answers, from native-specs.txt
// (write-native-specs.ts says what its lines mean). Paths hold from the project's root.
#pragma once

#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "native/model_spec.h"

namespace testing {

struct FixtureModel {
  std::string name;  // "llama-tiny/q8_0"
  kvasir::ModelSpec spec{};
  std::vector<std::vector<std::int32_t>> prompts;
  std::vector<std::vector<std::int32_t>> answers;  // greedy, by the reference, in float
};

inline kernels::DType dtype_of(const std::string& name) {
  for (int i = 0; i < kernels::kNumDTypes; ++i) {
    const auto type = static_cast<kernels::DType>(i);
    if (name == kernels::name_of(type)) return type;
  }
  throw kernels::Error("there is no type " + name);
}

inline kvasir::ModelConfig read_config(std::istream& in) {
  kvasir::ModelConfig config{};
  in >> config.num_layers >> config.hidden_size >> config.intermediate_size >> config.num_heads >>
      config.num_kv_heads >> config.head_dim >> config.vocab_size >> config.max_context_len >>
      config.rms_norm_epsilon >> config.rope_theta >> config.has_qkv_bias >> config.has_qk_norm >>
      config.has_tied_embeddings;
  return config;
}

inline kvasir::TensorRef read_tensor(std::istream& in) {
  kvasir::TensorRef tensor{};
  std::string type;
  in >> tensor.name >> type >> tensor.num_interleaved_heads >> tensor.file >> tensor.offset >>
      tensor.byte_length;
  tensor.type = dtype_of(type);
  for (std::int64_t dimension; in >> dimension;) tensor.shape.push_back(dimension);
  return tensor;
}

inline std::vector<std::int32_t> read_ids(std::istream& in) {
  std::vector<std::int32_t> ids;
  for (std::int32_t id; in >> id;) ids.push_back(id);
  return ids;
}

inline std::vector<FixtureModel> read_fixture_models(
    const std::string& path = "test/fixtures/models/native-specs.txt") {
  std::ifstream file(path);
  CHECK(file.good(), path + ": cannot be read; run this from the project's root");
  std::vector<FixtureModel> models;
  for (std::string line; std::getline(file, line);) {
    std::istringstream in(line);
    std::string word;
    in >> word;
    if (word == "model") {
      models.emplace_back();
      in >> models.back().name;
      continue;
    }
    FixtureModel& model = models.back();
    if (word == "config") {
      model.spec.config = read_config(in);
    } else if (word == "scaling") {
      kvasir::RopeScaling scaling{};
      in >> scaling.factor >> scaling.low_frequency_factor >> scaling.high_frequency_factor >>
          scaling.original_max_context_len;
      model.spec.config.rope_scaling = scaling;
    } else if (word == "file") {
      kvasir::FileSpec named{};
      in >> named.path >> named.byte_length;
      model.spec.files.push_back(named);
    } else if (word == "tensor") {
      model.spec.tensors.push_back(read_tensor(in));
    } else {
      (word == "prompt" ? model.prompts : model.answers).push_back(read_ids(in));
    }
  }
  return models;
}

}  // namespace testing
