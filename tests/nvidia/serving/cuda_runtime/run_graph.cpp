// csrc/kernels/graph_cuda.h against the SIMULATED runtime beside this file: what it calls, what it
// lets go, and what it does when a call fails. Exit code 0 and "ok" when all holds.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "graph_cuda.h"

namespace {

void expect(bool holds, const char* what, int line) {
  if (holds) return;
  std::fprintf(stderr, "line %d: %s\n", line, what);
  std::exit(1);
}
#define EXPECT(condition) expect(condition, #condition, __LINE__)

template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

constexpr uintptr_t kStream = 5;

void a_table_is_there_before_a_stream_may_read_it() {
  simulated::reset();
  const std::vector<int> host{3, 1, 4};
  const auto there = [&](const edgead::Buffer& buffer) {
    return std::memcmp(buffer.data(), host.data(), 12) == 0;
  };
  edgead::Buffer made(host), filled(12);
  EXPECT(there(made) && simulated::alive == 2);
  filled.fill(host.data(), 12);
  EXPECT(there(filled));
}

void a_table_that_cannot_be_uploaded() {
  for (const char* name : {"cudaMalloc", "cudaMemcpy", "cudaStreamSynchronize"}) {
    simulated::reset();
    simulated::fail_at[name] = 1;
    const std::vector<int> host{7};
    EXPECT(error_of([&] { edgead::Buffer table(host); }) == "CUDA: a simulated error (error 900)");
    EXPECT(simulated::alive == 0 && simulated::unread_error == 0);
  }
}

void a_frame() {
  simulated::reset();
  edgead::Events events(3);
  edgead::Graph graph;
  for (int i = 0; i < 3; ++i) events.record(i, kStream);
  EXPECT(simulated::external == 0);
  EXPECT(events.intervals_ms() == (std::vector<float>{2, 2}));
  events.wait(0, kStream);
  EXPECT(simulated::waits == 1);
  graph.begin(kStream);
  EXPECT(simulated::capturing && simulated::mode == cudaStreamCaptureModeRelaxed);
  events.record(1, kStream);  // becomes a node of the graph
  EXPECT(simulated::external == 1);
  graph.end(kStream);
  EXPECT(!simulated::capturing);
  graph.launch(kStream);
  graph.launch(kStream);
  EXPECT(simulated::launches == 2 && simulated::alive == 3 + 1);  // the captured graph is gone
}

void events_that_cannot_be_made() {
  simulated::reset();
  simulated::fail_at["cudaEventCreate"] = 3;
  EXPECT(error_of([] { edgead::Events events(4); }) == "CUDA: a simulated error (error 900)");
  EXPECT(simulated::alive == 0 && simulated::unread_error == 0);
}

void failures_of_a_capture() {
  for (const char* name : {"cudaStreamBeginCapture", "cudaStreamEndCapture",
                           "cudaGraphInstantiateWithFlags", "cudaGraphLaunch"}) {
    simulated::reset();
    simulated::fail_at[name] = 1;
    edgead::Graph graph;
    const std::string error = error_of([&] {
      graph.begin(kStream);
      graph.end(kStream);
      graph.launch(kStream);
    });
    EXPECT(error == "CUDA: a simulated error (error 900)");
    graph.abandon(kStream);
    EXPECT(!simulated::capturing && simulated::unread_error == 0);
  }
  EXPECT(simulated::alive == 0);
}

void an_abandoned_capture() {
  simulated::reset();
  edgead::Graph graph;
  graph.begin(kStream);
  graph.abandon(kStream);
  EXPECT(!simulated::capturing && simulated::alive == 0);
  graph.abandon(kStream);  // none has begun
  EXPECT(simulated::unread_error == 0);
  graph.begin(kStream);
  graph.end(kStream);
  EXPECT(simulated::alive == 1);
}

void whose_memory() {
  simulated::reset();
  const auto of = [](cudaMemoryType type, bool integrated) {
    const edgead::Place found = edgead::place_of(256 * type, integrated);
    return std::make_pair(found.device, found.address);
  };
  const auto nowhere = std::make_pair<int32_t, uintptr_t>(-1, 0);
  for (const bool integrated : {false, true})
    for (const cudaMemoryType type : {cudaMemoryTypeDevice, cudaMemoryTypeManaged})
      EXPECT(of(type, integrated) == (std::make_pair<int32_t, uintptr_t>(7, 256 * type)));
  EXPECT(of(cudaMemoryTypeHost, false) == nowhere);
  EXPECT(of(cudaMemoryTypeHost, true) == (std::make_pair<int32_t, uintptr_t>(7, 0x9000)));
  EXPECT(of(static_cast<cudaMemoryType>(0), true) == nowhere);  // memory that CUDA does not know
}

}  // namespace

int main() {
  a_table_is_there_before_a_stream_may_read_it();
  a_table_that_cannot_be_uploaded();
  a_frame();
  events_that_cannot_be_made();
  failures_of_a_capture();
  an_abandoned_capture();
  whose_memory();
  EXPECT(simulated::alive == 0);
  std::puts("ok");
}
