// The JavaScript face of a model (NativeModel in engine/core/addon.ts).
#pragma once

#include "native/model_spec.h"

// Declared, not included: Node-API stays in two source files.
namespace Napi {
class Env;
class Function;
class Value;
}  // namespace Napi

namespace kvasir {

// Starts loading on a thread of the model's own; returns a promise of the model's object.
// `on_progress` is called with the bytes done, at most 50 times a second and once at the end.
Napi::Value start_loading(Napi::Env env, ModelSpec spec, Napi::Function on_progress);

}  // namespace kvasir
