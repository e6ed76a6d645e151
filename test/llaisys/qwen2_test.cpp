// The Qwen2 model of the C interface: the tiny fixture in float must give the reference's greedy
// ids on every device, token by token over its own cache.
#include <cstdint>
#include <fstream>

#include "test/llaisys/library.h"
#include "test/native/support/fixture_models.h"

namespace {

using testing::Library;
using testing::refused;

const testing::FixtureModel& find(const std::vector<testing::FixtureModel>& models,
                                  const std::string& name) {
  for (const auto& model : models) {
    if (model.name == name) return model;
  }
  throw std::runtime_error(name + " is not among the fixtures");
}

LlaisysQwen2Meta meta_of(const kvasir::ModelConfig& config) {
  LlaisysQwen2Meta meta = {};
  meta.dtype = LLAISYS_DTYPE_F32;
  meta.nlayer = config.num_layers;
  meta.hs = config.hidden_size;
  meta.nh = config.num_heads;
  meta.nkvh = config.num_kv_heads;
  meta.dh = config.head_dim;
  meta.di = config.intermediate_size;
  meta.maxseq = config.max_context_len;
  meta.voc = config.vocab_size;
  meta.epsilon = static_cast<float>(config.rms_norm_epsilon);
  meta.theta = static_cast<float>(config.rope_theta);
  meta.end_token = 2;
  return meta;
}

std::vector<char> read_tensor(const testing::FixtureModel& model, const std::string& name) {
  for (const kvasir::TensorRef& tensor : model.spec.tensors) {
    if (tensor.name != name) continue;
    std::ifstream file(model.spec.files[tensor.file].path, std::ios::binary);
    std::vector<char> bytes(tensor.byte_length);
    file.seekg(static_cast<std::streamoff>(tensor.offset));
    if (file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()))) return bytes;
  }
  throw std::runtime_error(model.name + " has no tensor " + name);
}

void load_weights(const Library& library, const testing::FixtureModel& fixture,
                  LlaisysQwen2Weights& weights) {
  const auto load = [&](llaisysTensor_t tensor, const std::string& name) {
    library.tensorLoad(tensor, read_tensor(fixture, name).data());
  };
  load(weights.in_embed, "token_embd.weight");
  load(weights.out_embed, "token_embd.weight");
  load(weights.out_norm_w, "output_norm.weight");
  for (int i = 0; i < fixture.spec.config.num_layers; ++i) {
    const std::string layer = "blk." + std::to_string(i) + ".";
    load(weights.attn_norm_w[i], layer + "attn_norm.weight");
    load(weights.attn_q_w[i], layer + "attn_q.weight");
    load(weights.attn_q_b[i], layer + "attn_q.bias");
    load(weights.attn_k_w[i], layer + "attn_k.weight");
    load(weights.attn_k_b[i], layer + "attn_k.bias");
    load(weights.attn_v_w[i], layer + "attn_v.weight");
    load(weights.attn_v_b[i], layer + "attn_v.bias");
    load(weights.attn_o_w[i], layer + "attn_output.weight");
    load(weights.mlp_norm_w[i], layer + "ffn_norm.weight");
    load(weights.mlp_gate_w[i], layer + "ffn_gate.weight");
    load(weights.mlp_up_w[i], layer + "ffn_up.weight");
    load(weights.mlp_down_w[i], layer + "ffn_down.weight");
  }
}

// A model that is destroyed with its scope.
class Model {
 public:
  Model(const Library& library, const testing::FixtureModel& fixture, llaisysDeviceType_t device)
      : library_(library) {
    const LlaisysQwen2Meta meta = meta_of(fixture.spec.config);
    int id = 0;
    model_ = library.llaisysQwen2ModelCreate(&meta, device, &id, 1);
    load_weights(library, fixture, *library.llaisysQwen2ModelWeights(model_));
  }
  ~Model() { library_.llaisysQwen2ModelDestroy(model_); }
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  std::int64_t infer(std::vector<std::int64_t> token_ids) {
    return library_.llaisysQwen2ModelInfer(model_, token_ids.data(), token_ids.size());
  }
  LlaisysQwen2Weights& weights() { return *library_.llaisysQwen2ModelWeights(model_); }

 private:
  const Library& library_;
  LlaisysQwen2Model* model_;
};

