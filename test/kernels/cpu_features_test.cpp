#include "kernels/cpu_features.h"

#include <cstdlib>
#include <string>

#include "kernels/thread_pool.h"
#include "test/kernels/tap.h"

int main() {
  tap::Report report;
  using kernels::Isa;
  const auto isas = kernels::available_isas();
  report.ok(!isas.empty() && isas.front() == Isa::kPortable, "the portable loops run everywhere");

  unsetenv("KVASIR_ISA");
  report.ok(kernels::best_isa() == isas.back(), "the best is the default");
  setenv("KVASIR_ISA", "", 1);
  report.ok(kernels::best_isa() == isas.back(), "an empty variable is none");
  for (const Isa isa : isas) {
    setenv("KVASIR_ISA", kernels::name_of(isa), 1);
    report.ok(kernels::best_isa() == isa, std::string("KVASIR_ISA chooses ") + name_of(isa));
    report.ok(kernels::ThreadPool(1).isa() == isa, "and a pool takes it");
  }
#if defined(__x86_64__)
  setenv("KVASIR_ISA", "neon", 1);
#else
  setenv("KVASIR_ISA", "avx512", 1);
#endif
  report.ok(kernels::best_isa() == isas.back(), "a set that cannot run here is not chosen");
  setenv("KVASIR_ISA", "sse9", 1);
  report.throws([] { kernels::best_isa(); }, {"sse9", "avx2", "portable"}, "nonsense is refused");
  return report.finish();
}
