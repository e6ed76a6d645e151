#pragma once

namespace kvasir {

// Physical cores this process may use: its affinity mask, two threads of one core counted once
// (they share the units that multiply), capped by the cgroup's CPU quota. At least 1.
int num_usable_cores();

}  // namespace kvasir
