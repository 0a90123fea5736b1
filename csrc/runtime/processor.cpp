#include "processor.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace edgead {
namespace {

std::string read(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// What one group grants, in version 2 or 1; 0 for all there is.
double quota_of(const std::string& folder) {
  for (const std::string& text :
       {read(folder + "/cpu.max"),
        read(folder + "/cpu.cfs_quota_us") + " " + read(folder + "/cpu.cfs_period_us")}) {
    std::istringstream numbers(text);
    double quota = 0, period = 0;
    if (numbers >> quota >> period && quota > 0 && period > 0) return quota / period;
  }
  return 0;
}

struct Hierarchy {
  std::string root, top;  // what of the hierarchy is mounted, and where
};

// Where the hierarchies that count CPU time are mounted; `unified`: version 2.
std::vector<Hierarchy> hierarchies(bool unified) {
  std::vector<Hierarchy> found;
  std::istringstream mounts(read("/proc/self/mountinfo"));
  std::string line;
  while (std::getline(mounts, line)) {
    const size_t middle = line.find(" - ");
    if (middle == std::string::npos) continue;
    std::istringstream before(line.substr(0, middle)), after(line.substr(middle + 3));
    std::string skipped, root, top, kind, source, options;
    before >> skipped >> skipped >> skipped >> root >> top;
    after >> kind >> source >> options;
    const bool counts = ("," + options + ",").find(",cpu,") != std::string::npos;
    if (unified ? kind == "cgroup2" : kind == "cgroup" && counts) found.push_back({root, top});
  }
  return found;
}

// The least quota from the group at `path` up to the top of its hierarchy; 0 for none.
double least_quota(const std::string& path, bool unified) {
  double least = 0;
  for (const Hierarchy& h : hierarchies(unified)) {
    const std::string root = h.root == "/" ? "" : h.root;
    std::string below = path.rfind(root, 0) == 0 ? path.substr(root.size()) : "";
    if (below.find("..") != std::string::npos) below.clear();
    for (;;) {
      const double quota = quota_of(h.top + below);
      if (quota > 0) least = least > 0 ? std::min(least, quota) : quota;
      if (below.empty() || below == "/") break;
      below.resize(below.rfind('/'));
    }
  }
  return least;
}

}  // namespace

int32_t quota_of_cores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 0;
  double least = 0;
  std::istringstream groups(read("/proc/self/cgroup"));
  std::string line;
  while (std::getline(groups, line)) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const bool unified = controllers == ",,";
    if (!unified && controllers.find(",cpu,") == std::string::npos) continue;
    const double quota = least_quota(line.substr(second + 1), unified);
    if (quota > 0) least = least > 0 ? std::min(least, quota) : quota;
  }
  const int32_t cores = std::max(1, static_cast<int32_t>(std::floor(least)));
  return least > 0 && cores < CPU_COUNT(&set) ? cores : 0;
}

}  // namespace edgead
