#include "plan_cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "failure.h"
#include "json.h"
#include "own_files.h"
#include "sha256.h"
#include "wording.h"

namespace edgead {
namespace {

// Of Python's cache.
constexpr size_t kMostPlans = 24;
constexpr int64_t kMostBytes = INT64_C(1) << 31;
constexpr int kRecipe = 1;  // of edgead/nvidia/plans/store.py

// As Python's json.dumps writes a text.
std::string quoted(const std::string& text) {
  return Json(text).dump(-1, ' ', true, Json::error_handler_t::replace);
}

Failure altered(const std::string& path) {
  return Failure(EDGEAD_ERROR_DEVICE,
                 path +
                     " was truncated or altered since it was built here; remove it, and it is "
                     "built again");
}

Json options() { return {{"batch", {1, 1, 1}}, {"workspace_mb", nullptr}, {"dla", nullptr}}; }

// Python's text has a fourth number on some machines.
bool same_version(const std::string& found, const std::string& asked) {
  return found == asked || found.rfind(asked + ".", 0) == 0;
}

bool is_of(const Json& about, const PlanAsked& asked) {
  const Json own = options();
  const Json& found = about.at("options");
  return about.at("flavour") == "tensorrt" && about.at("recipe") == kRecipe &&
         same_version(about.at("version").get<std::string>(), asked.version) &&
         about.at("device") == asked.device && about.at("onnx_sha256") == asked.onnx_sha256 &&
         about.at("precision") == asked.precision && found.at("batch") == own.at("batch") &&
         found.at("workspace_mb").is_null() && found.at("dla").is_null();
}

std::string now() {
  const time_t seconds = time(nullptr);
  struct tm parts;
  char text[40];
  gmtime_r(&seconds, &parts);
  strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S+00:00", &parts);
  return text;
}

}  // namespace

std::string PlanAsked::key() const {
  const std::string text =
      "{\"device\": " + quoted(device) +
      ", \"flavour\": \"tensorrt\", \"onnx_sha256\": " + quoted(onnx_sha256) +
      ", \"options\": {\"batch\": [1, 1, 1], \"dla\": null, \"workspace_mb\": null}, "
      "\"precision\": " +
      quoted(precision) + ", \"recipe\": " + std::to_string(kRecipe) +
      ", \"version\": " + quoted(version) + "}";
  return sha256(text).substr(0, 32);
}

PlanCache::PlanCache() : directory_(user_cache("plans")) { make_own_directory(directory_); }

std::string PlanCache::path(const std::string& key, const char* suffix) const {
  return directory_ + "/" + key + suffix;
}

std::vector<std::string> PlanCache::keys() const {
  std::vector<std::string> found;
  DIR* const folder = opendir(directory_.c_str());
  if (folder == nullptr) refuse_file(directory_);
  while (const dirent* entry = readdir(folder)) {
    const std::string name = entry->d_name;
    const size_t dot = name.rfind(".json");
    if (name[0] != '.' && dot != std::string::npos && dot + 5 == name.size())
      found.push_back(name.substr(0, dot));
  }
  closedir(folder);
  std::sort(found.begin(), found.end());
  return found;
}

std::optional<CachedPlan> PlanCache::load(const std::string& key, const PlanAsked& asked) const {
  const std::string file = path(key, ".json"), plan = path(key, ".plan");
  const auto text = read_own_file(file);
  if (!text) return std::nullopt;
  const Json about = Json::parse(*text, nullptr, false);
  std::string digest;
  int64_t size = 0;
  try {
    if (!is_of(about, asked)) return std::nullopt;
    digest = about.at("sha256").get<std::string>(), size = about.at("size").get<int64_t>();
  } catch (const Json::exception&) {
    throw altered(file);
  }
  const auto data = read_own_file(plan);
  if (!data) return std::nullopt;
  if (static_cast<int64_t>(data->size()) != size || sha256(*data) != digest) throw altered(plan);
  utimensat(AT_FDCWD, file.c_str(), nullptr, 0);  // used now; a read-only cache still serves
  return CachedPlan{plan, *data};
}

std::optional<CachedPlan> PlanCache::find(const PlanAsked& asked) const {
  const std::string own = asked.key();
  if (auto found = load(own, asked)) return found;
  for (const std::string& key : keys()) {
    if (key == own) continue;
    try {
      if (auto found = load(key, asked)) return found;
    } catch (const Failure&) {
      continue;  // damaged, and nobody says that it is the one
    }
  }
  return std::nullopt;
}

CachedPlan PlanCache::store(const PlanAsked& asked, const std::string& bundle,
                            const BuiltPlan& built) const {
  const std::string key = asked.key();
  Json about{{"flavour", "tensorrt"},
             {"version", asked.version},
             {"device", asked.device},
             {"recipe", kRecipe},
             {"onnx_sha256", asked.onnx_sha256},
             {"precision", asked.precision},
             {"options", options()},
             {"bundle", bundle},
             {"created", now()},
             {"seconds", built.seconds},
             {"census", built.census.tensors},
             {"products", built.census.products},
             {"layers", nullptr},
             {"off_dla", Json::array()},
             {"size", built.plan.size()},
             {"sha256", sha256(built.plan)}};
  unlink(path(key, ".json").c_str());  // never old words beside a new plan
  write_own_file(path(key, ".plan"), built.plan);
  write_own_file(path(key, ".json"), about.dump(1, ' ', true, Json::error_handler_t::replace));
  prune(key);
  return {path(key, ".plan"), built.plan};
}

void PlanCache::prune(const std::string& keep) const {
  struct Entry {
    std::string key;
    struct timespec used;
    int64_t bytes;
  };
  std::vector<Entry> entries;
  for (const std::string& key : keys()) {
    struct stat about, plan;
    if (key == keep || lstat(path(key, ".json").c_str(), &about) != 0) continue;
    const bool there = lstat(path(key, ".plan").c_str(), &plan) == 0;
    entries.push_back({key, about.st_mtim, there ? static_cast<int64_t>(plan.st_size) : 0});
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::make_pair(a.used.tv_sec, a.used.tv_nsec) >
           std::make_pair(b.used.tv_sec, b.used.tv_nsec);
  });
  size_t count = 1;
  int64_t total = 0;
  for (const Entry& entry : entries) {
    if (count < kMostPlans && total + entry.bytes <= kMostBytes) {
      ++count, total += entry.bytes;
      continue;
    }
    for (const char* suffix : {".json", ".plan", ".log", ".jit"})
      unlink(path(entry.key, suffix).c_str());
  }
}

PlanCache::Lock::Lock(const PlanCache& cache, const std::string& key)
    : path_(cache.path(key, ".lock")) {
  for (;;) {
    descriptor_ = open(path_.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (descriptor_ < 0) refuse_file(path_);
    while (flock(descriptor_, LOCK_EX) != 0 && errno == EINTR) {
    }  // where there are no locks, a plan is built twice
    struct stat held, named;
    if (fstat(descriptor_, &held) == 0 && lstat(path_.c_str(), &named) == 0 &&
        held.st_dev == named.st_dev && held.st_ino == named.st_ino)
      return;
    close(descriptor_);  // its last owner has removed it meanwhile
  }
}

PlanCache::Lock::~Lock() {
  unlink(path_.c_str());
  close(descriptor_);
}

}  // namespace edgead
