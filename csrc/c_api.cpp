// The C API: include/edgead.h says what each function does. No exception leaves this file.
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <exception>
#include <new>
#include <tuple>

#include "caller.h"
#include "detector.h"
#include "edgead.h"
#include "failure.h"
#include "heatmap.h"
#include "ignore_mask.h"
#include "libcrypto.h"
#include "watch.h"
#include "wording.h"

struct edgead_detector {
  std::shared_ptr<edgead::Detector> held;
};

struct edgead_session {
  std::shared_ptr<edgead::Detector> detector;
  std::unique_ptr<edgead::Pipeline> pipeline;
  std::atomic<bool> busy{false};
  edgead::Watch watch;
};

namespace edgead {
namespace {

// Of each thread; a longer sentence is cut.
thread_local char last_error[4096];

edgead_status note(edgead_status status, const char* sentence) {
  const size_t length = std::min(std::strlen(sentence), sizeof last_error - 1);
  std::memcpy(last_error, sentence, length);
  last_error[length] = 0;
  return status;
}

edgead_status note_exception() {
  try {
    throw;
  } catch (const Failure& failure) {
    return note(failure.status, failure.what());
  } catch (const std::bad_alloc&) {
    return note(EDGEAD_ERROR_MEMORY,
                "no memory is left: close what is not needed, or give the "
                "process more");
  } catch (const std::exception& error) {
    return note(EDGEAD_ERROR_INTERNAL, error.what());
  } catch (...) {
    return note(EDGEAD_ERROR_INTERNAL, "an unknown exception");
  }
}

template <class Work>
edgead_status guarded(const Log& log, const Work& work) noexcept {
  try {
    work();
    return EDGEAD_OK;
  } catch (...) {
    const edgead_status status = note_exception();
    log.say(EDGEAD_LOG_ERROR, last_error);
    return status;
  }
}

// The log of a handle, which may be null.
Log log_of(const edgead_detector* detector) {
  return detector == nullptr ? Log{} : detector->held->log();
}
Log log_of(const edgead_session* session) {
  return session == nullptr ? Log{} : session->detector->log();
}

// A session while a call uses it.
class Use {
 public:
  explicit Use(edgead_session* session) : session_(session) {
    check_given(session, "session");
    if (session->busy.exchange(true))
      throw input_failure("the session is in use by another thread: open one for each thread");
  }
  ~Use() { session_->busy = false; }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;