void test_answers(tap::Report& report, const Library& library, const testing::FixtureModel& fixture,
                  llaisysDeviceType_t device) {
  const std::string name = device == LLAISYS_DEVICE_CPU ? "CPU" : "NVIDIA";
  for (std::size_t i = 0; i < fixture.prompts.size(); ++i) {
    Model model(library, fixture, device);
    const std::vector<std::int64_t> prompt(fixture.prompts[i].begin(), fixture.prompts[i].end());
    const std::vector<std::int64_t> want(fixture.answers[i].begin(), fixture.answers[i].end());
    std::vector<std::int64_t> got = {model.infer(prompt)};
    while (got.size() < want.size()) got.push_back(model.infer({got.back()}));
    report.ok(!want.empty() && got == want,
              name + ": answer to a prompt of " + std::to_string(prompt.size()) + " tokens");
  }
}

// A prompt of 154 tokens in three calls is the prompt in one; a refused call changes nothing.
void test_calls(tap::Report& report, const Library& library, const testing::FixtureModel& fixture,
                llaisysDeviceType_t device) {
  const auto& prompt = fixture.prompts.back();
  Model model(library, fixture, device);
  model.infer({prompt.begin(), prompt.begin() + 5});
  model.infer({prompt.begin() + 5, prompt.begin() + 100});
  const std::int64_t past_the_end = fixture.spec.config.vocab_size;
  refused(report, "llaisysQwen2ModelInfer",
          [&] {
            model.infer({3, past_the_end});
          },
          {"token_ids", std::to_string(past_the_end), "position 1", "vocabulary"});
  refused(report, "llaisysQwen2ModelInfer", [&] { model.infer({-1}); }, {"-1", "position 0"});
  refused(report, "llaisysQwen2ModelInfer", [&] { model.infer({}); }, {"no token"});
  refused(report, "llaisysQwen2ModelInfer",
          [&] { model.infer(std::vector<std::int64_t>(1024 - 99)); },
          {"ntoken is 925", "100 tokens", "maxseq is 1024"});
  llaisysTensor_t norm = std::exchange(model.weights().mlp_norm_w[1], nullptr);
  refused(report, "llaisysQwen2ModelInfer", [&] { model.infer({5}); }, {"mlp_norm_w is null"});
  model.weights().mlp_norm_w[1] = norm;
  report.equal(model.infer({prompt.begin() + 100, prompt.end()}),
               std::int64_t{fixture.answers.back()[0]}, "a prompt in pieces");
}

void test_refusals(tap::Report& report, const Library& library,
                   const testing::FixtureModel& fixture) {
  const auto create = [&](auto change, int num_devices = 1) {
    return [&, change, num_devices] {
      LlaisysQwen2Meta meta = meta_of(fixture.spec.config);
      change(meta);
      int id = 0;
      library.llaisysQwen2ModelCreate(&meta, LLAISYS_DEVICE_CPU, &id, num_devices);
    };
  };
  const char* function = "llaisysQwen2ModelCreate";
  refused(report, function, create([](auto& meta) { meta.dtype = LLAISYS_DTYPE_I8; }),
          {"dtype is 3", "BF16"});
  refused(report, function, create([](auto& meta) { meta.nlayer = 0; }), {"nlayer is 0"});
  refused(report, function, create([](auto& meta) { meta.nkvh = 3; }), {"nh is 4", "3"});
  refused(report, function, create([](auto& meta) { meta.dh = 258; }), {"dh is 258", "256"});
  refused(report, function, create([](auto&) {}, 2), {"ndevice is 2"});
  refused(report, function,
          [&] { library.llaisysQwen2ModelCreate(nullptr, LLAISYS_DEVICE_CPU, nullptr, 1); },
          {"meta is null"});
  refused(report, "llaisysQwen2ModelWeights", [&] { library.llaisysQwen2ModelWeights(nullptr); },
          {"model is null"});
}

}  // namespace

int main(int argc, char** argv) {
  tap::Report report;
  const Library library(argc > 1 ? argv[1] : LLAISYS_LIBRARY);
  const auto models = testing::read_fixture_models();
  const testing::FixtureModel& fixture = find(models, "qwen2-tiny/f32");
  for (const auto device : {LLAISYS_DEVICE_CPU, LLAISYS_DEVICE_NVIDIA}) {
    if (library.llaisysGetRuntimeAPI(device)->get_device_count() == 0) continue;
    test_answers(report, library, fixture, device);
    test_calls(report, library, fixture, device);
  }
  test_refusals(report, library, fixture);
  return report.finish();
}
