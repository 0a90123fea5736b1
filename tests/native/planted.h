// Bugs on purpose: the sanitizers and the comparison must find each of them.
#pragma once
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "support.h"

namespace edgead {

// Runs the bug of this name, or says which there are. Returning means that it was not found.
void planted(const char* name);

bool planted_in_whiten(const std::string& bug);  // false: it has no bug of this name

// Results of several threads that share a plan, and a workspace too when asked for that bug.
void threads(bool one_workspace);
void whiten_threads(bool one_workspace);

// Runs work(distances) alone and in several threads at once: all have to write the same bytes.
template <class Work>
void agree_in_threads(const char* name, size_t bytes, const Work& work) {
  constexpr int kThreads = 4;
  std::vector<std::unique_ptr<Block>> distances;
  for (int i = 0; i <= kThreads; ++i) distances.push_back(std::make_unique<Block>(bytes));
  work(distances[kThreads]->as<float>());  // alone
  std::vector<std::thread> team;
  for (int i = 0; i < kThreads; ++i) team.emplace_back(work, distances[i]->as<float>());
  for (std::thread& thread : team) thread.join();
  for (int i = 0; i < kThreads; ++i)
    if (std::memcmp(distances[i]->data(), distances[kThreads]->data(), distances[i]->bytes()))
      fail("%s: threads disagree", name);
}

}  // namespace edgead
