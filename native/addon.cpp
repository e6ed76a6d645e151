// The addon's entries (Addon in engine/core/addon.ts) and the reading of what they are given.
// Every value is checked for its type and range here, and for its meaning in model_spec.cpp.

#include <napi.h>

#include <cmath>
#include <exception>
#include <limits>
#include <string>
#include <utility>

#include "kernels/cpu_features.h"
#include "native/cpu_count.h"
#include "native/cuda.h"
#include "native/model_handle.h"
#include "native/model_spec.h"

namespace kvasir {

namespace {

constexpr std::uint32_t kMaxFiles = 4096;
constexpr std::uint32_t kMaxTensors = 1 << 20;
constexpr std::uint32_t kMaxDimensions = 16;

// A property of an object, with its path from the spec for the message ("config.numLayers").
class Field {
 public:
  // The spec itself; `call` is the entry that was given it.
  Field(const char* call, Napi::Value value) : Field(call, value, "") {}

  Field operator[](const char* name) const {
    if (!value_.IsObject()) refuse("an object");
    const Napi::Value value = value_.As<Napi::Object>().Get(name);
    return {call_, value, path_.empty() ? name : path_ + "." + name};
  }

  Field operator[](std::uint32_t index) const {
    const Napi::Value value = value_.As<Napi::Array>().Get(index);
    return {call_, value, path_ + "[" + std::to_string(index) + "]"};
  }

  std::uint32_t length(std::uint32_t max_length) const {
    if (!value_.IsArray()) refuse("an array");
    const std::uint32_t length = value_.As<Napi::Array>().Length();
    if (length > max_length) refuse("at most " + std::to_string(max_length) + " long");
    return length;
  }

  std::string text() const {
    if (!value_.IsString()) refuse("a string");
    std::string text = value_.As<Napi::String>().Utf8Value();
    // A path would end here for the system and go on for everyone else.
    if (text.find('\0') != std::string::npos) refuse("a string without zero bytes");
    return text;
  }

  bool boolean() const {
    if (!value_.IsBoolean()) refuse("a boolean");
    return value_.As<Napi::Boolean>().Value();
  }

  double number() const {
    if (!value_.IsNumber()) refuse("a number");
    return value_.As<Napi::Number>().DoubleValue();
  }

  float single() const { return static_cast<float>(number()); }

  // A whole number from 0 to `max`; beyond 2^53 a double could not be told from its neighbour.
  std::uint64_t whole(double max) const {
    const double value = number();
    if (!(value >= 0 && value <= max && value == std::trunc(value))) {
      refuse("a whole number from 0 to " + std::to_string(static_cast<std::uint64_t>(max)));
    }
    return static_cast<std::uint64_t>(value);
  }

  std::uint64_t bytes() const { return whole(9007199254740991.0); }
  int integer() const { return static_cast<int>(whole(std::numeric_limits<int>::max())); }
  bool is_null() const { return value_.IsNull(); }
  Napi::Env env() const { return value_.Env(); }

  [[noreturn]] void refuse(const std::string& expected) const {
    const std::string name = path_.empty() ? "spec" : path_;
    throw Napi::TypeError::New(value_.Env(),
                               std::string(call_) + ": " + name + " must be " + expected);
  }

 private:
  Field(const char* call, Napi::Value value, std::string path)
      : call_(call), value_(value), path_(std::move(path)) {}

