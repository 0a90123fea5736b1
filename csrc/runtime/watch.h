// What a watchdog sees of a session while another thread scores with it.
#pragma once
#include <atomic>
#include <chrono>
#include <cstdint>

#include "edgead.h"

namespace edgead {

class Watch {
 public:
  // One call of edgead_session_score, which failed unless it says otherwise.
  class Call {
   public:
    explicit Call(Watch& watch) : watch_(watch), started_(now()) { watch_.started_ = started_; }
    ~Call() { watch_.end(started_, scored_); }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;
    void succeed() { scored_ = true; }

   private:
    Watch& watch_;
    int64_t started_;
    bool scored_ = false;
  };

  void fill(edgead_stats& stats) const {
    stats.scored = scored_, stats.failed = failed_;
    stats.last_ms = ms(last_), stats.worst_ms = ms(worst_);
    // Read before the clock, which so is not behind them.
    const int64_t started = started_, ended = ended_, at = now();
    stats.running_ms = started == 0 ? 0 : ms(at - started);
    stats.idle_ms = started == 0 ? ms(at - ended) : 0;
  }

 private:
  // Nanoseconds, never 0.
  static int64_t now() {
    const auto since = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::nanoseconds>(since).count() | 1;
  }
  static double ms(int64_t nanoseconds) { return static_cast<double>(nanoseconds) / 1e6; }

  // Of the one thread that scores, so that nobody writes in between.
  void end(int64_t started, bool scored) {
    const int64_t ended = now(), took = ended - started;
    last_ = took;
    if (took > worst_) worst_ = took;
    ++(scored ? scored_ : failed_);
    ended_ = ended;
    started_ = 0;
  }

  std::atomic<uint64_t> scored_{0}, failed_{0};
  std::atomic<int64_t> last_{0}, worst_{0};
  std::atomic<int64_t> started_{0};  // of the call in progress; 0: there is none
  std::atomic<int64_t> ended_{now()};
};

}  // namespace edgead
