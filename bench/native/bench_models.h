// Sizes of the models that the benches of the GPU take.
#pragma once

#include <string>

#include "native/model_spec.h"

namespace bench {

// "dsr1": DeepSeek-R1-Distill-Qwen-1.5B. "smollm2": SmolLM2-135M.
inline kvasir::ModelConfig config_of(const std::string& model) {
  kvasir::ModelConfig config{};
  if (model == "smollm2") {
    config = {kvasir::Architecture::kLlama,
              30,
              576,
              1536,
              9,
              3,
              64,
              49152,
              8192,
              1e-5f,
              100000,
              std::nullopt,
              false,
              false,
              true};
  } else {
    config = {kvasir::Architecture::kQwen2,
              28,
              1536,
              8960,
              12,
              2,
              128,
              151936,
              131072,
              1e-6f,
              10000,
              std::nullopt,
              true,
              false,
              false};
  }
  return config;
}

}  // namespace bench
