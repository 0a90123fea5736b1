// A small whole bundle of which one file is replaced by any bytes, its digest put right: the
// detector opens, scores frames and closes, or refuses with a sentence. The first byte says which
// bundle and file, the second which allocation fails, if any. The bundles lie in the folder that
// EDGEAD_SEEDS names; fuzz_seeds.py made them.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

#include "edgead.h"
#include "fuzz.h"
#include "sha256.h"

namespace {

namespace fs = std::filesystem;
using edgead::expect;

constexpr const char* kManifest = "manifest.json";
constexpr int32_t kHeight = 20, kWidth = 24;  // of the seeds' frames

std::string read(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

void write(const fs::path& path, const std::string& content) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  expect(file >= 0 &&
             ::write(file, content.data(), content.size()) == static_cast<ssize_t>(content.size()),
         "cannot write a bundle");
  ::close(file);
}

struct Whole {
  fs::path path;                   // a copy that is changed
  std::vector<std::string> names;  // of its files, the manifest first
  std::string manifest;
};

// Copies of the bundles in memory's file system, removed when the program ends.
class Bundles {
 public:
  Bundles() {
    const char* seeds = std::getenv("EDGEAD_SEEDS");
    expect(seeds != nullptr, "EDGEAD_SEEDS is not set");
    const fs::path base = fs::is_directory("/dev/shm") ? "/dev/shm" : fs::temp_directory_path();
    root_ = base / ("edgead-fuzz-" + std::to_string(::getpid()));
    fs::create_directory(root_);
    std::vector<fs::path> folders;
    for (const auto& entry : fs::directory_iterator(fs::path(seeds) / "bundles"))
      folders.push_back(entry.path());
    std::sort(folders.begin(), folders.end());
    for (const fs::path& folder : folders) {
      Whole whole{root_ / folder.filename(), {}, read(folder / kManifest)};
      fs::copy(folder, whole.path, fs::copy_options::recursive);
      for (const auto& entry : fs::recursive_directory_iterator(folder))
        if (entry.is_regular_file() && entry.path().filename() != kManifest)
          whole.names.push_back(entry.path().lexically_relative(folder).generic_string());
      std::sort(whole.names.begin(), whole.names.end());
      whole.names.insert(whole.names.begin(), kManifest);
      all.push_back(whole);
    }
    expect(!all.empty(), "no bundles in EDGEAD_SEEDS");
  }
  ~Bundles() { fs::remove_all(root_); }

  std::vector<Whole> all;

 private:
  fs::path root_;
};

bool score(edgead_detector* detector, edgead_session* session) {
  static const std::vector<uint8_t> pixels(kHeight * kWidth * 3, 90);
  edgead_frame frame{sizeof frame, pixels.data(), kHeight, kWidth, 3 * kWidth, EDGEAD_BGR, 0};
  edgead_result result{};
  edgead_info info{};
  edgead_region regions[4];
  size_t count = 0;
  int32_t height = 0, width = 0;
  result.struct_size = sizeof result, info.struct_size = sizeof info;
  expect(edgead_detector_info(detector, &info) == EDGEAD_OK, "no information");
  if (edgead_session_score(session, &frame, &result) != EDGEAD_OK) return false;
  if (edgead_session_map_size(session, &height, &width) != EDGEAD_OK) return false;
  std::vector<float> map(static_cast<size_t>(height) * width), heat(kHeight * kWidth);
  const int64_t row = int64_t{4} * width;
  (void)!edgead_session_map(session, map.data(), row, map.size() * 4);
  (void)!edgead_session_heatmap(session, heat.data(), 4 * kWidth, heat.size() * 4);
  return edgead_session_regions(session, regions, 4, &count) == EDGEAD_OK;
}

// Whether the last frame was scored.
bool open(const std::string& path, size_t failing) {
  edgead_detector* detector = nullptr;
  edgead_session* session = nullptr;
  edgead::allow_memory(edgead::kEnough);
  edgead::fail_allocation(failing);
  const edgead_status status = edgead_detector_open(1, path.c_str(), nullptr, &detector);
  edgead::fail_allocation(0);
  if (status == EDGEAD_OK) {
    edgead::fail_allocation(failing);
    const bool scored =
        edgead_session_open(detector, &session) == EDGEAD_OK && score(detector, session);
    edgead::fail_allocation(0);
    edgead_session_close(session);
    edgead_detector_close(detector);
    return scored;
  }
  char why[4096];
  edgead_last_error(why, sizeof why);
  expect(detector == nullptr, "a handle after an error");
  if (status == EDGEAD_ERROR_INTERNAL || why[0] == 0) edgead::defect(why);
  return false;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  edgead::allow_memory();
  static Bundles bundles;
  static std::vector<bool> told(bundles.all.size());
  if (size < 2) return 0;
  const size_t at = data[0] % bundles.all.size();
  const Whole& whole = bundles.all[at];
  const std::string& name = whole.names[data[0] / bundles.all.size() % whole.names.size()];
  const std::string content(reinterpret_cast<const char*>(data) + 2, size - 2);
  const std::string before = read(whole.path / name);
  std::string manifest = whole.manifest;
  if (name != kManifest) {
    const std::string old = edgead::sha256(before);
    const size_t place = manifest.find(old);
    expect(place != std::string::npos, "a file without a digest");
    manifest.replace(place, old.size(), edgead::sha256(content));
    write(whole.path / kManifest, manifest);
  }
  write(whole.path / name, content);
  const bool served =
      open(whole.path.string(), data[1] ? 600 + size_t{data[1]} * data[1] / 8 : 0);  // of thousands
  edgead::allow_memory();
  if (served && content == before && !told[at]) {  // what a test looks for
    told[at] = true;
    std::fprintf(stderr, "whole: %zu\n", at);
  }
  write(whole.path / name, before);
  write(whole.path / kManifest, whole.manifest);
  return 0;
}
