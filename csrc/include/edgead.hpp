// edgead.h in C++17: handles that close themselves, and results that are a value or an error. No
// exceptions: it compiles without, and nothing here throws or takes memory.
//
//   auto detector = edgead::Detector::open("part.edgead");
//   if (!detector) return fail(detector.error().sentence);
//   auto session = detector->session();  // one for each thread
//   if (!session) return fail(session.error().sentence);
//   auto frame = edgead_frame_of(pixels, height, width, stride, EDGEAD_BGR);
//   auto result = session->score(frame);
//   if (!result) return fail(result.error().sentence);
//   if (result->is_anomalous) ...
//
// edgead.h is the manual: each function here is the one of its name there.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <utility>
#include <variant>

#include "edgead.h"

namespace edgead {
// Names of its own for the linker: libedgead.a has an edgead::Detector inside.
inline namespace cxx {

struct Error {
  edgead_status status;
  char sentence[1000];  // of edgead_last_error, cut where it is longer

  // Of the call of this thread that just failed.
  static Error last(edgead_status status) noexcept {
    Error error{status, {}};
    edgead_last_error(error.sentence, sizeof error.sentence);
    return error;
  }
};

// A value, or why there is none. A value that is asked for and not there ends the program.
template <class Value>
class [[nodiscard]] Expected {
 public:
  Expected(Value value) noexcept : held_(std::move(value)) {}
  Expected(const Error& error) noexcept : held_(error) {}

  bool has_value() const noexcept { return held_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }

  Value& operator*() & noexcept { return value(); }
  Value&& operator*() && noexcept { return std::move(value()); }
  Value* operator->() noexcept { return &value(); }
  const Value& operator*() const& noexcept { return const_cast<Expected*>(this)->value(); }
  const Value* operator->() const noexcept { return &**this; }

  // Only where there is no value.
  const Error& error() const noexcept {
    const Error* error = std::get_if<1>(&held_);
    if (error == nullptr) std::abort();
    return *error;
  }

 private:
  Value& value() noexcept {
    Value* value = std::get_if<0>(&held_);
    if (value == nullptr) std::abort();
    return *value;
  }

  std::variant<Value, Error> held_;
};

// What a call gives that only can fail.
struct Done {};

namespace detail {

template <class Value>
Expected<Value> expected(edgead_status status, Value&& value) noexcept {
  if (status != EDGEAD_OK) return Error::last(status);
  return std::forward<Value>(value);
}

struct Close {
  void operator()(edgead_detector* detector) const noexcept { edgead_detector_close(detector); }
  void operator()(edgead_session* session) const noexcept { edgead_session_close(session); }
};

}  // namespace detail

struct Size {
  int32_t height, width;
};

struct Limit {
  double false_reject_rate, threshold;
};

// Of one thread; moved, not copied. What was moved from gives EDGEAD_ERROR_INPUT.
class Session {
 public:
  explicit Session(edgead_session* owned) noexcept : held_(owned) {}

  Expected<edgead_result> score(const edgead_frame& frame) noexcept {
    edgead_result result = edgead_result_default();
    const edgead_status status = edgead_session_score(get(), &frame, &result);
    return detail::expected(status, std::move(result));
  }
  Expected<Done> prepare(const edgead_frame& frame) noexcept {
    return detail::expected(edgead_session_prepare(get(), &frame), Done{});
  }
  // How many there are, of which at most `capacity` are written.
  Expected<size_t> regions(edgead_region* regions, size_t capacity) noexcept {
    size_t count = 0;
    const edgead_status status = edgead_session_regions(get(), regions, capacity, &count);
    return detail::expected(status, std::move(count));
  }
  Expected<Done> heatmap(float* heatmap, int64_t stride, size_t capacity) noexcept {
    return detail::expected(edgead_session_heatmap(get(), heatmap, stride, capacity), Done{});
  }
  Expected<Size> map_size() noexcept {
    Size size{};
    const edgead_status status = edgead_session_map_size(get(), &size.height, &size.width);
    return detail::expected(status, std::move(size));
  }
  Expected<Done> map(float* map, int64_t stride, size_t capacity) noexcept {
    return detail::expected(edgead_session_map(get(), map, stride, capacity), Done{});
  }
  // From any thread.
  Expected<edgead_stats> stats() const noexcept {
    edgead_stats stats = edgead_stats_default();
    const edgead_status status = edgead_session_stats(get(), &stats);
    return detail::expected(status, std::move(stats));
  }

  edgead_session* get() const noexcept { return held_.get(); }

 private:
  std::unique_ptr<edgead_session, detail::Close> held_;
};

// Of all threads; moved, not copied.
class Detector {
 public:
  explicit Detector(edgead_detector* owned) noexcept : held_(owned) {}

  static Expected<Detector> open(const char* path, const edgead_detector_params& params =
                                                       edgead_detector_params_default()) noexcept {
    edgead_detector* made = nullptr;
    const edgead_status status = edgead_detector_open(EDGEAD_API_VERSION, path, &params, &made);
    return detail::expected(status, Detector(made));
  }
  // Of a folder's descriptor, which stays the caller's.
  static Expected<Detector> open_at(int descriptor, const edgead_detector_params& params =
                                                        edgead_detector_params_default()) noexcept {
    edgead_detector* made = nullptr;
    const edgead_status status =
        edgead_detector_open_at(EDGEAD_API_VERSION, descriptor, &params, &made);
    return detail::expected(status, Detector(made));
  }

  Expected<Session> session() noexcept {
    edgead_session* made = nullptr;
    const edgead_status status = edgead_session_open(get(), &made);
    return detail::expected(status, Session(made));
  }
  // The texts live as long as the detector.
  Expected<edgead_info> info() const noexcept {
    edgead_info info = edgead_info_default();
    const edgead_status status = edgead_detector_info(get(), &info);
    return detail::expected(status, std::move(info));
  }
  Expected<Limit> threshold() const noexcept {
    Limit limit{};
    const edgead_status status =
        edgead_detector_threshold(get(), &limit.false_reject_rate, &limit.threshold);
    return detail::expected(status, std::move(limit));
  }
  Expected<Done> set_false_reject_rate(double rate) noexcept {
    return detail::expected(edgead_detector_set_false_reject_rate(get(), rate), Done{});
  }

  edgead_detector* get() const noexcept { return held_.get(); }

 private:
  std::unique_ptr<edgead_detector, detail::Close> held_;
};

}  // namespace cxx
}  // namespace edgead
