// threads BUNDLE: eight threads with a session each score frames on one detector, while another one
// sets its false-reject rate, asks for what serves and opens and closes further detectors of the
// same bundle. Silent and 0 when all of them see what one thread saw alone. Under sanitizers.
// threads BUNDLE shared: two threads receive their heatmaps in the same memory, which is a race.
#include <edgead.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

namespace {

constexpr int kThreads = 8, kTurns = 6;
constexpr int32_t kWidth = 90;
const int32_t kHeights[] = {70, 41, 96};
const char* bundle = nullptr;

void check(edgead_status status) {
  if (status == EDGEAD_OK) return;
  char why[1000];
  edgead_last_error(why, sizeof why);
  std::fprintf(stderr, "%s: %s\n", edgead_status_text(status), why);
  std::exit(1);
}

void expect(bool holds, const char* claim) {
  if (holds) return;
  std::fprintf(stderr, "%s\n", claim);
  std::exit(1);
}

edgead_detector* open() {
  edgead_detector* detector = nullptr;
  edgead_detector_params params{};
  params.struct_size = sizeof params;
  params.threads = 1;
  check(edgead_detector_open(EDGEAD_API_VERSION, bundle, &params, &detector));
  return detector;
}

// Scores of the frames, whose sizes change, and the sum of the last heatmap.
std::vector<double> scores(edgead_detector* detector) {
  edgead_session* session = nullptr;
  check(edgead_session_open(detector, &session));
  std::vector<double> found;
  for (int turn = 0; turn < kTurns; ++turn) {
    const int32_t height = kHeights[turn % 3];
    std::vector<unsigned char> pixels(static_cast<size_t>(height) * kWidth * 3);
    for (size_t i = 0; i < pixels.size(); ++i)
      pixels[i] = static_cast<unsigned char>(i * 7 / 64 + static_cast<size_t>(turn) * 40);
    edgead_frame frame{};
    frame.struct_size = sizeof frame, frame.data = pixels.data();
    frame.height = height, frame.width = kWidth, frame.stride = kWidth * 3;
    frame.format = EDGEAD_BGR;
    edgead_result result{};
    result.struct_size = sizeof result;
    check(edgead_session_score(session, &frame, &result));
    std::vector<float> heat(static_cast<size_t>(height) * kWidth);
    check(edgead_session_heatmap(session, heat.data(), kWidth * 4, heat.size() * 4));
    size_t regions = 0;
    check(edgead_session_regions(session, nullptr, 0, &regions));
    double sum = 0;
    for (const float value : heat) sum += value;
    found.push_back(result.score), found.push_back(sum);
  }
  edgead_session_close(session);
  return found;
}

// Nothing is locked between the two, so that the race is one whenever they run.
void share(edgead_detector* detector) {
  static std::vector<float> heat(40 * kWidth);
  const std::vector<unsigned char> pixels(40 * kWidth);
  edgead_frame frame{};
  frame.struct_size = sizeof frame, frame.data = pixels.data();
  frame.height = 40, frame.width = kWidth, frame.stride = kWidth, frame.format = EDGEAD_GRAY8;
  edgead_session* sessions[2];
  std::vector<std::thread> threads;
  for (edgead_session*& session : sessions) {
    edgead_result result{};
    result.struct_size = sizeof result;
    check(edgead_session_open(detector, &session));
    check(edgead_session_score(session, &frame, &result));
  }
  for (edgead_session* session : sessions)
    threads.emplace_back([session] {
      check(edgead_session_heatmap(session, heat.data(), kWidth * 4, heat.size() * 4));
    });
  for (std::thread& thread : threads) thread.join();
  for (edgead_session* session : sessions) edgead_session_close(session);
}

void disturb(edgead_detector* detector, const std::atomic<int>& running) {
  for (int turn = 0; turn < 3 || running > 0; ++turn) {
    double rate = 0, threshold = 0;
    check(edgead_detector_set_false_reject_rate(detector, turn % 2 ? 0.1 : 0.3));
    check(edgead_detector_threshold(detector, &rate, &threshold));
    edgead_info info{};
    info.struct_size = sizeof info;
    check(edgead_detector_info(detector, &info));
    expect(info.calibration_images > 0 && info.name[0] != 0, "no information");
    expect(edgead_detector_set_false_reject_rate(detector, 7) == EDGEAD_ERROR_CALIBRATION, "a 7");
    if (turn < 3) edgead_detector_close(open());
    std::this_thread::yield();
  }
}

}  // namespace

int main(int count, char** arguments) {
  bundle = arguments[1];
  edgead_detector* detector = open();
  if (count > 2) share(detector);
  const std::vector<double> expected = scores(detector);
  std::atomic<int> running{kThreads};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i)
    threads.emplace_back([&] {
      expect(scores(detector) == expected, "a thread sees another score");
      --running;
    });
  threads.emplace_back([&] { disturb(detector, running); });
  for (std::thread& thread : threads) thread.join();
  edgead_detector_close(detector);
}
