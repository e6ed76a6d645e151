// What this processor can do, asked once at run time.
#pragma once

#include <string>
#include <vector>

namespace kernels {

// Instruction sets the kernels are written for. On x86 a higher value includes the lower ones.
enum class Isa { kPortable, kAvx2, kAvx512, kNeon };

// The best set that processor, system and build allow. The environment variable KVASIR_ISA
// (portable, avx2, avx512, neon) chooses a lesser one, never a greater; it is read at every call.
// Throws Error if it names something else.
Isa best_isa();

// Every set that can run here, portable first. For tests that compare them.
std::vector<Isa> available_isas();

// "avx512", "avx2", "neon" or "portable".
const char* name_of(Isa isa);

// The features that matter to the kernels and that are present, as in /proc/cpuinfo.
std::vector<std::string> cpu_feature_names();

}  // namespace kernels
