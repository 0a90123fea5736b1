// What a hardened machine forbids this process, and which setting does it.
#pragma once
#include <cstdint>
#include <string>

namespace edgead {

// Why this process may not make code at run time, with the cure; empty where it may. `library`
// compiles its kernels for graph and processor: memory is written, then made executable.
std::string code_refused(const std::string& library);

// The cure, by what the system below `root` says of itself.
std::string cure_of_code(const std::string& root);

// What this process has run out of, by what a library or the system `said`, with the cure; else
// empty.
std::string scarcity(const std::string& said);

// `said`, by a library that failed, or with the restriction of this process that may explain it.
std::string restricted(const std::string& said);

// Where fewer addresses are left than OpenVINO takes to start with so many threads, for one of
// which it would wait for ever; else empty.
std::string problem_of_addresses(int64_t threads);

}  // namespace edgead
