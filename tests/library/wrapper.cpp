// wrapper BUNDLE FRAME: edgead.hpp as a program uses it. FRAME is grey, 480 x 640, raw; prints
// score, p-value and verdict, each with all its digits, then "fine" when all else is as it should
// be.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <edgead.hpp>
#include <type_traits>
#include <vector>

static_assert(!std::is_copy_constructible_v<edgead::Detector>);
static_assert(!std::is_copy_assignable_v<edgead::Session>);
static_assert(std::is_nothrow_move_constructible_v<edgead::Session>);
static_assert(std::is_nothrow_move_assignable_v<edgead::Detector>);
static_assert(std::is_nothrow_move_constructible_v<edgead::Expected<edgead::Detector>>);
static_assert(!std::is_convertible_v<edgead::Expected<edgead::Detector>, bool>);
static_assert(noexcept(edgead::Detector::open("", edgead_detector_params{})));

namespace {

int failed(const edgead::Error& error) {
  std::fprintf(stderr, "%s: %s\n", edgead_status_text(error.status), error.sentence);
  return 1;
}

int wrong(const char* what) {
  std::fprintf(stderr, "%s\n", what);
  return 1;
}

// Errors, and handles that were moved from.
int misuse(edgead::Detector& detector, edgead::Session& session) {
  const auto none = edgead::Detector::open("nothing.edgead");
  if (none || none.error().status != EDGEAD_ERROR_BUNDLE) return wrong("no bundle was opened");
  if (std::strstr(none.error().sentence, "does not exist") == nullptr) return wrong("no sentence");
  if (edgead::Detector::open_at(-1)) return wrong("no descriptor was opened");
  if (edgead::Detector::open(nullptr).error().status != EDGEAD_ERROR_INPUT) return wrong("NULL");
  if (detector.set_false_reject_rate(7)) return wrong("a rate of 7 was allowed");
  if (session.score(edgead_frame_default())) return wrong("nothing was scored");
  if (session.map_size()) return wrong("there is a map of nothing");

  auto another = detector.session();
  if (!another) return failed(another.error());
  edgead::Session taken = std::move(*another);
  if (another->stats().error().status != EDGEAD_ERROR_INPUT) return wrong("it was moved from");
  if (!taken.stats()) return wrong("it was moved to");
  taken = edgead::Session(nullptr);  // closes
  return taken.stats() ? wrong("it was closed") : 0;
}

int look(edgead::Detector& detector, edgead::Session& session, edgead_frame& frame) {
  const auto size = session.map_size();
  if (!size) return failed(size.error());
  const auto pixels = static_cast<size_t>(size->height * size->width);
  std::vector<float> map(pixels), heat(static_cast<size_t>(frame.height * frame.width));
  if (auto done = session.map(map.data(), size->width * 4, pixels * 4); !done)
    return failed(done.error());
  if (auto done = session.heatmap(heat.data(), frame.width * 4, heat.size() * 4); !done)
    return failed(done.error());
  if (!detector.set_false_reject_rate(0.5)) return wrong("no rate of 0.5");
  const auto limit = detector.threshold();
  if (!limit || limit->false_reject_rate != 0.5) return wrong("the rate is another");
  std::vector<edgead_region> regions(100);
  const auto count = session.regions(regions.data(), regions.size());
  if (!count || *count == 0 || regions[0].area == 0) return wrong("no regions");
  const auto stats = session.stats();
  if (!stats || stats->scored != 1) return wrong("other frames were scored");
  const auto info = detector.info();
  if (!info || std::strcmp(info->name, "tiny") != 0) return wrong("it has another name");
  return 0;
}

}  // namespace

int main(int, char** arguments) {
  std::vector<unsigned char> pixels(480 * 640);
  std::FILE* file = std::fopen(arguments[2], "rb");
  if (file == nullptr || std::fread(pixels.data(), pixels.size(), 1, file) != 1) return 1;
  std::fclose(file);

  const int folder = open(arguments[1], O_RDONLY | O_DIRECTORY);
  edgead_detector_params params = edgead_detector_params_default();
  params.threads = 1;
  auto detector = edgead::Detector::open_at(folder, params);
  close(folder);
  if (!detector) return failed(detector.error());
  auto session = detector->session();
  if (!session) return failed(session.error());
  edgead_frame frame = edgead_frame_of(pixels.data(), 480, 640, 640, EDGEAD_GRAY8);
  if (auto ready = session->prepare(frame); !ready) return failed(ready.error());
  const auto result = session->score(frame);
  if (!result) return failed(result.error());
  std::printf("%.17g %.17g %d\n", result->score, result->p_value, result->is_anomalous);
  if (look(*detector, *session, frame) != 0 || misuse(*detector, *session) != 0) return 1;
  std::printf("fine\n");
}
