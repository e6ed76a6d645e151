#include "kernels/cpu_features.h"

#include <algorithm>
#include <cstdlib>

#include "kernels/types.h"

namespace kernels {

std::vector<Isa> available_isas() {
  std::vector<Isa> isas = {Isa::kPortable};
#if defined(__x86_64__)
  // The compiler's own check also asks whether the system saves the wide registers.
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (has_avx2) isas.push_back(Isa::kAvx2);
  if (has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
    isas.push_back(Isa::kAvx512);
  }
#elif defined(__aarch64__)
  isas.push_back(Isa::kNeon);
#endif
  return isas;
}

Isa best_isa() {
  const std::vector<Isa> isas = available_isas();
  const char* wanted = std::getenv("KVASIR_ISA");
  if (wanted == nullptr || *wanted == '\0') return isas.back();
  for (const Isa isa : {Isa::kPortable, Isa::kAvx2, Isa::kAvx512, Isa::kNeon}) {
    if (std::string(wanted) != name_of(isa)) continue;
    const bool runs_here = std::find(isas.begin(), isas.end(), isa) != isas.end();
    return runs_here ? isa : isas.back();
  }
  throw Error(std::string("KVASIR_ISA is '") + wanted +
              "'; it takes portable, avx2, avx512 or neon. Unset it to use the best.");
}

const char* name_of(Isa isa) {
  switch (isa) {
    case Isa::kPortable:
      return "portable";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kNeon:
      return "neon";
  }
  return "unknown";
}

std::vector<std::string> cpu_feature_names() {
  std::vector<std::string> names;
#if defined(__x86_64__)
#define KVASIR_ADD_FEATURE(name) \
  if (__builtin_cpu_supports(name)) names.push_back(name)
  KVASIR_ADD_FEATURE("avx");
  KVASIR_ADD_FEATURE("avx2");
  KVASIR_ADD_FEATURE("fma");
  KVASIR_ADD_FEATURE("avx512f");
  KVASIR_ADD_FEATURE("avx512bw");
  KVASIR_ADD_FEATURE("avx512vl");
  KVASIR_ADD_FEATURE("avx512dq");
  KVASIR_ADD_FEATURE("avx512vnni");
#undef KVASIR_ADD_FEATURE
#elif defined(__aarch64__)
  names.push_back("neon");
#endif
  return names;
}

}  // namespace kernels