 private:
  edgead_session* session_;
};

// Golden frames may have another size than the ignore mask was drawn on; frames to judge not.
void check_mask(const edgead_session* session, const edgead_frame& frame) {
  const auto& mask = session->detector->manifest().ignore;
  if (mask) check_frame_size(*mask, {frame.height, frame.width});
}

void warn_of_memory(const edgead_session* session, const edgead_frame& frame) {
  const Log& log = session->detector->log();
  if (log.wants(EDGEAD_LOG_WARNING))
    log.say(EDGEAD_LOG_WARNING,
            format("a session took memory for its first frame of %d x %d (height x width), format "
                   "%d, stride %lld: edgead_session_prepare does so before there is a frame",
                   frame.height, frame.width, frame.format, static_cast<long long>(frame.stride)));
}

// (height, width) of the last frame.
Size scored_of(const edgead_session* session) {
  if (!session->pipeline->scored())
    throw input_failure("the session has no map: no frame was scored yet, or the last one failed");
  return *session->pipeline->scored();
}

void check_rows(const void* memory, const char* name, Size size, int64_t stride, size_t capacity) {
  check_given(memory, name);
  const int64_t row = static_cast<int64_t>(size.second) * static_cast<int64_t>(sizeof(float));
  if (stride < row || stride % static_cast<int64_t>(sizeof(float)) != 0 ||
      reinterpret_cast<uintptr_t>(memory) % alignof(float) != 0)
    throw input_failure(
        format("the stride of %s is %lld bytes, expected a multiple of 4 of at "
               "least %lld, and memory for floats",
               name, static_cast<long long>(stride), static_cast<long long>(row)));
  if (stride > (INT64_C(1) << 40) ||
      capacity < static_cast<size_t>(stride * (size.first - 1) + row))
    throw input_failure(format("%s has %zu bytes, expected at least %d rows %lld bytes apart", name,
                               capacity, size.first, static_cast<long long>(stride)));
}

float* row_of(float* memory, int64_t stride, int32_t y) {
  return reinterpret_cast<float*>(reinterpret_cast<char*>(memory) + y * stride);
}

edgead_info info_of(const Detector& detector) {
  const Manifest& manifest = detector.manifest();
  edgead_info info{};
  info.name = manifest.name.c_str();
  info.method = manifest.method.c_str();
  info.device = detector.engine().device.c_str();
  info.precision = detector.engine().precision.c_str();
  info.kernels = detector.kernels().c_str();
  info.version = detector.engine().version.c_str();
  info.chosen = detector.engine().chosen.c_str();
  info.bundle_sha256 = detector.bundle_sha256().c_str();
  info.map_height = manifest.map.size.first, info.map_width = manifest.map.size.second;
  info.bit_depth = manifest.input.bit_depth;
  info.calibration_images = static_cast<int32_t>(detector.ranked().size());
  info.map_threshold = detector.limits().map_threshold;
  info.signed_by = detector.signed_by() ? detector.signed_by()->by.c_str() : "";
  info.counter = detector.signed_by() ? detector.signed_by()->counter : 0;
  return info;
}

edgead_result result_of(const Detector& detector, double score, const Times& times) {
  const Limits limits = detector.limits();
  edgead_result result{};
  result.score = score;
  result.p_value = detector.ranked().p_value(score);
  result.threshold = limits.threshold;
  result.is_anomalous = result.p_value <= limits.rate;
  result.preprocess_ms = times.preprocess_ms;
  result.engine_ms = times.engine_ms;
  result.anomaly_map_ms = times.anomaly_map_ms;
  result.total_ms = times.preprocess_ms + times.engine_ms + times.anomaly_map_ms;
  return result;
}

// How a bundle is opened.
struct Opening {
  double rate = 0;  // 0: the bundle's
  Asked asked;
  Log log;
  std::optional<TrustedKeys> trusted;
};

Opening opening_of(const edgead_detector_params& given) {
  const edgead_detector_params params = taken(&given, "params");
  if (params.log_level < 0 || params.log_level > EDGEAD_LOG_INFO)
    throw input_failure(format("log_level is %d, expected an edgead_log_level, 1 to %d, or 0",
                               params.log_level, EDGEAD_LOG_INFO));
  const int32_t level = params.log_level != 0 ? params.log_level : EDGEAD_LOG_INFO;
  const Asked asked = asked_of(params.threads, params.precision, params.device);
  Opening opening{
      params.false_reject_rate, asked, {params.log, params.log_user_data, level}, std::nullopt};
  if (params.trusted_keys != nullptr) opening.trusted = read_trusted_keys(params.trusted_keys);
  return opening;
}

// Opens a bundle for both functions of the C API: `folder` makes its Folder.
template <class Open>
edgead_status open_detector(uint32_t version, const edgead_detector_params* params,
                            edgead_detector** detector, const Open& folder) {
  if (detector != nullptr) *detector = nullptr;
  Opening opening;
  const edgead_status status = guarded({}, [&] {
    if (version < 1 || version > EDGEAD_API_VERSION)
      throw Failure(EDGEAD_ERROR_VERSION,
                    format("version %u of the interface was asked for, and this libedgead has "
                           "version %u: install the one that the program was built with",
                           version, static_cast<unsigned>(EDGEAD_API_VERSION)));
    if (params != nullptr) opening = opening_of(*params);
  });
  if (status != EDGEAD_OK) return status;
  return guarded(opening.log, [&] {
    check_given(detector, "detector");
    auto held = std::make_shared<Detector>(folder(), opening.rate, opening.asked, opening.log,
                                           opening.trusted);
    *detector = new edgead_detector{std::move(held)};
  });
}

}  // namespace
}  // namespace edgead

using namespace edgead;

const char* edgead_status_text(edgead_status status) {
  static const char* const kTexts[] = {"fine",   "input",         "calibration", "bundle",
                                       "device", "qualification", "unsupported", "version",
                                       "memory", "internal",      "signature"};
  const auto number = static_cast<size_t>(status);
  return number < sizeof kTexts / sizeof *kTexts ? kTexts[number] : "unknown";
}

size_t edgead_last_error(char* text, size_t capacity) {
  const size_t length = std::strlen(last_error);
  if (text != nullptr && capacity > 0) {
    const size_t copied = std::min(length, capacity - 1);
    std::memcpy(text, last_error, copied);
    text[copied] = 0;
  }
  return length;
}

uint32_t edgead_api_version(void) { return EDGEAD_API_VERSION; }

const char* edgead_version(void) { return EDGEAD_VERSION; }

const char* edgead_engine(size_t index) { return engine_name(index); }

edgead_status edgead_engine_check(size_t index) {
  return guarded({}, [&] { check_engine(index); });
}

edgead_status edgead_detector_open(uint32_t version, const char* path,
                                   const edgead_detector_params* params,
                                   edgead_detector** detector) {
  return open_detector(version, params, detector, [&] {
    check_given(path, "path");
    return Folder(std::string(path));
  });
}

