// The caller's log function, where there is one.
#pragma once
#include <string>

#include "edgead.h"

namespace edgead {

struct Log {
  edgead_log_fn function = nullptr;
  void* user_data = nullptr;
  int32_t level = EDGEAD_LOG_INFO;

  // So that no sentence is made that nobody reads.
  bool wants(edgead_log_level asked) const { return function != nullptr && asked <= level; }
  void say(edgead_log_level asked, const char* sentence) const noexcept {
    if (wants(asked)) function(user_data, asked, sentence);
  }
  void say(edgead_log_level asked, const std::string& sentence) const noexcept {
    say(asked, sentence.c_str());
  }
};

}  // namespace edgead
