// Bugs on purpose: the sanitizers and the comparison must find each of them.
#pragma once
#include <string>

namespace edgead {

// Runs the bug of this name, or says which there are. Returning means that it was not found.
void planted(const char* name);

bool planted_in_whiten(const std::string& bug);  // false: it has no bug of this name

// Results of several threads that share a plan, and a workspace too when asked for that bug.
void threads(bool one_workspace);
void whiten_threads(bool one_workspace);

}  // namespace edgead