edgead_status edgead_detector_open_at(uint32_t version, int descriptor,
                                      const edgead_detector_params* params,
                                      edgead_detector** detector) {
  return open_detector(version, params, detector, [&] { return Folder(descriptor); });
}

void edgead_detector_close(edgead_detector* detector) { delete detector; }

edgead_status edgead_detector_info(const edgead_detector* detector, edgead_info* info) {
  return guarded(log_of(detector), [&] {
    check_given(detector, "detector");
    check_struct(info, "info");
    give(info_of(*detector->held), info);
  });
}

edgead_status edgead_detector_threshold(const edgead_detector* detector, double* false_reject_rate,
                                        double* threshold) {
  return guarded(log_of(detector), [&] {
    check_given(detector, "detector");
    const Limits limits = detector->held->limits();
    if (false_reject_rate != nullptr) *false_reject_rate = limits.rate;
    if (threshold != nullptr) *threshold = limits.threshold;
  });
}

edgead_status edgead_detector_set_false_reject_rate(edgead_detector* detector,
                                                    double false_reject_rate) {
  return guarded(log_of(detector), [&] {
    check_given(detector, "detector");
    detector->held->set_rate(false_reject_rate);
  });
}

edgead_status edgead_session_open(edgead_detector* detector, edgead_session** session) {
  if (session != nullptr) *session = nullptr;
  return guarded(log_of(detector), [&] {
    check_given(detector, "detector");
    check_given(session, "session");
    auto made = std::make_unique<edgead_session>();
    made->detector = detector->held;
    made->pipeline = made->detector->pipeline();
    *session = made.release();
  });
}

void edgead_session_close(edgead_session* session) { delete session; }

edgead_status edgead_session_prepare(edgead_session* session, const edgead_frame* frame) {
  return guarded(log_of(session), [&] {
    const Use use(session);
    const edgead_frame given = taken(frame, "frame");
    check_mask(session, given);
    session->pipeline->prepare(given);
  });
}

edgead_status edgead_session_score(edgead_session* session, const edgead_frame* frame,
                                   edgead_result* result) {
  return guarded(log_of(session), [&] {
    const Use use(session);
    Watch::Call call(session->watch);
    session->pipeline->forget();
    const edgead_frame given = taken(frame, "frame");
    check_struct(result, "result");
    check_mask(session, given);
    if (session->pipeline->prepare(given)) warn_of_memory(session, given);
    Times times;
    const double score = session->pipeline->run(given, times);
    give(result_of(*session->detector, score, times), result);
    call.succeed();
  });
}

edgead_status edgead_session_stats(const edgead_session* session, edgead_stats* stats) {
  return guarded(log_of(session), [&] {
    check_given(session, "session");
    check_struct(stats, "stats");
    edgead_stats found{};
    session->watch.fill(found);
    give(found, stats);
  });
}

edgead_status edgead_session_map(edgead_session* session, float* map, int64_t stride,
                                 size_t capacity) {
  return guarded(log_of(session), [&] {
    const Use use(session);
    scored_of(session);
    const MapView from = session->pipeline->map();
    check_rows(map, "map", from.size, stride, capacity);
    const size_t width = static_cast<size_t>(from.size.second);
    for (int32_t y = 0; y < from.size.first; ++y)
      std::memcpy(row_of(map, stride, y), from.values + y * width, width * sizeof(float));
  });
}

edgead_status edgead_session_map_size(edgead_session* session, int32_t* height, int32_t* width) {
  return guarded(log_of(session), [&] {
    const Use use(session);
    check_given(height, "height");
    check_given(width, "width");
    scored_of(session);
    std::tie(*height, *width) = session->pipeline->map().size;
  });
}

edgead_status edgead_session_heatmap(edgead_session* session, float* heatmap, int64_t stride,
                                     size_t capacity) {
  return guarded(log_of(session), [&] {
    const Use use(session);
    const Size size = scored_of(session);
    check_rows(heatmap, "heatmap", size, stride, capacity);
    const Heatmap rows(session->pipeline->map(), size);
    for (int32_t y = 0; y < size.first; ++y) rows.row(y, row_of(heatmap, stride, y));
  });
}

edgead_status edgead_session_regions(edgead_session* session, edgead_region* regions,
                                     size_t capacity, size_t* count) {
  return guarded(log_of(session), [&] {
    const Use use(session);
    check_given(count, "count");
    if (capacity > 0) check_given(regions, "regions");
    scored_of(session);
    *count =
        session->pipeline->regions(session->detector->limits().map_threshold, regions, capacity);
  });
}
