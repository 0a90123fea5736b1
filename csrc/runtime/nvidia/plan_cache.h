// This user's own plans, as edgead/nvidia/plans/cache.py keeps them: KEY.plan, and KEY.json, which
// says what it is and is written last. A plan is native code: a directory or a file that another
// user could have written is refused.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "plan_builder.h"

namespace edgead {

// What a plan is of.
struct PlanAsked {
  std::string version;      // of TensorRT: "10.3.0"
  std::string device;       // "Orin sm_87 8 SM 7 GiB"
  std::string onnx_sha256;  // of the graph
  std::string precision;

  // The name of its files: Python's of the same plan with a batch of one.
  std::string key() const;
};

struct CachedPlan {
  std::string path, data;
};

class PlanCache {
 public:
  // $EDGEAD_CACHE/plans, else edgead/plans in the user's cache directory; made where it is missing.
  // Failure (device): it cannot be made, or another user may write to it.
  PlanCache();

  // The plan that was built for this, here or by Python, whose version may have a fourth number.
  // Failure (device): it was altered, or another user may have written it.
  std::optional<CachedPlan> find(const PlanAsked& asked) const;

  // Keeps a plan in place of an older one, and removes those that were not used for longest.
  CachedPlan store(const PlanAsked& asked, const std::string& bundle, const BuiltPlan& built) const;

  // Held while a plan is built, so that two processes build it once; goes with its process.
  class Lock {
   public:
    Lock(const PlanCache& cache, const std::string& key);
    ~Lock();
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;

   private:
    std::string path_;
    int descriptor_ = -1;
  };

 private:
  std::optional<CachedPlan> load(const std::string& key, const PlanAsked& asked) const;
  void prune(const std::string& keep) const;
  std::string path(const std::string& key, const char* suffix) const;
  std::vector<std::string> keys() const;

  std::string directory_;
};

}  // namespace edgead