  const char* call_;
  Napi::Value value_;
  std::string path_;
};

Architecture read_architecture(const Field& field) {
  const std::string name = field.text();
  if (name == "llama") return Architecture::kLlama;
  if (name == "qwen2") return Architecture::kQwen2;
  if (name == "qwen3") return Architecture::kQwen3;
  field.refuse("llama, qwen2 or qwen3");
}

kernels::DType read_weight_type(const Field& field) {
  const std::string name = field.text();
  for (int i = 0; i < kernels::kNumDTypes; ++i) {
    const auto type = static_cast<kernels::DType>(i);
    if (name == kernels::name_of(type)) return type;
  }
  field.refuse("f32, f16, bf16, q8_0, q4_0, q4_1 or q6_k");
}

kernels::DType read_kv_cache_type(const Field& field) {
  const std::string name = field.text();
  if (name == "float16") return kernels::DType::kF16;
  if (name == "float32") return kernels::DType::kF32;
  field.refuse("float16 or float32");
}

Device read_device(const Field& field) {
  const std::string name = field.text();
  if (name == "cpu") return Device::kCpu;
  if (name == "cuda") return Device::kCuda;
  field.refuse("cpu or cuda");
}

kernels::DType read_dtype(const Field& field) {
  const std::string name = field.text();
  if (name == "float32") return kernels::DType::kF32;
  if (name == "float16") return kernels::DType::kF16;
  if (name == "bfloat16") return kernels::DType::kBF16;
  field.refuse("float32, float16 or bfloat16");
}

Numerics read_numerics(const Field& field) {
  const std::string name = field.text();
  if (name == "reference") return Numerics::kReference;
  if (name == "fast") return Numerics::kFast;
  field.refuse("reference or fast");
}

std::optional<RopeScaling> read_rope_scaling(const Field& field) {
  if (field.is_null()) return std::nullopt;
  if (field["kind"].text() != "llama3") field["kind"].refuse("llama3");
  return RopeScaling{field["factor"].single(), field["lowFrequencyFactor"].single(),
                     field["highFrequencyFactor"].single(),
                     field["originalMaxContextLen"].single()};
}

ModelConfig read_config(const Field& field) {
  ModelConfig config{};
  config.architecture = read_architecture(field["architecture"]);
  config.num_layers = field["numLayers"].integer();
  config.hidden_size = field["hiddenSize"].integer();
  config.intermediate_size = field["intermediateSize"].integer();
  config.num_heads = field["numHeads"].integer();
  config.num_kv_heads = field["numKvHeads"].integer();
  config.head_dim = field["headDim"].integer();
  config.vocab_size = field["vocabSize"].integer();
  config.max_context_len = field["maxContextLen"].integer();
  config.rms_norm_epsilon = field["rmsNormEpsilon"].single();
  config.rope_theta = field["ropeTheta"].single();
  config.rope_scaling = read_rope_scaling(field["ropeScaling"]);
  config.has_qkv_bias = field["hasQkvBias"].boolean();
  config.has_qk_norm = field["hasQkNorm"].boolean();
  config.has_tied_embeddings = field["hasTiedEmbeddings"].boolean();
  return config;
}

TensorRef read_tensor(const Field& field) {
  TensorRef tensor{};
  tensor.name = field["name"].text();
  tensor.type = read_weight_type(field["type"]);
  const Field shape = field["shape"];
  const std::uint32_t num_dimensions = shape.length(kMaxDimensions);
  for (std::uint32_t i = 0; i < num_dimensions; ++i) {
    tensor.shape.push_back(static_cast<std::int64_t>(shape[i].bytes()));
  }
  tensor.file = field["file"].integer();
  tensor.offset = field["offset"].bytes();
  tensor.byte_length = field["byteLength"].bytes();
  tensor.num_interleaved_heads = field["numInterleavedHeads"].integer();
  return tensor;
}

ModelSpec read_spec(const Field& field) {
  ModelSpec spec{};
  spec.config = read_config(field["config"]);
  const Field files = field["files"];
  const std::uint32_t num_files = files.length(kMaxFiles);
  for (std::uint32_t i = 0; i < num_files; ++i) {
    spec.files.push_back({files[i]["path"].text(), files[i]["byteLength"].bytes()});
  }
  const Field tensors = field["tensors"];
  const std::uint32_t num_tensors = tensors.length(kMaxTensors);
  for (std::uint32_t i = 0; i < num_tensors; ++i) {
    // A scope each: a large model's table must not hold tens of thousands of handles at once.
    const Napi::HandleScope scope(field.env());
    spec.tensors.push_back(read_tensor(tensors[i]));
  }
  spec.device = read_device(field["device"]);
  spec.dtype = read_dtype(field["dtype"]);
  spec.numerics = read_numerics(field["numerics"]);
  spec.is_batch_invariant = field["isBatchInvariant"].boolean();
  spec.use_graphs = field["useGraphs"].boolean();
  spec.num_threads = field["numThreads"].integer();
  spec.kv_cache_type = read_kv_cache_type(field["kvCacheType"]);
  spec.limits.num_blocks = field["numBlocks"].integer();
  spec.limits.block_size = field["blockSize"].integer();
  spec.limits.max_tokens_per_step = field["maxTokensPerStep"].integer();
  spec.limits.max_sequences = field["maxSequences"].integer();
  spec.limits.max_blocks_per_sequence = field["maxBlocksPerSequence"].integer();
  spec.limits.max_adjustments = field["maxAdjustments"].integer();
  return spec;
}

Napi::Value call_load_model(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  // A function that returns a promise reports everything through it, wrong arguments too.
  const auto deferred = Napi::Promise::Deferred::New(env);
  try {
    if (!info[1].IsFunction()) {
      throw Napi::TypeError::New(env, "loadModel: onProgress must be a function");
    }
    return start_loading(env, read_spec(Field("loadModel", info[0])), info[1].As<Napi::Function>());
  } catch (const Napi::Error& error) {
    deferred.Reject(error.Value());
  } catch (const std::exception& error) {
    deferred.Reject(Napi::Error::New(env, error.what()).Value());
  }
  return deferred.Promise();
}

// Bytes; a double holds whole numbers up to 2^53.
Napi::Value number_of(Napi::Env env, std::uint64_t bytes) {
  return Napi::Number::New(env, static_cast<double>(bytes));
}

Napi::Value call_memory_needs(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  try {
    ModelSpec spec = read_spec(Field("memoryNeeds", info[0]));
    CHECK(spec.device == Device::kCuda,
          "memoryNeeds: device is cpu; what a model needs is asked for cuda alone");
    // Asked in order to choose it: whatever stands there is not looked at.
    spec.limits.num_blocks = 1;
    check_model_spec(spec);
    const MemoryUse use = cuda_memory_needs(spec);
    Napi::Object needs = Napi::Object::New(env);
    needs.Set("weights", number_of(env, use.weights));
    needs.Set("workspace", number_of(env, use.workspace));
    needs.Set("sampler", number_of(env, use.sampler));
    return needs;
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::exception& error) {
    throw Napi::Error::New(env, error.what());
  }
}

Napi::Value version_or_null(Napi::Env env, const std::optional<int>& version) {
  return version ? Napi::Number::New(env, *version) : env.Null();
}

Napi::Object make_device(Napi::Env env, const CudaDevice& found) {
  Napi::Object device = Napi::Object::New(env);
  device.Set("index", found.index);
  device.Set("name", found.name);
  device.Set("computeCapability", found.compute_capability);
  device.Set("totalBytes", number_of(env, found.total_bytes));
  device.Set("freeBytes", number_of(env, found.free_bytes));
  device.Set("numMultiprocessors", found.num_multiprocessors);
  return device;
}

Napi::Value call_cuda_status(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  try {
    const CudaStatus found = cuda_status();
    Napi::Object status = Napi::Object::New(env);
    status.Set("isBuilt", found.is_built);
    status.Set("driverVersion", version_or_null(env, found.driver_version));
    status.Set("runtimeVersion", version_or_null(env, found.runtime_version));
    status.Set("fault", found.fault.empty() ? env.Null() : Napi::String::New(env, found.fault));
    Napi::Array devices = Napi::Array::New(env);
    for (const CudaDevice& device : found.devices) {
      devices[devices.Length()] = make_device(env, device);
    }
    status.Set("devices", devices);
    return status;
  } catch (const std::exception& error) {
    throw Napi::Error::New(env, error.what());
  }
}

Napi::Value call_cpu_features(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Object features = Napi::Object::New(env);
  try {
    features.Set("kernels", kernels::name_of(kernels::best_isa()));
  } catch (const std::exception& error) {
    throw Napi::Error::New(env, error.what());
  }
  Napi::Array names = Napi::Array::New(env);
  for (const std::string& name : kernels::cpu_feature_names()) names[names.Length()] = name;
  features.Set("names", names);
  return features;
}

Napi::Value call_default_num_threads(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), num_usable_cores());
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("cpuFeatures", Napi::Function::New(env, call_cpu_features, "cpuFeatures"));
  exports.Set("defaultNumThreads",
              Napi::Function::New(env, call_default_num_threads, "defaultNumThreads"));
  exports.Set("cudaStatus", Napi::Function::New(env, call_cuda_status, "cudaStatus"));
  exports.Set("memoryNeeds", Napi::Function::New(env, call_memory_needs, "memoryNeeds"));
  exports.Set("loadModel", Napi::Function::New(env, call_load_model, "loadModel"));
  return exports;
}

}  // namespace

NODE_API_MODULE(kvasir, init)

}  // namespace kvasir
