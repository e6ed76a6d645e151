#include "native/cpu_count.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>
#include <string>
#include <thread>

#ifdef __linux__
#include <sched.h>
#endif

namespace kvasir {

namespace {

#ifdef __linux__

// Logical CPUs that share a core name the same siblings.
int num_allowed_cores() {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 0;
  std::set<std::string> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) +
                       "/topology/thread_siblings_list");
    std::string siblings;
    // Without topology each logical CPU counts as a core.
    if (!std::getline(file, siblings)) siblings = "cpu " + std::to_string(cpu);
    cores.insert(siblings);
  }
  return static_cast<int>(cores.size());
}

// Cores' worth of time a container may use, rounded to whole ones; 0 if nothing limits it. Version
// 2 of cgroups says "max 100000" or "250000 100000", version 1 has the numbers in two files.
int cgroup_quota() {
  double quota = 0;
  double period = 0;
  std::ifstream both("/sys/fs/cgroup/cpu.max");
  if (!(both >> quota >> period)) {
    std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") >> quota;
    std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_period_us") >> period;
  }
  if (!(quota > 0 && period > 0)) return 0;
  return std::max(1, static_cast<int>(std::lround(std::min(quota / period, 1e6))));
}

#else

int num_allowed_cores() { return 0; }
int cgroup_quota() { return 0; }

#endif

}  // namespace

int num_usable_cores() {
  int num_cores = num_allowed_cores();
  if (num_cores == 0) num_cores = static_cast<int>(std::thread::hardware_concurrency());
  const int quota = cgroup_quota();
  if (quota > 0) num_cores = std::min(num_cores, quota);
  return std::max(1, num_cores);
}

}  // namespace kvasir
