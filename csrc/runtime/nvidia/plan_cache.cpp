#include "plan_cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>

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

constexpr const char* kOptions = "{\"batch\": [1, 1, 1], \"dla\": null, \"workspace_mb\": null}";

// As JSON has a text; for ASCII, as Python's json.dumps.
std::string quoted(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += static_cast<unsigned char>(c) < 32 ? ' ' : c;
  }
  return quoted + "\"";
}

std::string object_of(const std::map<std::string, int64_t>& counts) {
  std::string text;
  for (const auto& [name, count] : counts)
    text += (text.empty() ? "" : ", ") + quoted(name) + ": " + std::to_string(count);
  return "{" + text + "}";
}

Failure altered(const std::string& path) {
  return device_failure(path +
                        " was truncated or altered since it was built here; remove it, and it is "
                        "built again");
}

// Python's text has a fourth number on some machines.
bool same_version(const std::string& found, const std::string& asked) {
  return found == asked || found.rfind(asked + ".", 0) == 0;
}

bool is_null(const Json& value) { return value.kind == Json::null; }

// Whether JSON is of such a plan, built for one image at a time.
bool is_of(Object& about, const PlanAsked& asked) {
  Object options(about.object("options"), "options");
  const std::vector<double> one{1, 1, 1};
  return about.text("flavour") == "tensorrt" && about.whole("recipe") == kRecipe &&
         same_version(about.text("version"), asked.version) &&
         about.text("device") == asked.device && about.text("onnx_sha256") == asked.onnx_sha256 &&
         about.text("precision") == asked.precision && options.numbers("batch") == one &&
         is_null(options.at("workspace_mb")) && is_null(options.at("dla"));
}

// With a point, whatever the locale has.
std::string seconds_of(double seconds) {
  const auto ms = static_cast<long long>(seconds * 1e3);
  return format("%lld.%03lld", ms / 1000, ms % 1000);
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
  const std::string text = "{\"device\": " + quoted(device) +
                           ", \"flavour\": \"tensorrt\", \"onnx_sha256\": " + quoted(onnx_sha256) +
                           ", \"options\": " + kOptions + ", \"precision\": " + quoted(precision) +
                           ", \"recipe\": " + std::to_string(kRecipe) +
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
  std::string digest;
  int64_t size = 0;
  try {
    const Json read = parse_json(*text);
    Object about(read, "plan");
    if (!is_of(about, asked)) return std::nullopt;
    digest = about.text("sha256"), size = about.whole("size");
  } catch (const Failure&) {
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
  const std::string about =
      "{\n \"flavour\": \"tensorrt\",\n \"version\": " + quoted(asked.version) +
      ",\n \"device\": " + quoted(asked.device) + ",\n \"recipe\": " + std::to_string(kRecipe) +
      ",\n \"onnx_sha256\": " + quoted(asked.onnx_sha256) +
      ",\n \"precision\": " + quoted(asked.precision) + ",\n \"options\": " + kOptions +
      ",\n \"bundle\": " + quoted(bundle) + ",\n \"created\": " + quoted(now()) +
      ",\n \"seconds\": " + seconds_of(built.seconds) +
      ",\n \"census\": " + object_of(built.census.tensors) +
      ",\n \"products\": " + object_of(built.census.products) +
      ",\n \"layers\": null,\n \"off_dla\": [],\n \"size\": " + std::to_string(built.plan.size()) +
      ",\n \"sha256\": " + quoted(sha256(built.plan)) + "\n}";
  unlink(path(key, ".json").c_str());  // never old words beside a new plan
  write_own_file(path(key, ".plan"), built.plan);
  write_own_file(path(key, ".json"), about);
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
